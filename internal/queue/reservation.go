package queue

import (
	"context"
	"errors"
	"fmt"
)

var errEnded = errors.New("queue: reservation has ended")

// Reservation is room that is held for one record. It ends with Append or Cancel, which one goroutine at a time may call.
type Reservation struct {
	store store
	held  int64 // bytes; zero when the record is to be dropped
	size  int
	ended bool
}

// Reserve waits, as Append does, for room for a record of size bytes, and holds it. With it several queues can be given
// the same points, all or none: room is reserved in each, always in the same order, before any of them is appended to.
//
// A reservation counts as room that is taken. The errors are those of Append. With DropOldest the oldest records are
// dropped for it; where Append would drop the new record, Reserve succeeds all the same, and the reservation's Append
// drops it. In a directory it waits as AppendAsync does while CommitBytes are uncommitted, reservations included.
func (q *Queue) Reserve(ctx context.Context, size int) (*Reservation, error) {
	held, err := q.store.reserve(ctx, size)
	if err != nil {
		return nil, err
	}
	return &Reservation{store: q.store, held: held, size: size}, nil
}

// Append is AppendAsync into the reserved room, for a record of at most the reserved size. It does not wait, whatever the
// disk does, and fails only when the queue is closed: the error is ErrClosed. What of the room the record does not need is
// given back.
func (r *Reservation) Append(rec []byte, points int) (Pos, error) {
	if r.ended {
		return 0, errEnded
	}
	if len(rec) > r.size {
		return 0, fmt.Errorf("%w: %d bytes, and %d were reserved", ErrTooBig, len(rec), r.size)
	}
	r.ended = true
	return r.store.fill(r.held, rec, points)
}

// Cancel gives the room back. After Append it does nothing, so that it can be deferred.
func (r *Reservation) Cancel() {
	if !r.ended {
		r.ended = true
		r.store.unreserve(r.held)
	}
}
