package dedup

import (
	"context"
	"fmt"
)

// maxOverdue bounds the marks of earlier calls that Done and Retry raise at once.
const maxOverdue = 4096

// Kept tells that the points, judged New, are stored and will be delivered:
// from now on they are pending, and their like is Duplicate. Points that are not
// reserved are left alone, so it may come after their Done, or between the calls
// of several destinations.
func (f *Filter) Kept(pts []Mark) {
	f.apply(pts, func(sh *shard, sl *metric, _ uint64, m *Mark) {
		if sl != nil {
			sh.keep(sl, m.Timestamp, 0)
		}
	})
}

// Release tells that the points, judged New, were refused: they are forgotten.
// Points that are not reserved are left alone. No destination may have the
// points: a Done that comes for them would count for the next of their like.
func (f *Filter) Release(pts []Mark) {
	f.apply(pts, func(sh *shard, sl *metric, _ uint64, m *Mark) {
		if sl != nil {
			sh.release(sl, m.Timestamp, 0)
		}
	})
}

// Recover makes points pending without judging them: those that a spool held at
// start. Each time that it names a point, one Done more is needed for it, so it
// is called for each required destination with all that its spool holds, before
// any of them delivers: a point that waits in one spool needs one Done, whatever
// Required, and a point that waits in two, or in one twice, needs two.
func (f *Filter) Recover(pts []Mark) {
	f.apply(pts, func(sh *shard, sl *metric, hash uint64, m *Mark) {
		sh.recovered(sh.obtain(sl, hash, m.Metric), m.Timestamp)
	})
}

// apply calls g for every point under its shard's lock, with its metric's slot, if
// it has one, and hash.
func (f *Filter) apply(pts []Mark, g func(*shard, *metric, uint64, *Mark)) {
	if len(pts) == 0 {
		return
	}
	f.init()
	s := f.scratch(pts)
	defer f.putScratch(s)
	for _, r := range s.runs {
		sh := &f.shards[r.shard]
		order := s.order[r.from:r.to]
		sh.mu.Lock()
		sh.warm(s, order, nil, false)
		for _, p := range order {
			g(sh, sh.lookup(s, p, pts[p].Metric), s.hash[p], &pts[p])
		}
		sh.wake()
		sh.mu.Unlock()
	}
}

// Wait returns once none of the points is merely reserved, or with the context's
// error. Points that nobody reserved do not keep it.
func (f *Filter) Wait(ctx context.Context, pts []Mark) error {
	if len(pts) == 0 {
		return nil
	}
	f.init()
	s := f.scratch(pts)
	defer f.putScratch(s)
	for _, r := range s.runs {
		sh := &f.shards[r.shard]
		for _, i := range s.order[r.from:r.to] {
			for {
				changed := sh.reservedNow(s.hash[i], &pts[i])
				if changed == nil {
					break
				}
				select {
				case <-changed:
				case <-ctx.Done():
					return fmt.Errorf("dedup: wait for a point in flight: %w", ctx.Err())
				}
			}
		}
	}
	return nil
}

// reservedNow returns nil unless the point is reserved, and then a channel that
// is closed when any reservation of the shard ends. It takes the lock itself.
func (sh *shard) reservedNow(hash uint64, m *Mark) <-chan struct{} {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sl := sh.find(hash, m.Metric)
	if sl == nil {
		return nil
	}
	e := &sl.val
	at, found := e.find(m.Timestamp)
	if !found || e.view()[at].state != reserved {
		return nil
	}
	if sh.changed == nil {
		sh.changed = make(chan struct{})
	}
	return sh.changed
}

// Done tells that a required destination has the points, or gave them up on
// record. Those that the last of these destinations has leave the pending table,
// and marks rise as far as that allows, by one call of the store with each metric
// once. Value is the point's own.
//
// When the store fails the error says so and nothing is lost: the marks count
// from now on for Judge, and the next Done or Retry raises them. Each destination
// must call Done once a point. A point that was never named is ignored, unless
// points of its metric were evicted: then it is taken for one of them.
func (f *Filter) Done(ctx context.Context, pts []Mark) error {
	if len(pts) == 0 {
		return nil
	}
	f.init()
	s := f.scratch(pts)
	defer f.putScratch(s)
	took := 0
	for _, r := range s.runs {
		sh := &f.shards[r.shard]
		order := s.order[r.from:r.to]
		sh.mu.Lock()
		sh.marks = f.holdFor(s, order)
		sh.warm(s, order, sh.marks, true)
		for _, p := range order {
			sh.done(sh.lookup(s, p, pts[p].Metric), s.hash[p], &pts[p])
		}
		sh.marks.unlock()
		sh.marks = nil
		if f.memory != nil {
			sh.raiseDue()
		} else {
			took = sh.takeRun(s, r, took, maxOverdue/len(f.shards))
		}
		sh.wake()
		sh.mu.Unlock()
	}
	return f.raise(ctx, s)
}

// Retry raises marks that wait, because the store was away or because a Release
// freed them, by one call of the store. Call it every second or so while
// Stats.Unraised is not 0; while that is large, more than once.
func (f *Filter) Retry(ctx context.Context) error {
	f.init()
	s := f.scratch(nil)
	defer f.putScratch(s)
	for k := range f.shards {
		sh := &f.shards[k]
		sh.mu.Lock()
		if f.memory != nil {
			sh.raiseDue()
		} else {
			sh.takeDue(s, maxOverdue-len(s.marks))
		}
		sh.mu.Unlock()
	}
	return f.raise(ctx, s)
}

// raise raises the marks that takeDue collected, and settles them.
func (f *Filter) raise(ctx context.Context, s *scratch) error {
	if len(s.marks) == 0 {
		return nil
	}
	err := f.Store.Raise(ctx, s.marks)
	var held *shard
	for k := range s.marks {
		if sh := &f.shards[s.markHash[k]>>f.shift]; sh != held {
			if held != nil {
				held.mu.Unlock()
			}
			sh.mu.Lock()
			held = sh
		}
		held.settle(s.markSlot[k], &s.marks[k], err == nil)
	}
	held.mu.Unlock()
	if err != nil {
		return fmt.Errorf("dedup: raise %d marks, which are kept for later: %w", len(s.marks), err)
	}
	return nil
}

// Stats returns the filter's figures.
func (f *Filter) Stats() Stats {
	f.init()
	st := Stats{FutureMarks: f.future.Load()}
	for k := range f.shards {
		sh := &f.shards[k]
		sh.mu.Lock()
		st.Reserved += sh.reserved
		st.Pending += sh.pending
		st.Blocked += sh.blocked
		st.Metrics += int64(sh.t.n)
		st.Unraised += sh.unraised
		st.Bytes += sh.bytes
		st.Evicted += sh.evicted
		st.EvictedMarks += sh.evictedMarks
		sh.mu.Unlock()
	}
	return st
}
