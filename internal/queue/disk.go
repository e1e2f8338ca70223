package queue

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	maxSegment = 16 << 20
	minBuffer  = 4 << 20 // what may wait to be committed, at the least, and what one sync may cover then
	dropBuffer = 8 << 20 // what may wait, at the least, with DropOldest: who appends may not be able to wait
)

// disk is a queue that a directory keeps. One goroutine, the committer, does all that changes the directory; those who
// append, read and acknowledge change what it finds to do. doc.go tells the format.
type disk struct {
	opts    Options
	fs      fileSystem
	segSize int64
	bufMax  int64 // what may be uncommitted, waiting or being written
	runMax  int64 // what one sync covers of it, so that the rest need not wait for room for long

	asyncMax int64 // what may be uncommitted together with a record that nobody waits for
	commitAt int64 // what makes a commit due once it waits: half of that, so that as much can gather meanwhile

	report Report
	lock   interface{ Close() error }
	wakeup chan struct{} // for the committer
	done   chan struct{} // closed when the committer has ended

	mu       sync.Mutex
	segs     []*segment // that hold pending records, oldest first, and perhaps the active one
	active   *segment   // that is written to; nil when the next commit begins one
	writing  bool       // a commit is under way
	doomed   []*segment // to be removed
	disk     int64      // size of segs and of active
	pending  tally      // in segs, neither acknowledged nor dropped
	dropped  int64
	lost     int64
	damaged  int
	reserved int64    // room that is held
	reading  *segment // of the record that the reader was given last; nil when it has acknowledged all that it was given
	waiting  buffer   // appended, not being committed yet
	batch    buffer   // being committed
	newest   Pos      // appended
	kept     Pos      // committed
	readable Pos      // committed, and not known to be damaged
	ackedTo  Pos
	mark     ackMark // what stands for ackedTo in the directory
	markOld  bool    // it has not been written yet
	line     line
	data     chan struct{} // closed when a record becomes readable; nil when nobody waits
	round    chan struct{} // closed when a commit has succeeded or failed
	rounds   uint64        // that have
	urgent   bool          // somebody waits for a commit
	failing  error
	fails    int       // in a row
	retryAt  time.Time // while failing
	closed   bool
	released bool

	reopening bool // reader.retry is to come

	out    output // the committer's
	reader reader // has a lock of its own, taken before mu
}

// tally counts records.
type tally struct {
	records       int
	points, bytes int64
}

func (t *tally) add(records int, points, bytes int64) {
	t.records += records
	t.points += points
	t.bytes += bytes
}

func (t tally) less(o tally) tally {
	return tally{t.records - o.records, t.points - o.points, t.bytes - o.bytes}
}

func (d *disk) append(ctx context.Context, rec []byte, points int, wait bool) (Pos, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	held, err := d.acquire(ctx, len(rec), wait)
	if err != nil {
		return 0, err
	}
	pos := d.put(held, rec, points)
	if !wait || held == 0 {
		return pos, nil
	}
	d.hurry()
	return pos, d.await(ctx, pos)
}

// await returns once the record at pos is committed. When the disk fails and ctx has ended, or the queue is closed, it
// takes the record back.
func (d *disk) await(ctx context.Context, pos Pos) error {
	for d.kept < pos {
		var ended <-chan struct{}
		if d.failing != nil && !(d.writing && pos <= d.batch.newest()) {
			if d.closed || ctx.Err() != nil {
				return d.takeBack(ctx, pos)
			}
			ended = ctx.Done()
		}
		d.waitRound(ended)
	}
	return nil
}

// waitRound returns after the next commit, or when ended is closed.
func (d *disk) waitRound(ended <-chan struct{}) {
	round := d.round
	d.mu.Unlock()
	defer d.mu.Lock()
	select {
	case <-round:
	case <-ended:
	}
}

func (d *disk) takeBack(ctx context.Context, pos Pos) error {
	d.batch.withdraw(pos)
	d.waiting.withdraw(pos)
	if d.drained() {
		d.notify()
	}
	cause := ctx.Err()
	if cause == nil {
		cause = ErrClosed
	}
	return fmt.Errorf("%w: %w", d.failing, cause)
}

func (d *disk) sync(ctx context.Context, upTo Pos) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	upTo = min(upTo, d.newest)
	for d.oldestWaiting() <= upTo {
		if err := ctx.Err(); err != nil {
			if d.failing != nil {
				return fmt.Errorf("%w: %w", d.failing, err)
			}
			return fmt.Errorf("queue: not committed yet: %w", err)
		}
		if d.released {
			return ErrClosed
		}
		d.hurry()
		d.waitRound(ctx.Done())
	}
	return nil
}

// oldestWaiting is the position of the oldest record that is not committed, or the one behind the newest.
func (d *disk) oldestWaiting() Pos {
	for _, b := range [...]*buffer{&d.batch, &d.waiting} {
		for _, r := range b.recs[b.head:] {
			if !r.gone {
				return r.pos
			}
		}
	}
	return d.newest + 1
}

func (d *disk) uncommitted() bool { return d.oldestWaiting() <= d.newest }

// hurry has everything committed now.
func (d *disk) hurry() {
	if !d.urgent {
		d.urgent = true
		d.wake()
	}
}

func (d *disk) wake() {
	select {
	case d.wakeup <- struct{}{}:
	default:
	}
}

// notify wakes those who wait for a record to read.
func (d *disk) notify() {
	if d.data != nil {
		close(d.data)
		d.data = nil
	}
}

func (d *disk) ready(after Pos) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.readable > max(after, d.ackedTo) || d.drained() {
		return closedChan
	}
	if d.data == nil {
		d.data = make(chan struct{})
	}
	return d.data
}

// drained reports whether nothing will become readable any more.
func (d *disk) drained() bool { return d.released || d.closed && !d.uncommitted() }

func (d *disk) acked() Pos {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pending.records == 0 && !d.uncommitted() {
		return d.newest
	}
	if len(d.segs) > 0 { // what stood before it may have been dropped from the middle
		return max(d.ackedTo, max(d.segs[0].first, 1)-1)
	}
	return d.ackedTo
}

func (d *disk) last() Pos {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.newest
}

func (d *disk) recovered() Report { return d.report }

func (d *disk) stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.pending
	s := Stats{MaxBytes: d.opts.MaxBytes, Dropped: d.dropped, Lost: max(0, d.lost), Damaged: d.damaged, Failing: d.failing}
	s.DiskBytes = d.taken()
	for _, b := range [...]*buffer{&d.waiting, &d.batch} {
		if records, oldest := b.count(&t); records > 0 {
			s.Oldest = oldest
		}
	}
	s.Records, s.Points, s.Bytes = t.records, t.points, t.bytes
	if d.pending.records > 0 {
		for _, g := range d.segs {
			if g.pending().records > 0 {
				s.Oldest = g.headAt
				break
			}
		}
	}
	return s
}

func (d *disk) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.closed = true
		d.line.dissolve()
		d.urgent, d.retryAt = true, time.Time{}
		d.wake()
		for rounds := d.rounds; d.uncommitted() && (d.failing == nil || d.rounds == rounds); {
			d.waitRound(nil)
		}
		if d.drained() {
			d.notify()
		}
	}
	return d.unkept()
}

// unkept is the error for records that are not committed.
func (d *disk) unkept() error {
	var t tally
	d.waiting.count(&t)
	d.batch.count(&t)
	if t.records == 0 {
		return nil
	}
	return fmt.Errorf("%w, %d records with %d points not kept", d.failing, t.records, t.points)
}

func (d *disk) release() error {
	_ = d.close() // said again below
	d.mu.Lock()
	if d.released {
		d.mu.Unlock()
		return nil
	}
	d.released = true
	d.wake()
	d.mu.Unlock()
	<-d.done
	d.reader.mu.Lock()
	d.reader.close()
	d.reader.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.notify()
	d.endRound()
	err := d.unkept()
	if cerr := d.lock.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("%w: %w", ErrDisk, cerr)
	}
	return err
}
