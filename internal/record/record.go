// Package record holds a run of points as bytes: what a queue keeps and a sender reads.
//
// A record is a version byte, the number of points as a little-endian uint32, then the points. A point is
//
//	tag     1 byte: bits 0 to 6 belong to the caller, bit 7 says that extra bytes follow
//	name    uvarint length, then the bytes
//	time    8 bytes, little-endian, Unix milliseconds, two's complement
//	value   8 bytes, little-endian, IEEE 754
//	extra   only when bit 7 of the tag is set: uvarint length, then bytes that mean something to the caller
//
// Points carry no reference to what stands before them, so runs of points concatenate and split at any point.
package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

const (
	version    = 1
	headerSize = 5
	extraBit   = 0x80
	fixedSize  = 17 // tag, time, value

	// MaxTag is the largest tag that a point can carry.
	MaxTag = extraBit - 1
)

// ErrCorrupt is returned for bytes that are not a record.
var ErrCorrupt = errors.New("record: not a record")

// Point is one point of a record. Name and Extra are views into the record.
type Point struct {
	Name      []byte
	Timestamp int64 // Unix milliseconds
	Value     float64
	Tag       uint8 // at most MaxTag
	Extra     []byte
}

// AppendPoint appends p in its encoded form. Bits of the tag above MaxTag are dropped.
func AppendPoint(dst []byte, p *Point) []byte {
	tag := p.Tag & MaxTag
	if len(p.Extra) == 0 && len(p.Name) < 0x80 { // nearly all of them
		at, l := len(dst), len(p.Name)
		dst = slices.Grow(dst, l+2+16)[:at+l+2+16]
		b := dst[at:]
		b[0], b[1] = tag, byte(l)
		copy(b[2:], p.Name)
		binary.LittleEndian.PutUint64(b[2+l:], uint64(p.Timestamp))
		binary.LittleEndian.PutUint64(b[10+l:], math.Float64bits(p.Value))
		return dst
	}
	if len(p.Extra) > 0 {
		tag |= extraBit
	}
	dst = append(dst, tag)
	dst = binary.AppendUvarint(dst, uint64(len(p.Name)))
	dst = append(dst, p.Name...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(p.Timestamp))
	dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(p.Value))
	if len(p.Extra) > 0 {
		dst = binary.AppendUvarint(dst, uint64(len(p.Extra)))
		dst = append(dst, p.Extra...)
	}
	return dst
}

// Writer builds one record. The zero value is ready to use.
type Writer struct {
	buf []byte
	n   int
}

// Add appends a point. What p refers to is copied.
func (w *Writer) Add(p *Point) {
	if w.n == 0 {
		w.buf = append(w.buf[:0], version, 0, 0, 0, 0)
	}
	w.buf = AppendPoint(w.buf, p)
	w.n++
}

// Len is the number of points added since the last Reset.
func (w *Writer) Len() int { return w.n }

// Size is the length in bytes of the record so far.
func (w *Writer) Size() int {
	if w.n == 0 {
		return 0
	}
	return len(w.buf)
}

// Bytes returns the finished record, nil when it has no points. It is valid until the next Add or Reset.
func (w *Writer) Bytes() []byte {
	if w.n == 0 {
		return nil
	}
	binary.LittleEndian.PutUint32(w.buf[1:], uint32(w.n))
	return w.buf
}

// Reset forgets the points and keeps the memory.
func (w *Writer) Reset() { w.n = 0 }

// Batch is a run of encoded points. It is a view: whoever owns the bytes owns the batch.
type Batch struct {
	data []byte
	n    int
}

// Decode returns the points of a record after checking all of it, so that a Cursor over the batch cannot fail. An
// error wraps ErrCorrupt.
func Decode(rec []byte) (Batch, error) {
	b, err := Trust(rec)
	if err != nil {
		return Batch{}, err
	}
	rest := b.data
	for i := range b.n {
		size := pointSize(rest)
		if size < 0 {
			return Batch{}, fmt.Errorf("%w: point %d of %d is cut", ErrCorrupt, i, b.n)
		}
		rest = rest[size:]
	}
	if len(rest) != 0 {
		return Batch{}, fmt.Errorf("%w: %d bytes after the last of %d points", ErrCorrupt, len(rest), b.n)
	}
	return b, nil
}

// Trust is Decode that checks the header alone, for a record that has not left this process's memory since its Writer made
// it.
func Trust(rec []byte) (Batch, error) {
	if len(rec) < headerSize || rec[0] != version {
		return Batch{}, fmt.Errorf("%w: %d bytes without the header of version %d", ErrCorrupt, len(rec), version)
	}
	return Batch{data: rec[headerSize:], n: int(binary.LittleEndian.Uint32(rec[1:]))}, nil
}

// pointSize is the length of the encoded point at the start of b, -1 when it is cut or impossible.
func pointSize(b []byte) int {
	if len(b) < fixedSize+1 {
		return -1
	}
	if b[0]&extraBit == 0 && b[1] < 0x80 { // nearly all of them
		if size := 2 + int(b[1]) + 16; size <= len(b) {
			return size
		}
		return -1
	}
	size, ok := skipField(b, 1, 16)
	if !ok {
		return -1
	}
	size += 16
	if b[0]&extraBit != 0 {
		if size, ok = skipField(b, size, 0); !ok {
			return -1
		}
	}
	return size
}

// skipField returns the offset behind the length-prefixed field at off, provided that tail more bytes follow it.
func skipField(b []byte, off, tail int) (int, bool) {
	l, w := binary.Uvarint(b[off:])
	if w <= 0 || l > uint64(len(b)) || off+w+int(l)+tail > len(b) {
		return 0, false
	}
	return off + w + int(l), true
}

// Len is the number of points.
func (b Batch) Len() int { return b.n }

// Size is the length of the encoded points in bytes.
func (b Batch) Size() int { return len(b.data) }

// Points returns the encoded points, without a record's header, for Concat.
func (b Batch) Points() []byte { return b.data }

// Concat makes a batch of n points from bytes that other batches' Points gave, or that AppendPoint made.
func Concat(points []byte, n int) Batch { return Batch{data: points, n: n} }

// Skip returns the batch without its first n points. It panics when there are fewer.
func (b Batch) Skip(n int) Batch {
	data := b.data
	for range n {
		data = data[pointSize(data):]
	}
	return Batch{data: data, n: b.n - n}
}

// First returns the first n points. It panics when there are fewer.
func (b Batch) First(n int) Batch {
	return Batch{data: b.data[:len(b.data)-len(b.Skip(n).data)], n: n}
}

// Cursor walks the points of a batch. Declare it in front of the loop: as a variable of a for statement it would be copied
// for each point.
func (b Batch) Cursor() Cursor { return Cursor{data: b.data, left: b.n} }

// Cursor is a position in a batch.
type Cursor struct {
	data []byte
	from int // of the point that Next gave last
	at   int // of the next
	left int
}

// Left is the number of points that Next has not given yet.
func (c *Cursor) Left() int { return c.left }

// Raw returns the encoded form of the point that Next gave last.
func (c *Cursor) Raw() []byte { return c.data[c.from:c.at:c.at] }

// Next fills in p with the next point and reports whether there was one. The views in p are valid as long as the
// batch.
func (c *Cursor) Next(p *Point) bool {
	if c.left == 0 {
		return false
	}
	c.left--
	b := c.data[c.at:]
	tag := b[0]
	l, off := uint64(b[1]), 2
	if l >= 0x80 {
		var w int
		l, w = binary.Uvarint(b[1:])
		off = 1 + w
	}
	end := off + int(l)
	p.Name = b[off:end:end]
	p.Timestamp = int64(binary.LittleEndian.Uint64(b[end:]))
	p.Value = math.Float64frombits(binary.LittleEndian.Uint64(b[end+8:]))
	p.Tag = tag & MaxTag
	p.Extra = nil
	end += 16
	if tag&extraBit != 0 {
		l, w := binary.Uvarint(b[end:])
		p.Extra = b[end+w : end+w+int(l)]
		end += w + int(l)
	}
	c.from, c.at = c.at, c.at+end
	return true
}
