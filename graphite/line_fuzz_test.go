package graphite_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite"
)

// lineSeeds are lines on both sides of every rule.
func lineSeeds() []string {
	return []string{
		"", "\n", " \t\r\n", "a.b 1 2\n", "a.b 1 2\r\n", "a.b 1 2\r\r", "a\t1 \t 2 ", "  a 1 2", "a 1", "a 1 2 3",
		"a 1 -1", "a 1 -1.5", "a 1 -2", "a 1 -0.5", "a 1 1.0005", "a 1 1700000000.123", "a 1 999999999999", "a 1 9e15",
		"a 1 9223372036854775", "a 1 1e26", "a 1 nan", "a nan 1", "a -NaN inf", "a inf 1", "a -Infinity 1", "a 1e400 1",
		"a 1e-400 1", "a 1_000 1_0", "a 1__0 1", "a _1 1", "a 1_ 1", "a 1_.5 1", "a 1e1_0 1", "a 0x10 1", "a 0x1p4 1",
		"a .5 5.", "a . 1", "a +1 +1", "a -0 0", "a 1e 1", "a 1e+ 1", "a 0.1234567890123456789 1", "a 9007199254740993 1",
		"a 123456789012345678 1", "a 1234567890123456789 1", "a 12345678901234567890123 1", "a 4.35 1", "a 1.7976931348623157e308 1",
		"a \u0661\u0662 2", "a \uff11_\uff12 2", "a \U0001d7ff 2", "a\u00a01\u00a02", "a\u2028 1 2", "a\x00b 1 2", "\xff 1 2",
		"a\xed\xa0\x80 1 2", "é;ü=ß 1 2", "a\x1c1\x1d2", "a 1\v2", "m;b=2;a=1 1 2", "a 1 2\nb 3 4\n\xff 1 2\nc 5 6",
		"a 1 \xff", strings.Repeat("x", 40) + " 1 2\n", strings.Repeat("y", 70) + " 1 2\nz 1 2",
	}
}

// FuzzLine holds the parser, with both sets of rules, against the reference. The stream comes in two reads.
func FuzzLine(f *testing.F) {
	for i, s := range lineSeeds() {
		f.Add(s, i, false)
		f.Add(s, i/2, true)
	}
	now := time.UnixMilli(1_700_000_000_123)
	f.Fuzz(func(t *testing.T, s string, cut int, allowInf bool) {
		const maxLine = 60
		for _, strict := range []bool{false, true} {
			ref := reference{strict: strict, allowInf: allowInf, now: now}
			p := graphite.LineParser{MaxLine: maxLine, AllowInf: allowInf, Strict: strict, Now: func() time.Time { return now }}
			got := parseStream(&p, []byte(s), cut)
			var points []textPoint
			var reasons []graphite.Reason
			for _, r := range ref.lines(s, maxLine) {
				if r.reason == 0 {
					points = append(points, r.point)
				} else {
					reasons = append(reasons, r.reason)
				}
			}
			require.Equal(t, points, got.points, "strict %v", strict)
			require.Equal(t, reasons, got.reasons, "strict %v", strict)
		}
	})
}

type parsed struct {
	points  []textPoint
	reasons []graphite.Reason
}

// parseStream parses s as a stream that comes in two reads.
func parseStream(p *graphite.LineParser, s []byte, cut int) (out parsed) {
	p.OnReject = func(r graphite.Rejection) { out.reasons = append(out.reasons, r.Reason) }
	cut = max(0, min(cut, len(s)))
	var carry []byte
	for _, part := range [][]byte{s[:cut], s[cut:]} {
		buf := append(carry, part...)
		n := p.Parse(buf)
		out.points = append(out.points, textPoints(p.Rows)...)
		carry = append([]byte(nil), buf[n:]...)
	}
	p.ParseLast(carry)
	out.points = append(out.points, textPoints(p.Rows)...)
	return out
}

// FuzzDatagram looks for panics and for differences between a datagram and a stream of the same bytes.
func FuzzDatagram(f *testing.F) {
	for _, s := range lineSeeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		now := func() time.Time { return time.UnixMilli(1_700_000_000_123) } // the timestamp -1 asks both
		dgram, stream := graphite.LineParser{Now: now}, graphite.LineParser{Now: now}
		dgram.ParseDatagram([]byte(s))
		require.Equal(t, parseStream(&stream, []byte(s), 0).points, textPoints(dgram.Rows))
		strict := graphite.LineParser{Strict: true}
		strict.ParseDatagram([]byte(s))
	})
}

// FuzzAppendLine shows that a point reads back as itself.
func FuzzAppendLine(f *testing.F) {
	for _, v := range []float64{0, math.Copysign(0, -1), 1, -1, 0.1, 1e-6, 1e-7, 1e21, 1e20, 5e-324, math.MaxFloat64, 1e15, 123456.789, math.Inf(1)} {
		f.Add("a.b", int64(1700000000123), v)
		f.Add("é", int64(-1), v)
	}
	f.Fuzz(func(t *testing.T, name string, ms int64, v float64) {
		if graphite.CheckName(name) != nil || math.IsNaN(v) || ms > -2000 && ms <= -1000 {
			return
		}
		ms %= 1 << 52 // beyond, a float64 of seconds has no milliseconds
		line := graphite.AppendLine(nil, graphite.Point{Name: []byte(name), Timestamp: ms, Value: v})
		p := graphite.LineParser{AllowInf: true, MaxLine: 1 << 30}
		p.Parse(line)
		if ms > -2000 && ms <= -1000 {
			return
		}
		require.Equal(t, []textPoint{{name, ms, v}}, textPoints(p.Rows), "%q", line)
		require.Equal(t, math.Signbit(v), math.Signbit(p.Rows[0].Value))
	})
}
