package pickle

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/big"
	"os"
	"runtime/metrics"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// streams returns the streams of the oracle, and those of producers.
func streams(t testing.TB) (all [][]byte) {
	for _, file := range []string{"pickle.json.gz", "pickle-malformed.json.gz"} {
		var cases []struct{ Hex string }
		unpack(t, file, &cases)
		for _, c := range cases {
			b, err := hex.DecodeString(c.Hex)
			require.NoError(t, err)
			all = append(all, b)
		}
	}
	for _, p := range producers {
		for _, n := range []int{1, 3, 70} {
			for _, distinct := range []int{n, 1 + n/3} {
				body := p.encode(samplePoints(n, distinct))
				all = append(all, append(AppendFrameHeader(nil, len(body)), body...))
			}
		}
	}
	for _, odd := range oddBodies {
		all = append(all, append(AppendFrameHeader(nil, len(odd)), odd...))
	}
	return all
}

// oddBodies reach corners that no sender does.
var oddBodies = []string{
	"](X\x01\x00\x00\x00aK\x01K\x02\x86\x86h\x00h\x00e.",
	"\x80\x04]\x94(\x8c\x01a\x94K\x01K\x02\x86\x94\x86\x94h\x03h\x02\x86h\x01h\x02\x86h\x03e.",
	"\x80\x04\x8f\x94(\x8c\x01aK\x01K\x02\x86\x86\x90.",
	"](X\x01\x00\x00\x00aJ\x01\x00\x00\x00G\x00\x00\x00\x00\x00\x00\x00\x00\x86\x860e.",
	"](X\x01\x00\x00\x00aJ\x01\x00\x00\x00G\x00\x00\x00\x00\x00\x00\x00\x00\x86\x86ta.",
	"(lp0\n(Va\\u00e4\np1\n(L5L\nS'1.5'\ntta(g1\n(I01\nF-1e-3\ntta.",
	"}q\x00X\x01\x00\x00\x00ah\x00s.",
	"c_codecs\nencode\n(X\x02\x00\x00\x00\xc3\xa4X\x06\x00\x00\x00latin1tR.",
	"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01\x8b\x02\x00\x00\x00\xff\xff\x86.",
	"((((((((((((tttttttttttt.",
	"]q\x00]q\x01h\x00h\x01\x86ah\x01a.",
}

// unpack reads a JSON file of testdata.
func unpack(t testing.TB, file string, into any) {
	packed, err := os.ReadFile("testdata/" + file)
	require.NoError(t, err)
	r, err := gzip.NewReader(bytes.NewReader(packed))
	require.NoError(t, err)
	require.NoError(t, json.NewDecoder(r).Decode(into))
}

// eachBody calls f with every body of the seeds: those of the streams, and the
// small ones with which fuzzing has widened its coverage.
func eachBody(t testing.TB, f func(body []byte)) {
	var corpus []string
	unpack(t, "corpus.json.gz", &corpus)
	for _, c := range corpus {
		body, err := hex.DecodeString(c)
		require.NoError(t, err)
		f(body)
	}
	for _, s := range streams(t) {
		for r := NewFrameReader(bytes.NewReader(s), 0); ; {
			body, err := r.Next()
			if err != nil {
				break
			}
			f(bytes.Clone(body))
		}
	}
}

// transcript is all that a Decode tells.
func transcript(d *Decoder, body []byte) string {
	var b strings.Builder
	d.OnItemError = func(e ItemError) { fmt.Fprintf(&b, "%v\n", e) }
	err := d.Decode(body, func(p Datapoint) {
		if !utf8.Valid(p.Name) {
			panic("a name is not UTF-8")
		}
		fmt.Fprintf(&b, "%q %x %x\n", p.Name, math.Float64bits(p.Timestamp), math.Float64bits(p.Value))
	})
	fmt.Fprintf(&b, "%v, %d bad, %d read", err, d.BadItems(), d.Consumed())
	return b.String()
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	before := sample[0].Value.Uint64()
	f()
	metrics.Read(sample)
	return sample[0].Value.Uint64() - before
}

// slack is what the runtime and the test itself may allocate beside the subject.
const slack = 1 << 20

func checkDecode(t *testing.T, body []byte) {
	for _, multi := range []bool{false, true} {
		fast, slow := &Decoder{MultiPoint: multi}, &Decoder{MultiPoint: multi, slow: true}
		want := transcript(slow, body)
		require.Equal(t, want, transcript(fast, body), "with and without the fast path")
		require.LessOrEqual(t, fast.peak, 96*len(body)+64<<10)
		require.LessOrEqual(t, slow.peak, 96*len(body)+64<<10)
		requireWork(t, slow, len(body))
		requireWork(t, fast, len(body))
		require.Equal(t, want, transcript(fast, body), "with used scratch")
	}
	d := Decoder{}
	n := allocated(func() { _ = d.Decode(body, func(Datapoint) {}) })
	require.LessOrEqual(t, n, uint64(512*len(body)+slack), "allocated in all")
}

func FuzzDecode(f *testing.F) {
	eachBody(f, func(body []byte) { f.Add(body) })
	f.Fuzz(checkDecode)
}

// valuePoints takes the points out of a value of Unmarshal as carbon would.
func valuePoints(v any) (pts []string, ok bool) {
	items, ok := sequence(v)
	for _, item := range items {
		parts, _ := sequence(item)
		if len(parts) != 2 {
			continue
		}
		var name string
		switch v := parts[0].(type) {
		case string:
			name = v
		case Bytes:
			name = string(v)
		case []byte:
			name = string(v)
		default:
			continue
		}
		dp, _ := sequence(parts[1])
		if len(dp) != 2 || !utf8.ValidString(name) {
			continue
		}
		ts, ok1 := pyFloat(dp[0])
		x, ok2 := pyFloat(dp[1])
		if ok1 && ok2 {
			pts = append(pts, fmt.Sprintf("%q %x %x", name, math.Float64bits(ts), math.Float64bits(x)))
		}
	}
	return pts, ok
}

func sequence(v any) ([]any, bool) {
	switch v := v.(type) {
	case []any:
		return v, true
	case Tuple:
		return v, true
	}
	return nil, false
}

func pyFloat(v any) (float64, bool) {
	text := ""
	switch v := v.(type) {
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case int64:
		return float64(v), true
	case float64:
		return v, true
	case *big.Int:
		f, _ := new(big.Float).SetInt(v).Float64()
		return f, !math.IsInf(f, 0)
	case string:
		text = v
	case Bytes:
		text = string(v)
	case []byte:
		text = string(v)
	}
	f, _, bad := parseFloatString([]byte(text), nil)
	return f, bad == faultNone && len(text) <= DefaultMaxIntegerBytes
}

func deep(v any) int {
	most := 0
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			most = max(most, deep(e))
		}
	case Tuple:
		for _, e := range v {
			most = max(most, deep(e))
		}
	case map[any]any:
		for _, e := range v {
			most = max(most, deep(e))
		}
	default:
		return 0
	}
	return most + 1
}

func checkUnmarshal(t *testing.T, body []byte) {
	var v any
	var err error
	n := allocated(func() { v, err = Unmarshal(body, Limits{}) })
	require.LessOrEqual(t, n, uint64(2048*len(body)+slack), "allocated in all")
	if err != nil {
		return
	}
	require.LessOrEqual(t, deep(v), DefaultMaxDepth+1)
	want, ok := valuePoints(v)
	var got []string
	err = new(Decoder).Decode(body, func(p Datapoint) {
		got = append(got, fmt.Sprintf("%q %x %x", p.Name, math.Float64bits(p.Timestamp), math.Float64bits(p.Value)))
	})
	require.Equal(t, ok, err == nil, "%v: %T", err, v)
	require.Equal(t, want, got, "og-rek, on the left, and the datapoint decoder")
}

func FuzzUnmarshal(f *testing.F) {
	eachBody(f, func(body []byte) { f.Add(body) })
	f.Add([]byte("\x80\x04\x95\x2c\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x01a\x94]\x94(K\x01K\x02e\x8c\x01b\x94G?\xf8\x00\x00\x00\x00\x00\x00C\x02hiN\x87\x94u."))
	f.Fuzz(checkUnmarshal)
}

// cutFrames is the plain reading of the frame format.
func cutFrames(stream []byte, maxBody int) (bodies [][]byte, lost bool) {
	for len(stream) > 0 {
		if len(stream) < 4 {
			return bodies, true
		}
		length := binary.BigEndian.Uint32(stream)
		if uint64(length) > uint64(min(maxBody, len(stream)-4)) {
			return bodies, true
		}
		n := int(length)
		bodies = append(bodies, stream[4:4+n])
		stream = stream[4+n:]
	}
	return bodies, false
}

func checkFrames(t *testing.T, stream []byte, maxBody uint16) {
	limit := int(maxBody)
	if limit == 0 {
		limit = DefaultMaxFrame
	}
	want, lost := cutFrames(stream, limit)
	for _, src := range []io.Reader{bytes.NewReader(stream), iotest.OneByteReader(bytes.NewReader(stream)),
		iotest.HalfReader(bytes.NewReader(stream)), iotest.DataErrReader(bytes.NewReader(stream))} {
		f := NewFrameReader(src, int(maxBody))
		for _, body := range want {
			got, err := f.Next()
			require.NoError(t, err)
			require.True(t, bytes.Equal(body, got))
		}
		_, err := f.Next()
		var fe *FrameError
		require.ErrorAs(t, map[bool]error{true: err, false: &FrameError{}}[lost], &fe)
		if !lost {
			require.Equal(t, io.EOF, err)
		}
		_, again := f.Next()
		require.Equal(t, err, again)
		require.LessOrEqual(t, len(f.buf), 2*len(stream)+usualBuffer)
	}
}

func FuzzFrameReader(f *testing.F) {
	for _, s := range streams(f) {
		f.Add(s, uint16(0))
	}
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x00\x01."), uint16(1))
	f.Add([]byte("GET / HTTP/1.1\r\n"), uint16(9))
	f.Fuzz(checkFrames)
}
