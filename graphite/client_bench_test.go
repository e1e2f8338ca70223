package graphite_test

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/internal/rig"
)

// BenchmarkClient sends to a peer that reads and forgets, from memory, and with a spool: in its stride (spool), and waiting
// for the disk with each batch of 500 (spool-sync), alone and as one of 16. Beside it stands what a program does that
// writes lines to a connection itself and confirms nothing.
func BenchmarkClient(b *testing.B) {
	addr := rig.Forgetful(b)
	const batch = 500
	var pts graphite.Batch
	for i := range batch {
		pts.Add(fmt.Sprintf("servers.web%03d.cpu.user", i), time.Unix(1700000000, 0), float64(i)+0.5)
	}
	points := func(b *testing.B, n int) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/point")
	}
	for _, p := range []graphite.Protocol{graphite.Pickle, graphite.Line} {
		b.Run(p.String(), func(b *testing.B) {
			c, err := graphite.NewClient(graphite.ClientConfig{Addrs: []string{addr}, Protocol: p})
			require.NoError(b, err)
			b.ReportAllocs()
			for range b.N { // not b.Loop, which would leave out the time of Flush
				if err := c.Send(context.Background(), pts.Points()); err != nil {
					b.Fatal(err)
				}
			}
			require.NoError(b, c.Flush(context.Background()))
			points(b, batch*b.N)
			require.NoError(b, c.Close(context.Background()))
		})
	}
	spooled := func(b *testing.B, send func(c *graphite.Client) error, parallel int) {
		c, err := graphite.NewClient(graphite.ClientConfig{Addrs: []string{addr}, SpoolDir: b.TempDir()})
		require.NoError(b, err)
		b.ReportAllocs()
		b.SetParallelism(parallel)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := send(c); err != nil {
					b.Error(err)
				}
			}
		})
		require.NoError(b, c.Flush(context.Background()))
		points(b, batch*b.N)
		require.NoError(b, c.Close(context.Background()))
	}
	b.Run("pickle/spool", func(b *testing.B) {
		spooled(b, func(c *graphite.Client) error { return c.SendAsync(context.Background(), pts.Points(), nil) }, 1)
	})
	b.Run("pickle/spool-sync", func(b *testing.B) {
		spooled(b, func(c *graphite.Client) error { return c.Send(context.Background(), pts.Points()) }, 1)
	})
	b.Run("pickle/spool-sync-16", func(b *testing.B) {
		spooled(b, func(c *graphite.Client) error { return c.Send(context.Background(), pts.Points()) }, 16)
	})
	b.Run("fmt.Fprintf", func(b *testing.B) {
		c, err := net.Dial("tcp", addr)
		require.NoError(b, err)
		defer c.Close()
		n := 0
		for b.Loop() {
			var text []byte
			for _, p := range pts.Points() {
				text = fmt.Appendf(text, "%s %v %d\n", p.Name, p.Value, p.Timestamp/1000)
			}
			if _, err := c.Write(text); err != nil {
				b.Fatal(err)
			}
			n += batch
		}
		points(b, n)
	})
}
