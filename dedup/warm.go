package dedup

// warm reads ahead what a call is about to read of a run's points, so that the
// cache misses of all of them overlap: one after the other they are most of what
// a point costs. It leaves in s.slot where each metric probably is, for lookup.
// m is the part of the store that has the same metrics, or nil; oldest tells
// that the call is about the oldest points of the metrics, not the newest.
func (sh *shard) warm(s *scratch, order []int32, m *memoryShard, oldest bool) {
	if len(sh.t.cells) == 0 {
		for _, p := range order {
			s.slot[p] = nil
		}
		return
	}
	sum := uint64(0) // or the compiler would leave out the reads
	if !sh.inTurn(s, order) {
		for _, p := range order {
			sum += uint64(sh.t.home(s.hash[p]).tag)
		}
		for _, p := range order {
			s.slot[p] = nil
			if i := sh.t.guess(s.hash[p]); i >= 0 {
				sl := sh.t.at(i)
				s.slot[p] = sl
				sum += sl.hash
			}
		}
	}
	for _, p := range order {
		if sl := s.slot[p]; sl != nil {
			sum += sh.ahead(sl, m, oldest)
		} else {
			sum += m.ahead(s.hash[p])
		}
	}
	s.touched += sum
	if oldest && m != nil {
		m.aheadOldest(sh.memory, len(order))
	}
}

// inTurn finds the slots of a run whose metrics came in this order when their slots
// were given out, as those of an agent do every minute: one slot follows the other.
// It gives up, and is false, where they are out of turn too often.
func (sh *shard) inTurn(s *scratch, order []int32) bool {
	next, misses := sh.t.used, 2+len(order)/8
	for _, p := range order {
		hash := s.hash[p]
		if next < sh.t.used {
			if sl := sh.t.at(next); sl.hash == hash {
				s.slot[p] = sl
				next++
				continue
			}
		}
		if misses--; misses < 0 {
			return false
		}
		s.slot[p] = nil
		if i := sh.t.guess(hash); i >= 0 {
			s.slot[p] = sh.t.at(i)
			next = i + 1
		}
	}
	return true
}

// ahead reads what a slot leads to: name, points and mark.
func (sh *shard) ahead(sl *metric, m *memoryShard, oldest bool) (sum uint64) {
	if n := len(sl.name); n > 0 {
		sum = uint64(sl.name[0]) + uint64(sl.name[n-1])
	}
	e := &sl.val
	sum += uint64(e.near[0].state)
	if e.held == inFar {
		sum += uint64(e.far.at)
	}
	if oldest && e.fresh { // the slot is about to be freed
		sum += uint64(sh.t.home(sl.hash).tag)
	}
	if m != nil && !oldest && e.seen == m.edits {
		return sum // nobody will ask
	}
	if e.mark == 0 || m == nil {
		return sum + m.ahead(sl.hash)
	}
	return sum + m.t.at(e.mark-1).hash
}

// ahead reads where the search for a metric starts.
func (sh *memoryShard) ahead(hash uint64) uint64 {
	if sh == nil || len(sh.t.cells) == 0 {
		return 0
	}
	return uint64(sh.t.home(hash).tag)
}

// aheadOldest reads where the metrics stand that n new ones are about to evict.
func (sh *memoryShard) aheadOldest(s *Memory, n int) {
	if s.metrics.Load()+int64(n) < int64(s.MaxMetrics) && s.bytes.Load() < s.MaxBytes {
		return
	}
	for k := sh.oldest; k != 0 && n > 0; n-- {
		sl := sh.t.at(k - 1)
		sh.touched += sh.ahead(sl.hash)
		k = sl.val.newer
	}
}

// lookup returns the slot of a point's metric, or nil. It wants warm's work.
func (sh *shard) lookup(s *scratch, p int32, name []byte) *metric {
	if sl := s.slot[p]; sl != nil && sl.is(s.hash[p], name) {
		return sl
	}
	return sh.find(s.hash[p], name)
}
