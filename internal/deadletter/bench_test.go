package deadletter

import (
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkAppend1000 is to be compared with BenchmarkWriteAndSync1000: the same bytes, without anything else.
func BenchmarkAppend1000(b *testing.B) {
	f, err := Open(Options{Path: filepath.Join(b.TempDir(), "dead.jsonl")})
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	es := entries(0, 1000)
	b.SetBytes(int64(1000 * len(appendLine(nil, &es[0]))))
	b.ReportAllocs()
	for b.Loop() {
		if err := f.Append(es); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWriteAndSync1000(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "bare"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	lines := make([]byte, 1000*len(appendLine(nil, &entries(0, 1)[0])))
	b.SetBytes(int64(len(lines)))
	for b.Loop() {
		if _, err := f.Write(lines); err != nil {
			b.Fatal(err)
		}
		if err := datasync(f); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseLine(b *testing.B) {
	line := appendLine(nil, &entries(0, 1)[0])
	line = line[:len(line)-1]
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseLine(line); err != nil {
			b.Fatal(err)
		}
	}
}
