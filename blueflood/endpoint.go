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
	dead   *deliver.DeadLetters // nil without DeadLetter
	life   context.Context      // until the worker is stopped
	stop   context.CancelFunc
	done   chan struct{}
	closed atomic.Bool

	accepted  atomic.Uint64
	recovered uint64
	writers   sync.Pool // of *writer

	reported []Metric // scratch of the worker's goroutine
	failures []Failure
}

// NewEndpoint checks cfg, opens SpoolDir and DeadLetter, and starts the endpoint's goroutines, which Close ends. It does
// not connect: a server that is down is no error. What cannot be used in cfg, be it a SpoolDir that another has open,
// gives a *ConfigError, one that holds points of another tenant a *SpoolTenantError; the error wraps ErrSpool when
// SpoolDir cannot be created, read or written.
func NewEndpoint(cfg EndpointConfig) (*Endpoint, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	u, err := tenantURL(cfg.URL, DefaultURL, cfg.Tenant)
	if err != nil {
		return nil, err
	}
	q, err := cfg.openQueue()
	if err != nil {
		return nil, err
	}
	if strings.Contains(cfg.Tenant, ".") {
		cfg.Logger.Warn("blueflood takes what stands before the first dot for the tenant when it rolls up", "tenant", cfg.Tenant)
	}
	e := &Endpoint{
		cfg: cfg, queue: q, done: make(chan struct{}),
		target: newTarget(u, cfg.Timeout, cfg.Transport, cfg.Auth, cfg.UserAgent),
		rows:   newRowEncoder(cfg.Prefix, cfg.TTL),
	}
	if e.dead, err = e.openDeadLetters(); err != nil {
		return nil, errors.Join(err, q.Release())
	}
	e.writers.New = func() any { return new(writer) }
	e.recover()
	e.worker = e.newWorker()
	e.life, e.stop = context.WithCancel(context.Background())
	go func() {
		defer close(e.done)
		_ = e.worker.Run(e.life) // the context's error
	}()
	return e, nil
}

// name is that of the destination, in logs and dead letters.
func (e *Endpoint) name() string { return e.target.ingest.Redacted() }

func (e *Endpoint) newWorker() *deliver.Worker {
	o := deliver.Options{
		Name: e.name(), Queue: e.queue, Sender: newIngestSender(&e.cfg, e.target, e.rows),
		Linger: e.cfg.Interval, BatchBytes: e.cfg.Limit,
		Full: func(points, bytes int) bool {
			return bytes+points*e.rows.overhead >= e.cfg.Limit
		},
		BackoffMin: e.cfg.BackoffMin, BackoffMax: e.cfg.BackoffMax, Logger: e.cfg.Logger,
	}
	if e.cfg.Delivered != nil {
		o.Delivered = e.delivered
	}
	if e.cfg.Failed != nil || e.dead != nil {
		o.Failed = e.failed
	}
	return deliver.New(o)
}

func (e *Endpoint) delivered(b record.Batch) {
	e.reported = appendMetrics(e.reported[:0], b)
	e.cfg.Delivered(e.reported)
}

func (e *Endpoint) failed(b record.Batch, why []deliver.Rejected) error {
	if err := e.dead.Record(b, why); err != nil {
		return fmt.Errorf("blueflood: %w", err)
	}
	if err := e.tellFailed(b, why); err != nil {
		return err
	}
	e.dead.Settled()
	return nil
}

func (e *Endpoint) tellFailed(b record.Batch, why []deliver.Rejected) error {
	if e.cfg.Failed == nil {
		return nil
	}
	e.reported = appendMetrics(e.reported[:0], b)
	e.failures = e.failures[:0]
	for i := range why {
		e.failures = append(e.failures, Failure{Reason: why[i].Reason, Detail: why[i].Detail})
	}
	return e.cfg.Failed(e.reported, e.failures)
}

// Flush waits until every point whose Send returned before the call was stored, given up or dropped, without waiting for
// requests to fill. Its error is the context's, or wraps ErrClosed when the endpoint was closed with such points left.
func (e *Endpoint) Flush(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(e.life, func() { cancel(ErrClosed) })
	defer stop()
	if err := e.worker.Flush(ctx); err != nil {
		return fmt.Errorf("blueflood: %d points not delivered yet: %w", e.Stats().PendingPoints, context.Cause(ctx))
	}
	return nil
}

// Close refuses further points, flushes, and stops the endpoint. When ctx ends first it stops all the same and returns
// an *UndeliveredError: the points stay in SpoolDir, or without one are lost. The error wraps ErrSpool when the disk
// failed with the points of a SendAsync or a Reservation. A second call returns ErrClosed.
func (e *Endpoint) Close(ctx context.Context) error {
	if e.closed.Swap(true) {
		return ErrClosed
	}
	_ = e.queue.Close() // what it cannot commit now it goes on trying; Release tells the outcome
	err := e.worker.Flush(ctx)
	e.stop()
	<-e.done
	e.target.close()
	var left error
	if n := e.Stats().PendingPoints; n > 0 {
		left = &UndeliveredError{Points: n, SpoolDir: e.cfg.SpoolDir, Err: err}
	}
	if err := e.queue.Release(); err != nil {
		left = errors.Join(left, fmt.Errorf("%w: %w", ErrSpool, err))
	}
	if err := e.dead.Close(); err != nil {
		left = errors.Join(left, fmt.Errorf("blueflood: DeadLetter: %w", err))
	}
	return left
}

// Stats is a snapshot of an endpoint's counters. Accepted + Recovered = Delivered + the sum of Rejected + the sum of
// Dropped + PendingPoints whenever the endpoint is idle. Points of Ingest are in none of them.
type Stats struct {
	Accepted  uint64            // points that a Send kept
	Recovered uint64            // points that SpoolDir held when the endpoint was made
	Dropped   map[string]uint64 // points lost, by reason: "full" by DropOldest, "damaged" in SpoolDir
	Delivered uint64            // points that the server stored
	Rejected  map[string]uint64 // points given up, by reason

	PendingPoints int64         // in the buffer: neither stored nor given up
	PendingBytes  int64         // the size of the records that hold them
	Oldest        time.Duration // the age of the oldest of them
	SpoolBytes    int64         // what SpoolDir holds, to be held against SpoolMax

	DeadLetterPoints  int64  // points that DeadLetter holds
	DeadLetterBytes   int64  // its size
	DeadLetterDropped uint64 // points that it let go of since the endpoint was made, for want of room

	Requests  uint64 // requests made, those of Ingest included
	BodyBytes uint64 // their bodies before compression
	WireBytes uint64 // their bodies as sent
	Resent    uint64 // points that stood in a request which was sent again; in no sum

	Down       bool   // the last request failed
	LastError  string // of the trouble that is not got over yet, the spool's included; empty when all is well
	SpoolError string // why SpoolDir takes nothing at present; empty when it does
}

// Stats returns the counters.
func (e *Endpoint) Stats() Stats {
	q, w := e.queue.Stats(), e.worker.Stats()
	s := Stats{
		Accepted: e.accepted.Load(), Recovered: e.recovered, Delivered: w.Delivered, Rejected: w.Rejected,
		PendingBytes: q.Bytes, SpoolBytes: q.DiskBytes,
		Requests: e.target.requests.Load(), BodyBytes: e.target.bodyBytes.Load(),
		WireBytes: e.target.wireBytes.Load(), Resent: e.target.resent.Load(),
		Down: w.LastError != "", LastError: w.LastError,
	}
	s.PendingPoints, s.Dropped = w.Balance(q)
	if q.Failing != nil {
		s.SpoolError = q.Failing.Error()
		if s.LastError == "" {
			s.LastError = s.SpoolError
		}
	}
	d := e.dead.Stats()
	s.DeadLetterPoints, s.DeadLetterBytes, s.DeadLetterDropped = d.Points, d.Bytes, uint64(d.Dropped)
	if !q.Oldest.IsZero() {
		s.Oldest = time.Since(q.Oldest)
	}
	return s
}
