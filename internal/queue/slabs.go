package queue

const (
	slabSize  = 256 << 10
	keptSlabs = 24 // more than stand between two acknowledgements of Carbon's client
)

// slab is a stretch of memory that holds records one after the other.
type slab struct {
	buf  []byte
	live int  // records that still stand in it
	seen bool // the reader may look at a record that no longer stands in it: the memory is not used again
}

// slabs hands out memory for records, which are freed in about the order in which they came, and reuses it.
type slabs struct {
	tail *slab
	kept []*slab
}

// put copies rec and returns the copy and the slab that it stands in.
func (s *slabs) put(rec []byte) ([]byte, *slab) {
	if s.tail == nil || len(s.tail.buf)+len(rec) > cap(s.tail.buf) {
		s.tail = s.fresh(len(rec))
	}
	t := s.tail
	start := len(t.buf)
	t.buf = append(t.buf, rec...)
	t.live++
	return t.buf[start:len(t.buf):len(t.buf)], t
}

func (s *slabs) fresh(n int) *slab {
	if n > slabSize {
		return &slab{buf: make([]byte, 0, n)}
	}
	if last := len(s.kept) - 1; last >= 0 {
		sl := s.kept[last]
		s.kept = s.kept[:last]
		return sl
	}
	return &slab{buf: make([]byte, 0, slabSize)}
}

// free says that a record of sl is no longer needed.
func (s *slabs) free(sl *slab) {
	sl.live--
	if sl.live > 0 {
		return
	}
	if sl == s.tail {
		sl.buf = sl.buf[:0]
		return
	}
	if !sl.seen && cap(sl.buf) == slabSize && len(s.kept) < keptSlabs {
		sl.buf = sl.buf[:0]
		s.kept = append(s.kept, sl)
	}
}
