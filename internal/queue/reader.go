package queue

import (
	"path/filepath"
	"sync"
	"time"
)

const openRetry = time.Second

// reader reads a directory's segments. Its lock is held while files are read, so that those who append never wait for
// that.
type reader struct {
	mu     sync.Mutex
	cursor cursor
	given  Pos    // the record that tryNext returned last
	places places // of the records that it returned
	retry  *time.Timer
}

func (r *reader) close() {
	r.cursor.close()
	if r.retry != nil {
		r.retry.Stop()
	}
}

// cursor is a place in a segment.
type cursor struct {
	seg   *segment
	f     file
	s     scanner
	cum   tally // the segment's records up to here
	total tally // and up to s.end
}

func (c *cursor) close() {
	if c.f != nil {
		c.f.Close()
	}
	*c = cursor{s: scanner{buf: c.s.buf[:0]}}
}

// seek opens segment g behind p.
func (c *cursor) seek(d *disk, g *segment, p place) error {
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
	c.s.off, c.s.buf, c.s.last = p.end, buf, max(p.pos, c.s.last)
	c.s.skipped = func(gap gap) { d.damage(g, gap) }
	c.cum = p.cum
	return nil
}

func (d *disk) tryNext(after Pos, dst []byte) (rec []byte, pos Pos, ok bool, err error) {
	r := &d.reader
	r.mu.Lock()
	defer r.mu.Unlock()
	h, payload, ok, err := d.step(after, true)
	if !ok {
		return dst, max(after, h.pos), false, err
	}
	r.given = h.pos
	r.places.push(place{pos: h.pos, end: r.cursor.s.off, at: h.at.UnixNano(), cum: r.cursor.cum})
	return append(dst[:0], payload...), h.pos, true, nil
}

// step reads the record behind after, which the cursor then stands behind. With give it is for the reader: what that has
// is after and what stands before, and now this record. reader.mu is held.
func (d *disk) step(after Pos, give bool) (h header, payload []byte, ok bool, err error) {
	c := &d.reader.cursor
	for {
		d.mu.Lock()
		after = max(after, d.ackedTo)
		g := d.holding(after)
		if g == nil || d.released {
			err = d.atEnd(after)
			d.mu.Unlock()
			return header{pos: after}, nil, false, err
		}
		if give {
			d.reading = g // it is not dropped from here on
		}
		acked, end, total := place{end: g.ackOff, cum: g.gone}, g.end, g.total
		d.mu.Unlock()
		if give {
			d.reader.places.rewind(after)
		}
		if c.seg != g || c.s.last > after || c.s.off < acked.end {
			start := acked
			if p, ok := d.reader.places.at(after); ok && p.pos >= g.first {
				start = p
			}
			if err := c.seek(d, g, start); err != nil {
				if !d.unopened(g, start, after, err) {
					return header{pos: after}, nil, false, nil
				}
				continue
			}
		}
		c.s.end, c.total = end, total
		for ok = true; ok; {
			h, payload, _, ok = c.s.next()
			if ok {
				c.cum.add(1, int64(h.points), h.size())
			}
			if c.s.off == end && c.cum != c.total {
				d.lose(g, c.total.less(c.cum))
			}
			if ok && h.pos > after {
				return h, payload, true, nil
			}
		}
		d.blank(g, end, after)
	}
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

// atEnd is called when nothing is to be read behind after. If all that is pending is damaged, it is let go of.
func (d *disk) atEnd(after Pos) error {
	d.readable = min(d.readable, after)
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

// lose takes records that g should hold and that could not be read out of the account.
func (d *disk) lose(g *segment, lost tally) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if g.dead { // dropped, all of it
		return
	}
	g.total = g.total.less(lost)
	d.pending = d.pending.less(lost)
	d.lost += lost.points
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

// unopened deals with a segment that cannot be opened to be read from start. It returns whether it is gone for good;
// otherwise those who read are woken later: that is said, and arranged, once every openRetry.
func (d *disk) unopened(g *segment, start place, after Pos, err error) (gone bool) {
	if missing(err) {
		d.mu.Lock()
		off, end, lost := max(start.end, g.judged), g.end, g.total.less(start.cum)
		d.mu.Unlock()
		d.damage(g, gap{off: off, n: end - off, hard: true})
		d.lose(g, lost)
		d.blank(g, end, after)
		return true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.readable = min(d.readable, after)
	if d.reopening { // a commit in between has woken the reader
		return false
	}
	d.reopening = true
	d.opts.Logger.Error("a segment cannot be opened", "dir", d.opts.Dir, "file", g.name(), "error", err)
	d.reader.retry = time.AfterFunc(openRetry, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.reopening = false
		d.readable = d.kept
		d.notify()
	})
	return false
}
