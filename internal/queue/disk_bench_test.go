package queue

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkAppend64K appends records of 64 KiB, and by turns writes and syncs the same bytes, to a file that grows
// likewise, without a queue. times-bare is what the queue takes compared with that.
func BenchmarkAppend64K(b *testing.B) {
	const turn = 32
	q, err := Open(Options{Dir: b.TempDir(), MaxBytes: 256 << 20})
	if err != nil {
		b.Fatal(err)
	}
	bare, err := os.Create(filepath.Join(b.TempDir(), "bare"))
	if err != nil {
		b.Fatal(err)
	}
	defer bare.Close()
	rec := make([]byte, 64<<10)
	var queued, written time.Duration
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		for range turn {
			if _, err := q.Append(context.Background(), rec, 1000); err != nil {
				b.Fatal(err)
			}
		}
		if err := q.Ack(q.Last()); err != nil {
			b.Fatal(err)
		}
		queued += time.Since(start)
		start = time.Now()
		for range turn {
			if _, err := bare.Write(rec); err != nil {
				b.Fatal(err)
			}
			if err := datasync(bare); err != nil {
				b.Fatal(err)
			}
		}
		written += time.Since(start)
		n += turn
	}
	b.ReportMetric(float64(queued.Nanoseconds())/float64(n), "ns/record")
	b.ReportMetric(float64(written.Nanoseconds())/float64(n), "bare-ns/record")
	b.ReportMetric(float64(queued)/float64(written), "times-bare")
	if err := q.Release(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkDirAppendNextAck is BenchmarkAppendNextAck in a directory, committed as a carbon input does it.
func BenchmarkDirAppendNextAck(b *testing.B) {
	q, err := Open(Options{Dir: b.TempDir(), MaxBytes: 256 << 20})
	if err != nil {
		b.Fatal(err)
	}
	rec := make([]byte, 4096)
	var out []byte
	var pos Pos
	b.SetBytes(int64(len(rec)))
	b.ReportAllocs()
	for b.Loop() {
		last, err := q.AppendAsync(context.Background(), rec, 50)
		if err != nil {
			b.Fatal(err)
		}
		if last%256 > 0 {
			continue
		}
		if err := q.Sync(context.Background(), last); err != nil {
			b.Fatal(err)
		}
		for pos < last {
			if out, pos, _, err = q.TryNext(pos, out); err != nil {
				b.Fatal(err)
			}
		}
		if err := q.Ack(pos); err != nil {
			b.Fatal(err)
		}
	}
	if err := q.Release(); err != nil {
		b.Fatal(err)
	}
}
