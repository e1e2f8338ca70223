package dedup

import "context"

// Reservation takes the points of a request through a Filter, as Judge followed
// by Kept or Release do, and costs less: what Judge found it does not look for
// again. Each Judge wants one Kept or Release, which ends all that it reserved.
//
// A Reservation may be used again once it has ended, and keeps its working room
// for that. Its methods must not be called at the same time; several
// Reservations of a Filter may.
type Reservation struct {
	// Filter judges; it must be set, and not change before the end.
	Filter *Filter

	s  *scratch
	ts []int64 // by point
}

// Judge is Filter.Judge. What an earlier one reserved and nothing ended is
// released first.
func (r *Reservation) Judge(ctx context.Context, pts []Mark, out []Verdict) error {
	return r.judge(pts, out, func(m []Mark) error { return r.Filter.Store.Last(ctx, m) })
}

// JudgePending is Filter.JudgePending, otherwise like Judge.
func (r *Reservation) JudgePending(pts []Mark, out []Verdict) error {
	return r.judge(pts, out, nothingStored)
}

func (r *Reservation) judge(pts []Mark, out []Verdict, last func([]Mark) error) error {
	r.Release()
	f := r.Filter
	if err := f.check(pts, out); err != nil || len(pts) == 0 {
		return err
	}
	f.init()
	s := f.scratch(pts)
	if err := f.judgeBy(s, pts, out, last); err != nil {
		f.putScratch(s)
		return err
	}
	r.s, r.ts = s, r.ts[:0]
	for i := range pts {
		r.ts = append(r.ts, pts[i].Timestamp)
		if out[i] != New {
			s.slot[i] = nil
		}
	}
	return nil
}

// Kept is Filter.Kept for all points that were New, and returns how many they
// are.
func (r *Reservation) Kept() int {
	return r.end(func(sh *shard, sl *metric, ts int64, call uint32) { sh.keep(sl, ts, call) })
}

// Release is Filter.Release for all points that were New.
func (r *Reservation) Release() {
	r.end(func(sh *shard, sl *metric, ts int64, call uint32) { sh.release(sl, ts, call) })
}

// end calls g for every point that was New, under its shard's lock. Until then
// its slot cannot become another metric's.
func (r *Reservation) end(g func(sh *shard, sl *metric, ts int64, call uint32)) (n int) {
	if r.s == nil {
		return 0
	}
	s, f := r.s, r.Filter
	for _, run := range s.runs {
		sh := &f.shards[run.shard]
		sh.mu.Lock()
		for _, p := range s.order[run.from:run.to] {
			if sl := s.slot[p]; sl != nil {
				g(sh, sl, r.ts[p], s.call)
				n++
			}
		}
		sh.wake()
		sh.mu.Unlock()
	}
	f.putScratch(s)
	if r.s = nil; cap(r.ts) > maxScratch {
		r.ts = nil
	}
	return n
}
