package pickle

import (
	"encoding/binary"
	"math"
	"slices"
)

// write is the second pass: it appends the frame that plan has sized.
func (e *Encoder) write(dst []byte, pts []Datapoint, size int) []byte {
	from := len(dst)
	dst = slices.Grow(dst, frameHeader+size)
	b := dst[from : from+frameHeader+size]
	at := frameHeader + copy(b[frameHeader:], "\x80\x02](")
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
		at += putTimestamp(b[at:], p.Timestamp, &e.names[i])
		v := b[at : at+floatBytes+tupleBytes]
		v[0] = opBinfloat
		binary.BigEndian.PutUint64(v[1:], math.Float64bits(p.Value))
		v[9], v[10] = opTuple2, opTuple2
		at += floatBytes + tupleBytes
	}
	at += copy(b[at:], "e.")
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

// putTimestamp writes whole seconds as BININT or LONG1, all else as BINFLOAT.
func putTimestamp(b []byte, t float64, n *name) int {
	i := n.seconds
	switch {
	case !n.whole:
		b[0] = opBinfloat
		binary.BigEndian.PutUint64(b[1:], math.Float64bits(t))
		return floatBytes
	case i == int64(int32(i)):
		b[0] = opBinint
		binary.LittleEndian.PutUint32(b[1:], uint32(i))
		return 5
	}
	width := longBytes(i)
	b[0], b[1] = opLong1, byte(width)
	for k := range width {
		b[2+k] = byte(i >> (8 * k))
	}
	return 2 + width
}
