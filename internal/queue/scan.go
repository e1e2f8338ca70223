package queue

import (
	"bytes"
	"errors"
	"io"
)

const (
	readChunk = 256 << 10
	readPage  = 4 << 10
	readTries = 3
)

// scanner reads the records of one segment in order and passes over what is none.
type scanner struct {
	f     io.ReaderAt
	nonce nonce
	off   int64 // where the next record is looked for
	end   int64 // nothing is read from here on
	last  Pos   // of the record read last: the next is newer

	skipped func(gap)

	buf  []byte // of the file, from base
	base int64
	hard bool // some of buf could not be read and stands as zeros
	seen bool // hard was true since a gap began
}

// gap is a stretch of a segment that holds no valid record.
type gap struct {
	off, n int64
	tail   bool // it reaches to the end and does not begin with a whole record: what a power cut leaves
	hard   bool // the medium did not give it back
}

// next returns the next record. payload is valid until the following call, off is where the record stands. ok is false
// at the end.
func (s *scanner) next() (h header, payload []byte, off int64, ok bool) {
	for s.off < s.end {
		off = s.off
		whole := s.header(&h, off)
		if whole {
			payload = s.bytes(off+headerSize, int(h.length))
			if h.intact(payload) {
				s.off, s.last = off+h.size(), h.pos
				return h, payload, off, true
			}
		}
		s.seen = s.hard
		s.off = s.find(off + 1)
		if s.skipped != nil {
			s.skipped(gap{off, s.off - off, s.off == s.end && !whole, s.seen})
		}
	}
	return h, nil, s.off, false
}

// header reports whether a header stands at off whose record is newer than the last and ends before the end.
func (s *scanner) header(h *header, off int64) bool {
	return s.end-off >= headerSize && h.parse(s.bytes(off, headerSize), s.nonce) &&
		h.pos > s.last && h.size() <= s.end-off
}

// find returns where the next header stands, from off on, or the end.
func (s *scanner) find(off int64) int64 {
	marker := s.nonce.marker()
	var h header
	for s.end-off >= headerSize {
		b := s.bytes(off, int(min(readChunk, s.end-off)))
		i := bytes.Index(b, marker[:])
		switch {
		case i < 0:
			off += int64(len(b) - len(marker) + 1)
		case s.header(&h, off+int64(i)):
			return off + int64(i)
		default:
			off += int64(i) + 1
		}
	}
	return s.end
}

// bytes returns the n bytes at off, which lie before the end. They are valid until the next call.
func (s *scanner) bytes(off int64, n int) []byte {
	if off < s.base || off+int64(n) > s.base+int64(len(s.buf)) {
		want := int(min(int64(max(n, readChunk)), s.end-off))
		if cap(s.buf) < want || cap(s.buf) > 4*max(want, readChunk) {
			s.buf = make([]byte, want)
		}
		s.base, s.buf = off, s.buf[:want]
		s.hard = readAll(s.f, s.buf, off)
		s.seen = s.seen || s.hard
	}
	return s.buf[off-s.base:][:n]
}

// readAll fills b from off. What is not there, or cannot be read however often it is tried, becomes zeros, page by page;
// then it returns true.
func readAll(f io.ReaderAt, b []byte, off int64) (hard bool) {
	n, err := f.ReadAt(b, off)
	if n == len(b) {
		return false
	}
	clear(b[n:])
	if errors.Is(err, io.EOF) {
		return true
	}
	for p := 0; p < len(b); p += readPage {
		page := b[p:min(p+readPage, len(b))]
		for try := 1; ; try++ {
			if n, _ := f.ReadAt(page, off+int64(p)); n == len(page) {
				break
			}
			if try == readTries {
				clear(page)
				hard = true
				break
			}
		}
	}
	return hard
}
