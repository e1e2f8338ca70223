package ingest

import (
	"bytes"
	"encoding/binary"
)

// layout is how a client writes an item of an array: what stands before, between and behind the name, the timestamp and
// the value. Nearly always it writes all items of a body in one way, and then most of them need no more than a
// comparison: what agrees in all else with an item that was read member by member, says the same but for these three.
type layout struct {
	fields [3]field
	n      int  // how many fields there are
	fill   bool // the item has that member

	before     int    // where the item before it ended, or 0 for the first
	head, tail []byte // from there to the first field; from the last field to the end of the item
	clock      clock
	misses     int // how many layouts were learned that no item followed
}

// maxMisses is how many layouts are learned in vain before the items of a request count as too different.
const maxMisses = 8

// field is where a name, a timestamp or a value stands in an item.
type field struct {
	what       byte    // 'm', 't' or 'v', as the member begins
	kind       kind    // text or number
	start, end int     // without quotes
	after      literal // what stands between it and the next, behind the last one up to the first of the next item
}

// has reports whether the member that begins with what was noted.
func (l *layout) has(what byte) bool {
	if what == 'f' {
		return l.fill
	}
	for k := range l.fields[:l.n] {
		if l.fields[k].what == what {
			return true
		}
	}
	return false
}

// note notes where the value of a member stands that was not noted yet.
func (l *layout) note(what byte, k kind, start, end int) {
	if what == 'f' {
		l.fill = true
		return
	}
	f := &l.fields[l.n]
	f.what, f.kind, f.start, f.end = what, k, start, end
	l.n++
}

// learn finds out what stands around the fields that were noted, of an item that ends at end. It is false for an item
// that is no example: it is the first, or too much stands between its fields.
func (l *layout) learn(b []byte, end int) bool {
	if l.before == 0 || l.n == 0 {
		return false
	}
	fields := l.fields[:l.n]
	last := &fields[l.n-1]
	for k := range fields[1:] {
		f := &fields[k]
		if !f.after.set(b[f.end:fields[k+1].start], nil) {
			return false
		}
	}
	l.head, l.tail = b[l.before:fields[0].start], b[last.end:end]
	return last.after.set(l.tail, l.head)
}

// alike reads the items after one that was noted, as long as they are laid out like it and there is memory.
func (p *Parser) alike(l *layout) {
	if l.misses == maxMisses || !l.learn(p.b, p.i) || !bytes.HasPrefix(p.b[p.i:], l.head) {
		return
	}
	raws := p.raws[:min(cap(p.raws), p.maxPoints())]
	n, i, between := len(p.raws), p.i+len(l.head), len(l.tail)+len(l.head)
	for more := true; more && n < len(raws); n++ {
		if i, more = l.read(p.b, i, &raws[n]); i == 0 {
			raws[n] = raw{}
			break
		}
		p.i = i + len(l.tail)
		i += between
	}
	if n == len(p.raws) {
		l.misses++
	}
	p.raws = raws[:n]
}

// read fills r, which must be zero, from an item whose first field begins at b[i]. It returns where the last field ends,
// or 0 if the item is laid out in another way, and whether another item follows that begins as expected.
func (l *layout) read(b []byte, i int, r *raw) (end int, more bool) {
	fields := l.fields[:l.n]
	for k := range fields {
		f := &fields[k]
		switch f.what {
		case 'm':
			if n := cleanName(b[i:]); n > 0 && n <= maxLast {
				end = i + n
				r.name, r.clean = token{b[i:end:end], text}, true
			} else if end = usualName(b, i, f.kind, r); end == 0 {
				return 0, false
			}
		case 't':
			if end = i + 10; end > len(b) || !l.clock.is(b[i:end]) && !l.clock.set(b[i:end]) {
				return 0, false
			}
			r.seconds, r.timeRead, r.timeText = l.clock.seconds, true, f.kind == text
		case 'v':
			if r.number, end, r.valueRead = decimal(b, i); end == 0 {
				return 0, false
			}
			if !r.valueRead {
				r.value = token{b[i:end:end], f.kind}
			}
		}
		i = end + f.after.size
		if more = f.after.at(b, end); !more && (k < len(fields)-1 || !bytes.HasPrefix(b[end:], l.tail)) {
			return 0, false
		}
	}
	r.whole, r.fill = object, l.fill
	return end, more
}

// clock reads timestamps of ten digits. It knows the last one, since most are equal to it.
type clock struct {
	eight   uint64 // its first eight digits
	two     uint16 // and the others
	seconds int64  // 0 before the first
}

// is reports whether b is the last timestamp again.
func (c *clock) is(b []byte) bool {
	return load(b) == c.eight && binary.LittleEndian.Uint16(b[8:]) == c.two && c.seconds > 0
}

// set reads b, if it is a timestamp.
func (c *clock) set(b []byte) bool {
	s := int64(0)
	for _, d := range b {
		if d -= '0'; d > 9 {
			return false
		}
		s = s*10 + int64(d)
	}
	if b[0] == '0' {
		return false
	}
	c.eight, c.two, c.seconds = load(b), binary.LittleEndian.Uint16(b[8:]), s
	return true
}

// literal is a text of at most 24 bytes that others are compared with.
type literal struct {
	words, masks [3]uint64 // the masks have the bits of the text
	size         int
}

// set makes l the text a and b. It is false if that is too long.
func (l *literal) set(a, b []byte) bool {
	l.size = len(a) + len(b)
	if l.size > 24 {
		return false
	}
	var text [24]byte
	copy(text[copy(text[:], a):], b)
	for i := range l.words {
		l.words[i] = load(text[8*i:])
		l.masks[i] = 1<<(8*min(max(l.size-8*i, 0), 8)) - 1
	}
	return true
}

// at reports whether the text stands at b[i]. Near the end of b, where less than 24 bytes are left, it does not.
func (l *literal) at(b []byte, i int) bool {
	if len(b)-i < 24 {
		return false
	}
	w := b[i : i+24]
	return (load(w)^l.words[0])&l.masks[0]|(load(w[8:])^l.words[1])&l.masks[1]|(load(w[16:])^l.words[2])&l.masks[2] == 0
}
