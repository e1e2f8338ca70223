package queue

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

const (
	retryMin = 100 * time.Millisecond
	retryMax = 2 * time.Second
)

// output is the file that the committer writes to.
type output struct {
	f       file
	seg     *segment
	ordinal uint64     // of the newest segment
	most    int64      // bytes for one sync: runMax, less for a while after a failure
	stuck   []*segment // that could not be removed
	ack     file       // keeps the acknowledged position; nil until that is written
}

// close leaves the file. Everything that counts in it has been synced.
func (o *output) close() {
	if o.f != nil {
		o.f.Close()
	}
	o.f, o.seg = nil, nil
}

func (o *output) closeAll() {
	o.close()
	if o.ack != nil {
		o.ack.Close()
	}
}

// run is the committer: it changes the directory as the others ask for it, until release.
func (d *disk) run() {
	defer close(d.done)
	defer d.out.closeAll()
	for {
		d.mu.Lock()
		due, in := d.commitDue()
		untidy := len(d.doomed) > 0 || d.markOld
		released := d.released
		d.mu.Unlock()
		if untidy { // first, so that the files never take more than the bound
			d.tidy()
		}
		if due {
			d.commit()
		}
		if untidy || due {
			continue
		}
		if released {
			return
		}
		d.sleep(in)
	}
}

// commitDue reports whether there is something to commit now, or else in how long there will be; 0 is never.
func (d *disk) commitDue() (due bool, in time.Duration) {
	idle := d.waiting.size()+d.batch.size() == 0
	if d.failing != nil {
		if in := time.Until(d.retryAt); in > 0 {
			return false, in
		}
		if idle { // nobody can tell before somebody tries
			d.failing = nil
			d.line.admit()
		}
	}
	if idle {
		d.urgent = false
		return false, 0
	}
	if d.urgent || d.batch.size() > 0 || d.waiting.size() >= d.commitAt || len(d.line.room) > 0 {
		return true, 0
	}
	in = time.Until(d.waiting.recs[d.waiting.head].at.Add(d.opts.CommitEvery))
	return in <= 0, in
}

func (d *disk) sleep(in time.Duration) {
	var expired <-chan time.Time
	if in > 0 {
		t := time.NewTimer(in)
		defer t.Stop()
		expired = t.C
	}
	select {
	case <-d.wakeup:
	case <-expired:
	}
}

// commit writes what waits, as many records with one sync as stand in one segment.
func (d *disk) commit() {
	d.mu.Lock()
	d.urgent = false
	if d.batch.size() == 0 {
		d.batch, d.waiting = d.waiting, d.batch
	}
	d.batch.compact()
	if d.batch.size() == 0 { // all of it was taken back
		d.batch.drop(0)
		d.line.admit()
	}
	d.writing = d.batch.size() > 0
	more := d.writing
	d.mu.Unlock()
	for more {
		more = d.commitRun()
	}
}

// commitRun commits records until the segment is full. It returns whether there are more of the batch.
func (d *disk) commitRun() (more bool) {
	if err := d.target(); err != nil {
		d.failed(0, err)
		return false
	}
	g := d.out.seg
	n, data := d.batch.run(min(d.segSize-g.end, d.out.most), g.nonce)
	_, err := d.out.f.Write(data)
	if err == nil {
		err = d.out.f.Sync()
	}
	if err != nil {
		d.out.most = int64(len(data)) / 2 // of a disk that is nearly full, what there is room for is not left unused
		d.failed(int64(len(data)), err)
		return false
	}
	d.out.most = min(2*max(d.out.most, int64(len(data))), d.runMax)
	return d.committed(n, int64(len(data)))
}

// target sees to it that out is a segment that has room for the batch's first record.
func (d *disk) target() error {
	d.mu.Lock()
	first := d.batch.recs[d.batch.head]
	if g := d.active; g != nil && g.end > 0 && g.end+headerSize+int64(first.length) > d.segSize {
		d.active = nil
		d.sweep(false)
	}
	g, id := d.active, segmentID{ordinal: d.out.ordinal + 1, first: d.kept + 1, nonce: newNonce()}
	d.mu.Unlock()
	if g != nil {
		return nil
	}
	d.out.close()
	d.out.ordinal = id.ordinal
	f, err := d.fs.Create(filepath.Join(d.opts.Dir, id.name()))
	if err != nil {
		return err
	}
	g = &segment{segmentID: id}
	d.out.f, d.out.seg = f, g
	if err := d.fs.SyncDir(d.opts.Dir); err != nil {
		return err
	}
	d.mu.Lock()
	d.active = g
	d.mu.Unlock()
	return nil
}

// committed takes note that the batch's first n records stand in the active segment. It returns whether there are more.
func (d *disk) committed(n int, size int64) (more bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	g := d.active
	if !g.listed {
		g.listed = true
		d.segs = append(d.segs, g)
	}
	recs := d.batch.recs[d.batch.head:][:n]
	if g.pending().records == 0 {
		g.headAt, g.ackOff = recs[0].at, g.end
	}
	for i := range recs {
		g.total.add(1, int64(recs[i].points), int64(recs[i].length)+headerSize)
		d.pending.add(1, int64(recs[i].points), int64(recs[i].length)+headerSize)
	}
	g.last = recs[n-1].pos
	g.end += size
	g.size = g.end
	d.disk += size
	d.kept, d.readable = g.last, g.last
	d.batch.drop(n)
	more = d.batch.size() > 0
	d.writing = more
	if d.fails > 0 {
		d.opts.Logger.Info("the queue's directory takes records again", "dir", d.opts.Dir)
	}
	d.failing, d.fails = nil, 0
	d.sweep(false)
	d.notify()
	d.endRound()
	d.line.admit()
	return more
}

// failed abandons the segment that a write, of so many bytes, or a sync failed on. What was committed before stays in
// it; the batch goes to a fresh one, since after a failed sync nobody can say what the old one holds.
func (d *disk) failed(wrote int64, err error) {
	g := d.out.seg
	if g != nil {
		if g.listed && d.out.f.Truncate(g.end) == nil {
			wrote = 0
		}
		d.out.close()
		if !g.listed {
			d.remove(g)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if g != nil && g.listed {
		g.size += wrote
		d.disk += wrote
	}
	d.active = nil
	d.writing = false
	d.failing = fmt.Errorf("%w: %s: %w", ErrDisk, d.opts.Dir, err)
	if d.fails == 0 {
		d.opts.Logger.Error("the queue's directory takes nothing", "dir", d.opts.Dir, "error", err)
	}
	d.retryAt = time.Now().Add(min(retryMin<<min(d.fails, 10), retryMax))
	d.fails++
	d.sweep(false)
	d.endRound()
}

// endRound wakes all who wait for a commit.
func (d *disk) endRound() {
	close(d.round)
	d.round = make(chan struct{})
	d.rounds++
}

// sweep gives segments up of which all is acknowledged: the active one only with force or when it is full.
func (d *disk) sweep(force bool) {
	for len(d.segs) > 0 && d.segs[0].last <= d.ackedTo {
		g := d.segs[0]
		if g == d.active && (d.writing || !force && g.size < d.segSize) {
			return
		}
		d.doom(0)
	}
}

// doom has the i-th segment removed.
func (d *disk) doom(i int) {
	g := d.segs[i]
	g.dead = true
	d.segs = slices.Delete(d.segs, i, i+1)
	if g == d.reading {
		d.reading = nil
	}
	if g == d.active {
		d.active = nil
	}
	d.disk -= g.size
	d.doomed = append(d.doomed, g)
	d.wake()
}

// tidy writes the acknowledged position and removes the files that are no longer needed.
func (d *disk) tidy() {
	d.mu.Lock()
	doomed, mark, markOld := d.doomed, d.mark, d.markOld
	d.doomed, d.markOld = nil, false
	d.mu.Unlock()
	if markOld {
		d.writeMark(mark)
	}
	doomed = append(d.out.stuck, doomed...)
	d.out.stuck = nil
	for _, g := range doomed {
		if g == d.out.seg {
			d.out.close()
		}
		d.remove(g)
	}
	if len(doomed) == 0 {
		return
	}
	if err := d.fs.SyncDir(d.opts.Dir); err != nil {
		d.opts.Logger.Warn("removed segments may come back after a crash", "dir", d.opts.Dir, "error", err)
	}
	d.mu.Lock()
	d.retryAt = time.Time{} // there may be space now
	d.mu.Unlock()
}
