package pickle

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// decodeFrames reads every point of a stream of frames.
func decodeFrames(t testing.TB, stream []byte) (pts []Datapoint, frames [][]byte) {
	r, d := NewFrameReader(bytes.NewReader(stream), 1<<30), Decoder{Limits: Limits{Body: 1 << 29, StringBytes: 1 << 29, TotalBytes: 1 << 30}}
	for {
		body, err := r.Next()
		if err != nil {
			require.ErrorContains(t, err, "EOF")
			return pts, frames
		}
		frames = append(frames, bytes.Clone(body))
		require.NoError(t, d.Decode(body, func(p Datapoint) {
			p.Name = bytes.Clone(p.Name)
			pts = append(pts, p)
		}))
		require.Zero(t, d.BadItems())
	}
}

func encodeAll(t testing.TB, e *Encoder, pts []Datapoint) (stream []byte) {
	for len(pts) > 0 {
		out, n, err := e.AppendFrame(stream, pts)
		require.NoError(t, err)
		require.Positive(t, n)
		stream, pts = out, pts[n:]
	}
	return stream
}

func requireSame(t testing.TB, want, got []Datapoint) {
	t.Helper()
	require.Len(t, got, len(want))
	bits := math.Float64bits
	for i, w := range want {
		g := got[i]
		if !bytes.Equal(w.Name, g.Name) || bits(w.Timestamp) != bits(g.Timestamp) || bits(w.Value) != bits(g.Value) {
			t.Fatalf("point %d: want %q %v %v, got %q %v %v", i, w.Name, w.Timestamp, w.Value, g.Name, g.Timestamp, g.Value)
		}
	}
}

func TestEncodeBytes(t *testing.T) {
	f := func(name string, pts []Datapoint, want string) {
		t.Helper()
		out, n, err := new(Encoder).AppendFrame([]byte("x"), pts)
		require.NoError(t, err, name)
		require.Equal(t, len(pts), n, name)
		want = "x" + string(AppendFrameHeader(nil, len(want))) + want
		require.Equal(t, want, string(out), name)
	}
	one := "G?\xf0\x00\x00\x00\x00\x00\x00\x86\x86" // 1.0 and the tuples
	f("one point", []Datapoint{{[]byte("a.b"), 1700000000, 1}}, "\x80\x02](U\x03a.bJ\x00\xf1SeG?\xf0\x00\x00\x00\x00\x00\x00\x86\x86e.")
	f("negative", []Datapoint{{[]byte("a"), -1, 1}}, "\x80\x02](U\x01aJ\xff\xff\xff\xff"+one+"e.")
	f("after 2038", []Datapoint{{[]byte("a"), 1 << 31, 1}}, "\x80\x02](U\x01a\x8a\x05\x00\x00\x00\x80\x00"+one+"e.")
	f("long before 1901", []Datapoint{{[]byte("a"), -1<<31 - 1, 1}}, "\x80\x02](U\x01a\x8a\x05\xff\xff\xff\x7f\xff"+one+"e.")
	f("fraction", []Datapoint{{[]byte("a"), 1.5, 1}}, "\x80\x02](U\x01aG?\xf8\x00\x00\x00\x00\x00\x00"+one+"e.")
	f("unicode", []Datapoint{{[]byte("ä"), 1, 1}}, "\x80\x02](X\x02\x00\x00\x00\xc3\xa4J\x01\x00\x00\x00"+one+"e.")
	f("long name", []Datapoint{{bytes.Repeat([]byte("n"), 256), 1, 1}}, "\x80\x02](T\x00\x01\x00\x00"+strings.Repeat("n", 256)+"J\x01\x00\x00\x00"+one+"e.")
	f("repeated", []Datapoint{{[]byte("name"), 1, 1}, {[]byte("other"), 1, 1}, {[]byte("name"), 1, 1}},
		"\x80\x02](U\x04nameq\x00J\x01\x00\x00\x00"+one+"U\x05otherJ\x01\x00\x00\x00"+one+"h\x00J\x01\x00\x00\x00"+one+"e.")
	f("too short for the memo", []Datapoint{{[]byte("ab"), 1, 1}, {[]byte("ab"), 1, 1}},
		"\x80\x02](U\x02abJ\x01\x00\x00\x00"+one+"U\x02abJ\x01\x00\x00\x00"+one+"e.")
	f("often enough for the memo", []Datapoint{{[]byte("a"), 1, 1}, {[]byte("a"), 1, 1}, {[]byte("a"), 1, 1}, {[]byte("a"), 1, 1}},
		"\x80\x02](U\x01aq\x00J\x01\x00\x00\x00"+one+strings.Repeat("h\x00J\x01\x00\x00\x00"+one, 3)+"e.")

	out, n, err := new(Encoder).AppendFrame([]byte("x"), nil)
	require.NoError(t, err)
	require.Zero(t, n)
	require.Equal(t, "x", string(out))
}

// TestEncodeLengths writes names of any length into buffers with no room, half of
// what is needed, and enough.
func TestEncodeLengths(t *testing.T) {
	item := func(name []byte) string {
		head := []byte{opShortBinstring, byte(len(name))}
		if len(name) > math.MaxUint8 {
			head = []byte{opBinstring, byte(len(name)), 1, 0, 0}
		}
		return string(head) + string(name) + "J\x01\x00\x00\x00G?\xf0\x00\x00\x00\x00\x00\x00\x86\x86"
	}
	e := &Encoder{}
	for n := 1; n < 300; n++ {
		name := bytes.Repeat([]byte("abcdefghijklmnopqrs"), 17)[n%19:][:n]
		other := append(bytes.Clone(name), '!')
		body := "\x80\x02](" + item(name) + item(other) + "e."
		want := string(AppendFrameHeader(nil, len(body))) + body
		for room := range 3 {
			out, count, err := e.AppendFrame(make([]byte, 0, room*len(want)/2), []Datapoint{{name, 1, 1}, {other, 1, 1}})
			require.NoError(t, err)
			require.Equal(t, 2, count)
			require.Equal(t, want, string(out))
		}
	}
}

func TestEncodeLimits(t *testing.T) {
	pts := samplePoints(1234, 1234)
	stream := encodeAll(t, new(Encoder), pts)
	got, frames := decodeFrames(t, stream)
	requireSame(t, pts, got)
	require.Len(t, frames, 3)

	for _, limit := range []int{90, 100, 333, 4096} {
		got, frames = decodeFrames(t, encodeAll(t, &Encoder{MaxBytes: limit}, pts))
		requireSame(t, pts, got)
		for _, f := range frames {
			require.LessOrEqual(t, len(f), limit)
		}
	}
	got, frames = decodeFrames(t, encodeAll(t, &Encoder{MaxPoints: 1}, pts))
	requireSame(t, pts, got)
	require.Len(t, frames, len(pts))
}

func TestEncodeRefuses(t *testing.T) {
	good := func(name string) Datapoint { return Datapoint{[]byte(name), 1, 1} }
	f := func(bad Datapoint, cause error) {
		t.Helper()
		pts := []Datapoint{good("first"), good("second"), bad, good("last")}
		e := &Encoder{MaxBytes: 200}
		out, n, err := e.AppendFrame([]byte("x"), pts)
		var pe *PointError
		require.ErrorAs(t, err, &pe)
		require.ErrorIs(t, err, cause)
		require.Equal(t, 2, pe.Index)
		require.Equal(t, 2, n)
		got, _ := decodeFrames(t, out[1:])
		requireSame(t, pts[:2], got)

		out, n, err = e.AppendFrame([]byte("x"), pts[2:])
		require.ErrorAs(t, err, &pe)
		require.Zero(t, pe.Index)
		require.Zero(t, n)
		require.Equal(t, "x", string(out))

		out, n, err = e.AppendFrame(nil, pts[3:])
		require.NoError(t, err)
		require.Equal(t, 1, n)
		got, _ = decodeFrames(t, out)
		requireSame(t, pts[3:], got)
	}
	for _, name := range []string{"", " ", "a b", "a\nb 1 1", "a\r", "a\tb", "a\x00", "a\x7f", "\x1f", "a\u0085b", "a\u00a0b",
		"a\u2028b", "a\u3000b", "a\u009fb", "\xff", "a\xc3", "\xed\xa0\x80", "aaaaaaaaaaaaaaa bbbbbbbbbbb"} {
		f(good(name), ErrName)
	}
	f(Datapoint{[]byte("a"), math.NaN(), 1}, ErrTimestamp)
	f(Datapoint{[]byte("a"), math.Inf(-1), 1}, ErrTimestamp)
	f(good(strings.Repeat("n", 180)), ErrTooLarge)
}

// A point that is over the limit is found wherever it stands, and one that just
// fits is sent alone.
func TestEncodeExactlyFits(t *testing.T) {
	e := &Encoder{MaxBytes: 100}
	fits := Datapoint{bytes.Repeat([]byte("n"), 100-6-2-5-9-2), 1, 1}
	out, n, err := e.AppendFrame(nil, []Datapoint{fits, fits})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Len(t, out, 104)
	fits.Name = append(fits.Name, 'n')
	_, _, err = e.AppendFrame(nil, []Datapoint{fits})
	require.ErrorIs(t, err, ErrTooLarge)
}

func TestPlainName(t *testing.T) {
	slow := func(name []byte) bool {
		for _, r := range string(name) {
			if unicode.IsSpace(r) || unicode.IsControl(r) {
				return false
			}
		}
		return len(name) > 0 && utf8.Valid(name)
	}
	e := &Encoder{}
	e.prepare(1)
	for n := range 20 {
		for at := range n {
			for c := range 256 {
				name := bytes.Repeat([]byte("~"), n)
				name[at] = byte(c)
				graphic := c > 0x20 && c < 0x7f
				if slow(name) != (CheckName(name) == nil) || plainName(name) != graphic {
					t.Fatalf("%q", name)
				}
				long := bytes.Repeat([]byte("!"), n+13+int(name[at])%40)
				long[(at*7)%len(long)] = byte(c)
				if _, plain := e.scan(make([]byte, usualName), long); plain != graphic {
					t.Fatalf("%q", long)
				}
			}
		}
	}
}

var scripts = []*unicode.RangeTable{unicode.Latin, unicode.Greek, unicode.Cyrillic, unicode.Arabic, unicode.Devanagari,
	unicode.Han, unicode.Hangul, unicode.Hebrew, unicode.Thai, unicode.Egyptian_Hieroglyphs}

// randomPoint draws from every float and every whole or fractional timestamp.
func randomPoint(r *rand.Rand, names [][]byte) Datapoint {
	p := Datapoint{Name: names[r.IntN(len(names))]}
	for {
		p.Value = math.Float64frombits(r.Uint64())
		switch r.IntN(10) {
		case 0:
			p.Value = math.Copysign(0, r.Float64()-0.5)
		case 1:
			p.Value = math.Float64frombits(r.Uint64N(1 << 52)) // denormal
		case 2:
			p.Value = float64(r.Int64())
		}
		p.Timestamp = math.Float64frombits(r.Uint64())
		switch k := r.IntN(10); {
		case k < 5:
			p.Timestamp = float64(r.Int64() >> r.IntN(63))
		case k < 7:
			p.Timestamp = float64(r.Uint32()) + r.Float64()
		}
		if p.Timestamp-p.Timestamp == 0 {
			return p
		}
	}
}

func randomNamesOf(r *rand.Rand, n int) (names [][]byte) {
	for range n {
		var b []byte
		for range 1 + r.IntN(90) {
			script := scripts[r.IntN(len(scripts))]
			for {
				c := rune(0x21 + r.IntN(0x7f-0x21))
				if r.IntN(3) == 0 {
					of := script.R16
					if len(of) == 0 {
						c = rune(script.R32[0].Lo)
					} else {
						span := of[r.IntN(len(of))]
						c = rune(span.Lo) + rune(r.IntN(int(span.Hi-span.Lo)+1))
					}
				}
				if !unicode.IsSpace(c) && !unicode.IsControl(c) {
					b = utf8.AppendRune(b, c)
					break
				}
			}
		}
		names = append(names, b)
	}
	return names
}

func TestRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	e := &Encoder{}
	for round := range 60 {
		names := randomNamesOf(r, 1+r.IntN(400))
		pts := make([]Datapoint, 1+r.IntN(900))
		for i := range pts {
			pts[i] = randomPoint(r, names)
		}
		e.MaxPoints = []int{0, 1 + r.IntN(50), 2000}[round%3]
		e.MaxBytes = []int{0, 500 + r.IntN(5000)}[round%2]
		got, _ := decodeFrames(t, encodeAll(t, e, pts))
		requireSame(t, pts, got)
	}
}

func TestEncodeDoesNotAllocate(t *testing.T) {
	for _, distinct := range []int{10, 500} {
		pts, e := samplePoints(500, distinct), &Encoder{}
		var buf []byte
		require.Zero(t, testing.AllocsPerRun(20, func() { buf, _, _ = e.AppendFrame(buf[:0], pts) }), fmt.Sprint(distinct))
	}
}
