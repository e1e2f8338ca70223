package pickle

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	ogorek "github.com/kisielk/og-rek"
)

// Each benchmark decodes or encodes messages of 1,000 points; ns/point is the
// figure to compare. The thing to beat runs beside it on the same bytes; compare
// within one run, with -cpu 1, since og-rek's garbage is collected on another
// core otherwise. BenchmarkPython (build tag interop) is CPython's.
//
// What bounds decoding, from profiles of protocol 4 with distinct names: of about
// 13.6 ns a point, 8 read the item, 1.1 check the name for UTF-8, 1.2 are the
// caller's function, and the rest stores the point and loads it again. That last
// is the price of handing nothing out before the end of the pickle is known.
// Leaving out memo gets saves 1 ns, the memo 0.5, offsets for error messages 0.7:
// there is no single thing left. Protocol 0 spends a third of its time on the
// digits of floats. Of the encoder's time a quarter goes into hashing, checking
// and copying names, a seventh into finding repeated ones, a tenth into writing
// numbers, and the rest into the loop around that.

func perPoint(b *testing.B, points int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(points), "ns/point")
}

func BenchmarkDecode(b *testing.B) {
	for _, names := range []struct {
		label    string
		distinct int
	}{{"distinct", 1000}, {"repeated", 50}} {
		for _, p := range producers {
			body := p.encode(samplePoints(1000, names.distinct))
			b.Run(fmt.Sprintf("%s/%s/pickle", p.name, names.label), func(b *testing.B) {
				benchDecode(b, &Decoder{}, body)
			})
			b.Run(fmt.Sprintf("%s/%s/machine", p.name, names.label), func(b *testing.B) {
				benchDecode(b, &Decoder{slow: true}, body)
			})
			b.Run(fmt.Sprintf("%s/%s/og-rek", p.name, names.label), func(b *testing.B) {
				benchOgorek(b, body)
			})
		}
	}
}

func benchDecode(b *testing.B, d *Decoder, body []byte) {
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	var sum float64
	n := 0
	emit := func(p Datapoint) { sum += p.Value + float64(len(p.Name)); n++ }
	for b.Loop() {
		n = 0
		if err := d.Decode(body, emit); err != nil || n != 1000 {
			b.Fatal(err, n)
		}
	}
	perPoint(b, 1000)
}

// benchOgorek decodes and takes the points out of og-rek's values, as any user
// of it must.
func benchOgorek(b *testing.B, body []byte) {
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	r := bytes.NewReader(body)
	for b.Loop() {
		r.Reset(body)
		v, err := ogorek.NewDecoder(r).Decode()
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for _, item := range v.([]any) {
			if t, ok := item.(ogorek.Tuple); ok && len(t) == 2 {
				if _, ok := t[0].(string); ok {
					n++
				}
			}
		}
		if n != 1000 {
			b.Fatal(n)
		}
	}
	perPoint(b, 1000)
}

func BenchmarkEncode(b *testing.B) {
	for _, distinct := range []int{1000, 50} {
		pts := samplePoints(1000, distinct)
		b.Run(fmt.Sprintf("names=%d/pickle", distinct), func(b *testing.B) {
			b.ReportAllocs()
			e := Encoder{MaxPoints: 1000}
			var buf []byte
			for b.Loop() {
				out, n, err := e.AppendFrame(buf[:0], pts)
				if err != nil || n != len(pts) {
					b.Fatal(n, err)
				}
				buf = out
			}
			perPoint(b, len(pts))
		})
		b.Run(fmt.Sprintf("names=%d/og-rek", distinct), func(b *testing.B) {
			b.ReportAllocs()
			list := make([]any, len(pts))
			for i, p := range pts {
				list[i] = ogorek.Tuple{string(p.Name), ogorek.Tuple{int64(p.Timestamp), p.Value}}
			}
			var buf bytes.Buffer
			for b.Loop() {
				buf.Reset()
				if err := ogorek.NewEncoder(&buf).Encode(list); err != nil {
					b.Fatal(err)
				}
			}
			perPoint(b, len(pts))
		})
	}
}

func BenchmarkFrameReader(b *testing.B) {
	for _, points := range []int{1, 500} {
		frame, _, err := new(Encoder).AppendFrame(nil, samplePoints(points, points))
		if err != nil {
			b.Fatal(err)
		}
		stream := bytes.Repeat(frame, 1+(1<<20)/len(frame))
		b.Run(fmt.Sprintf("points=%d", points), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(stream)))
			src := bytes.NewReader(nil)
			f := NewFrameReader(src, 0)
			for b.Loop() {
				src.Reset(stream)
				f.err = nil
				for {
					if _, err := f.Next(); err == io.EOF {
						break
					} else if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
