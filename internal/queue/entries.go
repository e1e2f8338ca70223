package queue

const entryOverhead = 64 // what keeping a record in memory costs beside its bytes

type entry struct {
	rec    []byte
	slab   *slab // that rec stands in; nil when it has memory of its own
	pos    Pos
	points int
	at     int64 // when it was appended, Unix nanoseconds
}

func (e *entry) size() int64 { return int64(len(e.rec)) + entryOverhead }

// entries holds the records that are pending, oldest first. Those that the reader was given stand before a gap, so that
// the oldest of the others can be let go of.
type entries struct {
	all    []entry
	head   int   // all[head:given] were given to the reader
	given  int   // all[given:unread] is the gap
	unread int   // all[unread:] were not given to it
	bytes  int64 // size of those that were given
}

func (s *entries) len() int { return s.given - s.head + len(s.all) - s.unread }

func (s *entries) push(e entry) { s.all = append(s.all, e) }

// oldest returns the first entry. There must be one.
func (s *entries) oldest() *entry {
	if s.head < s.given {
		return &s.all[s.head]
	}
	return &s.all[s.unread]
}

// newest is the position of the last entry, zero when there is none.
func (s *entries) newest() Pos {
	switch {
	case s.unread < len(s.all):
		return s.all[len(s.all)-1].pos
	case s.head < s.given:
		return s.all[s.given-1].pos
	}
	return 0
}

// pop removes the first entry.
func (s *entries) pop() {
	if s.head == s.given {
		s.popUnread()
		return
	}
	s.bytes -= s.all[s.head].size()
	s.all[s.head] = entry{}
	s.head++
	s.close()
}

// popUnread removes the first entry that was not given to the reader.
func (s *entries) popUnread() {
	s.all[s.unread] = entry{}
	s.unread++
	s.close()
}

// next gives the reader the first entry behind after, nil when there is none. What stood behind after and was given to it
// before counts as unread again.
func (s *entries) next(after Pos) *entry {
	for s.given > s.head && s.all[s.given-1].pos > after {
		s.given--
		s.unread--
		s.bytes -= s.all[s.given].size()
		s.move(s.unread, s.given)
	}
	for s.unread < len(s.all) {
		e := s.give()
		if e.pos > after {
			return e
		}
	}
	return nil
}

// give moves the first unread entry to those that were given.
func (s *entries) give() *entry {
	s.move(s.given, s.unread)
	e := &s.all[s.given]
	s.bytes += e.size()
	s.given++
	s.unread++
	return e
}

func (s *entries) move(to, from int) {
	if to != from {
		s.all[to], s.all[from] = s.all[from], entry{}
	}
}

// close closes the gaps once they are most of the memory.
func (s *entries) close() {
	unused := s.head + s.unread - s.given
	if n := len(s.all); unused < n && (unused <= 1024 || unused <= n/2) {
		return
	}
	n := copy(s.all, s.all[s.head:s.given])
	m := copy(s.all[n:], s.all[s.unread:])
	clear(s.all[n+m:])
	s.all, s.head, s.given, s.unread = s.all[:n+m], 0, n, n
}
