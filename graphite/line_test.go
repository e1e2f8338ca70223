package graphite_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite"
)

func TestParseLine(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_123)
	ok := func(line, name string, ms int64, value float64) {
		t.Helper()
		p, err := graphite.ParseLine([]byte(line), now)
		require.NoError(t, err, "%q", line)
		require.Equal(t, textPoint{name, ms, value}, textPoint{string(p.Name), p.Timestamp, p.Value}, "%q", line)
	}
	ok("a.b 1 2", "a.b", 2000, 1)
	ok("a.b 1 2\n", "a.b", 2000, 1)
	ok("a.b 1 2\r\n", "a.b", 2000, 1)
	ok(" \ta.b  1\t2 \t\n", "a.b", 2000, 1)
	ok("a -1.25 1700000000.5", "a", 1700000000500, -1.25)
	ok("a 1 1.0004", "a", 1000, 1)
	ok("a 1 1.9996", "a", 2000, 1)
	ok("a 1 -1", "a", now.UnixMilli(), 1)
	ok("a 1 -1.999", "a", now.UnixMilli(), 1)
	ok("a 1 -2", "a", -2000, 1)
	ok("a 1 -0.5", "a", -500, 1)
	ok("a 1_000.2_5 1_0", "a", 10000, 1000.25)
	ok("a 1e3 1e9", "a", 1e12, 1000)
	ok("a 0.1 1", "a", 1000, 0.1)
	ok("a 0.30000000000000004 1", "a", 1000, 0.30000000000000004)
	ok("a 9007199254740993 1", "a", 1000, 9007199254740992)
	ok("a 1 9223372036854774", "a", 9223372036854774000, 1)
	ok("m;b=2;a=1 1 2", "m;b=2;a=1", 2000, 1)
	ok("../é/..a. 1 2", "../é/..a.", 2000, 1)

	bad := func(line string, want graphite.Reason) {
		t.Helper()
		_, err := graphite.ParseLine([]byte(line), now)
		require.ErrorIs(t, err, want, "%q", line)
		var r graphite.Reason
		require.True(t, errors.As(err, &r))
	}
	bad("", graphite.ReasonMalformed)
	bad("a 1", graphite.ReasonMalformed)
	bad("a 1 2 3", graphite.ReasonMalformed)
	bad("x 1 2\rY 3 4", graphite.ReasonMalformed)
	bad("a 0x10 2", graphite.ReasonNumber)
	bad("a 0x1p4 2", graphite.ReasonNumber)
	bad("a 1 N", graphite.ReasonNumber)
	bad("a 1__0 2", graphite.ReasonNumber)
	bad("a _1 2", graphite.ReasonNumber)
	bad("a True 2", graphite.ReasonNumber)
	bad("a nan 2", graphite.ReasonNaN)
	bad("a inf 2", graphite.ReasonInfinite)
	bad("a -1e999 2", graphite.ReasonInfinite)
	bad("a 1 nan", graphite.ReasonTimestamp)
	bad("a 1 -inf", graphite.ReasonTimestamp)
	bad("a 1 9223372036854776", graphite.ReasonTimestamp)
	bad("a 1 -1e16", graphite.ReasonTimestamp)
	bad("a\x00b 1 2", graphite.ReasonNameSpace)
	bad("a\u00a0b 1 2", graphite.ReasonNameSpace)
	bad("a\u0085b 1 2", graphite.ReasonNameSpace)
	bad("a\x7fb 1 2", graphite.ReasonNameSpace)
	bad("a\xffb 1 2", graphite.ReasonNameUTF8)
}

func TestCheckName(t *testing.T) {
	require.NoError(t, graphite.CheckName("servers.web-1;a=b"))
	require.NoError(t, graphite.CheckName([]byte("Zürich.温度.\U0001f600")))
	require.Equal(t, graphite.ReasonNameEmpty, graphite.CheckName(""))
	require.Equal(t, graphite.ReasonNameSpace, graphite.CheckName("a b"))
	require.Equal(t, graphite.ReasonNameSpace, graphite.CheckName("ü\n"))
	require.Equal(t, graphite.ReasonNameSpace, graphite.CheckName("a\u3000b"))
	require.Equal(t, graphite.ReasonNameSpace, graphite.CheckName("a\u2028b"))
	require.Equal(t, graphite.ReasonNameUTF8, graphite.CheckName("a\xc3"))
	require.Equal(t, graphite.ReasonNameUTF8, graphite.CheckName("a \xed\xa0\x80"))
	require.Equal(t, graphite.ReasonNameUTF8, graphite.CheckName("\u00a0\xff"))
}

func TestReasonTexts(t *testing.T) {
	seen := map[string]bool{}
	for r := graphite.ReasonMalformed; r <= graphite.ReasonFrame; r++ {
		require.Regexp(t, `^[a-z0-9_]+$`, r.String())
		require.Regexp(t, `^graphite: .+`, r.Error())
		require.False(t, seen[r.String()], r)
		seen[r.String()] = true
	}
	require.Equal(t, "unknown", graphite.Reason(200).String())
	require.Equal(t, "graphite: unknown reason 200", graphite.Reason(200).Error())
	rej := graphite.Rejection{Reason: graphite.ReasonCut, Peer: "192.0.2.1:9", Text: []byte("a.b 1"), Err: errors.New("reset")}
	require.EqualError(t, rej, `graphite: cut short: reset: "a.b 1" from 192.0.2.1:9`)
	require.ErrorIs(t, rej, graphite.ReasonCut)
}

// A stream gives the same points however it is cut into reads.
func TestLineParserReads(t *testing.T) {
	stream := []byte("a 1 2\nbad\n" + strings.Repeat("n", 40) + " 1 2\r\n\n" + strings.Repeat("long", 30) + " 1 2\nb 3 4")
	for _, strict := range []bool{false, true} {
		p := graphite.LineParser{MaxLine: 60, Strict: strict}
		want := parseStream(&p, stream, 0)
		require.Len(t, want.reasons, map[bool]int{false: 2, true: 3}[strict])
		for cut := range stream {
			require.Equal(t, want, parseStream(&p, stream, cut), "strict %v, cut at %d", strict, cut)
		}
	}
}

// Carbon takes a line of 16384 bytes and closes the connection over a longer one; here the line alone is lost.
func TestLineParserLimit(t *testing.T) {
	f := func(size, limit int, want ...string) {
		t.Helper()
		line := strings.Repeat("n", size-4) + " 1 2"
		for _, end := range []string{"\n", ""} {
			var long []graphite.Rejection
			p := graphite.LineParser{MaxLine: limit, OnReject: func(r graphite.Rejection) { long = append(long, r) }}
			var got []string
			keep := func() {
				for _, pt := range p.Rows {
					got = append(got, string(pt.Name[:1]))
				}
			}
			buf := []byte("x 1 2\n" + line + end)
			n := p.Parse(buf)
			keep()
			buf = append(append([]byte(nil), buf[n:]...), "\ny 1 2\n"...)
			require.Equal(t, len(buf), p.Parse(buf))
			keep()
			require.Equal(t, want, got, "size %d, end %q", size, end)
			if len(want) == 2 {
				require.Len(t, long, 1)
				require.Equal(t, graphite.ReasonTooLong, long[0].Reason)
				require.Equal(t, size, long[0].Bytes)
			}
		}
	}
	f(16384, 0, "x", "n", "y")
	f(16385, 0, "x", "y")
	f(100, 100, "x", "n", "y")
	f(101, 100, "x", "y")
	f(200_000, 0, "x", "y")
}

// The tail over the limit is reported once, however long it goes on, and a stream may end in it.
func TestLineParserResync(t *testing.T) {
	var rejected []graphite.Reason
	p := graphite.LineParser{MaxLine: 10, OnReject: func(r graphite.Rejection) { rejected = append(rejected, r.Reason) }}
	for range 5 {
		require.Equal(t, 20, p.Parse([]byte(strings.Repeat("z", 20))))
	}
	require.Equal(t, 12, p.Parse([]byte("zzz 1 2\na 1 "))+4)
	require.Equal(t, []graphite.Reason{graphite.ReasonTooLong}, rejected)
	p.Parse([]byte("zzzzzzzzzzzzzzz"))
	p.ParseLast(nil)
	require.Empty(t, p.Rows)
	p.ParseLast([]byte("a 1 2"))
	require.Len(t, p.Rows, 1)
	p.ParseLast([]byte("aaaaaaaaaaaa 1 2"))
	require.Empty(t, p.Rows)
	p.ParseDatagram([]byte("a 1 2\naaaaaaaaaaaaa 1 2"))
	require.Len(t, p.Rows, 1)
	p.ParseDatagram([]byte("b 1 2\n"))
	require.Len(t, p.Rows, 1)
	require.Len(t, rejected, 4)
}

func TestLineParserOptions(t *testing.T) {
	calls := 0
	p := graphite.LineParser{AllowInf: true, Now: func() time.Time {
		calls++
		return time.UnixMilli(int64(calls) * 1000)
	}}
	p.Parse([]byte("a inf -1\nb -inf -1\nc nan -1\n"))
	require.Equal(t, []textPoint{{"a", 1000, math.Inf(1)}, {"b", 1000, math.Inf(-1)}}, textPoints(p.Rows))
	p.Parse([]byte("a 1 -1\n"))
	require.Equal(t, []textPoint{{"a", 2000, 1}}, textPoints(p.Rows))
	p.Parse([]byte("a 1 5\n"))
	require.Equal(t, 2, calls)

	strict := graphite.LineParser{Strict: true}
	strict.Parse([]byte("a\u00a0inf\u20032\nb\x00 1 2\n\xff 1 2\nc 1 2"))
	require.Equal(t, []textPoint{{"a", 2000, math.Inf(1)}, {"b\x00", 2000, 1}}, textPoints(strict.Rows))
}

// Every decimal digit of Unicode is one to the parser, as it is to Python.
func TestUnicodeDigits(t *testing.T) {
	n := 0
	for r := rune(0x80); r <= 0x1ffff; r++ {
		line := fmt.Sprintf("a %c 2", r)
		want, ok := refFloat(string(r))
		p, err := graphite.ParseLine([]byte(line), time.Time{})
		if ok != (err == nil) || want != p.Value {
			require.FailNow(t, "digit", "%U: want %v %v, got %v %v", r, want, ok, p.Value, err)
		}
		if ok {
			n++
		}
	}
	require.Greater(t, n, 600)
}

func TestAppendLine(t *testing.T) {
	f := func(ms int64, v float64, want string) {
		t.Helper()
		require.Equal(t, "a "+want+"\n", string(graphite.AppendLine(nil, graphite.Point{Name: []byte("a"), Timestamp: ms, Value: v})))
	}
	f(1700000000000, 1, "1 1700000000")
	f(1700000000500, -1.5, "-1.5 1700000000.5")
	f(1700000000050, 0.1, "0.1 1700000000.05")
	f(1700000000123, 0, "0 1700000000.123")
	f(0, math.Copysign(0, -1), "-0 0")
	f(-500, 1e6, "1000000 -0.5")
	f(-2001, 1e15, "1000000000000000 -2.001")
	f(1, 1e20, "100000000000000000000 0.001")
	f(10, 1e21, "1e21 0.01")
	f(100, 1e-6, "0.000001 0.1")
	f(1000, 1e-7, "1e-7 1")
	f(1000, 5e-324, "5e-324 1")
	f(1000, -math.MaxFloat64, "-1.7976931348623157e308 1")
	f(1000, math.Inf(1), "inf 1")
	f(1000, math.Inf(-1), "-inf 1")
	f(1000, math.NaN(), "nan 1")
	f(1000, 0.30000000000000004, "0.30000000000000004 1")
	f(math.MaxInt64, 1, "1 9223372036854775.807")
	f(math.MinInt64, 1, "1 -9223372036854775.808")
}

func TestLineAllocations(t *testing.T) {
	buf := append(benchLines(), "a.b 1.25e3 1700000000.25\na 0.1234567890123456789 1_700\né 1 2\na inf 2\nbad\na nan 1\na \u0661 1\n"...)
	now := time.UnixMilli(5)
	for _, strict := range []bool{false, true} {
		p := graphite.LineParser{Strict: strict, OnReject: func(graphite.Rejection) {}, Now: func() time.Time { return now }}
		out := make([]byte, 0, 2*len(buf))
		p.Parse(buf)
		require.Zero(t, testing.AllocsPerRun(20, func() {
			p.Parse(buf)
			out = out[:0]
			for _, pt := range p.Rows {
				out = graphite.AppendLine(out, pt)
			}
			p.ParseDatagram(buf)
		}), "strict %v", strict)
	}
	line := []byte("a.b 1 2")
	require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = graphite.ParseLine(line, now) }))
}

func TestBatch(t *testing.T) {
	var b graphite.Batch
	require.Empty(t, b.Points())
	for round := range 3 {
		for i := range 100 {
			b.Add(fmt.Sprintf("m.%d", i), time.UnixMilli(int64(i)), float64(round))
		}
		require.Equal(t, 100, b.Len())
		for i, p := range b.Points() {
			require.Equal(t, textPoint{fmt.Sprintf("m.%d", i), int64(i), float64(round)}, textPoint{string(p.Name), p.Timestamp, p.Value})
			require.Equal(t, len(p.Name), cap(p.Name), "an append to a name must not reach the next one")
		}
		b.Reset()
		require.Zero(t, b.Len())
	}
	fill := func() {
		b.Reset()
		for range 50 {
			b.Add("some.metric", time.UnixMilli(5), 1)
		}
		b.Points()
	}
	require.Zero(t, testing.AllocsPerRun(10, fill))
}

func ExampleBatch() {
	var b graphite.Batch
	b.Add("servers.web.load", time.Unix(1700000000, 0), 0.5)
	b.Add("servers.web.users", time.Unix(1700000000, 250e6), 3)
	for _, p := range b.Points() {
		fmt.Println(string(p.Name), p.Timestamp, p.Value)
	}
	// Output:
	// servers.web.load 1700000000000 0.5
	// servers.web.users 1700000000250 3
}

func ExampleParseLine() {
	p, err := graphite.ParseLine([]byte("servers.web.load 0.5 1700000000\n"), time.Now())
	fmt.Println(string(p.Name), p.Value, p.Timestamp, err)
	_, err = graphite.ParseLine([]byte("servers.web.load nan 1700000000\n"), time.Now())
	fmt.Println(err, errors.Is(err, graphite.ReasonNaN))
	// Output:
	// servers.web.load 0.5 1700000000000 <nil>
	// graphite: value is NaN true
}

func ExampleLineParser() {
	p := graphite.LineParser{OnReject: func(r graphite.Rejection) { fmt.Printf("%s: %q\n", r.Reason.String(), r.Text) }}
	read := []byte("a 1 1700000000\nb one 1700000000\nc 3 17000")
	n := p.Parse(read)
	for _, row := range p.Rows {
		fmt.Println(string(row.Name), row.Value)
	}
	fmt.Printf("left: %q\n", read[n:])
	// Output:
	// number: "b one 1700000000"
	// a 1
	// left: "c 3 17000"
}

func ExampleAppendLine() {
	line := graphite.AppendLine(nil, graphite.Point{Name: []byte("servers.web.load"), Timestamp: 1700000000250, Value: 0.5})
	fmt.Printf("%s", bytes.TrimSpace(line))
	// Output: servers.web.load 0.5 1700000000.25
}
