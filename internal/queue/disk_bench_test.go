package queue

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkAppend64K is to be compared with BenchmarkWriteAndSync64K: the same bytes, without a queue.
func BenchmarkAppend64K(b *testing.B) {
	q, err := Open(Options{Dir: b.TempDir(), MaxBytes: 256 << 20})
	if err != nil {
		b.Fatal(err)
	}
	rec := make([]byte, 64<<10)
	b.SetBytes(int64(len(rec)))
	b.ReportAllocs()
	for b.Loop() {
		pos, err := q.Append(context.Background(), rec, 1000)
		if err != nil {
			b.Fatal(err)
		}
		if pos%64 == 0 {
			if err := q.Ack(pos); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := q.Release(); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkWriteAndSync64K(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "bare"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	rec := make([]byte, 64<<10)
	b.SetBytes(int64(len(rec)))
	for b.Loop() {
		if _, err := f.Write(rec); err != nil {
			b.Fatal(err)
		}
		if err := datasync(f); err != nil {
			b.Fatal(err)
		}
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
