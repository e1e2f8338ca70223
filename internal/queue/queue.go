package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

var (
	// ErrFull is wrapped by what Append returns when there was no room until its context ended.
	ErrFull = errors.New("queue: full")
	// ErrBusy is wrapped besides ErrFull where the bound leaves room, or DropOldest would make it, but not before more of
	// what waits to be committed has been: the disk is slower than those who append, no more.
	ErrBusy = errors.New("queue: waits for its disk")
	// ErrTooBig is wrapped by what Append returns for a record of more than half the queue's bound: it could stand
	// in nobody's way but its own.
	ErrTooBig = errors.New("queue: record too big")
	// ErrClosed is returned once the queue is closed.
	ErrClosed = errors.New("queue: closed")
	// ErrDisk is wrapped, with the cause, by errors for what a directory did not take: a full disk is also
	// syscall.ENOSPC. The record is not kept.
	ErrDisk = errors.New("queue: disk")
	// ErrInUse is wrapped by what Open returns for a directory that another queue, mostly another process, has open.
	ErrInUse = errors.New("queue: directory in use")
)

const (
	// DefaultMaxBytes bounds a queue in memory whose Options say nothing.
	DefaultMaxBytes = 16 << 20
	// DefaultDirMaxBytes bounds a queue in a directory whose Options say nothing.
	DefaultDirMaxBytes = 8 << 30
	// MinMaxBytes is the least bound that Open accepts.
	MinMaxBytes = 64 << 10
	// DefaultCommitEvery and DefaultCommitBytes bound what AppendAsync leaves uncommitted.
	DefaultCommitEvery = 50 * time.Millisecond
	DefaultCommitBytes = 1 << 20
)

// Pos is the position of a record. Positions rise from one record to the next, in memory by one; zero stands before the
// first. In a directory they go on rising after a restart.
type Pos uint64

// Options configure a queue.
type Options struct {
	// Dir is the directory that keeps the queue, created where it is missing. Empty keeps it in memory.
	Dir string
	// MaxBytes bounds what the queue keeps: in memory records and their book-keeping, in a directory the files of all
	// segments that hold a record that is not acknowledged, and what waits to be written. Zero means DefaultMaxBytes,
	// in a directory DefaultDirMaxBytes.
	MaxBytes int64
	// DropOldest makes Append drop the oldest records when there is no room, counted, where it would else wait. A
	// directory drops a segment at a time: up to a sixteenth of the bound, and 16 MiB at most.
	//
	// What the reader was given is not dropped until it acknowledges it or goes back over it, by asking for what follows
	// an earlier position; in a directory neither is the rest of those segments. Where nothing else is left to make
	// room, Append drops the new record instead. So the queue counts no record as dropped that is acknowledged later.
	DropOldest bool

	// CommitEvery is the longest that a record of AppendAsync waits for a commit to begin. CommitBytes bounds what is
	// uncommitted in all when AppendAsync or Reserve lets a record in, that record and what is being written included;
	// half of it makes a commit begin at once. With DropOldest it bounds nothing. Zero means DefaultCommitEvery and
	// DefaultCommitBytes. In memory they mean nothing.
	CommitEvery time.Duration
	CommitBytes int

	Logger *slog.Logger // nil is silent

	fs fileSystem // nil: the operating system's
}

func (o Options) withDefaults() (Options, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
		if o.Dir != "" {
			o.MaxBytes = DefaultDirMaxBytes
		}
	}
	if o.CommitEvery == 0 {
		o.CommitEvery = DefaultCommitEvery
	}
	if o.CommitBytes == 0 {
		o.CommitBytes = DefaultCommitBytes
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.fs == nil {
		o.fs = osFS{}
	}
	switch {
	case o.MaxBytes < MinMaxBytes:
		return o, fmt.Errorf("queue: bound of %d bytes is less than the %d that a queue needs", o.MaxBytes, MinMaxBytes)
	case o.CommitEvery < 0:
		return o, fmt.Errorf("queue: CommitEvery of %v is negative", o.CommitEvery)
	case o.CommitBytes < 0:
		return o, fmt.Errorf("queue: CommitBytes of %d is negative", o.CommitBytes)
	}
	return o, nil
}

// Stats is a queue's state at one moment. All points that Open found and that were appended since are either in Points, in
// Dropped, in Lost or acknowledged.
type Stats struct {
	Records  int
	Points   int64 // pending: appended, neither acknowledged nor dropped nor known to be lost
	Bytes    int64 // of the pending records, book-keeping included
	MaxBytes int64
	Oldest   time.Time // when the oldest pending record was appended; zero when there is none
	Dropped  int64     // points that DropOldest has dropped so far

	// Of a queue in a directory.
	DiskBytes int64 // what counts against MaxBytes, reservations included
	Damaged   int   // records found damaged since Open, Open's recovery included
	Lost      int64 // points of pending records that were found damaged since Open, after its recovery
	Failing   error // why the directory takes nothing at present; nil when it works
}

// Queue is a bounded queue of records. Its methods may be called from any goroutine, but it is made for one reader at a
// time: two are slow, and with DropOldest each takes the other's place for going back.
type Queue struct {
	store store
}

// store is what keeps the records.
type store interface {
	append(ctx context.Context, rec []byte, points int, wait bool) (Pos, error)
	tryNext(after Pos, dst []byte) (rec []byte, pos Pos, ok bool, err error)
	ready(after Pos) <-chan struct{}
	sync(ctx context.Context, upTo Pos) error
	ack(upTo Pos) error
	acked() Pos
	last() Pos
	stats() Stats
	recovered() Report
	reserve(ctx context.Context, size int) (held int64, err error)
	fill(held int64, rec []byte, points int) (Pos, error)
	unreserve(held int64)
	close() error
	release() error
}

// Open returns an empty queue in memory or, with Options.Dir, the queue that the directory keeps. Damaged files never
// make it fail: Recovered tells what had to be passed over. The error wraps ErrInUse when the directory is open
// elsewhere, ErrDisk when it cannot be created, read or written.
func Open(o Options) (*Queue, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if o.Dir == "" {
		return &Queue{newMemory(o)}, nil
	}
	d, err := openDisk(o)
	if err != nil {
		return nil, err
	}
	return &Queue{d}, nil
}

// Append keeps a copy of rec, which holds the given number of points, and returns its position once it is kept: in a
// directory, once it is on the medium. Without room it waits until ctx ends, and then returns an error that wraps
// ErrFull and the context's. A context that has ended already makes it try once.
//
// While the disk fails it waits likewise, and then returns an error that wraps ErrDisk, the cause and the context's. A
// write that is under way is waited for, whatever ctx says: only its end tells whether the record is kept.
func (q *Queue) Append(ctx context.Context, rec []byte, points int) (Pos, error) {
	return q.store.append(ctx, rec, points, true)
}

// AppendAsync is Append that does not wait for its commit. The record is kept once Sync for its position returned nil, and
// a commit begins CommitEvery later at the latest.
//
// What AppendAsync let in and is not committed, because it waits, is being written or the disk fails, is never more than
// CommitBytes, headers of 40 bytes a record included, or one larger record: where it would be, AppendAsync waits, as for
// room. So no more than that is lost when the process dies, however slow the disk is. That holds neither with DropOldest
// nor for a call whose context has ended already, which cannot wait: these may fill all that may wait to be committed, 4
// MiB, with DropOldest 8 MiB, or twice CommitBytes.
func (q *Queue) AppendAsync(ctx context.Context, rec []byte, points int) (Pos, error) {
	return q.store.append(ctx, rec, points, false)
}

// Next returns the record that follows after, with its position, once there is one. Records that were dropped,
// acknowledged or damaged are passed over. The error is the context's, or ErrClosed.
//
// A queue in a directory appends the record to dst[:0]. One in memory leaves dst alone and returns the record that it
// keeps: nobody may write to it, and it is valid until the reader's next call of Next, TryNext or Ack.
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

// TryNext is Next that does not wait: ok is false when there is no such record yet. In a directory a record can be read
// once it is committed.
func (q *Queue) TryNext(after Pos, dst []byte) (rec []byte, pos Pos, ok bool, err error) {
	return q.store.tryNext(after, dst)
}

// InMemory reports whether the queue ends with its process, so that its records are what this process has appended.
func (q *Queue) InMemory() bool {
	_, ok := q.store.(*memory)
	return ok
}

var closedChan = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// Ready returns a channel that is closed as soon as a record stands behind after, or the queue is closed.
func (q *Queue) Ready(after Pos) <-chan struct{} { return q.store.ready(after) }

// Sync returns once everything up to upTo is kept. It does not wait for CommitEvery. In memory that is so when Append
// returns. The error wraps the context's, and ErrDisk with the cause when the disk fails.
func (q *Queue) Sync(ctx context.Context, upTo Pos) error { return q.store.sync(ctx, upTo) }

// Ack lets go of all records up to and including upTo. In a directory the position is written soon after; when the
// process dies before, some of them stand in the queue again.
func (q *Queue) Ack(upTo Pos) error { return q.store.ack(upTo) }

// Acked is the position up to which records have been let go.
func (q *Queue) Acked() Pos { return q.store.acked() }

// Last is the position of the newest record, zero before the first.
func (q *Queue) Last() Pos { return q.store.last() }

// Stats returns the queue's state.
func (q *Queue) Stats() Stats { return q.store.stats() }

// Recovered tells what Open found in the directory. It is empty for a queue in memory.
func (q *Queue) Recovered() Report { return q.store.recovered() }

// Close refuses further records and wakes all who wait. Records that stand in the queue can still be read and
// acknowledged, until Release. The error wraps ErrDisk when records of AppendAsync could not be committed: the queue
// goes on trying until Release.
func (q *Queue) Close() error { return q.store.close() }

// Release closes the queue if that has not been done, writes the acknowledged position, gives the directory up to
// others, and ends the queue's goroutine. Afterwards nothing can be read or acknowledged. The error wraps ErrDisk when
// records of AppendAsync are lost with it. For a queue in memory it is Close.
func (q *Queue) Release() error { return q.store.release() }

func tooBig(n int, bound int64) error {
	return fmt.Errorf("%w: %d bytes, and a queue of %d takes records of up to %d",
		ErrTooBig, n, bound, min(bound/2, maxRecord))
}
