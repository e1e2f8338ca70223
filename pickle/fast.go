package pickle

import (
	"encoding/binary"
	"math"
	"slices"
)

// Almost every message is a list of items in one of a few layouts, so the items
// are read without the stack wherever the machine stands between two of them:
//
//	BINUNICODE 'servers.web.cpu' PUT  BININT BINFLOAT TUPLE2 PUT  TUPLE2 PUT
//
// The fast path takes whole items only. At anything it does not know it leaves
// the position at the start of that item and everything as the machine would
// have left it, so that the machine reads on, and calls it again after the odd
// item. What an item would be on the stack, in tuples and in the memo is one
// entry of points.

// fast reads as many items as it can, if the machine stands where one may start:
// directly in the bottom list, or above the mark of its open batch. An item of 14
// bytes stores 3 memo entries at most, so that a memo of up to half the length of
// the body stays below that length, beyond which store puts entries elsewhere.
func (d *Decoder) fast() {
	batch := len(d.marks) == 1
	if d.slow || !d.roomy || len(d.memo) > len(d.body)/2 || len(d.marks) > 1 || len(d.stack) == 0 && !batch {
		return
	}
	if batch && d.marks[0] > 1 || !batch && len(d.stack) != 1 {
		return
	}
	if (!batch || d.marks[0] == 1) && d.stack[0].kind != kList {
		return
	}
	first := len(d.points)
	if !batch {
		d.textItems()
		if n := len(d.points) - first; n > 0 {
			d.appendTo(d.stack[0].a, value{kind: kRun, n: uint32(n), a: uint32(first)})
		}
		return
	}
	d.binaryItems()
	n := len(d.points) - first
	if n == 0 {
		return
	}
	if len(d.stack) == int(d.marks[0]) && d.closeBatch(value{kind: kRun, n: uint32(n), a: uint32(first)}) {
		return
	}
	for i := range n {
		d.push(d.item(uint32(first + i)))
	}
}

// fastFits reports whether any item that the fast path takes keeps within the
// limits that it does not look at: its numbers have at most 32 digits, and it nests
// no deeper than 3.
func (l *Limits) fastFits() bool {
	return l.Depth >= 3 && l.IntegerBytes >= 32 && l.StringBytes >= 32
}

// closeBatch executes the APPENDS or LIST that ends a batch of nothing but run.
func (d *Decoder) closeBatch(run value) bool {
	if d.pos >= len(d.body) {
		return false
	}
	switch op := d.body[d.pos]; {
	case op == opAppends && d.marks[0] == 1:
	case op == opList && d.marks[0] == 0:
		d.op = d.pos
		d.push(d.newList(kList))
	default:
		return false
	}
	d.pos++
	d.marks = d.marks[:0]
	d.appendTo(d.stack[0].a, run)
	d.retry = true
	return true
}

// maxFast bounds the memo indices of the fast path.
const maxFast = 1 << 24

// tailBytes is the most that follows the name of an item: three times
// LONG_BINPUT, two numbers, two times TUPLE2.
const tailBytes = 48

// window is how many items are made room for at a time.
const window = 64

// lastBytes is how much of the end of a body is copied to have zeros behind it.
const lastBytes = 256

// binaryItems reads items of protocols 2 to 5.
func (d *Decoder) binaryItems() {
	for d.someItems(d.body, 0) == window {
	}
	if left := d.body[d.pos:]; len(left) > 8 && len(left) <= lastBytes {
		var padded [lastBytes + tailBytes]byte // zero is no opcode
		copy(padded[:], left)
		d.someItems(padded[:len(left)+tailBytes], uint(d.pos))
	}
}

// someItems reads up to window items from b, which is the body from position
// origin on, and returns how many. It leaves an item that ends less than
// tailBytes before the end of b.
//
// Everything here is done once a datapoint, and registers are short: see the
// benchmarks before changing it.
func (d *Decoder) someItems(b []byte, origin uint) int {
	if d.memoed+3*window > d.lim.Memo || len(d.memo) > maxFast {
		return 0
	}
	d.points = slices.Grow(d.points, window)
	d.memo = slices.Grow(d.memo, 256)
	first, stored := len(d.points), uint32(len(d.memo))
	points := (*[window]point)(d.points[first : first+window])
	memo := (*[256]uint32)(d.memo[stored : stored+256])
	memoize := uint(opMemoize)
	if d.memoed != len(d.memo) { // then MEMOIZE stores elsewhere
		memoize = notMemoize
	}
	longest := uint(d.lim.StringBytes)
	p, n, used := uint(d.pos)-origin, uint(0), uint32(0)
	end := uint(len(d.body)) - origin
	index := uint32(first) << memoBits
	if p+tailBytes > uint(len(b)) {
		return 0
	}

items:
	for n < window { // b[p:] holds a name's header: the tail before it was not all used
		var name, length, at uint // the name is at name, what follows it at at
		next := used              // memo index
		switch b[p] {
		case opShortBinunicode, opShortBinstring:
			name, length = p+2, uint(b[p+1])
		case opBinunicode:
			name, length = p+5, uint(binary.LittleEndian.Uint32(b[p+1:]))
		case opBinget, opLongBinget:
			get := uint32(b[p+1])
			if at = p + 2; b[p] == opLongBinget {
				get, at = binary.LittleEndian.Uint32(b[p+1:]), p+5
			}
			entry := uint32(memoUnset)
			if get < stored {
				entry = d.memo[get]
			} else if get-stored < used {
				entry = memo[uint8(get-stored)]
			}
			from := entry >> memoBits
			switch {
			case entry&(1<<memoBits-1) != memoName:
				d.points, d.memo = d.points[:first+int(n)], d.memo[:stored+used]
				var ok bool
				if name, length, ok = d.memoName(get); !ok {
					break items
				}
			case from < uint32(first):
				name, length = uint(d.points[from].name), uint(d.points[from].nameLen)
			default:
				pt := &points[(from-uint32(first))%window]
				name, length = uint(pt.name), uint(pt.nameLen)
			}
			if at+tailBytes > uint(len(b)) {
				break items
			}
			name -= origin // which is added again below
		default:
			break items
		}
		literal := at == 0
		if literal {
			at = name + length
			if at+tailBytes > uint(len(b)) || length > longest {
				break
			}
		}
		t, k := (*[tailBytes]byte)(b[at:]), uint(0)
		if literal {
			if w := memoPut(t, k, memoize, stored+next); w > 0 {
				memo[uint8(next)] = index | memoName
				next++
				k += w
			}
		}
		pt := &points[n%window]
		pt.name, pt.nameLen = uint32(name+origin), uint32(length)
		pt.off, pt.dpOff = uint32(p+origin), uint32(at+k+origin)

		switch t[k] {
		case opBinint:
			pt.timestamp = float64(int32(binary.LittleEndian.Uint32(t[k+1:])))
			k += 5
		case opBinfloat:
			pt.timestamp = math.Float64frombits(binary.BigEndian.Uint64(t[k+1:]))
			k += 9
		default:
			break items
		}
		switch t[k] {
		case opBinfloat:
			pt.value = math.Float64frombits(binary.BigEndian.Uint64(t[k+1:]))
			k += 9
		case opBinint:
			pt.value = float64(int32(binary.LittleEndian.Uint32(t[k+1:])))
			k += 5
		case opBinint1:
			pt.value = float64(t[k+1])
			k += 2
		case opBinint2:
			pt.value = float64(binary.LittleEndian.Uint16(t[k+1:]))
			k += 3
		default:
			break items
		}

		if t[k] != opTuple2 {
			break
		}
		k++
		if w := memoPut(t, k, memoize, stored+next); w > 0 {
			memo[uint8(next)] = index | memoPair
			next++
			k += w
		}
		if t[k] != opTuple2 {
			break
		}
		k++
		if w := memoPut(t, k, memoize, stored+next); w > 0 {
			memo[uint8(next)] = index | memoItem
			next++
			k += w
		}
		if at+k > end { // the last put was cut off
			break
		}
		used = next
		index += 1 << memoBits
		n++
		p = at + k
	}
	d.memoed += int(stored+used) - int(stored)
	d.points, d.memo, d.pos = d.points[:first+int(n)], d.memo[:stored+used], int(p+origin)
	return int(n)
}

// notMemoize is what no opcode is.
const notMemoize = 1 << 8

// memoPut returns the width of the memo put at position at of b if it stores at
// index next, or 0. memoize is the opcode that does so without saying.
func memoPut(b *[tailBytes]byte, at, memoize uint, next uint32) uint {
	switch op := b[at]; {
	case uint(op) == memoize:
		return 1
	case op == opLongBinput && binary.LittleEndian.Uint32(b[at+1:]) == next:
		return 5
	case op == opBinput && uint32(b[at+1]) == next:
		return 2
	}
	return 0
}

// memoName returns position and length of a memo entry that is a string in the
// body.
func (d *Decoder) memoName(index uint32) (name, length uint, ok bool) {
	if uint(index) >= uint(len(d.memo)) {
		return 0, 0, false
	}
	i := d.memo[index] >> memoBits
	switch d.memo[index] & (1<<memoBits - 1) {
	case memoName:
		return uint(d.points[i].name), uint(d.points[i].nameLen), true
	case memoValue:
		if v := &d.vals[i]; (v.kind == kText || v.kind == kBytes) && v.a&inArena == 0 {
			return uint(v.a), uint(v.n), true
		}
	}
	return 0, 0, false
}
