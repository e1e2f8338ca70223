//go:build unix

package queue

import (
	"context"
	"testing"
	"time"

	"github.com/fluxmetrics/fluxkit/internal/rig"
)

// BenchmarkSmallRecords is what a record of two points costs, in memory and in a directory: appended by one goroutine, read
// and acknowledged by another, with the commits and wake-ups that come with that. cpu-ns/op is of the whole process.
func BenchmarkSmallRecords(b *testing.B) {
	memory := func(*testing.B) Options { return Options{MaxBytes: 64 << 20} }
	dir := func(b *testing.B) Options { return Options{Dir: b.TempDir(), MaxBytes: 256 << 20} }
	b.Run("memory", func(b *testing.B) { smallRecords(b, memory(b), 0) })
	b.Run("directory", func(b *testing.B) { smallRecords(b, dir(b), 0) })
	b.Run("memory at 100k per s", func(b *testing.B) { smallRecords(b, memory(b), 100) })
	b.Run("directory at 100k per s", func(b *testing.B) { smallRecords(b, dir(b), 100) })
}

// smallRecords appends so many records a millisecond, or all it can.
func smallRecords(b *testing.B, o Options, perMilli int) {
	q, err := Open(o)
	if err != nil {
		b.Fatal(err)
	}
	rec := make([]byte, 100)
	done := make(chan error)
	start := time.Now()
	user, system := rig.CPUTime(b)
	b.ReportAllocs()
	go func() {
		var out []byte
		var pos Pos
		for {
			var err error
			if out, pos, err = q.Next(context.Background(), pos, out); err != nil {
				done <- q.Ack(pos)
				return
			}
			if pos%1000 == 0 {
				_ = q.Ack(pos)
			}
		}
	}()
	n := 0
	for b.Loop() {
		if _, err := q.AppendAsync(context.Background(), rec, 2); err != nil {
			b.Fatal(err)
		}
		if n++; perMilli > 0 && n%perMilli == 0 {
			time.Sleep(time.Until(start.Add(time.Duration(n/perMilli) * time.Millisecond)))
		}
	}
	if err := q.Close(); err != nil {
		b.Fatal(err)
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	nowUser, nowSystem := rig.CPUTime(b)
	b.ReportMetric(float64(nowUser-user+nowSystem-system)/float64(n), "cpu-ns/op")
	b.ReportMetric(float64(n)/time.Since(start).Seconds(), "records/s")
	if err := q.Release(); err != nil {
		b.Fatal(err)
	}
}
