package resample_test

import (
	"encoding/binary"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/resample"
)

func TestParseOffset(t *testing.T) {
	f := func(s string, want time.Duration) {
		t.Helper()
		got, err := resample.ParseOffset(s)
		if want == 0 {
			require.ErrorContains(t, err, "resample: offset")
			return
		}
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	f("30s", 30*time.Second)
	f("S", time.Second)
	f("1Min", time.Minute)
	f("min", time.Minute)
	f("5T", 5*time.Minute)
	f("1H", time.Hour)
	f("1h", time.Hour)
	f("1D", 24*time.Hour)
	f("366d", 366*24*time.Hour)
	f("250ms", 250*time.Millisecond)
	for _, bad := range []string{"", "0s", "-1s", "1.5H", "1M", "1W", "1 min", "367d", "99999999999999999999s", "s1", "1sec"} {
		f(bad, 0)
	}
}

func TestOptions(t *testing.T) {
	f := func(o resample.Options, text string) {
		t.Helper()
		_, err := resample.New(o)
		require.ErrorIs(t, err, resample.ErrOptions)
		require.ErrorContains(t, err, text)
		_, err = resample.Bins(nil, o)
		require.ErrorIs(t, err, resample.ErrOptions)
	}
	f(resample.Options{}, "Width is 0s")
	f(resample.Options{Width: 1500 * time.Microsecond}, "Width is 1.5ms")
	f(resample.Options{Width: time.Second, Aggregate: 99}, "Aggregation(99)")
	f(resample.Options{Width: time.Second, Closed: 2}, "Closed is 2")
	f(resample.Options{Width: time.Second, Label: 2}, "Label 2")
	f(resample.Options{Width: time.Second, Empty: 9}, "Empty is 9")
	f(resample.Options{Width: time.Second, MaxEmpty: -1}, "MaxEmpty is -1")
}

func TestEmptyBins(t *testing.T) {
	in := []resample.Sample{{0, 1}, {30_000, 2}, {240_000, 5}}
	f := func(empty resample.Empty, want ...resample.Sample) {
		t.Helper()
		got, err := resample.Bins(in, resample.Options{Width: time.Minute, Empty: empty})
		require.NoError(t, err)
		require.Len(t, got, len(want))
		for i := range want {
			require.Equal(t, want[i].Timestamp, got[i].Timestamp)
			require.Equal(t, math.Float64bits(want[i].Value), math.Float64bits(got[i].Value))
		}
	}
	f(resample.Omit, resample.Sample{0, 1.5}, resample.Sample{240_000, 5})
	f(resample.Zero, resample.Sample{0, 1.5}, resample.Sample{60_000, 0}, resample.Sample{120_000, 0}, resample.Sample{180_000, 0}, resample.Sample{240_000, 5})
	f(resample.Previous, resample.Sample{0, 1.5}, resample.Sample{60_000, 1.5}, resample.Sample{120_000, 1.5}, resample.Sample{180_000, 1.5}, resample.Sample{240_000, 5})
	nan := math.NaN()
	f(resample.NaN, resample.Sample{0, 1.5}, resample.Sample{60_000, nan}, resample.Sample{120_000, nan}, resample.Sample{180_000, nan}, resample.Sample{240_000, 5})
}

func TestGapIsBounded(t *testing.T) {
	in := []resample.Sample{{0, 1}, {1_700_000_000_000, 2}}
	_, err := resample.Bins(in, resample.Options{Width: time.Second, Empty: resample.NaN})
	require.ErrorIs(t, err, resample.ErrGap)
	got, err := resample.Bins(in, resample.Options{Width: time.Second})
	require.NoError(t, err)
	require.Len(t, got, 2)

	r, err := resample.New(resample.Options{Width: time.Second, Empty: resample.Zero, MaxEmpty: 2})
	require.NoError(t, err)
	out, err := r.Add(nil, resample.Sample{0, 1})
	require.NoError(t, err)
	_, err = r.Add(out, resample.Sample{4000, 1})
	require.ErrorIs(t, err, resample.ErrGap)
	out, err = r.Add(out, resample.Sample{3000, 2}) // the one before was not taken
	require.NoError(t, err)
	require.Equal(t, []resample.Sample{{0, 1}, {1000, 0}, {2000, 0}, {3000, 2}}, r.Flush(out))
}

func TestOrder(t *testing.T) {
	r, err := resample.New(resample.Options{Width: time.Second})
	require.NoError(t, err)
	out, err := r.Add(nil, resample.Sample{5000, 1})
	require.NoError(t, err)
	_, err = r.Add(out, resample.Sample{4999, 1})
	require.ErrorIs(t, err, resample.ErrOrder)
	out, err = r.Add(out, resample.Sample{4999, math.Inf(1)}) // left out before anything else
	require.NoError(t, err)
	require.Equal(t, []resample.Sample{{5000, 1}}, r.Flush(out))
	require.Empty(t, r.Flush(nil))
	r.Reset()
	out, err = r.Add(nil, resample.Sample{1000, 7})
	require.NoError(t, err)
	require.Equal(t, []resample.Sample{{1000, 7}}, r.Flush(out))
}

func TestSamplesAreLeftAlone(t *testing.T) {
	in := []resample.Sample{{2000, 2}, {1000, 1}}
	_, err := resample.Bins(in, resample.Options{Width: time.Minute, Aggregate: resample.Median})
	require.NoError(t, err)
	require.Equal(t, []resample.Sample{{2000, 2}, {1000, 1}}, in)
}

func TestExtremeTimestamps(t *testing.T) {
	for _, ts := range []int64{math.MinInt64, math.MinInt64 + 1, math.MaxInt64 - 1, math.MaxInt64} {
		for _, closed := range []resample.Side{resample.Left, resample.Right} {
			got, err := resample.Bins([]resample.Sample{{ts, 1}}, resample.Options{Width: time.Minute, Closed: closed})
			require.NoError(t, err)
			require.Len(t, got, 1)
		}
	}
}

func TestResolution(t *testing.T) {
	f := func(want int64, timestamps ...int64) {
		t.Helper()
		var in []resample.Sample
		for _, ts := range timestamps {
			in = append(in, resample.Sample{Timestamp: ts})
		}
		require.Equal(t, want, resample.Resolution(in))
	}
	f(0)
	f(0, 1000)
	f(0, 1000, 1000)
	f(60, 0, 60, 120, 300)
	f(60, 0, 60, 180, 240, 360) // equally common: the first
	f(120, 0, 120, 180, 300, 360)
	many := []int64{0} // the newest 30 alone count
	for range 100 {
		many = append(many, many[len(many)-1]+3600)
	}
	for range 20 {
		many = append(many, many[len(many)-1]+60)
	}
	f(60, many...)
}

func TestNoAllocations(t *testing.T) {
	for _, aggregate := range []resample.Aggregation{resample.Mean, resample.Median} {
		r, err := resample.New(resample.Options{Width: time.Minute, Aggregate: aggregate})
		require.NoError(t, err)
		out := make([]resample.Sample, 0, 16)
		ts := int64(0)
		run := func() {
			for range 200 {
				ts += 1700
				out, _ = r.Add(out[:0], resample.Sample{ts, float64(ts)})
			}
		}
		run()
		require.Zero(t, testing.AllocsPerRun(100, run))
	}
}

// FuzzBins compares with the plain rule: a bin's samples are those whose timestamp lies in it.
func FuzzBins(f *testing.F) {
	f.Add([]byte{1, 0, 2, 0, 3, 0, 4, 0}, uint8(3), uint8(0), false)
	f.Add([]byte("the quick brown fox jumps over"), uint8(200), uint8(6), true)
	f.Fuzz(func(t *testing.T, data []byte, width, aggregate uint8, right bool) {
		o := resample.Options{
			Width: time.Duration(width%60+1) * time.Millisecond, Aggregate: resample.Aggregation(aggregate % 8),
		}
		if right {
			o.Closed = resample.Right
		}
		var in []resample.Sample
		for ; len(data) >= 3 && len(in) < 500; data = data[3:] {
			in = append(in, resample.Sample{int64(int16(binary.LittleEndian.Uint16(data))), float64(int8(data[2]))})
		}
		got, err := resample.Bins(in, o)
		require.NoError(t, err)
		w, total := o.Width.Milliseconds(), 0
		for i, b := range got {
			require.Zero(t, b.Timestamp%w)
			if i > 0 {
				require.Less(t, got[i-1].Timestamp, b.Timestamp)
			}
			var held []resample.Sample
			for _, s := range in {
				if !right && s.Timestamp >= b.Timestamp && s.Timestamp < b.Timestamp+w || right && s.Timestamp > b.Timestamp && s.Timestamp <= b.Timestamp+w {
					held = append(held, s)
				}
			}
			require.NotEmpty(t, held)
			total += len(held)
			low, high, sum := math.Inf(1), math.Inf(-1), 0.0
			for _, s := range held {
				low, high, sum = min(low, s.Value), max(high, s.Value), sum+s.Value
			}
			require.True(t, o.Aggregate == resample.Sum || o.Aggregate == resample.Count || b.Value >= low && b.Value <= high)
			switch o.Aggregate {
			case resample.Count:
				require.EqualValues(t, len(held), b.Value)
			case resample.Sum: // whole numbers: exact
				require.Equal(t, sum, b.Value)
			case resample.Min:
				require.Equal(t, low, b.Value)
			case resample.Max:
				require.Equal(t, high, b.Value)
			}
		}
		require.Equal(t, len(in), total)
	})
}
