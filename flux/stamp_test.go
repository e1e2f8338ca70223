package flux

import (
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite"
)

// stampClock is a clock that a test sets.
type stampClock struct {
	mu sync.Mutex
	at time.Time
}

func (c *stampClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *stampClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func newTestStamper() (*stamper, *stampClock) {
	c := &stampClock{at: time.UnixMilli(1_700_000_000_000)}
	return newStamper(c.now, slog.New(slog.DiscardHandler)), c
}

// stamped stamps one point of each series, in one read, and returns the milliseconds since the clock's start.
func stamped(s *stamper, series ...string) []int64 {
	pts := make([]graphite.Point, len(series))
	for i := range series {
		pts[i] = graphite.Point{Name: []byte(series[i]), Timestamp: 5, Value: float64(i)}
	}
	s.stamp(pts)
	out := make([]int64, len(pts))
	for i := range pts {
		out[i] = pts[i].Timestamp - 1_700_000_000_000
	}
	return out
}

func TestPointsOfASeriesGetMillisecondsOfTheirOwn(t *testing.T) {
	s, clock := newTestStamper()
	require.Equal(t, []int64{0, 0, 1, 2, 1}, stamped(s, "a", "b", "a", "a", "b"))
	require.Equal(t, []int64{3, 0}, stamped(s, "a", "c"), "the next read within the millisecond goes on")
	clock.add(time.Millisecond)
	require.Equal(t, []int64{4, 2, 1}, stamped(s, "a", "b", "c"), "a series that is ahead goes on from there")
	clock.add(10 * time.Millisecond)
	require.Equal(t, []int64{11, 11, 12}, stamped(s, "a", "b", "a"), "the clock has caught up")
	require.Zero(t, s.shared.Load())
}

func TestASeriesRunsAMinuteAheadAtMost(t *testing.T) {
	s, clock := newTestStamper()
	all := make([]string, 60_003)
	for i := range all {
		all[i] = "a"
	}
	got := stamped(s, all...)
	for i := range 60_001 {
		require.EqualValues(t, i, got[i])
	}
	require.Equal(t, []int64{60_000, 60_000}, got[60_001:], "then points share the last one")
	require.EqualValues(t, 2, s.shared.Load())
	clock.add(time.Millisecond)
	require.Equal(t, []int64{60_001, 60_001}, stamped(s, "a", "a"))
	require.EqualValues(t, 3, s.shared.Load())
}

func TestStampsAfterTheClockIsSetBack(t *testing.T) {
	s, clock := newTestStamper()
	stamped(s, "a", "b")
	clock.add(-30 * time.Second)
	require.Equal(t, []int64{1, -30_000}, stamped(s, "a", "c"), "a little: the series goes on")
	clock.add(-time.Hour)
	require.Equal(t, []int64{-3_630_000, -3_629_999, -3_630_000}, stamped(s, "a", "a", "c"), "a lot: it begins anew")
}

func TestStampsOfManySeriesAreBounded(t *testing.T) {
	s, clock := newTestStamper()
	names := make([]string, maxStamped)
	for i := range names {
		names[i] = fmt.Sprint("s", i)
	}
	stamped(s, names...)
	require.Len(t, s.last, maxStamped)
	require.Zero(t, s.shared.Load())
	require.Equal(t, []int64{0, 1}, stamped(s, "one more", "s0"), "known ones keep their own")
	require.EqualValues(t, 1, s.shared.Load())
	require.Len(t, s.last, maxStamped)

	clock.add(time.Millisecond)
	require.Equal(t, []int64{1, 2}, stamped(s, "one more", "s0"), "those that the clock has passed make room")
	require.Len(t, s.last, 2)
	require.EqualValues(t, 1, s.shared.Load())
}

func TestStampsAcrossConnections(t *testing.T) {
	s, _ := newTestStamper()
	const conns, reads, per = 8, 50, 20
	var mu sync.Mutex
	seen := map[int64]int{}
	var wg sync.WaitGroup
	for range conns {
		wg.Go(func() {
			for range reads {
				series := make([]string, per)
				for i := range series {
					series[i] = "same"
				}
				got := stamped(s, series...)
				mu.Lock()
				for _, ts := range got {
					seen[ts]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Len(t, seen, conns*reads*per)
	require.Zero(t, s.shared.Load())
}

func TestStampingAllocatesNothing(t *testing.T) {
	s, clock := newTestStamper()
	pts := make([]graphite.Point, 1000)
	for i := range pts {
		pts[i].Name = []byte(fmt.Sprint("series.", i%300))
	}
	s.stamp(pts)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		clock.add(time.Millisecond)
		s.stamp(pts)
	}))
}

func BenchmarkStamp(b *testing.B) {
	s := newStamper(time.Now, slog.New(slog.DiscardHandler))
	pts := make([]graphite.Point, 1000)
	for i := range pts {
		pts[i].Name = fmt.Appendf(nil, "servers.web-%04d.cpu.%d.user", i/8, i%8)
	}
	b.ReportAllocs()
	for b.Loop() {
		s.stamp(pts)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/point")
}
