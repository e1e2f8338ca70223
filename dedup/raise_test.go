package dedup_test

import (
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/dedup"
)

func TestRaisePassesNoPendingPoint(t *testing.T) {
	eachStore(t, func(t *testing.T, f *dedup.Filter, s dedup.Store) {
		history := func(ts int64) {
			t.Helper()
			require.NoError(t, f.Raise(t.Context(), []dedup.Mark{mark("m", ts, 9)}))
		}
		history(1000)
		require.EqualValues(t, 1000, last(t, s, "m"), "nothing is pending")
		history(500)
		require.EqualValues(t, 1000, last(t, s, "m"), "a mark never falls")

		live := []dedup.Mark{mark("m", 5000, 1), mark("m", 7000, 1)}
		require.Equal(t, "new,new", judge(t, f, live...))
		history(3000)
		require.EqualValues(t, 3000, last(t, s, "m"), "the pending ones are newer")
		history(6000)
		history(7000)
		history(8000)
		require.EqualValues(t, 3000, last(t, s, "m"), "they are merely reserved, and count all the same")
		f.Kept(live)
		history(9000)
		require.EqualValues(t, 3000, last(t, s, "m"))
		require.Equal(t, "duplicate,duplicate,new", judge(t, f, mark("m", 5000, 1), mark("m", 8000, 1), mark("m", 8500, 1)))
		f.Release([]dedup.Mark{mark("m", 8500, 1)})

		require.NoError(t, f.Done(t.Context(), live[:1]))
		require.EqualValues(t, 6000, last(t, s, "m"))
		require.NoError(t, f.Done(t.Context(), live[1:]))
		require.EqualValues(t, 9000, last(t, s, "m"))
		require.Equal(t, "late,duplicate,new", judge(t, f, mark("m", 8999, 1), mark("m", 9000, 1), mark("m", 9001, 1)))
		f.Release([]dedup.Mark{mark("m", 9001, 1)})
		st := f.Stats()
		require.Zero(t, st.Blocked+st.Pending+st.Reserved+st.Unraised)
	})
}

func TestRaiseAfterAReleaseAndARecovery(t *testing.T) {
	eachStore(t, func(t *testing.T, f *dedup.Filter, s dedup.Store) {
		require.Equal(t, "new", judge(t, f, mark("m", 1000, 1)))
		require.NoError(t, f.Raise(t.Context(), []dedup.Mark{mark("m", 2000, 2), mark("other", 2000, 2), {Metric: []byte("none"), Timestamp: dedup.None}}))
		require.EqualValues(t, dedup.None, last(t, s, "m"))
		require.EqualValues(t, 2000, last(t, s, "other"))
		f.Release([]dedup.Mark{mark("m", 1000, 1)})
		require.NoError(t, f.Retry(t.Context()))
		require.EqualValues(t, 2000, last(t, s, "m"))

		f.Recover([]dedup.Mark{mark("m", 3000, 1)})
		require.NoError(t, f.Raise(t.Context(), []dedup.Mark{mark("m", 4000, 2)}))
		require.EqualValues(t, 2000, last(t, s, "m"))
		require.NoError(t, f.Done(t.Context(), []dedup.Mark{mark("m", 3000, 1)}))
		require.EqualValues(t, 4000, last(t, s, "m"))
	})
}

func TestRaiseWhileTheStoreIsAway(t *testing.T) {
	s := &slowStore{away: true}
	f := &dedup.Filter{Store: s}
	require.ErrorIs(t, f.Raise(t.Context(), []dedup.Mark{mark("m", 2000, 2)}), dedup.ErrUnavailable)
	require.ErrorIs(t, f.Last(t.Context(), []dedup.Mark{mark("m", 0, 0)}), dedup.ErrUnavailable)
	s.setAway(false)
	m := []dedup.Mark{mark("m", 0, 0), mark("absent", 0, 0)}
	require.NoError(t, f.Last(t.Context(), m))
	require.Equal(t, mark("m", 2000, 2), m[0], "a mark on its way counts")
	require.EqualValues(t, dedup.None, m[1].Timestamp)
	require.True(t, math.IsNaN(m[1].Value))
	require.EqualValues(t, dedup.None, last(t, s, "m"))
	require.NoError(t, f.Retry(t.Context()))
	require.EqualValues(t, 2000, last(t, s, "m"))
}

func TestLastLeavesOutMarksOfTheFuture(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	f := &dedup.Filter{Now: func() time.Time { return now }, Future: time.Minute}
	require.NoError(t, f.Raise(t.Context(), []dedup.Mark{mark("ahead", 1_060_001, 1), mark("near", 1_060_000, 1)}))
	m := []dedup.Mark{mark("ahead", 0, 0), mark("near", 0, 0)}
	require.NoError(t, f.Last(t.Context(), m))
	require.EqualValues(t, dedup.None, m[0].Timestamp)
	require.EqualValues(t, 1_060_000, m[1].Timestamp)
}

// Live points and history at once: whatever the order, the mark ends at the newest and nothing stays blocked.
func TestRaiseBesideLivePoints(t *testing.T) {
	eachStore(t, func(t *testing.T, f *dedup.Filter, s dedup.Store) {
		const n = 300
		var both sync.WaitGroup
		for k := range 4 {
			name := fmt.Sprintf("m%d", k)
			both.Go(func() {
				out := make([]dedup.Verdict, 1)
				for i := range n {
					p := []dedup.Mark{mark(name, int64(2*i+1), 1)}
					if err := f.Judge(t.Context(), p, out); err != nil || out[0] != dedup.New {
						continue
					}
					f.Kept(p)
					_ = f.Done(t.Context(), p)
				}
			})
			both.Go(func() {
				for i := range n {
					_ = f.Raise(t.Context(), []dedup.Mark{mark(name, int64(2*i+2), 2)})
				}
			})
		}
		both.Wait()
		require.NoError(t, f.Retry(t.Context()))
		for k := range 4 {
			require.EqualValues(t, 2*n, last(t, s, fmt.Sprintf("m%d", k)))
		}
		st := f.Stats()
		require.Zero(t, st.Blocked+st.Pending+st.Reserved+st.Unraised)
	})
}
