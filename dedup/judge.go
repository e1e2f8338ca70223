package dedup

import (
	"context"
	"fmt"
)

// Judge writes a verdict a point into out, which must be as long as pts, and
// reserves the points that are New. It asks the store once. When it fails,
// nothing is reserved, and what out holds means nothing; if the store was away
// the error is ErrUnavailable.
func (f *Filter) Judge(ctx context.Context, pts []Mark, out []Verdict) error {
	return f.judge(pts, out, func(m []Mark) error { return f.Store.Last(ctx, m) })
}

// JudgePending is Judge by what the filter itself knows: the points that are
// pending or in flight, and marks that wait for the store. It is for those who
// rather deliver twice than wait while the store is away. A Memory is asked all
// the same.
func (f *Filter) JudgePending(pts []Mark, out []Verdict) error {
	return f.judge(pts, out, nothingStored)
}

// nothingStored answers like a store that holds no mark.
func nothingStored(m []Mark) error {
	for i := range m {
		m[i].Timestamp = None
	}
	return nil
}

// judge is Judge with marks from last.
func (f *Filter) judge(pts []Mark, out []Verdict, last func([]Mark) error) error {
	if err := f.check(pts, out); err != nil || len(pts) == 0 {
		return err
	}
	f.init()
	s := f.scratch(pts)
	defer f.putScratch(s)
	return f.judgeBy(s, pts, out, last)
}

func (f *Filter) check(pts []Mark, out []Verdict) error {
	if len(out) != len(pts) {
		return fmt.Errorf("dedup: room for %d verdicts of %d points", len(out), len(pts))
	}
	if f.Required > MaxRequired {
		return fmt.Errorf("dedup: Required is %d, more than %d", f.Required, MaxRequired)
	}
	return nil
}

// judgeBy is judge with the call's working room. It leaves in s.slot the slots of
// the points that are New.
func (f *Filter) judgeBy(s *scratch, pts []Mark, out []Verdict, last func([]Mark) error) error {
	s.call = f.newCall()
	if f.memory != nil {
		f.judgeNow(s, pts, out)
		return nil
	}
	for _, r := range s.runs {
		order := s.order[r.from:r.to]
		sh := &f.shards[r.shard]
		sh.mu.Lock()
		sh.warm(s, order, nil, false)
		for _, i := range order {
			out[i] = sh.claim(s, pts, i)
		}
		sh.mu.Unlock()
	}
	var err error
	if len(s.marks) > 0 {
		err = last(s.marks)
	}
	if err == nil {
		f.compare(s, pts, out)
	} else {
		for i := range out {
			s.undo[i] = out[i] == New
		}
		s.undone = true
		err = fmt.Errorf("dedup: judge: %w", err)
	}
	if s.undone {
		f.unclaim(s, pts)
	}
	return err
}

// newCall returns a number that no other call under way has.
func (f *Filter) newCall() uint32 {
	for {
		if n := f.calls.Add(1); n != 0 {
			return n
		}
	}
}

// judgeNow is judgeBy where the store answers at once, so that nothing is
// reserved that is not New.
func (f *Filter) judgeNow(s *scratch, pts []Mark, out []Verdict) {
	limit := f.limit()
	for _, r := range s.runs {
		order := s.order[r.from:r.to]
		sh := &f.shards[r.shard]
		sh.mu.Lock()
		held := f.holdFor(s, order)
		sh.warm(s, order, held, false)
		for _, p := range order {
			held = f.memory.hold(held, s.hash[p])
			out[p] = f.judgeOne(sh, held, s, pts, p, limit)
		}
		held.unlock()
		sh.mu.Unlock()
	}
}

// holdFor returns the part of the Memory that has the metrics of a run of points,
// locked, or nil if that is not one part.
func (f *Filter) holdFor(s *scratch, order []int32) *memoryShard {
	if f.memory == nil || f.memory.shift < f.shift {
		return nil
	}
	return f.memory.hold(nil, s.hash[order[0]])
}

// judgeOne judges point p by what its shard and the Memory know.
func (f *Filter) judgeOne(sh *shard, m *memoryShard, s *scratch, pts []Mark, p int32, limit int64) Verdict {
	ts, hash := pts[p].Timestamp, s.hash[p]
	sl := sh.lookup(s, p, pts[p].Metric)
	if sl == nil {
		sl = sh.createFor(m, hash, pts[p].Metric)
	}
	s.slot[p] = sl
	e := &sl.val
	if ts > e.newest && e.seen == m.edits {
		sh.append(sl, ts, s.call)
		return New
	}
	at, found := e.find(ts)
	if found {
		if v := e.view()[at].known(s.call); v != twin {
			return v
		}
		return Duplicate
	}
	mark, due := int64(None), int64(None)
	k := m.slotOf(sl)
	if k >= 0 {
		mark = m.t.at(k).val.ts
	}
	if mark <= limit {
		e.seen, e.newest = m.edits, max(e.newest, mark)
	}
	if sh.unraised > 0 {
		due = e.due
	}
	v := f.verdict(ts, f.later(mark, due, limit))
	switch {
	case v == New:
		sh.add(sl, at, span{first: ts, n: 1, by: s.call, state: reserved, need: sh.required})
	case k >= 0: // where it is New its delivery will do that
		m.touch(k)
	}
	return v
}

// verdict compares a point with its metric's mark.
func (f *Filter) verdict(ts, mark int64) Verdict {
	switch {
	case ts > mark || mark == None:
		return New
	case ts == mark:
		return Duplicate
	case f.LateDeliver:
		return New
	}
	return Late
}

// later returns the later of a stored and a due mark, without those beyond limit.
func (f *Filter) later(stored, due, limit int64) int64 {
	if stored > limit {
		f.future.Add(1)
		stored = None
	}
	if due > limit {
		due = None
	}
	return max(stored, due)
}

// compare turns the claims into verdicts by the marks, and notes which of them
// are to be undone.
func (f *Filter) compare(s *scratch, pts []Mark, out []Verdict) {
	limit := f.limit()
	for k := range s.marks {
		s.marks[k].Timestamp = f.later(s.marks[k].Timestamp, s.markDue[k], limit)
	}
	for i := range out {
		claimed := out[i] == New
		if !claimed && out[i] != twin {
			s.undo[i] = false
			continue
		}
		v := f.verdict(pts[i].Timestamp, s.marks[s.ask[i]].Timestamp)
		s.undo[i] = claimed && v != New
		s.undone = s.undone || s.undo[i]
		if v == New && !claimed {
			v = Duplicate
		}
		out[i] = v
	}
}

// limit is the latest mark that counts.
func (f *Filter) limit() int64 {
	if f.Future <= 0 {
		return noLimit
	}
	return f.Now().Add(f.Future).UnixMilli()
}

// unclaim takes back the reservations that s notes.
func (f *Filter) unclaim(s *scratch, pts []Mark) {
	for _, r := range s.runs {
		sh := &f.shards[r.shard]
		sh.mu.Lock()
		for _, i := range s.order[r.from:r.to] {
			if s.undo[i] {
				sh.release(s.slot[i], pts[i].Timestamp, s.call)
			}
		}
		sh.wake()
		sh.mu.Unlock()
	}
}
