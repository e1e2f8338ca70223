//go:build interop

package graphite_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/internal/rig"
)

const (
	interopMetrics = 250
	interopTimes   = 400 // of each metric
)

// hardValue is hard to write down without loss.
func hardValue(n int) float64 {
	switch n % 8 {
	case 0:
		return math.MaxFloat64
	case 1:
		return math.SmallestNonzeroFloat64
	case 2:
		return -2.5e17 * float64(n)
	case 3:
		return float64(n) / 3
	case 4:
		return 1e-300 * float64(n)
	case 5:
		return 123456789.12345679 + float64(n)
	}
	return float64(n)
}

// TestInteropClientToCarbon delivers 100,000 points by each protocol to carbon-cache and reads them back, value for
// value, by RenderClient.
func TestInteropClientToCarbon(t *testing.T) {
	carbon := rig.CarbonCache(t, rig.CarbonOptions{})
	web := rig.GraphiteWeb(t, carbon)
	render := &graphite.RenderClient{BaseURL: web.URL}
	t.Cleanup(render.CloseIdleConnections)
	first := time.Now().Unix() - 7200
	for protocol, addr := range map[graphite.Protocol]string{graphite.Pickle: carbon.Pickle, graphite.Line: carbon.Line} {
		t.Run(protocol.String(), func(t *testing.T) {
			c, err := graphite.NewClient(graphite.ClientConfig{Addrs: []string{addr}, Protocol: protocol})
			require.NoError(t, err)
			var b graphite.Batch
			for n := range interopMetrics * interopTimes {
				b.Add(interopName(protocol, n%interopMetrics), time.Unix(first+int64(n/interopMetrics), 0), hardValue(n))
				if b.Len() == 1000 {
					require.NoError(t, c.Send(limit(t), b.Points()))
					b.Reset()
				}
			}
			require.NoError(t, c.Close(limit(t)))
			st := c.Stats()
			require.Equal(t, []uint64{interopMetrics * interopTimes, interopMetrics * interopTimes, 0, 0},
				[]uint64{st.Accepted, st.Delivered, st.Resent, st.Assumed})
			waitWritten(t, web, protocol, first)
			require.Equal(t, interopMetrics*interopTimes, requireRendered(t, render, protocol, first))
			t.Logf("%d points on %d connections, read back", st.Delivered, st.Connects)
		})
	}
	requireLast(t, carbon.Line, web, render)
}

func interopName(p graphite.Protocol, m int) string { return fmt.Sprintf("client.%v.m%d", p, m) }

// waitWritten waits until graphite-web shows as many points as there are. Carbon moves them from its memory into files.
// It asks without graphite-web's cache, in which an incomplete answer would stay for a minute.
func waitWritten(t *testing.T, web *rig.Graphite, protocol graphite.Protocol, first int64) {
	t.Helper()
	rig.WaitFor(t, time.Minute, "points", func() error {
		n := 0
		for _, s := range web.RenderMany(t, []string{fmt.Sprintf("client.%v.*", protocol)}, first-1, first+interopTimes-1) {
			for _, p := range s.Samples {
				if !p.Null {
					n++
				}
			}
		}
		if n < interopMetrics*interopTimes {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
}

// requireRendered compares what RenderClient reads and returns how much it was.
func requireRendered(t *testing.T, render *graphite.RenderClient, protocol graphite.Protocol, first int64) (points int) {
	t.Helper()
	const atOnce = 50
	for from := 0; from < interopMetrics; from += atOnce {
		var targets []string
		for m := range atOnce {
			targets = append(targets, interopName(protocol, from+m))
		}
		series, err := render.Render(limit(t), targets, time.Unix(first-1, 0), time.Unix(first+interopTimes-1, 0))
		require.NoError(t, err)
		require.Len(t, series, len(targets))
		for i, s := range series {
			require.Equal(t, targets[i], s.Target)
			require.Len(t, s.Points, interopTimes)
			for k, p := range s.Points {
				want := hardValue(k*interopMetrics + from + i)
				if p.Timestamp != (first+int64(k))*1000 || math.Float64bits(p.Value) != math.Float64bits(want) {
					require.Fail(t, "changed", "%s at %d: %v, not %v", s.Target, p.Timestamp, p.Value, want)
				}
				points++
			}
		}
	}
	return points
}

// requireLast asks for the last points of metrics of several ages.
func requireLast(t *testing.T, addr string, web *rig.Graphite, render *graphite.RenderClient) {
	t.Helper()
	now := time.Now().Unix()
	ages := []int64{10, 3600, 10 * 3600, 3 * 86400, 20 * 86400, 80 * 86400}
	c, err := graphite.NewClient(graphite.ClientConfig{Addrs: []string{addr}, Protocol: graphite.Line})
	require.NoError(t, err)
	var b graphite.Batch
	want := map[string]graphite.Point{}
	for i, age := range ages {
		name := fmt.Sprintf("client.last.m%d", i)
		at := now - age
		if age > 86400 {
			at -= at % 60 // the second archive's step
		}
		b.Add(name, time.Unix(at-600, 0), -1)
		b.Add(name, time.Unix(at, 0), float64(age)+0.5)
		want[name] = graphite.Point{Name: []byte(name), Timestamp: at * 1000, Value: float64(age) + 0.5}
	}
	require.NoError(t, c.Send(limit(t), b.Points()))
	require.NoError(t, c.Close(limit(t)))
	for i, age := range ages {
		rig.WaitFor(t, time.Minute, "points", func() error {
			n := 0
			for _, p := range web.Render(t, fmt.Sprintf("client.last.m%d", i), now-age-1200, now) {
				if !p.Null {
					n++
				}
			}
			if n != 2 {
				return fmt.Errorf("%d", n)
			}
			return nil
		})
	}
	for name, p := range want {
		got, ok, err := render.Last(limit(t), name)
		require.NoError(t, err)
		require.True(t, ok, name)
		require.Equal(t, p, got)
	}
	_, ok, err := render.Last(limit(t), "client.last.absent")
	require.NoError(t, err)
	require.False(t, ok)
}
