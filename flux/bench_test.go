package flux_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux"
	"github.com/fluxmetrics/fluxkit/graphite"
)

// sink reads connections to their end and closes them, as carbon does.
func sink(tb testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	tb.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, 256<<10))
				c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// BenchmarkLineInLineOut relays lines over loopback, sender and sink included. Beside it, BenchmarkCopyLines copies the
// same bytes the same way, unread.
func BenchmarkLineInLineOut(b *testing.B) {
	s, err := flux.New(flux.Config{
		Line:        &flux.CarbonInput{Listen: "127.0.0.1:0"},
		Dedup:       flux.DedupConfig{Off: true},
		Destination: flux.Destination{Carbon: &graphite.ClientConfig{Addrs: []string{sink(b)}, Protocol: graphite.Line, Logger: slog.New(slog.DiscardHandler)}},
	})
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	relayLines(b, s.Addr("line").String())
	require.NoError(b, s.Flush(context.Background()))
	b.StopTimer()
	cancel()
	require.NoError(b, <-ended)
	require.NoError(b, s.Close(context.Background()))
}

func BenchmarkCopyLines(b *testing.B) {
	to := sink(b)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				d, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer d.Close()
				io.CopyBuffer(struct{ io.Writer }{d}, struct{ io.Reader }{c}, make([]byte, 64<<10))
				_ = d.(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(io.Discard, d)
			}()
		}
	}()
	relayLines(b, l.Addr().String())
}

const linesAPiece = 10_000

func relayLines(b *testing.B, addr string) {
	var text bytes.Buffer
	for i := range linesAPiece {
		fmt.Fprintf(&text, "servers.web-%04d.cpu.%d.user %d.%d %d\n", i/8, i%8, i%100, i%10, time.Now().Unix())
	}
	const conns = 4
	b.ReportAllocs()
	b.ResetTimer()
	var sending sync.WaitGroup
	for c := range conns {
		sending.Go(func() {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				b.Error(err)
				return
			}
			defer conn.Close()
			for i := c; i < b.N; i += conns {
				if _, err := conn.Write(text.Bytes()); err != nil {
					b.Error(err)
					return
				}
			}
			_ = conn.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, conn)
		})
	}
	sending.Wait()
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/linesAPiece, "ns/point")
}
