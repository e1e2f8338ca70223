package queue

import (
	"path/filepath"
	"sync"
	"time"
)

const openRetry = time.Second

// reader reads a directory's segments for tryNext and ack. Its lock is held while files are read, so that those who
// append never wait for that.
type reader struct {
	mu    sync.Mutex
	next  cursor // behind the record that tryNext returned last
	acked cursor // behind what is acknowledged
	retry *time.Timer
}

func (r *reader) close() {
	r.next.close()
	r.acked.close()
	if r.retry != nil {
		r.retry.Stop()
	}
}

// cursor is a place in a segment.
type cursor struct {
	seg *segment
	f   file
	s   scanner
}

func (c *cursor) close() {
	if c.f != nil {
		c.f.Close()
	}
	*c = cursor{s: scanner{buf: c.s.buf[:0]}}
}

// seek opens segment g at from.
func (c *cursor) seek(d *disk, g *segment, from int64) error {
	if c.seg != g {
		c.close()
		f, err := d.fs.Open(filepath.Join(d.opts.Dir, g.name()))
		if err != nil {
			return err
		}
		c.seg, c.f = g, f
	}
	buf := c.s.buf[:0]
	c.s = g.scan(c.f, 0)
	c.s.off, c.s.buf = from, buf
	return nil
}

func (d *disk) tryNext(after Pos, dst []byte) (rec []byte, pos Pos, ok bool, err error) {
	r := &d.reader
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		d.mu.Lock()
		after = max(after, d.ackedTo)
		g := d.holding(after)
		if g == nil || d.released {
			err = d.atEnd()
			d.mu.Unlock()
			return dst, after, false, err
		}
		from, end := g.ackOff, g.end
		d.mu.Unlock()
		if err := r.next.to(d, g, from, after); err != nil {
			if !d.unopened(g, after, err) {
				return dst, after, false, nil
			}
			continue
		}
		r.next.s.end = end
		for {
			h, payload, _, ok := r.next.s.next()
			if !ok {
				break
			}
			if h.pos > after {
				return append(dst[:0], payload...), h.pos, true, nil
			}
		}
		d.blank(g, end, after)
	}
}

// to moves the cursor to where records behind after stand in g, at the latest. Those before from are acknowledged.
func (c *cursor) to(d *disk, g *segment, from int64, after Pos) error {
	if c.seg == g && c.s.last <= after && c.s.off >= from {
		return nil
	}
	if err := c.seek(d, g, from); err != nil {
		return err
	}
	c.s.skipped = func(gap gap) { d.damage(g, gap) }
	return nil
}

// holding returns the segment in which the record behind after stands, nil when there is none yet.
func (d *disk) holding(after Pos) *segment {
	for _, g := range d.segs {
		if g.last > after {
			return g
		}
	}
	return nil
}

// atEnd is called when there is nothing to read. If all that is pending is damaged, it is let go of.
func (d *disk) atEnd() error {
	d.passWhole(d.ackedTo)
	if d.drained() {
		return ErrClosed
	}
	return nil
}

// blank takes note that no record behind after can be read from g up to end.
func (d *disk) blank(g *segment, end int64, after Pos) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if g.end == end {
		g.last = min(g.last, after)
	}
	if d.holding(after) == nil {
		d.readable = min(d.readable, after)
	}
}

// damage counts a stretch of g that should hold a record, once.
func (d *disk) damage(g *segment, gap gap) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if gap.off < g.judged {
		return
	}
	g.judged = gap.off + gap.n
	d.damaged++
	d.opts.Logger.Error("a damaged record is passed over", "dir", d.opts.Dir, "file", g.name(), "offset", gap.off,
		"bytes", gap.n, "unreadable", gap.hard)
}

// unopened deals with a segment that cannot be opened. It returns whether it is gone for good; otherwise those who read
// are woken later.
func (d *disk) unopened(g *segment, after Pos, err error) (gone bool) {
	if missing(err) {
		d.mu.Lock()
		off, end := max(g.ackOff, g.judged), g.end
		d.mu.Unlock()
		d.damage(g, gap{off: off, n: end - off, hard: true})
		d.blank(g, end, after)
		return true
	}
	d.opts.Logger.Error("a segment cannot be opened", "dir", d.opts.Dir, "file", g.name(), "error", err)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.readable = min(d.readable, after)
	d.reader.retry = time.AfterFunc(openRetry, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.readable = d.kept
		d.notify()
	})
	return false
}

func (d *disk) ack(upTo Pos) error {
	r := &d.reader
	r.mu.Lock()
	defer r.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.released {
		return ErrClosed
	}
	upTo = min(upTo, d.kept)
	if upTo <= d.ackedTo {
		return nil
	}
	d.passWhole(upTo)
	if len(d.segs) > 0 && d.segs[0].last > upTo && d.segs[0].first <= upTo {
		d.passPart(d.segs[0], upTo)
	}
	d.ackedTo = max(d.ackedTo, upTo)
	d.sweep(len(d.line.room) > 0)
	if d.markOld {
		d.wake()
	}
	d.line.admit(0)
	for _, c := range [...]*cursor{&r.next, &r.acked} {
		if c.seg != nil && c.seg.dead { // an open file would keep its space
			c.close()
		}
	}
	return nil
}

// passWhole acknowledges the segments that hold nothing readable behind upTo.
func (d *disk) passWhole(upTo Pos) {
	for _, g := range d.segs {
		if g.last > upTo {
			break
		}
		if g.records > 0 {
			d.passed(g, g.last)
		}
	}
	d.sweep(false)
}

// passed acknowledges, or drops, what is pending in g.
func (d *disk) passed(g *segment, upTo Pos) {
	d.pending.add(-g.records, -g.points, -g.bytes)
	g.records, g.points, g.bytes, g.ackOff = 0, 0, 0, g.end
	d.setMark(g, upTo)
}

func (d *disk) setMark(g *segment, upTo Pos) {
	d.ackedTo = max(d.ackedTo, upTo)
	d.mark = ackMark{ordinal: g.ordinal, nonce: g.nonce, pos: upTo}
	d.markOld = true
	d.wake()
}

// passPart acknowledges the records of g up to upTo, which are not all. It lets go of the lock meanwhile.
func (d *disk) passPart(g *segment, upTo Pos) {
	from, end := g.ackOff, g.end
	d.mu.Unlock()
	passed, off, headAt, err := d.reader.acked.count(d, g, from, end, upTo)
	d.mu.Lock()
	if len(d.segs) == 0 || d.segs[0] != g { // dropped meanwhile
		return
	}
	d.setMark(g, upTo)
	if err != nil { // then they count as pending until all of the segment is acknowledged
		d.opts.Logger.Error("a segment cannot be opened", "dir", d.opts.Dir, "file", g.name(), "error", err)
		return
	}
	g.records -= passed.records
	g.points -= passed.points
	g.bytes -= passed.bytes
	g.ackOff = off
	if !headAt.IsZero() {
		g.headAt = headAt
	}
	d.pending.add(-passed.records, -passed.points, -passed.bytes)
}

// count returns the records of g from offset from up to upTo, and where and when the next one follows.
func (c *cursor) count(d *disk, g *segment, from, end int64, upTo Pos) (t tally, off int64, headAt time.Time, err error) {
	if c.seg != g || c.s.off != from {
		if err := c.seek(d, g, from); err != nil {
			return t, 0, headAt, err
		}
		c.s.headersOnly = true
	}
	c.s.end = end
	for {
		last := c.s.last
		h, _, at, ok := c.s.next()
		if !ok {
			return t, at, headAt, nil
		}
		if h.pos > upTo {
			c.s.off, c.s.last = at, last
			return t, at, h.at, nil
		}
		t.add(1, int64(h.points), h.size())
	}
}
