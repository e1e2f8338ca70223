package graphite_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"strconv"
	"testing"

	"github.com/fluxmetrics/fluxkit/graphite"
)

// benchLines is a read's worth of lines as agents write them.
func benchLines() []byte {
	var b []byte
	for i := range 1000 {
		name := fmt.Sprintf("servers.dc1-rack%02d.host%04d.cpu.%d.user_percent", i%40, i%700, i%8)
		value := math.Round(float64(i)*1234.567) / 1000
		if i%3 == 0 {
			value = float64(i * 17)
		}
		b = graphite.AppendLine(b, graphite.Point{Name: []byte(name), Timestamp: int64(1700000000+i) * 1000, Value: value})
	}
	return b
}

func BenchmarkLineParse(b *testing.B) {
	buf := benchLines()
	lines := bytes.Count(buf, []byte("\n"))
	perLine := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*lines), "ns/line")
	}
	b.Run("parser", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(buf)))
		var p graphite.LineParser
		for b.Loop() {
			if n := p.Parse(buf); n != len(buf) || len(p.Rows) != lines {
				b.Fatal(n, len(p.Rows))
			}
		}
		perLine(b)
	})
	b.Run("strict", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(buf)))
		p := graphite.LineParser{Strict: true}
		for b.Loop() {
			if n := p.Parse(buf); n != len(buf) || len(p.Rows) != lines {
				b.Fatal(n, len(p.Rows))
			}
		}
		perLine(b)
	})
	b.Run("split-fields-parsefloat", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(buf)))
		for b.Loop() {
			n := 0
			for _, line := range bytes.Split(buf, []byte("\n")) {
				f := bytes.Fields(line)
				if len(f) != 3 {
					continue
				}
				v, err := strconv.ParseFloat(string(f[1]), 64)
				ts, err2 := strconv.ParseFloat(string(f[2]), 64)
				if err == nil && err2 == nil && v == v && ts == ts {
					n++
				}
			}
			if n != lines {
				b.Fatal(n)
			}
		}
		perLine(b)
	})
}

func BenchmarkLineReceiver(b *testing.B) {
	buf := benchLines()
	benchReceiver(b, &graphite.LineReceiver{}, buf, bytes.Count(buf, []byte("\n")))
}

// benchReceiver sends a message of so many points over and over, on one connection.
func benchReceiver(b *testing.B, r streamReceiver, message []byte, points int) {
	ctx, stop := context.WithCancel(b.Context())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	returned := make(chan error, 1)
	go func() { returned <- r.Serve(ctx, l, func(context.Context, []graphite.Point) error { return nil }) }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	sent := 0
	b.ReportAllocs()
	b.SetBytes(int64(len(message)))
	for b.Loop() {
		if _, err := c.Write(message); err != nil {
			b.Fatal(err)
		}
		sent += points
	}
	_ = c.(*net.TCPConn).CloseWrite()
	_, err = c.Read(make([]byte, 1))
	c.Close()
	stop()
	if st := r.Stats(); err != io.EOF || <-returned != nil || st.Points != uint64(sent) {
		b.Fatal(err, st, sent)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(sent), "ns/point")
}

func BenchmarkAppendLine(b *testing.B) {
	var p graphite.LineParser
	buf := benchLines()
	p.Parse(buf)
	out := make([]byte, 0, len(buf))
	b.ReportAllocs()
	for b.Loop() {
		out = out[:0]
		for _, pt := range p.Rows {
			out = graphite.AppendLine(out, pt)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(p.Rows)), "ns/line")
}
