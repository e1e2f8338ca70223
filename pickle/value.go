package pickle

import (
	"bytes"
	"math"
)

// kind is what a value on the decoder's stack is.
type kind uint8

const (
	kUnset    kind = iota // an unused memo entry
	kNone                 // None
	kNum                  // a number: n and a are the halves of a float64
	kBadNum               // a number that no float64 holds: a is a fault
	kText                 // text: n bytes at a
	kBytes                // bytes or a Python 2 str: n bytes at a
	kBadText              // a string that cannot be used: a is a fault
	kTuple                // n values at kids[a]
	kItem                 // points[a] as (name, (timestamp, value))
	kPair                 // points[a] as (timestamp, value)
	kRun                  // only inside a list: n items from points[a] on
	kList                 // lists[a]
	kSet                  // lists[a]
	kDict                 // lists[a], keys alone
	kEncode               // the function _codecs.encode
	kByteType             // the type bytes
	kOpaque               // something refused: a is the opcode, n-1 an index in refs
)

// fault says what is wrong with a kBadNum or kBadText.
type fault uint32

const (
	faultNone fault = iota
	faultSyntax
	faultRange
	faultLong
)

// Flags of kText and kBytes.
const (
	isASCII uint8 = 1 << iota
	isUTF8
)

// value is one Python object in 16 bytes without a pointer, so that the
// collector never looks at the scratch of a decoder.
type value struct {
	kind  kind
	flags uint8
	depth uint16 // of tuples in tuples
	n     uint32
	a     uint32
	off   uint32 // where in the body it starts, for error messages
}

// inArena marks a string position that counts from the start of the arena
// rather than of the body.
const inArena = 1 << 31

// point is a (name, (timestamp, value)) that was read without the stack.
type point struct {
	name      uint32 // position and length of the name
	nameLen   uint32
	off       uint32 // of the item
	dpOff     uint32 // of the timestamp
	timestamp float64
	value     float64
}

// list is a Python list, set or dict: a chain of nodes, so that every reference
// to it sees what is appended later.
type list struct {
	head, tail uint32 // node index plus one
	n          uint32
}

type node struct {
	v    value
	next uint32 // node index plus one
}

// ref is the module and name of something refused.
type ref struct{ module, name value }

func number(f float64, off int) value {
	bits := math.Float64bits(f)
	return value{kind: kNum, n: uint32(bits >> 32), a: uint32(bits), off: uint32(off)}
}

func (v value) float() float64 {
	return math.Float64frombits(uint64(v.n)<<32 | uint64(v.a))
}

// bytes returns the bytes of a kText or kBytes.
func (d *Decoder) bytes(v value) []byte { return d.view(v.a, v.n) }

// view returns n bytes of the body, or of the arena.
func (d *Decoder) view(at, n uint32) []byte {
	if at&inArena != 0 {
		at &^= inArena
		return d.arena[at : at+n : at+n]
	}
	return d.body[at : at+n : at+n]
}

// size returns how many elements a tuple or list has; ok is false for anything
// else.
func (d *Decoder) size(v value) (n int, ok bool) {
	switch v.kind {
	case kTuple:
		return int(v.n), true
	case kItem, kPair:
		return 2, true
	case kList:
		return int(d.lists[v.a].n), true
	}
	return 0, false
}

// cursor walks the elements of a container.
type cursor struct {
	d    *Decoder
	v    value  // a kTuple, kItem or kPair
	i    uint32 // position in it
	next uint32 // node index plus one
	run  value  // what is left of a kRun
}

func (d *Decoder) walk(v value) cursor {
	switch v.kind {
	case kList, kSet, kDict:
		return cursor{d: d, next: d.lists[v.a].head}
	}
	return cursor{d: d, v: v}
}

// item returns the item that points[i] stands for.
func (d *Decoder) item(i uint32) value {
	return value{kind: kItem, depth: 2, a: i, off: d.points[i].off}
}

// element returns the next element, until ok is false.
func (c *cursor) element() (v value, ok bool) {
	d := c.d
	if c.run.n > 0 {
		v = d.item(c.run.a)
		c.run.a++
		c.run.n--
		return v, true
	}
	if c.next != 0 {
		nd := &d.nodes[c.next-1]
		c.next = nd.next
		if nd.v.kind == kRun {
			c.run = nd.v
			return c.element()
		}
		return nd.v, true
	}
	i := c.i
	c.i++
	switch c.v.kind {
	case kTuple:
		if i < c.v.n {
			return d.kids[c.v.a+i], true
		}
	case kItem:
		p := &d.points[c.v.a]
		switch i {
		case 0:
			// As if it were not UTF-8: usual has taken the items whose name is.
			return value{kind: kText, n: p.nameLen, a: p.name, off: p.off}, true
		case 1:
			return value{kind: kPair, depth: 1, a: c.v.a, off: p.dpOff}, true
		}
	case kPair:
		p := &d.points[c.v.a]
		switch i {
		case 0:
			return number(p.timestamp, int(p.dpOff)), true
		case 1:
			return number(p.value, d.after(p.dpOff)), true
		}
	}
	return value{}, false
}

// after returns where the opcode behind the number at off starts.
func (d *Decoder) after(off uint32) int {
	b := d.body[off:]
	switch b[0] {
	case opBinfloat:
		return int(off) + 9
	case opBinint:
		return int(off) + 5
	}
	return int(off) + bytes.IndexByte(b, '\n') + 1
}

// appendTo adds v to the end of list l.
func (d *Decoder) appendTo(l uint32, v value) {
	d.nodes = append(d.nodes, node{v: v})
	at := uint32(len(d.nodes))
	to := &d.lists[l]
	if to.tail != 0 {
		d.nodes[to.tail-1].next = at
	} else {
		to.head = at
	}
	to.tail = at
	if v.kind == kRun {
		to.n += v.n
	} else {
		to.n++
	}
}
