package dedup

// makeRoom brings the shard to 7/8 of its budget, so that the walk through the
// slots is paid for by the insertions that follow: first it frees entries that
// hold nothing, then it drops points without a reservation, some of each metric,
// the oldest first, and marks that could not be raised. What is reserved stays.
func (sh *shard) makeRoom() {
	target := sh.budget - sh.budget/8
	sh.sweep(target, func(i int32) {
		if sh.t.at(i).val.idle() {
			sh.free(i)
		}
	})
	for before := sh.bytes + 1; sh.bytes > target && sh.bytes < before; {
		before = sh.bytes
		sh.sweep(target, sh.evict)
	}
	if len(sh.owed)*owedBytes > int(sh.budget/4) {
		for _, n := range sh.owed {
			sh.owedAny += uint64(n)
		}
		sh.bytes -= int64(len(sh.owed)) * owedBytes
		clear(sh.owed)
	}
}

// sweep calls f for the slots in use, starting at the hand, until the target is
// reached or the round is complete.
func (sh *shard) sweep(target int64, f func(int32)) {
	for range sh.t.used {
		if sh.bytes <= target {
			return
		}
		if sh.hand++; sh.hand >= sh.t.used {
			sh.hand = 0
		}
		if sh.t.at(sh.hand).hash != 0 {
			f(sh.hand)
		}
	}
}

// evict drops points of slot i, and the slot when nothing is left.
func (sh *shard) evict(i int32) {
	s := sh.t.at(i)
	e := &s.val
	owed := uint32(0)
	e.evict(func(q *span) {
		sh.evicted += uint64(q.n)
		sh.count(q.state, -int64(q.n))
		sh.forgetAll(s, q)
		owed += uint32(q.need) * q.n
	})
	if owed > 0 {
		sh.owe(s.hash, owed)
	}
	sh.bytes -= int64(e.shrink()) * spanBytes
	if !e.empty() {
		return
	}
	if e.due != None {
		e.due = None
		sh.unraised--
		sh.evictedMarks++
	}
	sh.free(i)
}

// rest frees the slot of a metric that came without a mark and holds nothing now:
// the Memory has what there is to know of it, and no second point may ever come.
// Slots of metrics that came again stay while there is room. So the table is as
// large as what is pending while most names are new.
func (sh *shard) rest(sl *metric) {
	if e := &sl.val; e.fresh && sh.memory != nil && e.idle() {
		sh.free(e.no)
	}
}

// free takes slot i out of the table, and out of the list of due marks.
func (sh *shard) free(i int32) {
	s := sh.t.at(i)
	if s.val.queued {
		for k, d := range sh.due {
			if d == s {
				sh.due = append(sh.due[:k], sh.due[k+1:]...)
				break
			}
		}
	}
	sh.bytes -= entryBytes + int64(len(s.name)) + int64(s.val.room())*spanBytes
	sh.t.remove(i)
}

// owe notes calls of Done that are still to come for points of a metric that are
// no longer in the table.
func (sh *shard) owe(hash uint64, n uint32) {
	if sh.owed == nil {
		sh.owed = make(map[uint32]uint32)
	}
	if sh.owed[uint32(hash)] == 0 {
		sh.bytes += owedBytes
	}
	sh.owed[uint32(hash)] += n
}

// owes tells that marks of the metric must not rise.
func (sh *shard) owes(hash uint64) bool {
	return sh.owedAny > 0 || len(sh.owed) > 0 && sh.owed[uint32(hash)] > 0
}

// pay takes n calls of Done off what is owed of the metric in a slot, if it has
// one. The metrics that this sets free advance.
func (sh *shard) pay(hash uint64, sl *metric, n uint32) {
	if len(sh.owed) > 0 {
		tag := uint32(hash)
		switch had := sh.owed[tag]; {
		case had > n:
			sh.owed[tag] = had - n
			return
		case had > 0:
			n -= had
			delete(sh.owed, tag)
			sh.bytes -= owedBytes
			if sl != nil {
				sh.advance(sl, nil)
			}
		}
	}
	if sh.owedAny == 0 || n == 0 {
		return
	}
	if sh.owedAny -= min(sh.owedAny, uint64(n)); sh.owedAny == 0 {
		for i := range sh.t.used {
			if sl := sh.t.at(i); sl.hash != 0 {
				sh.advance(sl, nil)
			}
		}
	}
}
