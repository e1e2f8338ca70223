package graphite

import (
	"context"
	"errors"
	"fmt"

	"github.com/fluxmetrics/fluxkit/internal/queue"
	"github.com/fluxmetrics/fluxkit/internal/record"
)

// Send keeps the points for delivery, all of them or none, and returns once they are kept, with SpoolDir on the disk; it
// copies them. When there is no room it waits until ctx ends, then returns an error that wraps ErrFull and the context's
// error. While the disk fails it waits likewise, and the error wraps ErrSpool, the cause and the context's. Points that
// Carbon cannot be given are not its concern: Failed reports them.
func (c *Client) Send(ctx context.Context, pts []Point) error { return c.SendTagged(ctx, pts, nil) }

// SendTagged is Send with a byte of the caller's, 0 to 127, for each point, which Delivered, Failed and Recovered hand
// back. nil tags are all zero.
func (c *Client) SendTagged(ctx context.Context, pts []Point, tags []byte) error {
	return c.send(ctx, pts, tags, true)
}

// SendAsync is SendTagged that does not wait for its points' commit: they are kept once Sync has returned nil. A commit of
// them begins 50 ms later at the latest. What SendAsync has taken and is not kept yet is never more than 1 MiB, as the
// queue has it: a point takes its name and 18 bytes, a call 45. Where it would be, SendAsync waits as for room, unless ctx
// has ended already. In memory there is no difference.
func (c *Client) SendAsync(ctx context.Context, pts []Point, tags []byte) error {
	return c.send(ctx, pts, tags, false)
}

func (c *Client) send(ctx context.Context, pts []Point, tags []byte, wait bool) error {
	w, err := c.encode(pts, tags)
	if w == nil {
		return err
	}
	defer c.writers.Put(w)
	if wait {
		_, err = c.queue.Append(ctx, w.Bytes(), len(pts))
	} else {
		_, err = c.queue.AppendAsync(ctx, w.Bytes(), len(pts))
	}
	if err != nil {
		return queueError(err)
	}
	c.accepted.Add(uint64(len(pts)))
	return nil
}

// Sync returns once everything that was sent before the call is kept. It does not wait for the 50 ms. Its error is the
// context's, and wraps ErrSpool and the cause while the disk fails.
func (c *Client) Sync(ctx context.Context) error {
	if err := c.queue.Sync(ctx, c.queue.Last()); err != nil {
		return queueError(err)
	}
	return nil
}

// Reservation is room in a queue that is held for points. It ends with Send or Cancel. It is for one goroutine.
type Reservation struct {
	c    *Client
	w    *record.Writer // nil once it has ended, or for no points
	room *queue.Reservation
}

// Reserve waits, as SendTagged does, for room for the points, and holds it; it copies them. With it the same points can
// be given to several destinations, all or none: room is reserved with each, always in the same order, before any is
// sent to.
func (c *Client) Reserve(ctx context.Context, pts []Point, tags []byte) (*Reservation, error) {
	w, err := c.encode(pts, tags)
	if err != nil {
		return nil, err
	}
	r := &Reservation{c: c, w: w}
	if w == nil {
		return r, nil
	}
	if r.room, err = c.queue.Reserve(ctx, w.Size()); err != nil {
		c.writers.Put(w)
		return nil, queueError(err)
	}
	return r, nil
}

// Send keeps the points as SendAsync does, without waiting for room. It fails only on what was closed. Once the
// reservation has ended it does nothing.
func (r *Reservation) Send() error {
	w := r.w
	if w == nil {
		return nil
	}
	r.w = nil
	defer r.c.writers.Put(w)
	n := w.Len()
	if _, err := r.room.Append(w.Bytes(), n); err != nil {
		return queueError(err)
	}
	r.c.accepted.Add(uint64(n))
	return nil
}

// Cancel gives the room back. Once the reservation has ended it does nothing.
func (r *Reservation) Cancel() {
	if r.w == nil {
		return
	}
	r.room.Cancel()
	r.c.writers.Put(r.w)
	r.w = nil
}

// encode returns the points as a record, in a writer that goes back to c.writers, or nil when there are none.
func (c *Client) encode(pts []Point, tags []byte) (*record.Writer, error) {
	if len(tags) != 0 && len(tags) != len(pts) {
		return nil, fmt.Errorf("graphite: %d tags for %d points", len(tags), len(pts))
	}
	if c.closed.Load() {
		return nil, ErrClosed
	}
	if len(pts) == 0 {
		return nil, nil
	}
	for i, tag := range tags {
		if tag > record.MaxTag {
			return nil, fmt.Errorf("graphite: tag %d of point %d is more than %d", tag, i, record.MaxTag)
		}
	}
	w, _ := c.writers.Get().(*record.Writer)
	if w == nil {
		w = new(record.Writer)
	}
	w.Reset()
	var p record.Point
	for i := range pts {
		p.Name, p.Timestamp, p.Value = pts[i].Name, pts[i].Timestamp, pts[i].Value
		if len(tags) > 0 {
			p.Tag = tags[i]
		}
		w.Add(&p)
	}
	return w, nil
}

// queueError puts the queue's error in terms of the client.
func queueError(err error) error {
	switch {
	case errors.Is(err, queue.ErrFull):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case errors.Is(err, queue.ErrTooBig):
		return fmt.Errorf("%w: %w", ErrTooBig, err)
	case errors.Is(err, queue.ErrDisk):
		return fmt.Errorf("%w: %w", ErrSpool, err)
	case errors.Is(err, queue.ErrClosed):
		return ErrClosed
	}
	return fmt.Errorf("graphite: %w", err)
}
