package pickle

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
)

// write is the second pass: it appends the frame that plan has sized, with names
// that come again.
func (e *Encoder) write(dst []byte, pts []Datapoint, size int) []byte {
	from := len(dst)
	dst = slices.Grow(dst, frameHeader+size)
	b := dst[from : from+frameHeader+size]
	at := frameHeader + copy(b[frameHeader:], frameStart)
	memos := uint32(0)
	for i := range pts {
		p := &pts[i]
		first := &e.names[e.names[i].first]
		switch {
		case first.memo > 0:
			at += putMemo(b[at:], opBinget, first.memo-1)
		default:
			at += putName(b[at:], p.Name, first.wide)
			if first.count > 1 && int(e.names[i].first) == i && first.shorter(len(p.Name), memos) {
				at += putMemo(b[at:], opBinput, memos)
				memos++
				first.memo = memos
			}
		}
		seconds, whole := wholeSeconds(p.Timestamp)
		at += putNumbers(b[at:], p, seconds, whole)
	}
	at += copy(b[at:], frameEnd)
	binary.BigEndian.PutUint32(b, uint32(at-frameHeader))
	return dst[:from+at]
}

// shorter reports whether all points of a name take fewer bytes with the memo.
func (n *name) shorter(length int, index uint32) bool {
	memo := shortMemo
	if index > math.MaxUint8 {
		memo = longMemo
	}
	again := int(n.count) - 1
	return again*(nameHeader(length, n.wide)+length) > memo+again*memo
}

// putMemo writes BINPUT or BINGET, or the long form of either.
func putMemo(b []byte, op byte, index uint32) int {
	if index <= math.MaxUint8 {
		b[0], b[1] = op, byte(index)
		return shortMemo
	}
	if op == opBinput {
		b[0] = opLongBinput
	} else {
		b[0] = opLongBinget
	}
	binary.LittleEndian.PutUint32(b[1:], index)
	return longMemo
}

// putName writes an ASCII name as a Python 2 str, which Python 3 reads as text
// too, and any other as unicode.
func putName(b, name []byte, wide bool) int {
	if nameHeader(len(name), wide) == 2 {
		b[0], b[1] = opShortBinstring, byte(len(name))
		return 2 + copy(b[2:], name)
	}
	b[0] = opBinstring
	if wide {
		b[0] = opBinunicode
	}
	binary.LittleEndian.PutUint32(b[1:], uint32(len(name)))
	return 5 + copy(b[5:], name)
}

// putNumbers writes a timestamp as BININT or LONG1 if it is whole, else as
// BINFLOAT, the value as BINFLOAT, and ends both tuples.
func putNumbers(b []byte, p *Datapoint, seconds int64, whole bool) int {
	value := bits.ReverseBytes64(math.Float64bits(p.Value))
	if whole && seconds == int64(int32(seconds)) { // two words
		binary.LittleEndian.PutUint64(b, opBinint|uint64(uint32(seconds))<<8|opBinfloat<<40|value<<48)
		binary.LittleEndian.PutUint64(b[8:], value>>16|opTuple2<<48|opTuple2<<56)
		return 16
	}
	at := putTimestamp(b, p.Timestamp, seconds, whole)
	b = b[at : at+floatBytes+tupleBytes]
	b[0] = opBinfloat
	binary.LittleEndian.PutUint64(b[1:], value)
	b[9], b[10] = opTuple2, opTuple2
	return at + len(b)
}

// putTimestamp writes a timestamp that is no BININT.
func putTimestamp(b []byte, t float64, seconds int64, whole bool) int {
	if !whole {
		b[0] = opBinfloat
		binary.BigEndian.PutUint64(b[1:], math.Float64bits(t))
		return floatBytes
	}
	width := longBytes(seconds)
	b[0], b[1] = opLong1, byte(width)
	for k := range width {
		b[2+k] = byte(seconds >> (8 * k))
	}
	return 2 + width
}
