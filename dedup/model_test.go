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
	metrics  map[string]*modelMetric
	late     bool
	required int
}

type modelMetric struct {
	mark   int64
	points map[int64]*modelPoint
}

type modelPoint struct {
	state string // reserved, kept, done or passed
	need  int    // calls of Done
	open  bool   // Kept or Release is to come
}

func (m *model) of(name []byte) *modelMetric {
	if m.metrics[string(name)] == nil {
		m.metrics[string(name)] = &modelMetric{dedup.None, map[int64]*modelPoint{}}
	}
	return m.metrics[string(name)]
}

func (m *model) judge(pts []dedup.Mark) []dedup.Verdict {
	var out []dedup.Verdict
	mine := map[string]bool{}
	for _, p := range pts {
		k, id := m.of(p.Metric), fmt.Sprint(string(p.Metric), " ", p.Timestamp)
		switch q := k.points[p.Timestamp]; {
		case q != nil && q.state == "reserved" && !mine[id]:
			out = append(out, dedup.InFlight)
		case q != nil || p.Timestamp == k.mark:
			out = append(out, dedup.Duplicate)
		case p.Timestamp < k.mark && !m.late:
			out = append(out, dedup.Late)
		default:
			out = append(out, dedup.New)
			k.points[p.Timestamp] = &modelPoint{"reserved", m.required, true}
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
		q := k.points[t]
		if q.need > 0 {
			return
		}
		if q.state == "done" {
			k.mark = max(k.mark, t)
		}
		if q.state = "passed"; !q.open {
			delete(k.points, t)
		}
	}
}

func (k *modelMetric) kept(ts int64) {
	switch q := k.points[ts]; q.state {
	case "passed":
		delete(k.points, ts)
	case "reserved":
		q.state = "kept"
		fallthrough
	default:
		q.open = false
	}
}

func (k *modelMetric) release(ts int64, required int) {
	q := k.points[ts]
	if q.state == "reserved" {
		delete(k.points, ts)
	}
	q.need -= required
	q.open = false
	k.settle(q)
}

func (k *modelMetric) recover(ts int64) {
	q := k.points[ts]
	if q == nil {
		q = &modelPoint{}
		k.points[ts] = q
	}
	q.state = "kept"
	q.need++
}

func (k *modelMetric) done(ts int64) {
	q := k.points[ts]
	q.need--
	k.settle(q)
}

func (k *modelMetric) settle(q *modelPoint) {
	if q.need == 0 {
		q.state = "done"
	}
	k.raise()
}

func (m *model) count(state string) (n int64) {
	for _, k := range m.metrics {
		for _, q := range k.points {
			if q.state == state {
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
	requests []*request
	pending  []dedup.Mark // stored or recovered, and not done: one for each destination
	clock    int64
}

type request struct {
	pts    []dedup.Mark // reserved
	stored bool         // the destinations have it
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
		if r := w.requests[i]; !r.stored && op < 6 {
			w.deliverable(r)
			break
		}
		w.end(w.requests[i])
		w.requests = slices.Delete(w.requests, i, i+1)
	case op < 10 && len(w.pending) > 0:
		w.done(1 + w.rnd.IntN(min(len(w.pending), 5*w.m.required)))
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
		w.requests = append(w.requests, &request{pts: fresh})
	}
}

// deliverable gives a request to the destinations, who may be done with it before it
// is Kept.
func (w *world) deliverable(r *request) {
	r.stored = true
	for range w.m.required {
		w.pending = append(w.pending, r.pts...)
	}
}

// end ends a request's reservations.
func (w *world) end(r *request) {
	if r.stored {
		w.f.Kept(r.pts)
	} else {
		w.f.Release(r.pts)
	}
	for _, p := range r.pts {
		if k := w.m.of(p.Metric); r.stored {
			k.kept(p.Timestamp)
		} else {
			k.release(p.Timestamp, w.m.required)
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
		w.m.of(p.Metric).done(p.Timestamp)
	}
	w.pending = slices.Clone(w.pending[n:])
}

// recover names a point for some of the destinations.
func (w *world) recover() {
	p := w.batch()[:1]
	for range 1 + w.rnd.IntN(w.m.required) {
		w.f.Recover(p)
		w.m.of(p[0].Metric).recover(p[0].Timestamp)
		w.pending = append(w.pending, p...)
	}
}

func TestFilterAgainstModel(t *testing.T) {
	for seed := range uint64(60) {
		for _, slow := range []bool{false, true} {
			m := &model{metrics: map[string]*modelMetric{}, late: seed%3 == 0, required: 1 + int(seed/3)%3}
			w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 7)), m: m}
			w.store = &dedup.Memory{}
			if slow {
				w.slow = &slowStore{}
				w.store = w.slow
			}
			w.f = &dedup.Filter{Store: w.store, LateDeliver: m.late, Required: m.required}
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
				w.end(r)
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
