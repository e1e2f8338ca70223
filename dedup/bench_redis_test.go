//go:build interop && unix

package dedup_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/internal/rig"
)

// What a point costs in a request of 450, from the door to its delivery: in the
// server, and here more than with marks in memory, whose turn comes after each
// request so that both meet the same caches. To hold: 3,000 ns in the server and
// 1,000 ns more here.
func BenchmarkInteropRedis(b *testing.B) {
	for name, c := range map[string]struct {
		opts    dedup.RedisOptions
		metrics int
	}{
		"plain":    {dedup.RedisOptions{}, 10_000},
		"TTL":      {dedup.RedisOptions{TTL: time.Hour}, 10_000},
		"hash":     {dedup.RedisOptions{SkylineHash: true}, 10_000},
		"hash+TTL": {dedup.RedisOptions{SkylineHash: true, TTL: time.Hour}, 10_000},
		"new":      {dedup.RedisOptions{}, 1_000_000},
	} {
		b.Run(name, func(b *testing.B) {
			srv := rig.Redis(b)
			admin, err := redis.DialURL(srv.URL)
			require.NoError(b, err)
			defer admin.Close()
			f := &dedup.Filter{Store: openRedis(b, srv.URL, c.opts)}
			plain := &dedup.Filter{Store: &dedup.Memory{}}
			reqs, out := batches(c.metrics, 450), make([]dedup.Verdict, 450)
			ts := int64(1478021700000)
			n, more, start := 0, 0.0, serverCPU(b, admin)
			for i := 0; b.Loop(); i++ {
				if i%len(reqs) == 0 {
					ts += 10_000
				}
				r := reqs[i%len(reqs)]
				before := cpuTime(b)
				if err := cycle(b.Context(), f, r, out, ts); err != nil {
					b.Fatal(err)
				}
				between := cpuTime(b)
				if err := cycle(b.Context(), plain, r, out, ts); err != nil {
					b.Fatal(err)
				}
				more += between - before - (cpuTime(b) - between)
				n += len(r)
			}
			b.ReportMetric((serverCPU(b, admin)-start)*1e9/float64(n), "server-ns/point")
			b.ReportMetric(more/float64(n), "more-cpu-ns/point")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// The halves of it, and one metric a request from many clients at once.
func BenchmarkInteropRedisCalls(b *testing.B) {
	srv := rig.Redis(b)
	admin, err := redis.DialURL(srv.URL)
	require.NoError(b, err)
	defer admin.Close()
	s := openRedis(b, srv.URL, dedup.RedisOptions{})
	reqs := batches(10_000, 450)
	ts := int64(1478021700000)
	report := func(b *testing.B, run func() int) {
		server, client, trips := serverCPU(b, admin), cpuTime(b), s.Stats().RoundTrips
		n := float64(run())
		b.ReportMetric((serverCPU(b, admin)-server)*1e9/n, "server-ns/point")
		b.ReportMetric((cpuTime(b)-client)/n, "cpu-ns/point")
		b.ReportMetric(n/float64(s.Stats().RoundTrips-trips), "points/trip")
	}
	for name, f := range map[string]func([]dedup.Mark) error{
		"last":  func(m []dedup.Mark) error { return s.Last(b.Context(), m) },
		"raise": func(m []dedup.Mark) error { return s.Raise(b.Context(), m) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			report(b, func() (n int) {
				for i := 0; b.Loop(); i++ {
					r := reqs[i%len(reqs)]
					for k := range r {
						r[k].Timestamp = ts
					}
					ts += 1000
					if err := f(r); err != nil {
						b.Fatal(err)
					}
					n += len(r)
				}
				return n
			})
		})
	}
	b.Run("single", func(b *testing.B) {
		b.SetParallelism(100)
		report(b, func() int {
			b.RunParallel(func(pb *testing.PB) {
				m := []dedup.Mark{{Metric: fmt.Appendf(nil, "m%p", pb)}}
				for pb.Next() {
					if err := s.Last(b.Context(), m); err != nil {
						b.Error(err)
					}
				}
			})
			return b.N
		})
	})
}

// serverCPU returns the seconds that the server has computed.
func serverCPU(b *testing.B, c redis.Conn) (seconds float64) {
	text, err := redis.String(c.Do("INFO", "cpu"))
	require.NoError(b, err)
	for _, name := range []string{"used_cpu_sys:", "used_cpu_user:"} {
		_, rest, ok := strings.Cut(text, name)
		require.True(b, ok)
		v, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
		require.NoError(b, err)
		seconds += v
	}
	return seconds
}
