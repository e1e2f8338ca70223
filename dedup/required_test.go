package dedup_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/dedup"
)

// eachRequired runs f with a filter of two destinations over each kind of store.
func eachRequired(t *testing.T, f func(t *testing.T, f *dedup.Filter, s dedup.Store)) {
	for name, s := range map[string]dedup.Store{"memory": &dedup.Memory{}, "other": &slowStore{}} {
		t.Run(name, func(t *testing.T) { f(t, &dedup.Filter{Store: s, Required: 2}, s) })
	}
}

func TestFilterRequired(t *testing.T) {
	eachRequired(t, func(t *testing.T, f *dedup.Filter, s dedup.Store) {
		require.Equal(t, "new,new", judge(t, f, at(100, 200)...))
		f.Kept(at(100, 200))
		require.NoError(t, f.Done(t.Context(), at(100, 200))) // one of them
		require.EqualValues(t, dedup.None, last(t, s, "m"))
		require.EqualValues(t, 2, f.Stats().Pending)
		require.NoError(t, f.Done(t.Context(), at(200))) // the other, out of order
		require.EqualValues(t, dedup.None, last(t, s, "m"))
		require.EqualValues(t, 1, f.Stats().Blocked)
		require.Equal(t, "duplicate,duplicate", judge(t, f, at(100, 200)...))
		require.NoError(t, f.Done(t.Context(), at(100)))
		require.EqualValues(t, 200, last(t, s, "m"))
		st := f.Stats()
		require.Zero(t, st.Pending+st.Blocked+st.Reserved+st.Unraised)
	})
}

func TestFilterRequiredDoneAroundKept(t *testing.T) {
	for before := range 3 {
		eachRequired(t, func(t *testing.T, f *dedup.Filter, s dedup.Store) {
			judge(t, f, at(100)...)
			for range before {
				require.EqualValues(t, dedup.None, last(t, s, "m"))
				require.NoError(t, f.Done(t.Context(), at(100)))
			}
			want := "in flight"
			if before == 2 {
				want = "duplicate"
			}
			require.Equal(t, want, judge(t, f, at(100)...))
			f.Kept(at(100))
			require.Equal(t, "duplicate", judge(t, f, at(100)...))
			for range 2 - before {
				require.EqualValues(t, dedup.None, last(t, s, "m"))
				require.NoError(t, f.Done(t.Context(), at(100)))
			}
			require.EqualValues(t, 100, last(t, s, "m"))
			st := f.Stats()
			require.Zero(t, st.Pending+st.Blocked+st.Reserved+st.Unraised)
		})
	}
}

// A late point that is done before its Kept, sent again and refused: the Kept is
// not that of the second.
func TestFilterKeptIsNotTheNextOnes(t *testing.T) {
	for required := 1; required <= 2; required++ {
		s := &dedup.Memory{}
		raise(t, s, mark("m", 500, 1))
		f := &dedup.Filter{Store: s, LateDeliver: true, Required: required}
		require.Equal(t, "new", judge(t, f, at(100)...))
		for range required {
			require.NoError(t, f.Done(t.Context(), at(100)))
		}
		require.Equal(t, "duplicate", judge(t, f, at(100)...))
		f.Kept(at(100))
		require.Equal(t, "new", judge(t, f, at(100)...))
		f.Release(at(100))
		st := f.Stats()
		require.Zero(t, st.Pending+st.Blocked+st.Reserved+st.Unraised)
		require.Equal(t, "new", judge(t, f, at(600)...))
		f.Kept(at(600))
		for range required {
			require.NoError(t, f.Done(t.Context(), at(600)))
		}
		require.EqualValues(t, 600, last(t, s, "m"), "nothing holds it")
	}
}

func TestFilterRequiredRecover(t *testing.T) {
	eachRequired(t, func(t *testing.T, f *dedup.Filter, s dedup.Store) {
		f.Recover(at(100, 200)) // one spool
		f.Recover(at(200, 300)) // the other
		require.EqualValues(t, 3, f.Stats().Pending)
		require.NoError(t, f.Done(t.Context(), at(100, 200)))
		require.EqualValues(t, 100, last(t, s, "m"))
		require.NoError(t, f.Done(t.Context(), at(300)))
		require.EqualValues(t, 100, last(t, s, "m"))
		require.NoError(t, f.Done(t.Context(), at(200)))
		require.EqualValues(t, 300, last(t, s, "m"))
	})
}

// However often a point is named, so many calls of Done it takes.
func TestFilterRecoverManyTimes(t *testing.T) {
	f := &dedup.Filter{}
	const times = 1000
	for range times {
		f.Recover(at(100))
	}
	for range times - 1 {
		require.NoError(t, f.Done(t.Context(), at(100)))
		require.Equal(t, "new", judge(t, f, at(50)...))
		f.Release(at(50))
	}
	require.NoError(t, f.Done(t.Context(), at(100)))
	require.Equal(t, "late,duplicate", judge(t, f, at(50, 100)...))
}

func TestFilterRequiredBounds(t *testing.T) {
	f := &dedup.Filter{Required: dedup.MaxRequired + 1}
	require.ErrorContains(t, f.Judge(t.Context(), at(1), make([]dedup.Verdict, 1)), "Required is 128, more than 127")
	f = &dedup.Filter{Required: dedup.MaxRequired}
	judge(t, f, at(100)...)
	f.Kept(at(100))
	for range dedup.MaxRequired {
		require.EqualValues(t, 1, f.Stats().Pending)
		require.NoError(t, f.Done(t.Context(), at(100)))
	}
	require.Equal(t, "late", judge(t, f, at(99)...))
}

func TestFilterJudgePending(t *testing.T) {
	s := &slowStore{}
	raise(t, s, mark("m", 100, 1))
	f := &dedup.Filter{Store: s}
	s.setAway(true)
	f.Recover([]dedup.Mark{mark("m", 300, 1), mark("raised", 10, 1)})
	require.Error(t, f.Done(t.Context(), []dedup.Mark{mark("raised", 10, 1)}))
	pts := append(at(100, 300, 400, 400), mark("raised", 10, 1), mark("raised", 9, 1))
	out := make([]dedup.Verdict, len(pts))
	require.NoError(t, f.JudgePending(pts, out))
	require.Equal(t, []dedup.Verdict{dedup.New, dedup.Duplicate, dedup.New, dedup.Duplicate, dedup.Duplicate, dedup.Late}, out)
	f.Kept(at(100, 400))
	require.EqualValues(t, 3, f.Stats().Pending)
	require.Error(t, f.JudgePending(pts, nil))
}

// evictions is a filter with little room, and what it must not get wrong.
type evictions struct {
	t        *testing.T
	rnd      *rand.Rand
	f        *dedup.Filter
	s        *dedup.Memory
	required int
	requests [][]dedup.Mark
	owed     []dedup.Mark   // calls of Done to come
	open     map[string]int // by point: how many of those
	accepted map[string]bool
	clock    int64
}

func id(p dedup.Mark) string { return fmt.Sprint(string(p.Metric), " ", p.Timestamp) }

func (w *evictions) step(metrics int) {
	switch op := w.rnd.IntN(10); {
	case op < 4 && len(w.requests) < 10:
		w.judge(metrics)
	case op < 6 && len(w.requests) > 0:
		i := w.rnd.IntN(len(w.requests))
		r := w.requests[i]
		w.requests = append(w.requests[:i], w.requests[i+1:]...)
		if w.rnd.IntN(4) == 0 {
			w.f.Release(r)
			break
		}
		w.accept(r, w.required)
		w.f.Kept(r)
	case op == 6:
		w.clock++
		p := mark(fmt.Sprint("m", w.rnd.IntN(metrics)), w.clock, 0)
		for range 1 + w.rnd.IntN(w.required) {
			w.f.Recover([]dedup.Mark{p})
			w.accept([]dedup.Mark{p}, 1)
		}
	case op > 6 && len(w.owed) > 0:
		w.done(1 + w.rnd.IntN(min(len(w.owed), 6)))
	}
	require.LessOrEqual(w.t, w.f.Stats().Bytes, w.f.MaxPending+8000, "what is reserved stays")
}

func (w *evictions) judge(metrics int) {
	w.clock++
	var pts []dedup.Mark
	for range 1 + w.rnd.IntN(4) {
		pts = append(pts, mark(fmt.Sprint("m", w.rnd.IntN(metrics)), max(1, w.clock-int64(w.rnd.IntN(8))), 0))
	}
	out := make([]dedup.Verdict, len(pts))
	require.NoError(w.t, w.f.Judge(w.t.Context(), pts, out))
	var fresh []dedup.Mark
	twins := map[string]bool{}
	for i, v := range out {
		switch p := pts[i]; v {
		case dedup.New:
			fresh = append(fresh, p)
			twins[id(p)] = true
		case dedup.Duplicate:
			require.True(w.t, w.accepted[id(p)] || twins[id(p)], "%v", p)
		case dedup.Late:
			require.Less(w.t, p.Timestamp, last(w.t, w.s, string(p.Metric)))
		}
	}
	if fresh != nil {
		w.requests = append(w.requests, fresh)
	}
}

func (w *evictions) accept(pts []dedup.Mark, times int) {
	for _, p := range pts {
		w.accepted[id(p)] = true
		w.open[id(p)] += times
		for range times {
			w.owed = append(w.owed, p)
		}
	}
}

// done ends some deliveries, and looks that no mark passes one that has not
// ended.
func (w *evictions) done(n int) {
	w.rnd.Shuffle(len(w.owed), func(i, j int) { w.owed[i], w.owed[j] = w.owed[j], w.owed[i] })
	pts := w.owed[:n]
	w.owed = append([]dedup.Mark(nil), w.owed[n:]...)
	require.NoError(w.t, w.f.Done(w.t.Context(), pts))
	for _, p := range pts {
		w.open[id(p)]--
	}
	for _, p := range w.owed {
		require.Less(w.t, last(w.t, w.s, string(p.Metric)), p.Timestamp)
	}
}

func TestFilterEvictionHoldsMarks(t *testing.T) {
	for seed := range uint64(12) {
		required, metrics, room := 1+int(seed)%3, 3, int64(1500)
		if seed%2 == 0 {
			metrics, room = 300, 6000 // more metrics than the notes of what was evicted have room for
		}
		w := &evictions{
			t: t, rnd: rand.New(rand.NewPCG(seed, 1)), s: &dedup.Memory{}, required: required,
			open: map[string]int{}, accepted: map[string]bool{},
		}
		w.f = &dedup.Filter{Store: w.s, Required: required, MaxPending: room}
		for range 1000 {
			w.step(metrics)
		}
		require.NotZero(t, w.f.Stats().Evicted)
		for _, r := range w.requests {
			w.f.Release(r)
		}
		for len(w.owed) > 0 {
			w.done(min(len(w.owed), 50))
		}
		require.NoError(t, w.f.Retry(t.Context()))
		st := w.f.Stats()
		require.Zero(t, st.Pending+st.Blocked+st.Reserved+st.Unraised, "seed %d", seed)
		for k := range metrics { // nothing holds a mark back any more
			p := []dedup.Mark{mark(fmt.Sprint("m", k), w.clock+10, 0)}
			require.Equal(t, "new", judge(t, w.f, p...))
			w.f.Kept(p)
			for range required {
				require.NoError(t, w.f.Done(t.Context(), p))
			}
			require.Equal(t, w.clock+10, last(t, w.s, fmt.Sprint("m", k)), "seed %d", seed)
		}
	}
}
