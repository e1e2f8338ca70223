package flux_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux"
	"github.com/fluxmetrics/fluxkit/graphite"
	peers "github.com/fluxmetrics/fluxkit/internal/rig"
)

// BenchmarkLineInLineOut relays lines over loopback, sender and sink included. Beside it, BenchmarkCopyLines copies the
// same bytes the same way, unread.
func BenchmarkLineInLineOut(b *testing.B) {
	f := func(name string, change func(*flux.Config)) {
		b.Run(name, func(b *testing.B) {
			cfg := flux.Config{
				Line:        &flux.CarbonInput{Listen: "127.0.0.1:0"},
				Dedup:       flux.DedupConfig{Off: true},
				Destination: toSink(b),
			}
			change(&cfg)
			relay(b, cfg)
		})
	}
	f("one", func(*flux.Config) {})
	f("spool", func(c *flux.Config) { c.SpoolDir = b.TempDir() })
	f("two required", func(c *flux.Config) { c.Also = []flux.Destination{toSink(b, required)} })
	f("one and a dead one", func(c *flux.Config) { c.Also = []flux.Destination{toCarbon(nowhere)} })
}

// toSink is a Carbon that reads lines.
func toSink(b *testing.B, change ...func(*flux.Destination)) flux.Destination {
	d := flux.Destination{Carbon: &graphite.ClientConfig{Addrs: []string{peers.Forgetful(b)}, Protocol: graphite.Line, Logger: slog.New(slog.DiscardHandler)}}
	for _, f := range change {
		f(&d)
	}
	return d
}

func relay(b *testing.B, cfg flux.Config) {
	s, err := flux.New(cfg)
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- s.Run(ctx) }()
	relayLines(b, s.Addr("line").String())
	require.NoError(b, s.Flush(context.Background()))
	cancel()
	_ = s.Close(ended()) // what a dead one has not had does not matter here
}

func BenchmarkCopyLines(b *testing.B) {
	to := peers.Forgetful(b)
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

// BenchmarkGateway posts to the handler, delivery to a sink included, and measures a point, the making of its body included. Names move on by a minute
// each time they have all had their turn.
func BenchmarkGateway(b *testing.B) {
	single := func(dst []byte, name int, ts int64) []byte {
		dst = appendItem(append(dst, `{"key":"`+testKey+`",`...), name, ts)
		return append(dst, '}')
	}
	array := func(n int) func(dst []byte, name int, ts int64) []byte {
		return func(dst []byte, name int, ts int64) []byte {
			dst = append(dst, `{"key":"`+testKey+`","metrics":[`...)
			for i := range n {
				if i > 0 {
					dst = append(dst, ',')
				}
				dst = append(appendItem(append(dst, '{'), name+i, ts), '}')
			}
			return append(dst, "]}"...)
		}
	}
	telegraf := func(dst []byte, name int, ts int64) []byte {
		dst = append(dst, `{"metrics":[`...)
		for i := 0; i < 1000; i += 10 {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, `{"fields":{`...)
			for k := range 10 {
				if k > 0 {
					dst = append(dst, ',')
				}
				dst = append(strconv.AppendInt(append(dst, `"usage_`...), int64(k), 10), `":98.5`...)
			}
			dst = strconv.AppendInt(append(dst, `},"name":"cpu","tags":{"cpu":"cpu0","host":"web-`...), int64(name+i)/10, 10)
			dst = append(strconv.AppendInt(append(dst, `"},"timestamp":`...), ts, 10), '}')
		}
		return append(dst, "]}"...)
	}
	header := http.Header{"Key": {testKey}, "Telegraf": {"true"}}
	b.Run("single", func(b *testing.B) { postAll(b, 1, 10_000, nil, single) })
	b.Run("450", func(b *testing.B) { postAll(b, 450, 9_900, nil, array(450)) })
	b.Run("450 new", func(b *testing.B) { postAll(b, 450, 1<<40, nil, array(450)) })
	b.Run("telegraf 1000", func(b *testing.B) { postAll(b, 1000, 10_000, header, telegraf) })
}

func appendItem(dst []byte, name int, ts int64) []byte {
	dst = strconv.AppendInt(append(dst, `"metric":"servers.web-`...), int64(name/8), 10)
	dst = strconv.AppendInt(append(dst, `.cpu.`...), int64(name%8), 10)
	dst = strconv.AppendInt(append(dst, `.user","timestamp":`...), ts, 10)
	return append(strconv.AppendInt(append(dst, `,"value":`...), int64(name%100), 10), ".25"...)
}

// postAll posts b.N requests of n points each.
func postAll(b *testing.B, n, names int, header http.Header, body func(dst []byte, name int, ts int64) []byte) {
	s, err := flux.New(flux.Config{
		HTTP: &flux.HTTPConfig{Keys: []flux.Key{{Secret: testKey}}, MaxAge: -1, MaxFuture: -1, RoomWait: time.Minute}, Destination: toSink(b),
	})
	require.NoError(b, err)
	defer s.Close(ended())
	h := s.Handler()
	w := &nullWriter{header: http.Header{}}
	at, name := time.Now().Unix(), 0
	var text []byte
	read := bytes.NewReader(nil)
	post, err := http.NewRequest("POST", "/flux/metric_data_post", io.NopCloser(read))
	require.NoError(b, err)
	if header != nil {
		post.Header = header
	}
	b.ReportAllocs()
	for b.Loop() {
		if name += n; name+n > names {
			name, at = 0, at+60
		}
		text = body(text[:0], name, at)
		read.Reset(text)
		if h.ServeHTTP(w, post); w.code != http.StatusNoContent {
			b.Fatal(w.code)
		}
	}
	require.NoError(b, s.Flush(context.Background()))
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/point")
}

// nullWriter keeps the status alone.
type nullWriter struct {
	header http.Header
	code   int
}

func (w *nullWriter) Header() http.Header         { return w.header }
func (w *nullWriter) WriteHeader(code int)        { w.code = code }
func (w *nullWriter) Write(p []byte) (int, error) { return len(p), nil }
