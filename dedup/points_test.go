package dedup

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// The spans of an entry against a map of points, at intervals that are regular for a while.
func TestSpansAgainstMap(t *testing.T) {
	type point struct {
		state state
		need  uint8
		by    uint32
	}
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		e, ref := &entry{newest: None}, map[int64]point{}
		rooms, ts, step := 0, int64(0), int64(1)
		most := 20 << (seed % 5) // the larger ones have more spans than are joined
		for range 2000 {
			known := slices.Sorted(maps.Keys(ref))
			q := point{state(rnd.IntN(3)), uint8(rnd.IntN(2)), uint32(rnd.IntN(2))}
			if rnd.IntN(3) > 0 {
				q = point{kept, 1, 0}
			}
			switch op := rnd.IntN(10); {
			case op < 5 && len(ref) < most:
				at := ts
				switch rnd.IntN(12) {
				case 0:
					step = []int64{1, 2, 3, math.MaxUint32, math.MaxUint32 + 1}[rnd.IntN(5)]
				case 1:
					at = ts - rnd.Int64N(20)
				}
				i, found := e.find(at)
				_, is := ref[at]
				require.Equal(t, is, found)
				if !found {
					rooms += e.insert(i, span{first: at, n: 1, state: q.state, need: q.need, by: q.by})
					e.join(i)
					ref[at] = q
				}
				ts = max(ts, at+step)
			case op < 8 && len(known) > 0:
				at := known[rnd.IntN(len(known))]
				if rnd.IntN(2) == 0 { // in order
					at = known[0]
					for _, k := range known {
						if at = k; ref[k] != q {
							break
						}
					}
				}
				i, found := e.find(at)
				require.True(t, found)
				rooms += e.become(i, at, q.state, q.need, q.by)
				ref[at] = q
			case len(known) > 0:
				at := known[min(len(known)-1, rnd.IntN(3)*rnd.IntN(len(known)))]
				i, found := e.find(at)
				require.True(t, found)
				rooms += e.drop(i, at)
				delete(ref, at)
			}
			if rnd.IntN(100) == 0 {
				rooms -= e.shrink()
			}
			require.Equal(t, rooms, e.room())
			points, before := 0, int64(math.MinInt64)
			for _, s := range e.view() {
				right := s.n > 0 && s.first > before
				before = s.last()
				for k := range s.n {
					q, is := ref[s.first+int64(k)*int64(s.step)]
					right = right && is && q == point{s.state, s.need, s.by}
					points++
				}
				if !right {
					require.Fail(t, "a span that is wrong", "seed %d: %+v", seed, s)
				}
			}
			require.Equal(t, len(ref), points)
		}
	}
}

// A span that is evicted takes the values with it that are remembered of its points, however long it is, and no others.
func TestForgetAll(t *testing.T) {
	for n := uint32(1); n < 12; n++ {
		sh := &shard{values: map[valueKey]float64{}}
		a, b := &metric{}, &metric{}
		a.val.no, b.val.no = 1, 2
		q := &span{first: 100, step: 10, n: n}
		for _, ts := range []int64{90, 100, 105, 130, 150, 170} {
			sh.remember(a, &Mark{Timestamp: ts, Value: float64(ts)})
			sh.remember(b, &Mark{Timestamp: ts, Value: float64(ts)})
		}
		want := map[int64]bool{90: true, 105: true}
		for _, ts := range []int64{100, 130, 150, 170} {
			want[ts] = !q.has(ts)
		}
		value := sh.forgetAll(a, q)
		if last := q.last(); last == 100 || last == 130 || last == 150 || last == 170 {
			require.EqualValues(t, last, value)
		} else {
			require.True(t, math.IsNaN(value))
		}
		for ts, stays := range want {
			_, is := sh.values[valueKey{1, ts}]
			require.Equal(t, stays, is, "%d of %d", ts, n)
			require.Contains(t, sh.values, valueKey{2, ts})
		}
		require.EqualValues(t, len(sh.values)*valueBytes, sh.bytes)
	}
}
