package blueflood

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
// cannot be sent (a value that is not finite, a name that is not UTF-8) are kept too: Failed gets them.
func (e *Endpoint) Send(ctx context.Context, ms []Metric) error {
	return e.send(ctx, ms, true)
}

// SendAsync is Send that does not wait for its points' commit: they are kept once Sync has returned nil. A commit of them
// begins 50 ms later at the latest. What SendAsync has taken and is not kept yet is never more than 1 MiB as the queue has
// it: where it would be, SendAsync waits as for room, unless ctx has ended already. In memory there is no difference.
func (e *Endpoint) SendAsync(ctx context.Context, ms []Metric) error {
	return e.send(ctx, ms, false)
}

func (e *Endpoint) send(ctx context.Context, ms []Metric, wait bool) error {
	w, err := e.encode(ms)
	if w == nil {
		return err
	}
	defer e.writers.Put(w)
	if wait {
		_, err = e.queue.Append(ctx, w.record.Bytes(), len(ms))
	} else {
		_, err = e.queue.AppendAsync(ctx, w.record.Bytes(), len(ms))
	}
	if err != nil {
		return queueError(err, len(ms))
	}
	e.accepted.Add(uint64(len(ms)))
	return nil
}

// Sync returns once everything that was sent before the call is kept. It does not wait for the 50 ms. Its error is the
// context's, and wraps ErrSpool and the cause while the disk fails.
func (e *Endpoint) Sync(ctx context.Context) error {
	if err := e.queue.Sync(ctx, e.queue.Last()); err != nil {
		return queueError(err, 0)
	}
	return nil
}

// Reservation is room in a queue that is held for points. It ends with Send or Cancel. It is for one goroutine.
type Reservation struct {
	e    *Endpoint
	w    *writer // nil once it has ended, or for no points
	room *queue.Reservation
}

// Reserve waits, as Send does, for room for the points, and holds it; it copies them. With it the same points can be
// given to several destinations, all or none: room is reserved with each, always in the same order, before any is sent
// to.
func (e *Endpoint) Reserve(ctx context.Context, ms []Metric) (*Reservation, error) {
	w, err := e.encode(ms)
	if err != nil {
		return nil, err
	}
	r := &Reservation{e: e, w: w}
	if w == nil {
		return r, nil
	}
	if r.room, err = e.queue.Reserve(ctx, w.record.Size()); err != nil {
		e.writers.Put(w)
		return nil, queueError(err, len(ms))
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
	defer r.e.writers.Put(w)
	n := w.record.Len()
	if _, err := r.room.Append(w.record.Bytes(), n); err != nil {
		return queueError(err, n)
	}
	r.e.accepted.Add(uint64(n))
	return nil
}

// Cancel gives the room back. Once the reservation has ended it does nothing.
func (r *Reservation) Cancel() {
	if r.w == nil {
		return
	}
	r.room.Cancel()
	r.e.writers.Put(r.w)
	r.w = nil
}

// writer is what one Send encodes into.
type writer struct {
	record record.Writer
	extra  []byte
}

// encode returns the points in a writer that goes back to e.writers, or nil when there are none.
func (e *Endpoint) encode(ms []Metric) (*writer, error) {
	if e.closed.Load() {
		return nil, ErrClosed
	}
	if len(ms) == 0 {
		return nil, nil
	}
	w := e.writers.Get().(*writer)
	if err := w.encode(ms); err != nil {
		e.writers.Put(w)
		return nil, err
	}
	return w, nil
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

// queueError puts the queue's error about so many points in terms of the endpoint.
func queueError(err error, points int) error {
	switch {
	case errors.Is(err, queue.ErrFull):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case errors.Is(err, queue.ErrTooBig):
		return fmt.Errorf("%w: %d points, %w", ErrTooBig, points, err)
	case errors.Is(err, queue.ErrDisk):
		return fmt.Errorf("%w: %w", ErrSpool, err)
	case errors.Is(err, queue.ErrClosed):
		return ErrClosed
	}
	return fmt.Errorf("blueflood: points not kept: %w", err)
}
