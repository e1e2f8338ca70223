package record_test

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/record"
)

func samples() []record.Point {
	return []record.Point{
		{Name: []byte("servers.web.cpu"), Timestamp: 1478021700000, Value: 1},
		{Name: []byte(""), Timestamp: math.MinInt64, Value: math.Inf(-1), Tag: record.MaxTag},
		{Name: []byte(strings.Repeat("long.", 100)), Timestamp: -1, Value: math.Copysign(0, -1), Tag: 1, Extra: []byte("ttl")},
		{Name: []byte("é;host=ü"), Timestamp: math.MaxInt64, Value: math.SmallestNonzeroFloat64, Extra: make([]byte, 300)},
	}
}

func build(pts []record.Point) []byte {
	var w record.Writer
	for i := range pts {
		w.Add(&pts[i])
	}
	return w.Bytes()
}

func collect(b record.Batch) []record.Point {
	var out []record.Point
	var p record.Point
	for c := b.Cursor(); c.Next(&p); {
		out = append(out, p)
	}
	return out
}

func TestRoundTrip(t *testing.T) {
	pts := samples()
	b, err := record.Decode(build(pts))
	require.NoError(t, err)
	require.Equal(t, len(pts), b.Len())
	require.Equal(t, pts, collect(b))
}

func TestSplitAndConcat(t *testing.T) {
	pts := samples()
	b, err := record.Decode(build(pts))
	require.NoError(t, err)
	for n := range len(pts) + 1 {
		head, tail := b.First(n), b.Skip(n)
		require.Equal(t, n, head.Len())
		require.Equal(t, len(pts)-n, tail.Len())
		joined := append(append([]byte(nil), tail.Points()...), head.Points()...)
		require.Equal(t, append(append([]record.Point(nil), pts[n:]...), pts[:n]...),
			collect(record.Concat(joined, len(pts))))
	}
}

func TestRawIsThePoint(t *testing.T) {
	pts := samples()
	b, err := record.Decode(build(pts))
	require.NoError(t, err)
	var p record.Point
	c := b.Cursor()
	for i := 0; c.Next(&p); i++ {
		require.Equal(t, pts[i:i+1], collect(record.Concat(c.Raw(), 1)))
	}
}

func TestWriterReuse(t *testing.T) {
	var w record.Writer
	require.Nil(t, w.Bytes())
	require.Zero(t, w.Size())
	for range 2 {
		pts := samples()
		w.Reset()
		require.Nil(t, w.Bytes())
		w.Add(&pts[0])
		require.Equal(t, 1, w.Len())
		require.Equal(t, len(w.Bytes()), w.Size())
		b, err := record.Decode(w.Bytes())
		require.NoError(t, err)
		require.Equal(t, pts[:1], collect(b))
	}
}

func TestCutAtEveryByte(t *testing.T) {
	rec := build(samples())
	for n := range rec {
		_, err := record.Decode(rec[:n:n])
		require.ErrorIs(t, err, record.ErrCorrupt, "cut at %d", n)
	}
	_, err := record.Decode(append(rec, 0))
	require.ErrorIs(t, err, record.ErrCorrupt)
}

func FuzzDecode(f *testing.F) {
	f.Add(build(samples()))
	f.Add(build(samples()[:1]))
	f.Add([]byte{1, 255, 255, 255, 255})
	f.Add([]byte{1, 1, 0, 0, 0, 0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		b, err := record.Decode(in)
		if err != nil {
			require.ErrorIs(t, err, record.ErrCorrupt)
			return
		}
		pts := collect(b)
		require.Len(t, pts, b.Len())
		if len(pts) == 0 {
			return
		}
		again, err := record.Decode(build(pts))
		require.NoError(t, err)
		require.Equal(t, b.Len(), again.Len())
	})
}

func BenchmarkAddAndWalk(b *testing.B) {
	var w record.Writer
	p := record.Point{Name: []byte("servers.web-0001.cpu.0.user"), Timestamp: 1478021700000, Value: 1}
	b.ReportAllocs()
	for b.Loop() {
		w.Reset()
		for range 1000 {
			w.Add(&p)
		}
		batch, _ := record.Decode(w.Bytes())
		var got record.Point
		c := batch.Cursor()
		for c.Next(&got) {
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/point")
}
