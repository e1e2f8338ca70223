package dedup_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/dedup"
)

// A metric that came without a mark leaves the table once nothing of it is pending,
// however that ended. One that comes again stays.
func TestFilterForgetsNewMetrics(t *testing.T) {
	door := func(f *dedup.Filter) *dedup.Reservation {
		r := &dedup.Reservation{Filter: f}
		require.NoError(t, r.Judge(t.Context(), at(100, 200), make([]dedup.Verdict, 2)))
		return r
	}
	for name, tt := range map[string]struct {
		do   func(t *testing.T, f *dedup.Filter)
		mark int64
	}{
		"kept and done": {func(t *testing.T, f *dedup.Filter) {
			require.Equal(t, 2, door(f).Kept())
			require.NoError(t, f.Done(t.Context(), at(100, 200)))
		}, 200},
		"done in another order": {func(t *testing.T, f *dedup.Filter) {
			require.Equal(t, 2, door(f).Kept())
			require.NoError(t, f.Done(t.Context(), at(200)))
			require.EqualValues(t, 1, f.Stats().Metrics, "a point is pending")
			require.NoError(t, f.Done(t.Context(), at(100)))
		}, 200},
		"done before kept": {func(t *testing.T, f *dedup.Filter) {
			r := door(f)
			require.NoError(t, f.Done(t.Context(), at(100, 200)))
			require.EqualValues(t, 1, f.Stats().Metrics, "it is reserved")
			require.Equal(t, 2, r.Kept())
		}, 200},
		"released": {func(_ *testing.T, f *dedup.Filter) { door(f).Release() }, dedup.None},
		"released by name": {func(t *testing.T, f *dedup.Filter) {
			require.Equal(t, "new,new", judge(t, f, at(100, 200)...))
			f.Release(at(100, 200))
		}, dedup.None},
		"a mark that a release freed": {func(t *testing.T, f *dedup.Filter) {
			require.Equal(t, "new,new", judge(t, f, at(100, 200)...))
			require.NoError(t, f.Done(t.Context(), at(200)))
			f.Kept(at(200))
			f.Release(at(100))
			require.EqualValues(t, 1, f.Stats().Metrics, "its mark is to be raised")
			require.NoError(t, f.Retry(t.Context()))
		}, 200},
		"recovered": {func(t *testing.T, f *dedup.Filter) {
			f.Recover(at(100, 200))
			require.NoError(t, f.Done(t.Context(), at(100, 200)))
		}, 200},
		"raised": {func(t *testing.T, f *dedup.Filter) {
			require.NoError(t, f.Raise(t.Context(), at(200)))
		}, 200},
	} {
		for shards, pending := range map[string]int64{"one shard": 1 << 19, "several": 0} {
			t.Run(name+", "+shards, func(t *testing.T) {
				s := &dedup.Memory{}
				f := &dedup.Filter{Store: s, MaxPending: pending}
				tt.do(t, f)
				require.Zero(t, f.Stats())
				require.EqualValues(t, tt.mark, last(t, s, "m"))
				raise(t, s, mark("m", 200, 1))

				require.Equal(t, "late,duplicate,new", judge(t, f, at(100, 200, 300)...))
				f.Kept(at(300))
				require.NoError(t, f.Done(t.Context(), at(300)))
				st := f.Stats()
				require.EqualValues(t, 1, st.Metrics)
				require.Zero(t, st.Pending+st.Blocked+st.Reserved+st.Unraised)
				require.EqualValues(t, 300, last(t, s, "m"))
			})
		}
	}
}

// Slots of metrics that left are used again, and never taken for theirs.
func TestFilterManyNewMetrics(t *testing.T) {
	s := &dedup.Memory{}
	f := &dedup.Filter{Store: s}
	r := dedup.Reservation{Filter: f}
	out := make([]dedup.Verdict, 100)
	reqs := batches(20_000, len(out))
	const lag = 5
	for i, req := range reqs {
		for k := range req {
			req[k].Timestamp = int64(i + 1)
		}
		require.NoError(t, r.Judge(t.Context(), req, out))
		require.Equal(t, len(req), r.Kept())
		if i >= lag {
			require.NoError(t, f.Done(t.Context(), reqs[i-lag]))
			require.EqualValues(t, lag*len(out), f.Stats().Metrics)
		}
	}
	for _, req := range reqs[len(reqs)-lag:] {
		require.NoError(t, f.Done(t.Context(), req))
	}
	require.Zero(t, f.Stats())
	for i, req := range reqs {
		for _, m := range req {
			require.EqualValues(t, i+1, last(t, s, string(m.Metric)))
		}
	}
}
