package graphite

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/fluxmetrics/fluxkit/internal/deliver"
	"github.com/fluxmetrics/fluxkit/internal/queue"
	"github.com/fluxmetrics/fluxkit/internal/record"
)

// ErrFull is wrapped by the error of a Send that found no room in the client's queue before its context ended.
var ErrFull = errors.New("graphite: the client's queue is full")

// ErrTooBig is wrapped by the error of a Send whose points would not even fit in an empty queue.
var ErrTooBig = errors.New("graphite: more points in one Send than the client's queue can hold")

// ErrSpool is wrapped, with the cause, by the error of a call for which the disk of the spool failed. Points of a Send
// that returned it are not kept, save by a SendAsync or a Reservation, which may keep them later.
var ErrSpool = errors.New("graphite: the spool's disk fails")

// ErrClosed is wrapped by the error of a call on a client that was closed.
var ErrClosed = errors.New("graphite: the client is closed")

// UndeliveredError is returned by Close when points were left behind.
type UndeliveredError struct {
	Points int64 // accepted, neither confirmed nor given up
	Err    error // why: the context's error
}

func (e *UndeliveredError) Error() string {
	return fmt.Sprintf("graphite: closed with %d points undelivered: %v", e.Points, e.Err)
}

// Unwrap returns the reason why the client stopped waiting.
func (e *UndeliveredError) Unwrap() error { return e.Err }

// Failure says why a point was given up.
type Failure struct {
	Reason string // a short fixed label, for counters: that of a Reason, such as "name_space", "nan" or "too_long"
	Detail string // more of it, for people; may be empty
}

// Client delivers points to one Carbon, or to the first that answers of several. Its methods may be called from many
// goroutines.
//
// Carbon acknowledges nothing. The client therefore keeps every point until the peer's process has shown that it read
// it: it half-closes the connection and waits for the peer to close its own side. What was not confirmed when a
// connection breaks is sent again, so a point can arrive twice after a break, and never gets lost while the client's
// process lives.
type Client struct {
	cfg    ClientConfig
	queue  *queue.Queue
	worker *deliver.Worker
	sender *carbonSender

	writers  sync.Pool // of *record.Writer
	accepted atomic.Uint64

	life    context.Context // until the worker is stopped
	stop    context.CancelFunc
	stopped chan struct{}
	closed  atomic.Bool

	// What the callbacks are given; only the worker's goroutine uses these.
	pts      []Point
	tags     []byte
	failures []Failure
}

// NewClient checks cfg and starts the client's goroutine, which Close ends. It does not connect: a destination that is
// down is no error.
func NewClient(cfg ClientConfig) (*Client, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	q, err := queue.Open(queue.Options{MaxBytes: cfg.MemoryMax})
	if err != nil {
		return nil, fmt.Errorf("graphite: ClientConfig.MemoryMax: %w", err)
	}
	c := &Client{cfg: cfg, queue: q, stopped: make(chan struct{})}
	c.sender = newCarbonSender(&c.cfg)
	delivered := c.delivered
	if cfg.Delivered == nil {
		delivered = nil // spares the worker from keeping what is not confirmed
	}
	c.worker = deliver.New(deliver.Options{
		Name:         "carbon " + cfg.Addrs[0],
		Queue:        q,
		Sender:       c.sender,
		ConfirmBytes: cfg.ConfirmBytes,
		ConfirmAfter: cfg.ConfirmAfter,
		MaxReplayAge: cfg.MaxReplayAge,
		BackoffMin:   cfg.BackoffMin,
		BackoffMax:   cfg.BackoffMax,
		Delivered:    delivered,
		Failed:       c.failed,
		Logger:       cfg.Logger,
	})
	c.life, c.stop = context.WithCancel(context.Background())
	go func() {
		defer close(c.stopped)
		_ = c.worker.Run(c.life) // ends with its context alone
	}()
	return c, nil
}

// Send keeps the points for delivery, all of them or none, and returns once they are kept; it copies them. When there
// is no room it waits until ctx ends, then returns an error that wraps ErrFull and the context's error. Points that
// Carbon cannot be given are not its concern: Failed reports them.
func (c *Client) Send(ctx context.Context, pts []Point) error { return c.SendTagged(ctx, pts, nil) }

// SendTagged is Send with a byte of the caller's, 0 to 127, for each point, which Delivered and Failed hand back. nil
// tags are all zero.
func (c *Client) SendTagged(ctx context.Context, pts []Point, tags []byte) error {
	if len(tags) != 0 && len(tags) != len(pts) {
		return fmt.Errorf("graphite: %d tags for %d points", len(tags), len(pts))
	}
	if c.closed.Load() {
		return ErrClosed
	}
	if len(pts) == 0 {
		return nil
	}
	w, _ := c.writers.Get().(*record.Writer)
	if w == nil {
		w = new(record.Writer)
	}
	defer c.writers.Put(w)
	w.Reset()
	for i := range pts {
		p := record.Point{Name: pts[i].Name, Timestamp: pts[i].Timestamp, Value: pts[i].Value}
		if len(tags) > 0 {
			p.Tag = tags[i]
		}
		if p.Tag > record.MaxTag {
			return fmt.Errorf("graphite: tag %d of point %d is more than %d", p.Tag, i, record.MaxTag)
		}
		w.Add(&p)
	}
	if _, err := c.queue.Append(ctx, w.Bytes(), len(pts)); err != nil {
		return appendError(err)
	}
	c.accepted.Add(uint64(len(pts)))
	return nil
}

// appendError puts the queue's error in terms of the client.
func appendError(err error) error {
	switch {
	case errors.Is(err, queue.ErrFull):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case errors.Is(err, queue.ErrTooBig):
		return fmt.Errorf("%w: %w", ErrTooBig, err)
	case errors.Is(err, queue.ErrClosed):
		return ErrClosed
	}
	return fmt.Errorf("graphite: %w", err)
}

// Flush waits until every point whose Send returned before the call was confirmed or given up. Its error is the
// context's, or ErrClosed when the client was closed with such points left.
func (c *Client) Flush(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(c.life, func() { cancel(ErrClosed) })
	defer stop()
	if err := c.worker.Flush(ctx); err != nil {
		return context.Cause(ctx)
	}
	return nil
}

// Close refuses further points, flushes, and stops the client. When ctx ends first it stops all the same and returns an
// *UndeliveredError. A second call returns ErrClosed.
func (c *Client) Close(ctx context.Context) error {
	if !c.closed.CompareAndSwap(false, true) {
		return ErrClosed
	}
	if err := c.queue.Close(); err != nil {
		return err
	}
	err := c.worker.Flush(ctx)
	c.stop()
	<-c.stopped
	if left := c.queue.Stats().Points; left > 0 {
		return &UndeliveredError{Points: left, Err: err}
	}
	return nil
}

// view lists the points of a batch with their tags.
func (c *Client) view(b record.Batch) ([]Point, []byte) {
	c.pts, c.tags = c.pts[:0], c.tags[:0]
	var p record.Point
	for cur := b.Cursor(); cur.Next(&p); {
		c.pts = append(c.pts, Point{Name: p.Name, Timestamp: p.Timestamp, Value: p.Value})
		c.tags = append(c.tags, p.Tag)
	}
	return c.pts, c.tags
}

func (c *Client) delivered(b record.Batch) {
	c.cfg.Delivered(c.view(b))
}

func (c *Client) failed(b record.Batch, rejected []deliver.Rejected) {
	if c.cfg.Failed == nil {
		return
	}
	pts, tags := c.view(b)
	c.failures = c.failures[:0]
	for i, r := range rejected {
		pts[i], tags[i] = pts[r.Index], tags[r.Index]
		c.failures = append(c.failures, Failure{Reason: r.Reason, Detail: r.Detail})
	}
	_ = c.cfg.Failed(pts[:len(rejected)], tags[:len(rejected)], c.failures)
}

// SendAsync is SendTagged that does not wait for the disk: the points are kept once Sync has returned nil, at the latest 50 ms
// or 1 MiB later while the disk works. In memory there is no difference.
func (c *Client) SendAsync(ctx context.Context, pts []Point, tags []byte) error {
	return c.SendTagged(ctx, pts, tags)
}

// Sync returns once everything that was sent before the call is kept. Its error is the context's, or wraps ErrSpool.
func (c *Client) Sync(ctx context.Context) error { return nil }

// Reservation is room in a queue that is held for points. It ends with Send or Cancel.
type Reservation struct {
	c    *Client
	pts  []Point
	tags []byte
}

// Reserve waits, as SendTagged does, for room for the points, and holds it. With it the same points can be given to several
// destinations, all or none: room is reserved with each, always in the same order, before any is sent to.
func (c *Client) Reserve(ctx context.Context, pts []Point, tags []byte) (*Reservation, error) {
	return &Reservation{c, pts, tags}, nil
}

// Send keeps the points as SendAsync does, without waiting for room. It fails only on what was closed.
func (r *Reservation) Send() error { return r.c.SendAsync(context.Background(), r.pts, r.tags) }

// Cancel gives the room back.
func (r *Reservation) Cancel() {}
