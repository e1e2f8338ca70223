package dedup_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/dedup"
)

// slowStore is a store that a filter does not know, and that can be away.
type slowStore struct {
	dedup.Memory
	mu     sync.Mutex
	away   bool
	lasts  int
	raises [][]dedup.Mark
	gate   chan struct{} // if set, Last waits for it after reading
}

var errAway = fmt.Errorf("%w: test", dedup.ErrUnavailable)

func (s *slowStore) Last(ctx context.Context, m []dedup.Mark) error {
	s.mu.Lock()
	s.lasts++
	away, gate := s.away, s.gate
	s.mu.Unlock()
	if away {
		return errAway
	}
	err := s.Memory.Last(ctx, m)
	if gate != nil {
		<-gate
	}
	return err
}

func (s *slowStore) Raise(ctx context.Context, m []dedup.Mark) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var c []dedup.Mark
	for _, k := range m {
		c = append(c, mark(string(k.Metric), k.Timestamp, k.Value))
	}
	s.raises = append(s.raises, c)
	if s.away {
		return errAway
	}
	return s.Memory.Raise(ctx, m)
}

func (s *slowStore) setAway(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
}

// eachStore runs f with a filter over a Memory, which it knows, and over another
// store.
func eachStore(t *testing.T, f func(t *testing.T, f *dedup.Filter, s dedup.Store)) {
	for name, s := range map[string]dedup.Store{"memory": &dedup.Memory{}, "other": &slowStore{}} {
		t.Run(name, func(t *testing.T) { f(t, &dedup.Filter{Store: s}, s) })
	}
}

func judge(t testing.TB, f *dedup.Filter, pts ...dedup.Mark) string {
	t.Helper()
	out := make([]dedup.Verdict, len(pts))
	require.NoError(t, f.Judge(t.Context(), pts, out))
	var text []string
	for _, v := range out {
		text = append(text, v.String())
	}
	return strings.Join(text, ",")
}

func at(ts ...int64) []dedup.Mark {
	var m []dedup.Mark
	for _, t := range ts {
		m = append(m, mark("m", t, float64(t)))
	}
	return m
}

func TestFilterVerdicts(t *testing.T) {
	eachStore(t, func(t *testing.T, f *dedup.Filter, s dedup.Store) {
		raise(t, s, mark("m", 100, 1))
		require.Equal(t, "late,duplicate,new,duplicate", judge(t, f, at(99, 100, 101, 101)...))
		require.Equal(t, "late,late,duplicate,duplicate,in flight", judge(t, f, at(50, 50, 100, 100, 101)...))
		f.Kept(at(101))
		require.Equal(t, "duplicate", judge(t, f, at(101)...))
		require.Equal(t, "new", judge(t, f, at(300)...))
		f.Kept(at(300))
		require.Equal(t, "new", judge(t, f, at(200)...), "older than a pending point, newer than the mark")
		f.Release(at(200))
		require.Equal(t, "new,new", judge(t, f, mark("m", 200, 1), mark("other", 50, 1)))
		f.Release(at(200))
		f.Release([]dedup.Mark{mark("other", 50, 1)})
		st := f.Stats()
		require.Zero(t, st.Reserved)
		require.EqualValues(t, 2, st.Pending)
	})
}

func TestFilterLateDeliver(t *testing.T) {
	s := &dedup.Memory{}
	raise(t, s, mark("m", 100, 1))
	f := &dedup.Filter{Store: s, LateDeliver: true}
	require.Equal(t, "new,duplicate,duplicate", judge(t, f, at(50, 50, 100)...))
	f.Kept(at(50))
	require.Equal(t, "duplicate", judge(t, f, at(50)...))
	require.NoError(t, f.Done(t.Context(), at(50)))
	require.EqualValues(t, 100, last(t, s, "m"))
}

func TestFilterMarkWaitsForOlderPoints(t *testing.T) {
	eachStore(t, func(t *testing.T, f *dedup.Filter, s dedup.Store) {
		require.Equal(t, "new,new,new", judge(t, f, at(200, 100, 300)...))
		f.Kept(at(100, 200, 300))
		require.NoError(t, f.Done(t.Context(), at(200)))
		require.EqualValues(t, dedup.None, last(t, s, "m"))
		require.Equal(t, "duplicate,duplicate", judge(t, f, at(200, 100)...))
		require.EqualValues(t, 1, f.Stats().Blocked)
		require.NoError(t, f.Done(t.Context(), at(100)))
		m := at(0)
		require.NoError(t, s.Last(t.Context(), m))
		require.Equal(t, mark("m", 200, 200), m[0], "with the value of the highest")
		require.Equal(t, "late,duplicate,duplicate", judge(t, f, at(100, 200, 300)...))
		require.NoError(t, f.Done(t.Context(), at(300, 300, 100)))
		require.EqualValues(t, 300, last(t, s, "m"))
		st := f.Stats()
		require.Zero(t, st.Pending+st.Blocked+st.Reserved+st.Unraised)
	})
}

func TestFilterReservationHoldsMark(t *testing.T) {
	eachStore(t, func(t *testing.T, f *dedup.Filter, s dedup.Store) {
		judge(t, f, at(200)...)
		f.Kept(at(200))
		judge(t, f, at(100)...) // reserved only
		require.NoError(t, f.Done(t.Context(), at(200)))
		require.EqualValues(t, dedup.None, last(t, s, "m"))
		f.Release(at(100))
		require.EqualValues(t, 1, f.Stats().Unraised)
		require.Equal(t, "duplicate,late", judge(t, f, at(200, 100)...), "the mark counts before it is raised")
		require.NoError(t, f.Retry(t.Context()))
		require.EqualValues(t, 200, last(t, s, "m"))
		require.Zero(t, f.Stats().Unraised)
	})
}

func TestFilterDoneBeforeKept(t *testing.T) {
	eachStore(t, func(t *testing.T, f *dedup.Filter, s dedup.Store) {
		judge(t, f, at(100)...)
		require.NoError(t, f.Done(t.Context(), at(100)))
		f.Kept(at(100))
		f.Release(at(100))
		require.EqualValues(t, 100, last(t, s, "m"))
		st := f.Stats()
		require.Zero(t, st.Reserved+st.Pending+st.Blocked)
	})
}

func TestFilterRecover(t *testing.T) {
	eachStore(t, func(t *testing.T, f *dedup.Filter, s dedup.Store) {
		f.Recover(at(200, 100, 200))
		require.EqualValues(t, 2, f.Stats().Pending)
		require.Equal(t, "duplicate,new,duplicate", judge(t, f, at(200, 150, 100)...))
		f.Recover(at(150)) // also of what is reserved
		require.Equal(t, "duplicate", judge(t, f, at(150)...))
		f.Release(at(150)) // not what was recovered
		require.Equal(t, "duplicate", judge(t, f, at(150)...))
		require.NoError(t, f.Done(t.Context(), at(100, 150, 200)))
		require.EqualValues(t, 150, last(t, s, "m"), "200 was named twice")
		require.NoError(t, f.Done(t.Context(), at(200)))
		require.EqualValues(t, 200, last(t, s, "m"))
	})
}

func TestFilterFuture(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	for _, store := range []dedup.Store{&dedup.Memory{}, &slowStore{}} {
		raise(t, store, mark("m", 1_060_000, 1), mark("ahead", 1_060_001, 1))
		f := &dedup.Filter{Store: store, Future: time.Minute, Now: func() time.Time { return now }}
		require.Equal(t, "late,new", judge(t, f, mark("m", 1_000_000, 1), mark("ahead", 1_000_000, 1)))
		require.EqualValues(t, 1, f.Stats().FutureMarks)
		f.Kept([]dedup.Mark{mark("ahead", 1_000_000, 1)})
		require.Equal(t, "duplicate", judge(t, f, mark("ahead", 1_000_000, 1)))
		require.NoError(t, f.Done(t.Context(), []dedup.Mark{mark("ahead", 1_000_000, 1)}))
		require.EqualValues(t, 1_060_001, last(t, store, "ahead"), "marks never fall")

		off := &dedup.Filter{Store: store, Now: func() time.Time { return now }}
		require.Equal(t, "late", judge(t, off, mark("ahead", 1_000_000, 1)))
	}
}

func TestFilterStoreAway(t *testing.T) {
	s := &slowStore{}
	f := &dedup.Filter{Store: s}
	judge(t, f, at(100)...)
	f.Kept(at(100))
	s.setAway(true)
	out := make([]dedup.Verdict, 2)
	require.ErrorIs(t, f.Judge(t.Context(), at(200, 300), out), dedup.ErrUnavailable)
	require.Zero(t, f.Stats().Reserved, "nothing stays reserved")
	require.NoError(t, f.Judge(t.Context(), at(100, 100), out), "what is pending needs no store")

	err := f.Done(t.Context(), at(100))
	require.ErrorIs(t, err, dedup.ErrUnavailable)
	require.EqualValues(t, 1, f.Stats().Unraised)
	require.ErrorIs(t, f.Retry(t.Context()), dedup.ErrUnavailable)
	s.setAway(false)
	require.Equal(t, "duplicate,late,new", judge(t, f, at(100, 99, 101)...), "an unraised mark counts")
	require.EqualValues(t, dedup.None, last(t, s, "m"))
	require.NoError(t, f.Retry(t.Context()))
	require.EqualValues(t, 100, last(t, s, "m"))
	require.Zero(t, f.Stats().Unraised)
	n := len(s.raises)
	require.NoError(t, f.Retry(t.Context()))
	require.Len(t, s.raises, n, "nothing left to raise")
}

func TestFilterDoneCarriesOverdueMarks(t *testing.T) {
	s := &slowStore{}
	f := &dedup.Filter{Store: s, MaxPending: 1 << 19} // one shard
	f.Recover([]dedup.Mark{mark("a", 1, 0), mark("b", 1, 0), mark("c", 1, 0), mark("c", 2, 0)})
	s.setAway(true)
	require.Error(t, f.Done(t.Context(), []dedup.Mark{mark("a", 1, 0)}))
	require.Error(t, f.Done(t.Context(), []dedup.Mark{mark("b", 1, 0)}))
	s.setAway(false)
	s.raises = nil
	require.NoError(t, f.Done(t.Context(), []dedup.Mark{mark("c", 1, 0), mark("c", 2, 0)}))
	require.Len(t, s.raises, 1, "one call")
	require.ElementsMatch(t, []dedup.Mark{mark("a", 1, 0), mark("b", 1, 0), mark("c", 2, 0)}, s.raises[0], "each metric once")
}

func TestFilterAsksOnceAMetric(t *testing.T) {
	s := &slowStore{}
	f := &dedup.Filter{Store: s}
	require.Equal(t, "new,new,duplicate,new", judge(t, f, mark("a", 1, 0), mark("a", 2, 0), mark("a", 1, 0), mark("b", 1, 0)))
	require.Equal(t, 1, s.lasts)
}

// The mark is read while the point that it comes from is done: whatever the
// order, the resend is not New.
func TestFilterDoneDuringLast(t *testing.T) {
	s := &slowStore{}
	f := &dedup.Filter{Store: s}
	f.Recover(at(100))
	gate := make(chan struct{})
	s.gate = gate
	verdicts := make([]dedup.Verdict, 2)
	judged := make(chan error)
	go func() { judged <- f.Judge(t.Context(), at(100, 50), verdicts) }() // reads the mark, then waits
	require.Eventually(t, func() bool { return f.Stats().Reserved == 1 }, 10*time.Second, time.Millisecond)
	require.NoError(t, f.Done(t.Context(), at(100)))
	gate <- struct{}{}
	require.NoError(t, <-judged)
	require.Equal(t, []dedup.Verdict{dedup.Duplicate, dedup.New}, verdicts)
	require.EqualValues(t, dedup.None, lastOf(&s.Memory), "50 was reserved when 100 was done, and holds the mark")
	f.Kept(at(50))
	require.NoError(t, f.Done(t.Context(), at(50)))
	require.EqualValues(t, 100, lastOf(&s.Memory))
}

func lastOf(s *dedup.Memory) int64 {
	m := at(0)
	_ = s.Last(context.Background(), m)
	return m[0].Timestamp
}

func TestFilterWait(t *testing.T) {
	for name, end := range map[string]struct {
		end  func(*dedup.Filter)
		then string
	}{
		"kept":     {func(f *dedup.Filter) { f.Kept(at(100)) }, "duplicate"},
		"released": {func(f *dedup.Filter) { f.Release(at(100)) }, "new"},
		"done":     {func(f *dedup.Filter) { _ = f.Done(context.Background(), at(100)) }, "duplicate"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &dedup.Filter{}
				require.NoError(t, f.Wait(t.Context(), at(100)), "nobody reserved it")
				judge(t, f, at(100)...)
				require.Equal(t, "in flight", judge(t, f, at(100)...))
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				require.ErrorIs(t, f.Wait(ctx, at(100)), context.DeadlineExceeded)

				waited := false
				go func() {
					if err := f.Wait(context.Background(), at(1, 100)); err != nil {
						t.Error(err)
					}
					waited = true
				}()
				synctest.Wait()
				require.False(t, waited)
				end.end(f)
				synctest.Wait()
				require.True(t, waited)
				require.Equal(t, end.then, judge(t, f, at(100)...))
			})
		})
	}
}

func TestFilterEviction(t *testing.T) {
	const metrics = 2000
	s := &slowStore{}
	f := &dedup.Filter{Store: s, MaxPending: 100_000} // some 500 metrics
	var all []dedup.Mark
	for i := range metrics {
		all = append(all, mark(fmt.Sprint("m", i), 100, 1), mark(fmt.Sprint("m", i), 200, 2))
	}
	f.Recover(all)
	st := f.Stats()
	require.LessOrEqual(t, st.Bytes, int64(100_000))
	require.EqualValues(t, 2*metrics, st.Pending+int64(st.Evicted))
	require.NotZero(t, st.Evicted)

	// Resends of evicted points are New, never discarded; those known are not.
	out := make([]dedup.Verdict, 1)
	for i := range all {
		require.NoError(t, f.Judge(t.Context(), all[i:i+1], out))
		if out[0] == dedup.New {
			f.Release(all[i : i+1])
		} else {
			require.Equal(t, dedup.Duplicate, out[0])
		}
	}
	for i := range all {
		require.NoError(t, f.Done(t.Context(), all[i:i+1]))
	}
	st = f.Stats()
	require.Zero(t, st.Pending+st.Blocked+st.Unraised+st.Reserved)
}

// A mark does not pass a point that was evicted and is not done.
func TestFilterEvictedPointHoldsMark(t *testing.T) {
	s := &dedup.Memory{}
	f := &dedup.Filter{Store: s, MaxPending: 4000}
	var all []dedup.Mark
	for i := range int64(300) {
		all = append(all, at(1000*i+i*i%97)...) // at no regular distance
	}
	for i := range all {
		f.Recover(all[i : i+1])
	}
	evicted := f.Stats().Evicted
	require.NotZero(t, evicted)
	for i := range all[evicted:] { // the table knows these
		require.NoError(t, f.Done(t.Context(), all[evicted:][i:i+1]))
	}
	require.EqualValues(t, dedup.None, last(t, s, "m"))
	for i := range all[:evicted] {
		require.EqualValues(t, dedup.None, last(t, s, "m"))
		require.NoError(t, f.Done(t.Context(), all[i:i+1]))
	}
	require.Equal(t, all[len(all)-1].Timestamp, last(t, s, "m"))
}

// A late point that is delivered does not lower a mark that waits for the store.
func TestFilterLateDoesNotLowerUnraised(t *testing.T) {
	s := &slowStore{}
	f := &dedup.Filter{Store: s, LateDeliver: true}
	f.Recover(at(200))
	s.setAway(true)
	require.Error(t, f.Done(t.Context(), at(200)))
	s.setAway(false)
	require.Equal(t, "new", judge(t, f, at(50)...))
	f.Kept(at(50))
	s.setAway(true)
	_ = f.Done(t.Context(), at(50))
	s.setAway(false)
	require.NoError(t, f.Retry(t.Context()))
	require.EqualValues(t, 200, last(t, s, "m"))
}

func TestFilterUnraisedIsBounded(t *testing.T) {
	s := &slowStore{}
	f := &dedup.Filter{Store: s, MaxPending: 50_000}
	s.setAway(true)
	for i := range 1000 {
		m := []dedup.Mark{mark(fmt.Sprint(i), 1, 1)}
		f.Recover(m)
		require.ErrorIs(t, f.Done(t.Context(), m), dedup.ErrUnavailable)
	}
	st := f.Stats()
	require.LessOrEqual(t, st.Bytes, int64(50_000))
	require.NotZero(t, st.EvictedMarks)
	require.EqualValues(t, 1000, st.Unraised+int64(st.EvictedMarks))
	s.setAway(false)
	require.NoError(t, f.Retry(t.Context()))
	require.Zero(t, f.Stats().Unraised)
}

func TestFilterArguments(t *testing.T) {
	f := &dedup.Filter{}
	require.Error(t, f.Judge(t.Context(), at(1), nil))
	require.NoError(t, f.Judge(t.Context(), nil, nil))
	require.NoError(t, f.Done(t.Context(), nil))
	require.NoError(t, f.Retry(t.Context()))
	require.Equal(t, "Verdict(9)", dedup.Verdict(9).String())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	other := &dedup.Filter{Store: cancelledStore{}}
	err := other.Judge(ctx, at(1), make([]dedup.Verdict, 1))
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, errors.Is(err, dedup.ErrUnavailable))
}

type cancelledStore struct{}

func (cancelledStore) Last(ctx context.Context, _ []dedup.Mark) error  { return ctx.Err() }
func (cancelledStore) Raise(ctx context.Context, _ []dedup.Mark) error { return ctx.Err() }

// A call about many metrics asks the store once and raises their marks at once, however it is cut up.
func TestFilterLargeCalls(t *testing.T) {
	for name, pending := range map[string]int64{"one shard": 1 << 19, "several": 0} {
		s := &slowStore{}
		f := &dedup.Filter{Store: s, MaxPending: pending}
		pts := batches(2000, 2000)[0]
		for i := range pts {
			pts[i].Timestamp = int64(i + 1)
		}
		out := make([]dedup.Verdict, len(pts))
		require.NoError(t, f.Judge(t.Context(), pts, out), name)
		require.Equal(t, 1, s.lasts)
		f.Kept(pts)
		require.EqualValues(t, len(pts), f.Stats().Pending)
		require.NoError(t, f.Done(t.Context(), pts))
		require.Len(t, s.raises, 1)
		require.Len(t, s.raises[0], len(pts))
		for _, m := range pts {
			require.Equal(t, m.Timestamp, last(t, s, string(m.Metric)))
		}
	}
}

// What comes at regular intervals takes no more room the more of it is pending.
func TestFilterPendingAtIntervals(t *testing.T) {
	f := &dedup.Filter{MaxPending: 4000}
	r := dedup.Reservation{Filter: f}
	out := make([]dedup.Verdict, 1)
	const points = 10_000
	for i := range int64(points) {
		require.NoError(t, r.Judge(t.Context(), at(60_000*i), out))
		require.Equal(t, 1, r.Kept())
	}
	st := f.Stats()
	require.EqualValues(t, points, st.Pending)
	require.Zero(t, st.Evicted)
	require.Less(t, st.Bytes, int64(300))
	require.Equal(t, "duplicate,new", judge(t, f, at(60_000*77, 60_000*77+1)...), "one between two others is not known")
	f.Release(at(60_000*77 + 1))
	for i := range int64(points) {
		require.NoError(t, f.Done(t.Context(), at(60_000*i)))
		require.EqualValues(t, 60_000*i, last(t, f.Store, "m"))
	}
	require.Zero(t, f.Stats().Pending)
}

// However many points of a metric a request has, at intervals they take little room, and none where nothing is pending.
func TestFilterIntervalsInRequests(t *testing.T) {
	for _, size := range []int{1, 2, 5, 60, 1000} {
		for required := 1; required <= 3; required++ {
			f := &dedup.Filter{MaxPending: 4000, Required: required}
			r := dedup.Reservation{Filter: f}
			var all []dedup.Mark
			for i := range int64(3000) {
				all = append(all, at(10*i)...)
			}
			out := make([]dedup.Verdict, size)
			for i := 0; i < len(all); i += size {
				require.NoError(t, r.Judge(t.Context(), all[i:i+size], out))
				require.Equal(t, size, r.Kept())
			}
			require.Less(t, f.Stats().Bytes, int64(400), "%d a request", size)
			for range required {
				require.Equal(t, int64(len(all)), f.Stats().Pending)
				for i := range all {
					require.NoError(t, f.Done(t.Context(), all[i:i+1]))
				}
				require.Less(t, f.Stats().Bytes, int64(400))
			}
			require.Zero(t, f.Stats().Pending)
			require.Zero(t, f.Stats().Evicted)
			require.Equal(t, all[len(all)-1].Timestamp, last(t, f.Store, "m"))
		}
	}
}

// Points may be further apart than an int64 has milliseconds.
func TestFilterFarApart(t *testing.T) {
	for _, first := range []int64{math.MinInt64 + 1, math.MinInt64 + 808, -1 << 62} {
		for _, second := range []int64{math.MaxInt64 - 1, first + 1<<62 + 1<<61, 1_700_000_000_000} {
			for required := 1; required <= 2; required++ {
				f := &dedup.Filter{Required: required}
				pts := at(first, second)
				require.Equal(t, "new,new", judge(t, f, pts...))
				f.Kept(pts)
				f.Recover(pts)
				require.Equal(t, "duplicate,duplicate", judge(t, f, pts...))
				for range required + 1 {
					require.NoError(t, f.Done(t.Context(), pts[1:]))
				}
				for range required + 1 {
					require.EqualValues(t, dedup.None, last(t, f.Store, "m"))
					require.NoError(t, f.Done(t.Context(), pts[:1]))
				}
				require.Equal(t, second, last(t, f.Store, "m"))
				st := f.Stats()
				require.Zero(t, st.Pending+st.Blocked+st.Reserved)
			}
		}
	}
}

// Two filters may judge by one Memory: each sees the marks that the other raises.
func TestFiltersShareAMemory(t *testing.T) {
	s := &dedup.Memory{}
	a, b := &dedup.Filter{Store: s}, &dedup.Filter{Store: s}
	for i := range int64(10) {
		f, other := a, b
		if i%2 == 1 {
			f, other = b, a
		}
		p := at(100 * (i + 1))
		require.Equal(t, "new", judge(t, f, p...))
		f.Kept(p)
		require.NoError(t, f.Done(t.Context(), p))
		require.Equal(t, "late,duplicate,late", judge(t, other, at(p[0].Timestamp-1, p[0].Timestamp, p[0].Timestamp-50)...))
	}
	require.NoError(t, s.Set(t.Context(), mark("m", 5000, 1)))
	require.Equal(t, "late", judge(t, a, at(4000)...))
	require.NoError(t, s.Remove(t.Context(), []byte("m")))
	require.Equal(t, "new", judge(t, a, at(4500)...))
}
