package graphite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

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
	Points   int64  // accepted or recovered, neither confirmed nor given up
	SpoolDir string // where they stay for the next client; empty when they are lost
	Err      error  // why: the context's error
}

func (e *UndeliveredError) Error() string {
	text := fmt.Sprintf("graphite: closed with %d points undelivered, which are lost", e.Points)
	if e.SpoolDir != "" {
		text = fmt.Sprintf("graphite: closed with %d points undelivered, which stay in %s", e.Points, e.SpoolDir)
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
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
// process lives, nor, with ClientConfig.SpoolDir, after that.
type Client struct {
	cfg    ClientConfig
	queue  *queue.Queue
	worker *deliver.Worker
	sender *carbonSender
	dead   *deliver.DeadLetters // nil without DeadLetter

	writers   sync.Pool // of *record.Writer
	accepted  atomic.Uint64
	recovered uint64

	life    context.Context // until the worker is stopped
	stop    context.CancelFunc
	stopped chan struct{}
	closed  atomic.Bool

	// What the callbacks are given; only the worker's goroutine uses these.
	pts      []Point
	tags     []byte
	failures []Failure
}

// spacing is the longest that a point waits for others to go with: a write costs as much as a hundred points.
const spacing = 5 * time.Millisecond

// NewClient checks cfg, opens SpoolDir and DeadLetter, and starts the client's goroutines, which Close ends. It does not
// connect: a destination that is down is no error. The error wraps ErrSpool when SpoolDir cannot be created, read or
// written, and says so when another has it open.
func NewClient(cfg ClientConfig) (*Client, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	q, err := cfg.openQueue()
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, queue: q, stopped: make(chan struct{})}
	name := "carbon " + cfg.Addrs[0]
	if c.dead, err = cfg.openDeadLetters(name); err != nil {
		return nil, errors.Join(err, q.Release())
	}
	c.sender = newCarbonSender(&c.cfg)
	c.recover()
	delivered := c.delivered
	if cfg.Delivered == nil {
		delivered = nil // spares the worker from keeping what is not confirmed
	}
	c.worker = deliver.New(deliver.Options{
		Name:         name,
		Queue:        q,
		Sender:       c.sender,
		ConfirmBytes: cfg.ConfirmBytes,
		ConfirmAfter: cfg.ConfirmAfter,
		Spacing:      spacing,
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

// Flush waits until every point whose Send returned before the call was confirmed, given up or dropped. Its error is the
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
// *UndeliveredError: the points stay in SpoolDir, or without one are lost. The error wraps ErrSpool when the disk failed
// with the points of a SendAsync or a Reservation. A second call returns ErrClosed.
func (c *Client) Close(ctx context.Context) error {
	if !c.closed.CompareAndSwap(false, true) {
		return ErrClosed
	}
	_ = c.queue.Close() // what it cannot commit now it goes on trying; Release tells the outcome
	err := c.worker.Flush(ctx)
	c.stop()
	<-c.stopped
	var left error
	if n := c.Stats().PendingPoints; n > 0 {
		left = &UndeliveredError{Points: n, SpoolDir: c.cfg.SpoolDir, Err: err}
	}
	if err := c.queue.Release(); err != nil {
		left = errors.Join(left, fmt.Errorf("%w: %w", ErrSpool, err))
	}
	if err := c.dead.Close(); err != nil {
		left = errors.Join(left, fmt.Errorf("graphite: ClientConfig.DeadLetter: %w", err))
	}
	return left
}

// view lists the points of a batch with their tags.
func (c *Client) view(b record.Batch) ([]Point, []byte) {
	n := b.Len()
	c.pts, c.tags = slices.Grow(c.pts[:0], n)[:n], slices.Grow(c.tags[:0], n)[:n]
	var p record.Point
	cur := b.Cursor()
	for i := range n {
		cur.Next(&p)
		at := &c.pts[i] // field by field: a literal would be copied
		at.Name, at.Timestamp, at.Value = p.Name, p.Timestamp, p.Value
		c.tags[i] = p.Tag
	}
	return c.pts, c.tags
}

func (c *Client) delivered(b record.Batch) {
	c.cfg.Delivered(c.view(b))
}

func (c *Client) failed(b record.Batch, rejected []deliver.Rejected) error {
	if err := c.dead.Record(b, rejected); err != nil {
		return fmt.Errorf("graphite: %w", err)
	}
	if err := c.tellFailed(b, rejected); err != nil {
		return err
	}
	c.dead.Settled()
	return nil
}

func (c *Client) tellFailed(b record.Batch, rejected []deliver.Rejected) error {
	if c.cfg.Failed == nil {
		return nil
	}
	pts, tags := c.view(b)
	c.failures = c.failures[:0]
	for i, r := range rejected {
		pts[i], tags[i] = pts[r.Index], tags[r.Index]
		c.failures = append(c.failures, Failure{Reason: r.Reason, Detail: r.Detail})
	}
	return c.cfg.Failed(pts[:len(rejected)], tags[:len(rejected)], c.failures)
}
