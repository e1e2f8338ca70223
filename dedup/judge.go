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
	return f.judge(pts, out, func(m []Mark) error {
		for i := range m {
			m[i].Timestamp = None
		}
		return nil
	})
}

// judge is Judge with marks from last.
func (f *Filter) judge(pts []Mark, out []Verdict, last func([]Mark) error) error {
	if len(out) != len(pts) {
		return fmt.Errorf("dedup: room for %d verdicts of %d points", len(out), len(pts))
	}
	if f.Required > MaxRequired {
		return fmt.Errorf("dedup: Required is %d, more than %d", f.Required, MaxRequired)
	}
	if len(pts) == 0 {
		return nil
	}
	f.init()
	s := f.scratch(pts)
	defer f.putScratch(s)
	s.call = f.newCall()
	if f.memory != nil {
		f.judgeNow(s, pts, out)
		return nil
	}
	for _, r := range s.runs {
		sh := &f.shards[r.shard]
		sh.mu.Lock()
		for _, i := range s.order[r.from:r.to] {
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

// judgeNow is Judge where the store answers at once, so that nothing is reserved
// that is not New.
func (f *Filter) judgeNow(s *scratch, pts []Mark, out []Verdict) {
	limit := f.limit()
	for _, r := range s.runs {
		sh := &f.shards[r.shard]
		sh.mu.Lock()
		var held *memoryShard
		for _, p := range s.order[r.from:r.to] {
			ts, hash := pts[p].Timestamp, s.hash[p]
			i := sh.obtain(hash, pts[p].Metric)
			e := &sh.t.slots[i].val
			at, found := e.find(ts)
			if found {
				if out[p] = e.view()[at].known(s.call); out[p] == twin {
					out[p] = Duplicate
				}
				continue
			}
			held = f.memory.hold(held, hash)
			mark, _ := held.last(hash, asBytes(sh.t.slots[i].name))
			if out[p] = f.verdict(ts, f.later(mark, e.due, limit)); out[p] == New {
				sh.add(i, at, point{ts: ts, by: s.call, state: reserved, need: sh.required})
			}
		}
		held.unlock()
		sh.mu.Unlock()
	}
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
