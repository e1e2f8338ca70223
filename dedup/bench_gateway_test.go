//go:build unix

package dedup_test

import (
	"fmt"
	"runtime"
	"runtime/metrics"
	"testing"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/internal/rig"
)

// senders are what a gateway sees of four connections, each of which sends a
// quarter of the names in turn, 450 points a request, and of a destination that
// is so many points behind.
type senders struct {
	names []byte
	at    []uint32 // where they start; no pointers, which the collector would follow
	next  [4]int   // of each connection: how many points it has sent
	turn  int
	buf   []byte // the request's body
	req   []dedup.Mark
	out   []dedup.Verdict
}

const (
	senderBatch = 450
	senderLag   = 100_000
)

func newSenders(metrics int) *senders {
	s := &senders{req: make([]dedup.Mark, 0, senderBatch), out: make([]dedup.Verdict, senderBatch)}
	for i := range metrics {
		s.at = append(s.at, uint32(len(s.names)))
		s.names = fmt.Appendf(s.names, "servers.web-%04d.cpu.%d.user", i/8, i%8)
	}
	s.at = append(s.at, uint32(len(s.names)))
	return s
}

// request is the next request. It is valid until the next call.
func (s *senders) request() []dedup.Mark {
	c := s.turn % 4
	s.turn++
	s.buf, s.req = s.buf[:0], s.req[:0]
	quarter := (len(s.at) - 1) / 4
	k, round := s.next[c]%quarter, s.next[c]/quarter
	for range senderBatch {
		from := len(s.buf)
		s.buf = append(s.buf, s.names[s.at[4*k+c]:s.at[4*k+c+1]]...)
		s.req = append(s.req, dedup.Mark{Metric: s.buf[from:], Timestamp: int64(round+1) * 60_000, Value: 1})
		if k++; k == quarter {
			k, round = 0, round+1
		}
	}
	s.next[c] += senderBatch
	return s.req
}

// BenchmarkGateway is what a point costs from the door to its delivery, 100,000
// points later, with marks in memory. The figure of requests alone is to be
// taken off.
func BenchmarkGateway(b *testing.B) {
	for _, metrics := range []int{10_000, 500_000, 2_000_000} {
		b.Run(fmt.Sprintf("metrics=%d", metrics), func(b *testing.B) {
			ctx := b.Context()
			in, done := newSenders(metrics), newSenders(metrics)
			f := &dedup.Filter{Store: &dedup.Memory{}}
			door := dedup.Reservation{Filter: f}
			sent := 0
			step := func() {
				r := in.request()
				if err := door.Judge(ctx, r, in.out); err != nil || in.out[0] != dedup.New {
					b.Fatal(err, in.out[0])
				}
				door.Kept()
				if sent += len(r); sent > senderLag {
					if err := f.Done(ctx, done.request()); err != nil {
						b.Fatal(err)
					}
				}
			}
			if metrics <= 500_000 { // else every name is new at first
				for sent < 2*metrics+2*senderLag {
					step()
				}
			}
			b.ReportAllocs()
			runtime.GC()
			b.ResetTimer()
			cpu, gc := cpuTime(b), gcTime()
			for n := 0; n < b.N; n += senderBatch {
				step()
			}
			b.ReportMetric((cpuTime(b)-cpu)/float64(b.N), "cpu-ns/point")
			b.ReportMetric((gcTime()-gc)/float64(b.N), "gc-ns/point")
		})
	}
	b.Run("requests", func(b *testing.B) {
		in := newSenders(10_000)
		cpu := cpuTime(b)
		for n := 0; n < b.N; n += senderBatch {
			in.request()
			in.request()
		}
		b.ReportMetric((cpuTime(b)-cpu)/float64(b.N), "cpu-ns/point")
	})
}

// cpuTime is what the process has used, in nanoseconds.
func cpuTime(b *testing.B) float64 {
	user, system := rig.CPUTime(b)
	return float64(user + system)
}

// gcTime is the collector's part of it, roughly.
func gcTime() float64 {
	s := []metrics.Sample{{Name: "/cpu/classes/gc/total:cpu-seconds"}}
	metrics.Read(s)
	return s[0].Value.Float64() * 1e9
}
