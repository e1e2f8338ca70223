// Package queue keeps opaque records in order until they are acknowledged. It is what stands between an input and a
// destination: bounded in bytes, strictly first in first out, with a read cursor that its reader owns and an
// acknowledgement that is separate from reading.
package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

var (
	// ErrFull is wrapped by what Append returns when there was no room until its context ended.
	ErrFull = errors.New("queue: full")
	// ErrTooBig is wrapped by what Append returns for a record of more than half the queue's bound: it could stand
	// in nobody's way but its own.
	ErrTooBig = errors.New("queue: record too big")
	// ErrClosed is returned once the queue is closed.
	ErrClosed = errors.New("queue: closed")
)

const (
	// DefaultMaxBytes bounds a queue whose Options say nothing.
	DefaultMaxBytes = 16 << 20
	// MinMaxBytes is the least bound that Open accepts.
	MinMaxBytes = 64 << 10

	entryOverhead = 64 // what keeping a record costs beside its bytes
)

// Pos is the position of a record. Positions grow by one a record; zero stands before the first.
type Pos uint64

// Options configure a queue.
type Options struct {
	// MaxBytes bounds what the queue keeps, records and their book-keeping. Zero means DefaultMaxBytes.
	MaxBytes int64
	// DropOldest makes Append drop the oldest records when there is no room, counted, where it would else wait.
	DropOldest bool
}

// Stats is a queue's state at one moment.
type Stats struct {
	Records  int
	Points   int64 // pending: appended, neither acknowledged nor dropped
	Bytes    int64
	MaxBytes int64
	Oldest   time.Time // when the oldest pending record was appended; zero when there is none
	Dropped  int64     // points that DropOldest has dropped so far
}

// Queue is a bounded queue of records. Its methods may be called from any goroutine.
type Queue struct {
	mu      sync.Mutex
	opts    Options
	entries []entry // entries[head:] are pending
	head    int
	last    Pos // of the newest record ever appended
	store   slabs
	bytes   int64
	points  int64
	dropped int64
	room    []*waiter     // appenders, first come first served
	data    chan struct{} // closed when a record is appended; nil when nobody waits
	closed  bool
}

type entry struct {
	rec    []byte
	slab   *slab
	points int
	at     time.Time
}

type waiter struct {
	need int64
	turn chan struct{} // closed when it is this appender's turn to look again
}

// Open returns an empty queue in memory.
func Open(o Options) (*Queue, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.MaxBytes < MinMaxBytes {
		return nil, fmt.Errorf("queue: bound of %d bytes is less than the %d that a queue needs", o.MaxBytes, MinMaxBytes)
	}
	return &Queue{opts: o}, nil
}

// Append keeps a copy of rec, which holds the given number of points, and returns its position. Without room it waits
// until ctx ends, and then returns an error that wraps ErrFull and the context's. A context that has ended already
// makes it try once.
func (q *Queue) Append(ctx context.Context, rec []byte, points int) (Pos, error) {
	need := int64(len(rec)) + entryOverhead
	q.mu.Lock()
	defer q.mu.Unlock()
	if need > q.opts.MaxBytes/2 {
		return 0, fmt.Errorf("%w: %d bytes, and a queue of %d takes records of up to half of that",
			ErrTooBig, len(rec), q.opts.MaxBytes)
	}
	if !q.closed && q.opts.DropOldest {
		for q.bytes+need > q.opts.MaxBytes {
			q.dropped += int64(q.entries[q.head].points)
			q.pop()
		}
	}
	if !q.closed && (len(q.room) > 0 || q.bytes+need > q.opts.MaxBytes) {
		if err := q.waitForRoom(ctx, need); err != nil {
			return 0, err
		}
	}
	if q.closed {
		return 0, ErrClosed
	}
	e := entry{points: points, at: time.Now()}
	e.rec, e.slab = q.store.put(rec)
	q.entries = append(q.entries, e)
	q.last++
	q.bytes += need
	q.points += int64(points)
	if q.data != nil {
		close(q.data)
		q.data = nil
	}
	return q.last, nil
}

// waitForRoom returns nil, with the lock held, when need bytes are free and it is the caller's turn.
func (q *Queue) waitForRoom(ctx context.Context, need int64) error {
	w := &waiter{need: need, turn: make(chan struct{})}
	q.room = append(q.room, w)
	q.admit(q.opts.MaxBytes - q.bytes)
	q.mu.Unlock()
	select {
	case <-w.turn:
		q.mu.Lock()
		q.leave(w)
		return nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	served := q.closed
	select {
	case <-w.turn:
		served = true
	default:
	}
	q.leave(w)
	if served {
		return nil
	}
	return fmt.Errorf("%w: %d of %d bytes taken: %w", ErrFull, q.bytes, q.opts.MaxBytes, ctx.Err())
}

// leave takes w out of the line and lets the next in, once the caller has used or given up its turn.
func (q *Queue) leave(w *waiter) {
	for i := range q.room {
		if q.room[i] == w {
			q.room = append(q.room[:i], q.room[i+1:]...)
			break
		}
	}
	free := q.opts.MaxBytes - q.bytes
	select {
	case <-w.turn: // the caller is about to append
		free -= w.need
	default:
	}
	q.admit(free)
}

// admit gives their turn to those at the head of the line for whom free bytes suffice.
func (q *Queue) admit(free int64) {
	for _, w := range q.room {
		if w.need > free {
			return
		}
		free -= w.need
		select {
		case <-w.turn:
		default:
			close(w.turn)
		}
	}
}

// Next appends the record that follows after to dst[:0] and returns it with its position, once there is one. Records
// that were dropped or acknowledged are passed over. The error is the context's, or ErrClosed.
func (q *Queue) Next(ctx context.Context, after Pos, dst []byte) ([]byte, Pos, error) {
	for {
		rec, pos, ok, err := q.TryNext(after, dst)
		if ok || err != nil {
			return rec, pos, err
		}
		select {
		case <-ctx.Done():
			return dst, after, ctx.Err()
		case <-q.Ready(after):
		}
	}
}

// TryNext is Next that does not wait: ok is false when there is no such record yet.
func (q *Queue) TryNext(after Pos, dst []byte) (rec []byte, pos Pos, ok bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	acked := q.acked()
	after = max(after, acked)
	if after >= q.last {
		if q.closed {
			return dst, after, false, ErrClosed
		}
		return dst, after, false, nil
	}
	e := &q.entries[q.head+int(after-acked)]
	return append(dst[:0], e.rec...), after + 1, true, nil
}

var closedChan = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// Ready returns a channel that is closed as soon as a record stands behind after, or the queue is closed.
func (q *Queue) Ready(after Pos) <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.last > after || q.closed {
		return closedChan
	}
	if q.data == nil {
		q.data = make(chan struct{})
	}
	return q.data
}

// Sync returns once everything up to upTo is kept. In memory that is so when Append returns.
func (q *Queue) Sync(context.Context, Pos) error { return nil }

// Ack lets go of all records up to and including upTo.
func (q *Queue) Ack(upTo Pos) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	upTo = min(upTo, q.last)
	for q.acked() < upTo {
		q.pop()
	}
	free := q.opts.MaxBytes - q.bytes
	q.admit(free)
	return nil
}

// Acked is the position up to which records have been let go.
func (q *Queue) Acked() Pos {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.acked()
}

// Last is the position of the newest record, zero before the first.
func (q *Queue) Last() Pos {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.last
}

func (q *Queue) acked() Pos { return q.last - Pos(len(q.entries)-q.head) }

// pop lets go of the oldest record.
func (q *Queue) pop() {
	e := &q.entries[q.head]
	q.bytes -= int64(len(e.rec)) + entryOverhead
	q.points -= int64(e.points)
	q.store.free(e.slab)
	*e = entry{}
	q.head++
	if q.head == len(q.entries) {
		q.entries, q.head = q.entries[:0], 0
	} else if q.head > 1024 && q.head > len(q.entries)/2 {
		n := copy(q.entries, q.entries[q.head:])
		clear(q.entries[n:])
		q.entries, q.head = q.entries[:n], 0
	}
}

// Stats returns the queue's state.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := Stats{
		Records: len(q.entries) - q.head, Points: q.points, Bytes: q.bytes,
		MaxBytes: q.opts.MaxBytes, Dropped: q.dropped,
	}
	if s.Records > 0 {
		s.Oldest = q.entries[q.head].at
	}
	return s
}

// Close wakes all who wait. Records that stand in the queue can still be read.
func (q *Queue) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil
	}
	q.closed = true
	for _, w := range q.room {
		select {
		case <-w.turn:
		default:
			close(w.turn)
		}
	}
	if q.data != nil {
		close(q.data)
		q.data = nil
	}
	return nil
}
