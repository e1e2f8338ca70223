package queue

import "time"

func (d *disk) ack(upTo Pos) error {
	r := &d.reader
	r.mu.Lock()
	defer r.mu.Unlock()
	d.mu.Lock()
	released, idle := d.released, min(upTo, d.kept) <= d.ackedTo
	upTo = min(upTo, d.kept)
	g := d.holding(upTo)
	d.mu.Unlock()
	if released {
		return ErrClosed
	}
	if idle {
		return nil
	}
	var p part
	if g != nil && g.first <= upTo {
		p = d.locate(g, upTo)
	}
	r.places.pop(upTo)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.passWhole(upTo)
	if g != nil && g.first <= upTo && !g.dead {
		d.passPart(g, upTo, p)
	}
	d.ackedTo = max(d.ackedTo, upTo)
	if upTo >= r.given {
		d.reading = nil
	}
	d.sweep(len(d.line.room) > 0)
	if d.markOld {
		d.wake()
	}
	d.line.admit()
	if c := &r.cursor; c.seg != nil && c.seg.dead { // an open file would keep its space
		c.close()
	}
	return nil
}

// part is the part of a segment that is acknowledged.
type part struct {
	place
	known bool
	next  int64 // when the record behind it was appended, Unix nanoseconds; zero when that is not known
}

// locate returns what part of g the records up to upTo are, which are not all. reader.mu is held.
func (d *disk) locate(g *segment, upTo Pos) (p part) {
	r := &d.reader
	if i := r.places.upTo(upTo); i >= r.places.head && r.places.all[i].pos >= g.first {
		p.place, p.known = r.places.all[i], true
		if p.pos == upTo {
			p.next = d.following(g, i)
			return p
		}
	}
	for after := max(p.pos, g.first-1); ; after = p.pos { // what the reader did not read
		h, _, ok, _ := d.step(after, false)
		c := &r.cursor
		switch {
		case !ok || c.seg != g:
			return p
		case h.pos > upTo:
			p.next = h.at.UnixNano()
			return p
		}
		p.place, p.known = place{pos: h.pos, end: c.s.off, cum: c.cum}, true
	}
}

// following returns when the record behind the i-th place, in g, was appended, as far as that is easy to say.
func (d *disk) following(g *segment, i int) (at int64) {
	r := &d.reader
	this := r.places.all[i]
	if i+1 < len(r.places.all) {
		if next := r.places.all[i+1]; next.cum.records == this.cum.records+1 {
			return next.at
		}
		return 0
	}
	if c := &r.cursor; c.seg == g && c.s.off == this.end {
		d.mu.Lock()
		c.s.end = g.end
		d.mu.Unlock()
		var h header
		if c.s.header(&h, this.end) {
			return h.at.UnixNano()
		}
	}
	return 0
}

// passWhole acknowledges the segments that hold nothing readable behind upTo.
func (d *disk) passWhole(upTo Pos) {
	for _, g := range d.segs {
		if g.last > upTo {
			break
		}
		if g.pending() != (tally{}) {
			d.passed(g, g.last)
		}
	}
	d.sweep(false)
}

// passed acknowledges, or drops, what is pending in g.
func (d *disk) passed(g *segment, upTo Pos) {
	d.forget(g, g.total)
	g.ackOff = g.end
	d.setMark(g, upTo)
}

// passPart acknowledges the records of g up to upTo. When it is not known what they are, they count as pending until all
// of the segment is acknowledged.
func (d *disk) passPart(g *segment, upTo Pos, p part) {
	d.setMark(g, upTo)
	if !p.known || p.end <= g.ackOff {
		return
	}
	d.forget(g, p.cum)
	g.ackOff = p.end
	if p.next != 0 {
		g.headAt = time.Unix(0, p.next)
	}
}

// forget takes g's first records, those that gone counts, out of the account.
func (d *disk) forget(g *segment, gone tally) {
	d.pending = d.pending.less(gone.less(g.gone))
	g.gone = gone
}

func (d *disk) setMark(g *segment, upTo Pos) {
	d.ackedTo = max(d.ackedTo, upTo)
	d.mark = ackMark{ordinal: g.ordinal, nonce: g.nonce, pos: upTo}
	d.markOld = true
	d.wake()
}
