package dedup_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/fluxmetrics/fluxkit/dedup"
)

// batches returns requests of size points over so many metrics, in turn.
func batches(metrics, size int) [][]dedup.Mark {
	var out [][]dedup.Mark
	for i := 0; i < metrics; i += size {
		var b []dedup.Mark
		for k := i; k < i+size && k < metrics; k++ {
			b = append(b, dedup.Mark{
				Metric: fmt.Appendf(nil, "servers.web-%05d.cpu.total.user", k),
				Value:  float64(k),
			})
		}
		out = append(out, b)
	}
	return out
}

// cycle takes a request through the filter, from the door to its delivery.
func cycle(ctx context.Context, f *dedup.Filter, b []dedup.Mark, out []dedup.Verdict, ts int64) error {
	for i := range b {
		b[i].Timestamp = ts
	}
	if err := f.Judge(ctx, b, out[:len(b)]); err != nil {
		return err
	}
	f.Kept(b)
	return f.Done(ctx, b)
}

func benchmarkCycle(b *testing.B, f *dedup.Filter, metrics, size int) {
	ctx := b.Context()
	reqs, out := batches(metrics, size), make([]dedup.Verdict, size)
	ts := int64(1478021700000)
	for _, r := range reqs {
		if err := cycle(ctx, f, r, out, ts); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	n := 0
	for i := 0; b.Loop(); i++ {
		if i%len(reqs) == 0 {
			ts += 10_000
		}
		r := reqs[i%len(reqs)]
		if err := cycle(ctx, f, r, out, ts); err != nil {
			b.Fatal(err)
		}
		n += len(r)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/point")
}

// The whole cycle with marks in memory, to beat: one locked Go map by name.
func BenchmarkFilterMemory(b *testing.B) {
	for _, c := range []struct{ metrics, size int }{{450, 450}, {10_000, 450}, {10_000, 1}, {500_000, 450}} {
		b.Run(fmt.Sprintf("metrics=%d/batch=%d", c.metrics, c.size), func(b *testing.B) {
			benchmarkCycle(b, &dedup.Filter{Store: &dedup.Memory{}}, c.metrics, c.size)
		})
	}
}

func BenchmarkGoMap(b *testing.B) {
	reqs := batches(10_000, 450)
	marks := map[string]int64{}
	n, ts := 0, int64(0)
	for i := 0; b.Loop(); i++ {
		ts++
		for _, m := range reqs[i%len(reqs)] {
			if marks[string(m.Metric)] < ts {
				marks[string(m.Metric)] = ts
			}
			n++
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/point")
}
