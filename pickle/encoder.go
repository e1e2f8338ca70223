package pickle

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math"
	"math/bits"
	"slices"
)

// Defaults of [Encoder]: what carbon's own client sends at most, and what
// carbon's receiver takes at most.
const (
	DefaultMaxPoints = 500
	DefaultMaxBytes  = 1 << 20
)

// An Encoder writes datapoints as length-prefixed pickles of protocol 2, which
// carbon reads under Python 2 and 3 alike. The zero value is ready. It keeps
// scratch memory from call to call and is not for concurrent use.
//
// A whole timestamp is written as an integer, also after 2038; a fractional one
// as a float. A value is always a float. A name that comes again is referred to
// by the memo where that is shorter.
type Encoder struct {
	// MaxPoints is the most points in a frame. 0 means 500.
	MaxPoints int
	// MaxBytes is the longest body of a frame, its length prefix not counted.
	// 0 means 1 MiB.
	MaxBytes int

	seed  maphash.Seed
	keys  [8]uint64 // random, for scan
	ready bool      // seed and keys are set
	table []uint32  // point index plus one, by hash of the name
	names []name    // one a point
	again bool      // a name of this frame has come again
}

// name is what the first pass finds out about the name of a point.
type name struct {
	hash  uint32 // of a first
	first uint32 // the earliest point of the same name
	count uint32 // of a first: the points of that name
	memo  uint32 // of a first, once written: memo index plus one, or 0 for none
	wide  bool   // not ASCII: written as unicode
}

// PointError says which point [Encoder.AppendFrame] refused.
type PointError struct {
	Index int   // in the slice given to AppendFrame
	Err   error // matches ErrName, ErrTimestamp or ErrTooLarge
}

func (e *PointError) Error() string { return fmt.Sprintf("%v (point %d)", e.Err, e.Index) }

// Unwrap returns Err.
func (e *PointError) Unwrap() error { return e.Err }

// Sizes of what a frame is made of.
const (
	frameStart    = "\x80\x02]("
	frameEnd      = "e."
	frameOverhead = len(frameStart) + len(frameEnd) // PROTO 2 EMPTY_LIST MARK … APPENDS STOP
	tupleBytes    = 2                               // TUPLE2 twice
	floatBytes    = 9                               // BINFLOAT
	longMemo      = 5                               // LONG_BINPUT or LONG_BINGET
	shortMemo     = 2                               // BINPUT or BINGET
	usualName     = 64                              // the longest that scan copies
	usualPoint    = 2 + usualName + 5 + floatBytes + tupleBytes
	hugeFrame     = 1 << 30 // lengths are of 32 bits, and some readers take them as signed
)

// AppendFrame appends one frame with the first n of pts to dst and returns the
// extended buffer. A frame ends where MaxPoints or MaxBytes is reached, so call
// again with pts[n:] until none is left. Without points it appends nothing.
//
// If pts[n] can never be sent, the error is a [*PointError] with that index.
// The points before it are in out as a frame (n may be 0, and out is dst then):
// drop that point and call again with pts[n+1:]. Refused are names that
// [CheckName] refuses, since they would inject or break a line downstream;
// timestamps that are not finite, at which carbon hangs up; and a point alone
// over MaxBytes. Values are written as they are, NaN and infinities too.
//
// AppendFrame keeps no reference to dst, pts or a name.
func (e *Encoder) AppendFrame(dst []byte, pts []Datapoint) (out []byte, n int, err error) {
	maxPoints, maxBytes := e.MaxPoints, e.MaxBytes
	if maxPoints <= 0 {
		maxPoints = DefaultMaxPoints
	}
	if maxBytes <= 0 {
		maxBytes = DefaultMaxBytes
	}
	out, n, size, err := e.plan(dst, pts[:min(len(pts), maxPoints)], min(maxBytes, hugeFrame))
	switch {
	case n == 0:
		return dst, 0, err
	case e.again:
		return e.write(out[:len(dst)], pts[:n], size), n, err
	}
	binary.BigEndian.PutUint32(out[len(dst):], uint32(size))
	return append(out, frameEnd...), n, err
}

// plan is the first pass: it judges each point, finds repeated names, and
// returns how many points fit and how long the body is at most. As long as no
// name comes again it writes the points, too: mostly that is all of the frame but
// its length and its end.
func (e *Encoder) plan(dst []byte, pts []Datapoint, maxBytes int) (out []byte, n, size int, err error) {
	e.prepare(len(pts))
	out, size = append(append(dst, "\x00\x00\x00\x00"...), frameStart...), frameOverhead
	for i := range pts {
		p := &pts[i]
		at := len(out)
		out = slices.Grow(out, usualPoint)
		hash, plain := e.scan(out[at+2:at+usualPoint], p.Name)
		if !plain {
			if err := CheckName(p.Name); err != nil {
				return out, i, size, &PointError{Index: i, Err: err}
			}
		}
		seconds, whole := wholeSeconds(p.Timestamp)
		if !whole && p.Timestamp-p.Timestamp != 0 {
			return out, i, size, &PointError{Index: i, Err: fmt.Errorf("%w: %v", ErrTimestamp, p.Timestamp)}
		}
		add := nameHeader(len(p.Name), !plain) + len(p.Name) + timestampBytes(seconds, whole) + floatBytes + tupleBytes
		if add > maxBytes-size {
			if add > maxBytes-frameOverhead {
				err = &PointError{Index: i, Err: fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, add+frameOverhead, maxBytes)}
			}
			return out, i, size, err
		}
		size += add
		e.names[i].wide = !plain
		e.enter(pts, i, hash)
		if e.again {
			continue
		}
		out = slices.Grow(out, add)[:at+add]
		if plain && uint(len(p.Name)-16) <= usualName-16 {
			out[at], out[at+1] = opShortBinstring, byte(len(p.Name))
			at += 2 + len(p.Name)
		} else {
			at += putName(out[at:], p.Name, !plain)
		}
		putNumbers(out[at:], p, seconds, whole)
	}
	return out, len(pts), size, nil
}

// prepare empties the table of names for up to n points.
func (e *Encoder) prepare(n int) {
	if !e.ready {
		e.seed, e.ready = maphash.MakeSeed(), true
		for i := range e.keys {
			e.keys[i] = maphash.Comparable(e.seed, i)
		}
	}
	slots := 16
	for slots < 4*n {
		slots *= 2
	}
	if cap(e.table) < slots {
		e.table = make([]uint32, slots)
	}
	e.table = e.table[:slots]
	clear(e.table)
	e.again = false
	if cap(e.names) < n {
		e.names = make([]name, n)
	}
	e.names = e.names[:n]
}

// scan hashes a name and reports whether it is plain, in one go for the usual
// lengths, of which it also copies the name to dst: eight words at most, of which
// those from the back may overlap the others. Nobody who does not know the keys
// can choose names that collide.
func (e *Encoder) scan(dst, name []byte) (hash uint32, plain bool) {
	n := len(name)
	if uint(n-16) > usualName-16 {
		return uint32(maphash.Bytes(e.seed, name)), plainName(name)
	}
	le, k := binary.LittleEndian, &e.keys
	a, b, c, d := le.Uint64(name), le.Uint64(name[8:]), le.Uint64(name[n-16:]), le.Uint64(name[n-8:])
	odd := oddBytes(a) | oddBytes(b) | oddBytes(c) | oddBytes(d)
	h := mix(a^k[0], b^k[1]) ^ mix(c^k[2]^uint64(n), d^k[3])
	dst = dst[:n]
	le.PutUint64(dst, a)
	le.PutUint64(dst[8:], b)
	le.PutUint64(dst[n-16:], c)
	le.PutUint64(dst[n-8:], d)
	if n > 32 {
		a, b, c, d = le.Uint64(name[16:]), le.Uint64(name[24:]), le.Uint64(name[n-32:]), le.Uint64(name[n-24:])
		odd |= oddBytes(a) | oddBytes(b) | oddBytes(c) | oddBytes(d)
		h ^= mix(a^k[4], b^k[5]) ^ mix(c^k[6], d^k[7])
		le.PutUint64(dst[16:], a)
		le.PutUint64(dst[24:], b)
		le.PutUint64(dst[n-32:], c)
		le.PutUint64(dst[n-24:], d)
	}
	return uint32(h ^ h>>32), highBits(odd) == 0
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// enter finds the first point that has the name of pts[i].
func (e *Encoder) enter(pts []Datapoint, i int, hash uint32) {
	mask := uint32(len(e.table) - 1)
	for slot := hash & mask; ; slot = (slot + 1) & mask {
		at := e.table[slot]
		if at == 0 {
			e.table[slot] = uint32(i) + 1
			n := &e.names[i] // field by field: a literal would be copied
			n.hash, n.first, n.count, n.memo = hash, uint32(i), 1, 0
			return
		}
		if e.names[at-1].hash == hash && bytes.Equal(pts[at-1].Name, pts[i].Name) {
			e.names[i].first = at - 1
			e.names[at-1].count++
			e.again = true
			return
		}
	}
}

// nameHeader returns how many bytes precede a name of n bytes.
func nameHeader(n int, wide bool) int {
	if wide || n > math.MaxUint8 {
		return 5
	}
	return 2
}

// wholeSeconds returns t as an integer if it is one and stays itself as one: not
// -0, for instance.
func wholeSeconds(t float64) (int64, bool) {
	if i := int32(t); float64(i) == t && i != 0 { // nearly all of them
		return int64(i), true
	}
	if !(t > -1<<63 && t < 1<<63) {
		return 0, false
	}
	i := int64(t)
	return i, float64(i) == t && (i != 0 || !math.Signbit(t))
}

// timestampBytes returns how many bytes putNumbers writes for a timestamp.
func timestampBytes(seconds int64, whole bool) int {
	switch {
	case !whole:
		return floatBytes
	case seconds == int64(int32(seconds)):
		return 5
	}
	return 2 + longBytes(seconds)
}

// longBytes returns the length of i in two's complement.
func longBytes(i int64) int {
	n := 1
	for ; n < 8 && i != i<<(64-8*n)>>(64-8*n); n++ {
	}
	return n
}
