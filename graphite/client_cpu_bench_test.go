//go:build unix

package graphite_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/internal/rig"
)

// BenchmarkClientCPU is what a point costs that a gateway sends, 450 at a time, each with its tag, and of which it wants
// to hear once it is delivered: in memory, of 10,000 names, to a peer that reads and forgets. cpu-ns/point is of the whole
// process, the kernel's part and that of the peer included; user-ns/point leaves out the kernel's.
func BenchmarkClientCPU(b *testing.B) {
	const batch, metrics = 450, 10_000
	var names []byte
	at := []int{0}
	for i := range metrics {
		names = fmt.Appendf(names, "servers.web-%04d.cpu.%d.user", i/8, i%8)
		at = append(at, len(names))
	}
	pts, tags := make([]graphite.Point, batch), make([]byte, batch)
	next, delivered := 0, 0
	send := func(c *graphite.Client) {
		for i := range pts {
			k := next % metrics
			pts[i] = graphite.Point{Name: names[at[k]:at[k+1]], Timestamp: int64(next/metrics+1) * 60_000, Value: float64(next)}
			tags[i] = 1
			next++
		}
		if err := c.SendTagged(context.Background(), pts, tags); err != nil {
			b.Fatal(err)
		}
	}
	addr := rig.Forgetful(b)
	for _, p := range []graphite.Protocol{graphite.Pickle, graphite.Line} {
		b.Run(p.String(), func(b *testing.B) {
			c, err := graphite.NewClient(graphite.ClientConfig{
				Addrs: []string{addr}, Protocol: p,
				Delivered: func(pts []graphite.Point, tags []byte) { delivered += len(pts) },
			})
			require.NoError(b, err)
			for range 500 {
				send(c)
			}
			require.NoError(b, c.Flush(context.Background()))
			b.ReportAllocs()
			runtime.GC()
			b.ResetTimer()
			user, system := rig.CPUTime(b)
			for n := 0; n < b.N; n += batch {
				send(c)
			}
			require.NoError(b, c.Flush(context.Background()))
			nowUser, nowSystem := rig.CPUTime(b)
			b.ReportMetric(float64(nowUser-user+nowSystem-system)/float64(b.N), "cpu-ns/point")
			b.ReportMetric(float64(nowUser-user)/float64(b.N), "user-ns/point")
			require.NoError(b, c.Close(context.Background()))
		})
	}
	require.Equal(b, next, delivered)
}
