//go:build unix

package graphite_test

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite"
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
	l := forgetfulPeer(b)
	for _, p := range []graphite.Protocol{graphite.Pickle, graphite.Line} {
		b.Run(p.String(), func(b *testing.B) {
			c, err := graphite.NewClient(graphite.ClientConfig{
				Addrs: []string{l.Addr().String()}, Protocol: p,
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
			cpu, user := cpuTime(b)
			for n := 0; n < b.N; n += batch {
				send(c)
			}
			require.NoError(b, c.Flush(context.Background()))
			total, own := cpuTime(b)
			b.ReportMetric((total-cpu)/float64(b.N), "cpu-ns/point")
			b.ReportMetric((own-user)/float64(b.N), "user-ns/point")
			require.NoError(b, c.Close(context.Background()))
		})
	}
	require.Equal(b, next, delivered)
}

// forgetfulPeer is a Carbon that reads and forgets.
func forgetfulPeer(b *testing.B) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	b.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for buf := make([]byte, 256<<10); err == nil; {
					_, err = c.Read(buf)
				}
			}()
		}
	}()
	return l
}

// cpuTime is what the process has used, in nanoseconds, and what of it was not the kernel's.
func cpuTime(b *testing.B) (total, user float64) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano() + u.Stime.Nano()), float64(u.Utime.Nano())
}
