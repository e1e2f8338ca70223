package blueflood

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fluxmetrics/fluxkit/internal/deliver"
	"github.com/fluxmetrics/fluxkit/internal/queue"
	"github.com/fluxmetrics/fluxkit/internal/record"
)

// Endpoint writes to one tenant of one Blueflood. Its methods may be called from many goroutines.
type Endpoint struct {
	cfg    EndpointConfig
	target *target
	rows   *rowEncoder
	queue  *queue.Queue
	worker *deliver.Worker
	stop   context.CancelFunc
	done   chan struct{}
	closed atomic.Bool

	accepted atomic.Uint64
	writers  sync.Pool // of *writer

	reported []Metric // scratch of the worker's goroutine
	failures []Failure
}

// writer is what one Send encodes into.
type writer struct {
	record record.Writer
	extra  []byte
}

// NewEndpoint checks cfg and starts the endpoint's goroutine, which Close ends. It does not connect: a server that is
// down is no error. What cannot be used in cfg gives a *ConfigError.
func NewEndpoint(cfg EndpointConfig) (*Endpoint, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	u, err := tenantURL(cfg.URL, DefaultURL, cfg.Tenant)
	if err != nil {
		return nil, err
	}
	q, err := queue.Open(queue.Options{MaxBytes: cfg.MemoryMax})
	if err != nil {
		return nil, &ConfigError{"MemoryMax", fmt.Sprint(cfg.MemoryMax), err.Error()}
	}
	if strings.Contains(cfg.Tenant, ".") {
		cfg.Logger.Warn("blueflood takes what stands before the first dot for the tenant when it rolls up", "tenant", cfg.Tenant)
	}
	e := &Endpoint{
		cfg: cfg, queue: q, done: make(chan struct{}),
		target: newTarget(u, cfg.Timeout, cfg.Transport, cfg.Auth, cfg.UserAgent),
		rows:   newRowEncoder(cfg.Prefix, cfg.TTL),
	}
	e.writers.New = func() any { return new(writer) }
	e.worker = e.newWorker()
	ctx, stop := context.WithCancel(context.Background())
	e.stop = stop
	go func() {
		defer close(e.done)
		_ = e.worker.Run(ctx) // the context's error
	}()
	return e, nil
}

func (e *Endpoint) newWorker() *deliver.Worker {
	o := deliver.Options{
		Name: e.target.ingest.Redacted(), Queue: e.queue, Sender: newIngestSender(&e.cfg, e.target, e.rows),
		Linger: e.cfg.Interval, BatchBytes: e.cfg.Limit,
		Full: func(points, bytes int) bool {
			return bytes+points*e.rows.overhead >= e.cfg.Limit
		},
		BackoffMin: e.cfg.BackoffMin, BackoffMax: e.cfg.BackoffMax, Logger: e.cfg.Logger,
	}
	if e.cfg.Delivered != nil {
		o.Delivered = e.delivered
	}
	if e.cfg.Failed != nil {
		o.Failed = e.failed
	}
	return deliver.New(o)
}

func (e *Endpoint) delivered(b record.Batch) {
	e.reported = appendMetrics(e.reported[:0], b)
	e.cfg.Delivered(e.reported)
}

func (e *Endpoint) failed(b record.Batch, why []deliver.Rejected) {
	e.reported = appendMetrics(e.reported[:0], b)
	e.failures = e.failures[:0]
	for i := range why {
		e.failures = append(e.failures, Failure{Reason: why[i].Reason, Detail: why[i].Detail})
	}
	_ = e.cfg.Failed(e.reported, e.failures)
}

// Send keeps the points for delivery, all of them or none, and returns once they are kept; it copies them. When there
// is no room it waits until ctx ends, then returns an error that wraps ErrFull and the context's error. Points that
// cannot be sent (a value that is not finite, a name that is not UTF-8) are kept too: Failed gets them.
func (e *Endpoint) Send(ctx context.Context, ms []Metric) error {
	if e.closed.Load() {
		return ErrClosed
	}
	if len(ms) == 0 {
		return nil
	}
	w := e.writers.Get().(*writer)
	defer e.writers.Put(w)
	if err := w.encode(ms); err != nil {
		return err
	}
	_, err := e.queue.Append(ctx, w.record.Bytes(), len(ms))
	switch {
	case err == nil:
		e.accepted.Add(uint64(len(ms)))
		return nil
	case errors.Is(err, queue.ErrFull):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case errors.Is(err, queue.ErrTooBig):
		return fmt.Errorf("%w: %d points, %w", ErrTooBig, len(ms), err)
	case errors.Is(err, queue.ErrClosed):
		return ErrClosed
	}
	return fmt.Errorf("blueflood: points not kept: %w", err)
}

// encode puts the points in w's record.
func (w *writer) encode(ms []Metric) error {
	w.record.Reset()
	var p record.Point
	var err error
	for i := range ms {
		if w.extra, err = ms[i].point(&p, w.extra); err != nil {
			return err
		}
		w.record.Add(&p)
	}
	return nil
}

// Flush waits until every point whose Send returned before the call was stored or given up, without waiting for
// requests to fill. Its error is the context's.
func (e *Endpoint) Flush(ctx context.Context) error {
	if err := e.worker.Flush(ctx); err != nil {
		return fmt.Errorf("blueflood: %d points not delivered yet: %w", e.queue.Stats().Points, err)
	}
	return nil
}

// Close refuses further points, flushes, and stops the endpoint. When ctx ends first it stops all the same and returns
// an *UndeliveredError. A second call returns ErrClosed.
func (e *Endpoint) Close(ctx context.Context) error {
	if e.closed.Swap(true) {
		return ErrClosed
	}
	_ = e.queue.Close() // a queue in memory has nothing to fail at
	err := e.worker.Flush(ctx)
	e.stop()
	<-e.done
	e.target.close()
	if left := e.queue.Stats().Points; left > 0 {
		return &UndeliveredError{Points: left, Err: err}
	}
	return nil
}

// Stats is a snapshot of an endpoint's counters. Accepted + Recovered = Delivered + the sum of Rejected + the sum of
// Dropped + PendingPoints whenever the endpoint is idle. Points of Ingest are in none of them.
type Stats struct {
	Accepted  uint64            // points that a Send kept
	Recovered uint64            // points that SpoolDir held when the endpoint was made
	Dropped   map[string]uint64 // points lost, by reason: "full" by DropOldest, "damaged" on the disk
	Delivered uint64            // points that the server stored
	Rejected  map[string]uint64 // points given up, by reason

	PendingPoints int64         // in the buffer: neither stored nor given up
	PendingBytes  int64         // their size
	Oldest        time.Duration // the age of the oldest of them

	Requests  uint64 // requests made, those of Ingest included
	BodyBytes uint64 // their bodies before compression
	WireBytes uint64 // their bodies as sent
	Resent    uint64 // points that stood in a request which was sent again; in no sum

	Down      bool   // the last request failed
	LastError string // of that request
}

// Stats returns the counters.
func (e *Endpoint) Stats() Stats {
	q, w := e.queue.Stats(), e.worker.Stats()
	s := Stats{
		Accepted: e.accepted.Load(), Delivered: w.Delivered, Rejected: w.Rejected,
		PendingPoints: q.Points, PendingBytes: q.Bytes,
		Requests: e.target.requests.Load(), BodyBytes: e.target.bodyBytes.Load(),
		WireBytes: e.target.wireBytes.Load(), Resent: e.target.resent.Load(),
		Down: w.LastError != "", LastError: w.LastError,
	}
	if !q.Oldest.IsZero() {
		s.Oldest = time.Since(q.Oldest)
	}
	return s
}

// SendAsync is Send that does not wait for the disk: the points are kept once Sync has returned nil, at the latest 50 ms
// or 1 MiB later while the disk works. In memory there is no difference.
func (e *Endpoint) SendAsync(ctx context.Context, ms []Metric) error {
	return e.Send(ctx, ms)
}

// Sync returns once everything that was sent before the call is kept. Its error is the context's, or wraps ErrSpool.
func (e *Endpoint) Sync(ctx context.Context) error { return nil }

// Reservation is room in a queue that is held for points. It ends with Send or Cancel.
type Reservation struct {
	e  *Endpoint
	ms []Metric
}

// Reserve waits, as Send does, for room for the points, and holds it. With it the same points can be given to several
// destinations, all or none: room is reserved with each, always in the same order, before any is sent to.
func (e *Endpoint) Reserve(ctx context.Context, ms []Metric) (*Reservation, error) {
	return &Reservation{e, ms}, nil
}

// Send keeps the points as SendAsync does, without waiting for room. It fails only on what was closed.
func (r *Reservation) Send() error { return r.e.SendAsync(context.Background(), r.ms) }

// Cancel gives the room back.
func (r *Reservation) Cancel() {}
