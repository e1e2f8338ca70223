package dedup

// makeRoom brings the shard to 7/8 of its budget, so that the walk through the
// slots is paid for by the insertions that follow: first it frees entries that
// hold nothing, then it drops points that are not merely reserved, some a
// metric, the oldest first, and marks that could not be raised. What is
// reserved stays.
func (sh *shard) makeRoom() {
	target := sh.budget - sh.budget/8
	sh.sweep(target, func(i int32) {
		if sh.t.slots[i].val.idle() {
			sh.free(i)
		}
	})
	for before := sh.bytes + 1; sh.bytes > target && sh.bytes < before; {
		before = sh.bytes
		sh.sweep(target, sh.evict)
	}
	if len(sh.owed)*owedBytes > int(sh.budget/4) {
		sh.bytes -= int64(len(sh.owed)) * owedBytes
		clear(sh.owed)
	}
}

// sweep calls f for the slots in use, starting at the hand, until the target is
// reached or the round is complete.
func (sh *shard) sweep(target int64, f func(int32)) {
	for range sh.t.slots {
		if sh.bytes <= target {
			return
		}
		if sh.hand++; int(sh.hand) >= len(sh.t.slots) {
			sh.hand = 0
		}
		if sh.t.slots[sh.hand].hash != 0 {
			f(sh.hand)
		}
	}
}

// evict drops points of slot i, and the slot when nothing is left.
func (sh *shard) evict(i int32) {
	s := &sh.t.slots[i]
	e := &s.val
	dropped, owed := e.evict()
	sh.pending -= int64(owed)
	sh.blocked -= int64(dropped - owed)
	sh.evicted += uint64(dropped)
	if owed > 0 {
		if sh.owed == nil {
			sh.owed = make(map[uint32]uint32)
		}
		if sh.owed[uint32(s.hash)] == 0 {
			sh.bytes += owedBytes
		}
		sh.owed[uint32(s.hash)] += uint32(owed)
	}
	sh.bytes -= int64(e.shrink()) * pointBytes
	if len(e.view()) > 0 {
		return
	}
	if e.due != None {
		e.due = None
		sh.unraised--
		sh.evictedMarks++
	}
	sh.free(i)
}

// free takes slot i out of the table, and out of the list of due marks.
func (sh *shard) free(i int32) {
	s := &sh.t.slots[i]
	if s.val.queued {
		for k, d := range sh.due {
			if d == i {
				sh.due = append(sh.due[:k], sh.due[k+1:]...)
				break
			}
		}
	}
	sh.bytes -= entryBytes + int64(len(s.name)) + int64(cap(s.val.far))*pointBytes
	sh.t.remove(i)
}
