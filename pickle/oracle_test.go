package pickle_test

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fluxmetrics/fluxkit/pickle"
	"github.com/stretchr/testify/require"
)

// oracleCase is one stream of frames, and what carbon under Python 3.11 made of
// it.
type oracleCase struct {
	Name    string
	Hex     string
	Points  [][]any // [metric, timestamp, value]
	Verdict string  // ok | logged | closes-connection | exception-closes-connection
	Log     []string
}

// more are cases beside those of the files, of bodies that carbon takes whole.
var more = []oracleCase{
	{Name: "digits of another script", Hex: framed("]U\x01aK\x01X\x04\x00\x00\x00\xd9\xa1\xd9\xa2\x86\x86a."), Points: [][]any{{"a", 1.0, 12.0}}, Verdict: "ok"},
	{Name: "no-break space", Hex: framed("]U\x01aK\x01X\x03\x00\x00\x00\xc2\xa07\x86\x86a."), Points: [][]any{{"a", 1.0, 7.0}}, Verdict: "ok"},
	{Name: "name of 20000 bytes", Hex: framed("]X\x20\x4e\x00\x00" + longName + "K\x01K\x02\x86\x86a."), Points: [][]any{{longName, 1.0, 2.0}}, Verdict: "ok"},
}

var longName = strings.Repeat("n", 20000)

func framed(body string) string {
	return hex.EncodeToString(append(pickle.AppendFrameHeader(nil, len(body)), body...))
}

// reports returns how many bad items and bad messages carbon logs, and whether it
// closes the connection.
func (c oracleCase) reports() (items, messages int, closes bool) {
	for _, line := range c.Log {
		if strings.HasPrefix(line, "Error decoding pickle") {
			items++
		} else {
			messages++
		}
	}
	return items, messages, strings.HasSuffix(c.Verdict, "closes-connection")
}

func oracle(t testing.TB, file string) []oracleCase {
	packed, err := os.ReadFile(filepath.Join("testdata", file))
	require.NoError(t, err)
	r, err := gzip.NewReader(bytes.NewReader(packed))
	require.NoError(t, err)
	var cases []oracleCase
	require.NoError(t, json.NewDecoder(r).Decode(&cases))
	require.NotEmpty(t, cases)
	return cases
}

// point is a Datapoint that owns its name.
type point struct {
	Name             string
	Timestamp, Value float64
}

// wants returns the points that carbon handed on, as it handed them on.
func (c oracleCase) wants(t *testing.T) []point {
	number := func(v any) float64 {
		switch v := v.(type) {
		case float64:
			return v
		case string:
			switch v {
			case "NOW":
				return -1
			case "inf":
				return math.Inf(1)
			case "-inf":
				return math.Inf(-1)
			}
		}
		t.Fatalf("unexpected number in the oracle: %v", v)
		return 0
	}
	var pts []point
	for _, p := range c.Points {
		pts = append(pts, point{p[0].(string), number(p[1]), number(p[2])})
	}
	return pts
}

// outcome is what this package makes of a stream.
type outcome struct {
	points []point
	bad    []pickle.ItemError
	errs   []error // of messages
	lost   error   // framing
}

func decodeStream(stream []byte) outcome {
	var out outcome
	r := pickle.NewFrameReader(bytes.NewReader(stream), 0)
	d := pickle.Decoder{OnItemError: func(e pickle.ItemError) { out.bad = append(out.bad, e) }}
	for {
		body, err := r.Next()
		if err != nil {
			if _, ok := err.(*pickle.FrameError); ok {
				out.lost = err
			}
			return out
		}
		err = d.Decode(body, func(p pickle.Datapoint) {
			out.points = append(out.points, point{string(p.Name), p.Timestamp, p.Value})
		})
		if err != nil {
			out.errs = append(out.errs, err)
		}
	}
}

// difference is a deliberate one between carbon and this package.
type difference struct {
	cases  string // pattern of names in the oracle, as for path.Match
	reason string
	points []point // what we hand out instead of what carbon hands on; nil: the same
	bad    int     // items that we report
	errs   int     // messages that we report
}

var (
	nan    = math.NaN()
	foobar = []point{{"foo.bar", 1700000000, 1.5}}
	next   = []point{{"ok", 1, 2}} // the message behind most malformed ones
)

// differences is every case in which the points, or the kinds of report, are not
// those of carbon.
var differences = []difference{
	{cases: "*/*/p[0-5]/bytes_name", points: foobar,
		reason: "bytes from Python 3 are as good a name as any; carbon refuses _codecs.encode, and hangs up on bytes"},
	{cases: "*/*/p[0-5]/val_nan", points: []point{{"foo.bar", 1700000000, nan}},
		reason: "NaN is handed out; the receiver drops and counts it, carbon drops it silently"},
	{cases: "ts nan", points: []point{{"a", nan, 1}, {"b", 1, 1}, {"ok", 1, 2}},
		reason: "the receiver judges timestamps; carbon closes the connection"},
	{cases: "no STOP", points: []point{{"ok", 1, 2}, {"ok", 1, 2}}, errs: 1,
		reason: "what was complete before the message broke off arrives; carbon drops it"},
	{cases: "BUILD on None", points: next, errs: 1, reason: "a bad message costs no connection"},
	{cases: "REDUCE non-callable", points: next, errs: 1, reason: "a bad message costs no connection"},
	{cases: "BINBYTES8 len 2^62", points: next, errs: 1, reason: "a bad message costs no connection"},
	{cases: "LONG_BINPUT idx 2^*", points: next, errs: 1, reason: "a memo index costs nothing; carbon runs out of memory"},
	{cases: "*/*/*/int_top", errs: 1, reason: "a bad message costs no connection"},
	{cases: "*/*/*/none_top", errs: 1, reason: "a bad message costs no connection"},
	{cases: "*/*/*/int_val_2e2100", bad: 1, reason: "a bad item costs no connection"},
	{cases: "*/*/*/str_top", errs: 1, reason: "a string is no list; carbon takes its characters for bad items"},
	{cases: "*/*/*/val_none", bad: 1, reason: skipped},
	{cases: "*/*/*/val_str_bad", bad: 1, reason: skipped},
	{cases: "*/*/*/one_bad_among_good", bad: 1, reason: skipped},
	{cases: "*/*/*/bytearray_name", bad: 1, reason: harmsItem},
	{cases: "*/*/*/decimal_val", bad: 1, reason: harmsItem},
	{cases: "*/*/*/numpy_*", bad: 1, reason: harmsItem},
	{cases: "bad utf8 SHORT_BINSTRING", bad: 1, reason: harmsItem},
	{cases: "FLOAT 1_0.5", bad: 1, reason: harmsItem},
	{cases: "INT 5000 digits", bad: 1, reason: harmsItem},
	{cases: "digits of another script", points: []point{}, bad: 1, reason: "a number sent as a string is ASCII; float of Python knows all scripts"},
	{cases: "no-break space", points: []point{}, bad: 1, reason: "a number sent as a string is ASCII; float of Python knows all scripts"},
	{cases: "name of 20000 bytes", points: []point{}, bad: 1, reason: "Limits.StringBytes; carbon knows no such limit"},
}

const (
	skipped   = "each bad item is reported; carbon skips a value that is no number without a word"
	harmsItem = "what is wrong with one part harms its item alone; carbon drops the message"
)

// differs finds the entry for a case.
func differs(name string) (difference, bool) {
	for _, d := range differences {
		if ok, _ := filepath.Match(d.cases, name); ok {
			return d, true
		}
	}
	return difference{}, false
}

func TestOracle(t *testing.T) {
	used := map[string]bool{}
	cases := slices.Concat(oracle(t, "pickle.json.gz"), oracle(t, "pickle-malformed.json.gz"), more)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			stream, err := hex.DecodeString(c.Hex)
			require.NoError(t, err)
			got := decodeStream(stream)
			points := c.wants(t)
			bad, errs, closes := c.reports()
			if d, ok := differs(c.Name); ok {
				used[d.cases] = true
				if d.points != nil {
					points = d.points
				}
				same := equalPoints(points, c.wants(t)) && bad == d.bad && errs == d.errs && !closes
				// Of the families named by a pattern, some members may agree with carbon.
				require.False(t, same && !strings.Contains(d.cases, "*"), "no difference")
				bad, errs, closes = d.bad, d.errs, false
			}
			requirePoints(t, points, got.points)
			require.Len(t, got.bad, bad)
			require.Len(t, got.errs, errs, "%v", got.errs)
			require.Equal(t, closes, got.lost != nil, "%v", got.lost)
		})
	}
	for _, d := range differences {
		require.True(t, used[d.cases], "no case %q", d.cases)
	}
}

func requirePoints(t *testing.T, want, got []point) {
	t.Helper()
	require.True(t, equalPoints(want, got), "want %v\n got %v", want, got)
}

func equalPoints(a, b []point) bool {
	return slices.EqualFunc(a, b, func(a, b point) bool {
		same := func(x, y float64) bool { return x == y || x != x && y != y }
		return a.Name == b.Name && same(a.Timestamp, b.Timestamp) && same(a.Value, b.Value)
	})
}
