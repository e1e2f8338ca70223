package dedup_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/dedup"
)

func verdicts(t *testing.T, r *dedup.Reservation, pts ...dedup.Mark) []dedup.Verdict {
	t.Helper()
	out := make([]dedup.Verdict, len(pts))
	require.NoError(t, r.Judge(t.Context(), pts, out))
	return out
}

func TestReservation(t *testing.T) {
	eachStore(t, func(t *testing.T, f *dedup.Filter, s dedup.Store) {
		a, b := &dedup.Reservation{Filter: f}, &dedup.Reservation{Filter: f}
		require.Zero(t, a.Kept(), "nothing was judged")
		raise(t, s, mark("m", 100, 1))
		require.Equal(t, []dedup.Verdict{dedup.Late, dedup.Duplicate, dedup.New, dedup.Duplicate}, verdicts(t, a, at(99, 100, 101, 101)...))
		require.Equal(t, []dedup.Verdict{dedup.InFlight, dedup.New}, verdicts(t, b, at(101, 102)...))
		require.Equal(t, 1, a.Kept())
		require.Zero(t, a.Kept(), "once is enough")
		a.Release()
		require.Equal(t, []dedup.Verdict{dedup.Duplicate, dedup.InFlight}, verdicts(t, a, at(101, 102)...))
		b.Release()
		require.Equal(t, "new", judge(t, f, at(102)...))
		f.Release(at(102))

		require.Equal(t, []dedup.Verdict{dedup.New}, verdicts(t, a, at(103)...))
		require.Equal(t, []dedup.Verdict{dedup.New}, verdicts(t, a, at(104)...), "releases 103")
		require.Equal(t, "new", judge(t, f, at(103)...))
		f.Release(at(103))
		require.NoError(t, f.Done(t.Context(), at(104)), "before Kept")
		require.Equal(t, 1, a.Kept())
		require.NoError(t, f.Done(t.Context(), at(101)))
		require.EqualValues(t, 104, last(t, s, "m"))
		st := f.Stats()
		require.Zero(t, st.Reserved+st.Pending+st.Blocked+st.Unraised)
		require.Error(t, a.Judge(t.Context(), at(1), nil))
	})
}

func TestReservationStoreAway(t *testing.T) {
	s := &slowStore{away: true}
	r := &dedup.Reservation{Filter: &dedup.Filter{Store: s}}
	out := make([]dedup.Verdict, 1)
	require.ErrorIs(t, r.Judge(t.Context(), at(1), out), dedup.ErrUnavailable)
	require.Zero(t, r.Kept())
	require.NoError(t, r.JudgePending(at(1), out))
	require.Equal(t, dedup.New, out[0])
	require.Equal(t, 1, r.Kept())
	require.EqualValues(t, 1, r.Filter.Stats().Pending)
	require.Zero(t, r.Filter.Stats().Reserved)
}

// A filter so small that it evicts all the time never takes a reservation for
// another metric's, and a metric that the Memory forgot is found to be absent.
func TestReservationWhileEvicting(t *testing.T) {
	for _, memory := range []*dedup.Memory{{MaxMetrics: 50}, {MaxMetrics: 2000}} {
		f := &dedup.Filter{Store: memory, MaxPending: 1 << 20}
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(1, uint64(g)))
				r := dedup.Reservation{Filter: f}
				out := make([]dedup.Verdict, 40)
				for step := range 1000 {
					var pts, fresh []dedup.Mark
					for range out {
						pts = append(pts, mark(fmt.Sprint("metric.", rnd.IntN(20_000)), int64(step), 1))
					}
					if err := r.Judge(t.Context(), pts, out); err != nil {
						t.Error(err)
					}
					for i, v := range out {
						if v == dedup.New {
							fresh = append(fresh, pts[i])
						}
					}
					if step%3 == 0 {
						r.Release()
						continue
					}
					if n := r.Kept(); n != len(fresh) {
						t.Errorf("kept %d points of %d", n, len(fresh))
					}
					if step%2 == 0 {
						_ = f.Done(t.Context(), fresh)
					}
				}
			})
		}
		wg.Wait()
		st := f.Stats()
		require.Zero(t, st.Reserved)
		require.NotZero(t, st.Evicted)
		require.LessOrEqual(t, st.Bytes, int64(1<<20))
	}
}

// The value of a mark is that of its point, in whatever order points are done.
func TestFilterValueOfAPointThatWaited(t *testing.T) {
	eachStore(t, func(t *testing.T, f *dedup.Filter, s dedup.Store) {
		f.Recover(at(100, 200, 300, 400))
		require.NoError(t, f.Done(t.Context(), at(300, 200)))
		empty := f.Stats().Bytes
		require.NoError(t, f.Done(t.Context(), at(100)))
		require.Less(t, f.Stats().Bytes, empty, "values that are no longer needed")
		m := at(0)
		require.NoError(t, s.Last(t.Context(), m))
		require.Equal(t, mark("m", 300, 300), m[0])
	})
}

func ExampleReservation() {
	f := &dedup.Filter{}
	r := dedup.Reservation{Filter: f}
	pts := []dedup.Mark{{Metric: []byte("servers.web.cpu"), Timestamp: 1478021700000, Value: 0.5}}
	out := make([]dedup.Verdict, len(pts))
	for range 2 {
		if err := r.Judge(context.Background(), pts, out); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(out[0]) // now a queue would take what is New
		fmt.Println(r.Kept(), "kept")
	}
	// Output:
	// new
	// 1 kept
	// duplicate
	// 0 kept
}
