package dedup

import (
	"context"
	"fmt"
)

var _ Store = (*Filter)(nil)

// Last implements Store: it fills in what Judge would compare points with, the
// later of the store's mark and one that is on its way there, without marks that
// are too far ahead.
func (f *Filter) Last(ctx context.Context, m []Mark) error {
	f.init()
	if err := f.Store.Last(ctx, m); err != nil {
		return fmt.Errorf("dedup: read %d marks: %w", len(m), err)
	}
	limit := f.limit()
	for i := range m {
		hash := hashName(f.seed, m[i].Metric)
		sh := &f.shards[hash>>f.shift]
		due := absent(nil)
		sh.mu.Lock()
		if sl := sh.find(hash, m[i].Metric); sl != nil {
			e := &sl.val
			due.Timestamp, due.Value = e.due, e.dueValue
		}
		sh.mu.Unlock()
		switch last := f.later(m[i].Timestamp, due.Timestamp, limit); {
		case last == None:
			m[i] = absent(m[i].Metric)
		case last != m[i].Timestamp:
			m[i].Timestamp, m[i].Value = last, due.Value
		}
	}
	return nil
}

// Raise implements Store: it tells that each metric is complete up to its mark,
// because its history was delivered by another way. The mark does not pass a
// point of the metric that is reserved or pending: it rises once all older ones
// are done, and until then a point that equals it is Duplicate already. When the
// store fails nothing is lost, as with Done.
func (f *Filter) Raise(ctx context.Context, m []Mark) error {
	if len(m) == 0 {
		return nil
	}
	f.init()
	s := f.scratch(m)
	defer f.putScratch(s)
	took := 0
	for _, r := range s.runs {
		sh := &f.shards[r.shard]
		sh.mu.Lock()
		for _, i := range s.order[r.from:r.to] {
			if m[i].Timestamp != None {
				sh.complete(s.hash[i], &m[i])
			}
		}
		if f.memory != nil {
			sh.raiseDue()
		} else {
			took = sh.takeRun(s, r, took, maxOverdue/len(f.shards))
		}
		sh.mu.Unlock()
	}
	return f.raise(ctx, s)
}

// complete puts m among the points of its metric as one that is delivered. A
// point that is there already stays as it is: its own delivery raises the mark.
func (sh *shard) complete(hash uint64, m *Mark) {
	sl := sh.obtain(sh.find(hash, m.Metric), hash, m.Metric)
	at, found := sl.val.find(m.Timestamp)
	if found || m.Timestamp <= sl.val.due {
		return
	}
	sh.remember(sl, m)
	sh.add(sl, at, span{first: m.Timestamp, n: 1, state: delivered})
	if sl = sh.find(hash, m.Metric); sl != nil { // it may have been evicted at once
		sh.advance(sl, nil)
	}
}
