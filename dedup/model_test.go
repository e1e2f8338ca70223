package dedup_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/dedup"
)

// model is the filter's rules, one metric at a time and slowly.
type model struct {
	metrics map[string]*modelMetric
	late    bool
}

type modelMetric struct {
	mark   int64
	points map[int64]string // reserved, kept or done
}

func (m *model) of(name []byte) *modelMetric {
	if m.metrics[string(name)] == nil {
		m.metrics[string(name)] = &modelMetric{dedup.None, map[int64]string{}}
	}
	return m.metrics[string(name)]
}

func (m *model) judge(pts []dedup.Mark) []dedup.Verdict {
	var out []dedup.Verdict
	mine := map[string]bool{}
	for _, p := range pts {
		k, id := m.of(p.Metric), fmt.Sprint(string(p.Metric), " ", p.Timestamp)
		switch state := k.points[p.Timestamp]; {
		case state == "reserved" && !mine[id]:
			out = append(out, dedup.InFlight)
		case state != "" || p.Timestamp == k.mark:
			out = append(out, dedup.Duplicate)
		case p.Timestamp < k.mark && !m.late:
			out = append(out, dedup.Late)
		default:
			out = append(out, dedup.New)
			k.points[p.Timestamp] = "reserved"
			mine[id] = true
		}
	}
	return out
}

// raise moves the mark over the done points at the front.
func (k *modelMetric) raise() {
	var ts []int64
	for t := range k.points {
		ts = append(ts, t)
	}
	slices.Sort(ts)
	for _, t := range ts {
		if k.points[t] != "done" {
			return
		}
		delete(k.points, t)
		k.mark = max(k.mark, t)
	}
}

func (m *model) count(state string) (n int64) {
	for _, k := range m.metrics {
		for _, s := range k.points {
			if s == state {
				n++
			}
		}
	}
	return n
}

// world is a filter, its model, and the points on their way.
type world struct {
	t        *testing.T
	rnd      *rand.Rand
	f        *dedup.Filter
	store    dedup.Store
	slow     *slowStore // store, if it is one
	m        *model
	requests [][]dedup.Mark // reserved
	pending  []dedup.Mark   // kept, not done
	clock    int64
}

func (w *world) batch() []dedup.Mark {
	var b []dedup.Mark
	for range 1 + w.rnd.IntN(12) {
		w.clock += int64(w.rnd.IntN(2))
		ts := max(1, w.clock-int64(w.rnd.IntN(6)))
		b = append(b, mark(fmt.Sprint("m", w.rnd.IntN(4)), ts, float64(ts)))
	}
	return b
}

func (w *world) step() {
	switch op := w.rnd.IntN(12); {
	case op < 4:
		w.judge()
	case op < 7 && len(w.requests) > 0:
		i := w.rnd.IntN(len(w.requests))
		w.settle(w.requests[i], op < 6)
		w.requests = slices.Delete(w.requests, i, i+1)
	case op < 10 && len(w.pending) > 0:
		w.done(1 + w.rnd.IntN(min(len(w.pending), 5)))
	case op == 10 && w.slow != nil:
		w.slow.setAway(!w.slow.away)
		if w.rnd.IntN(2) == 0 {
			_ = w.f.Retry(w.t.Context())
		}
	case op == 11 && w.rnd.IntN(5) == 0 && (w.slow == nil || !w.slow.away):
		b := w.batch()[:1] // another gateway
		raise(w.t, w.store, b...)
		k := w.m.of(b[0].Metric)
		k.mark = max(k.mark, b[0].Timestamp)
	case op == 11:
		w.recover()
	}
	st := w.f.Stats()
	require.Equal(w.t, w.m.count("reserved"), st.Reserved)
	require.Equal(w.t, w.m.count("kept"), st.Pending)
	require.Equal(w.t, w.m.count("done"), st.Blocked)
}

func (w *world) judge() {
	b := w.batch()
	out := make([]dedup.Verdict, len(b))
	if err := w.f.Judge(w.t.Context(), b, out); err != nil {
		require.ErrorIs(w.t, err, dedup.ErrUnavailable)
		return
	}
	require.Equal(w.t, w.m.judge(b), out, "%v", b)
	var fresh []dedup.Mark
	for i, v := range out {
		if v == dedup.New {
			fresh = append(fresh, b[i])
		}
	}
	if fresh != nil {
		w.requests = append(w.requests, fresh)
	}
}

func (w *world) settle(pts []dedup.Mark, kept bool) {
	if kept {
		w.f.Kept(pts)
		w.pending = append(w.pending, pts...)
	} else {
		w.f.Release(pts)
	}
	for _, p := range pts {
		k := w.m.of(p.Metric)
		if kept {
			k.points[p.Timestamp] = "kept"
		} else {
			delete(k.points, p.Timestamp)
			k.raise()
		}
	}
}

func (w *world) done(n int) {
	if w.rnd.IntN(2) == 0 {
		w.rnd.Shuffle(len(w.pending), func(i, j int) { w.pending[i], w.pending[j] = w.pending[j], w.pending[i] })
	}
	pts := w.pending[:n]
	if err := w.f.Done(w.t.Context(), pts); err != nil {
		require.ErrorIs(w.t, err, dedup.ErrUnavailable)
	}
	for _, p := range pts {
		k := w.m.of(p.Metric)
		k.points[p.Timestamp] = "done"
		k.raise()
	}
	w.pending = slices.Clone(w.pending[n:])
}

func (w *world) recover() {
	p := w.batch()[:1]
	k := w.m.of(p[0].Metric)
	if k.points[p[0].Timestamp] != "" {
		return
	}
	w.f.Recover(p)
	k.points[p[0].Timestamp] = "kept"
	w.pending = append(w.pending, p...)
}

func TestFilterAgainstModel(t *testing.T) {
	for seed := range uint64(40) {
		for _, slow := range []bool{false, true} {
			w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 7)), m: &model{metrics: map[string]*modelMetric{}, late: seed%3 == 0}}
			w.store = &dedup.Memory{}
			if slow {
				w.slow = &slowStore{}
				w.store = w.slow
			}
			w.f = &dedup.Filter{Store: w.store, LateDeliver: w.m.late}
			if seed > 5 {
				w.f.MaxPending = 1 << 19 // one shard, nothing evicted
			}
			for range 400 {
				w.step()
			}
			if slow {
				w.slow.setAway(false)
			}
			for _, r := range w.requests {
				w.settle(r, true)
			}
			w.requests = nil
			for len(w.pending) > 0 {
				w.done(1)
			}
			require.NoError(t, w.f.Retry(t.Context()))
			require.Zero(t, w.f.Stats().Unraised)
			for name, k := range w.m.metrics {
				require.Equal(t, k.mark, last(t, w.store, name), "seed %d, metric %s", seed, name)
				require.Empty(t, k.points)
			}
		}
	}
}
