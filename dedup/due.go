package dedup

// rise raises a metric's mark, or has it wait for that.
func (sh *shard) rise(sl *metric, ts int64, value float64) {
	if sh.marks != nil {
		sh.marks.raiseFor(sh.memory, sl, ts, value)
		return
	}
	e := &sl.val
	if ts <= e.due {
		return
	}
	if e.due == None {
		sh.unraised++
	}
	e.due, e.dueValue = ts, value
	sh.enqueue(sl)
}

// enqueue notes that somebody has to raise the slot's due mark.
func (sh *shard) enqueue(sl *metric) {
	if e := &sl.val; !e.queued {
		e.queued = true
		sh.due = append(sh.due, sl)
	}
}

// raiseDue raises every due mark of the shard at once, in a store that can.
func (sh *shard) raiseDue() {
	var held *memoryShard
	for _, sl := range sh.due {
		held = sh.memory.hold(held, sl.hash)
		held.raiseFor(sh.memory, sl, sl.val.due, sl.val.dueValue)
		sl.val.due, sl.val.queued = None, false
		sh.unraised--
		sh.rest(sl)
	}
	held.unlock()
	sh.due = sh.due[:0]
}

// takeRun moves the due marks of a run into the question, and up to overdue others,
// once the run is the last of its shard. It returns how many points of the shard it
// has yet to do that for, given that of the run before.
func (sh *shard) takeRun(s *scratch, r run, before, overdue int) int {
	n := before + int(r.to-r.from)
	if !r.last {
		return n
	}
	sh.takeDue(s, n+overdue)
	return 0
}

// takeDue moves up to most due marks, the newest entries of the list first,
// into the question.
func (sh *shard) takeDue(s *scratch, most int) {
	for len(sh.due) > 0 && most > 0 {
		k := len(sh.due) - 1
		sl := sh.due[k]
		sh.due = sh.due[:k]
		most--
		sl.val.queued = false
		if sl.val.due == None {
			continue
		}
		s.marks = append(s.marks, Mark{asBytes(sl.name), sl.val.due, sl.val.dueValue})
		s.markHash = append(s.markHash, sl.hash)
		s.markSlot = append(s.markSlot, sl)
	}
}

// settle ends the raising of m by its slot: the mark is in the store, or else
// somebody has to try again. The slot may belong to another metric by now.
func (sh *shard) settle(sl *metric, m *Mark, ok bool) {
	if sl.name != asString(m.Metric) || sl.val.due == None {
		return
	}
	switch {
	case !ok:
		sh.enqueue(sl)
	case sl.val.due <= m.Timestamp:
		sl.val.due = None
		sh.unraised--
	}
}
