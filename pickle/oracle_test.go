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
	points []point // what we hand out instead of what carbon hands on
	bad    int     // items that we report
	errs   int     // messages that we report
}

var (
	nan    = math.NaN()
	foobar = []point{{"foo.bar", 1700000000, 1.5}}
	next   = []point{{"ok", 1, 2}} // the message behind most malformed ones
)

// differences is every case in which the points are not those of carbon.
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
}

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
	for _, file := range []string{"pickle.json.gz", "pickle-malformed.json.gz"} {
		for _, c := range oracle(t, file) {
			t.Run(c.Name, func(t *testing.T) {
				stream, err := hex.DecodeString(c.Hex)
				require.NoError(t, err)
				got := decodeStream(stream)
				if d, ok := differs(c.Name); ok {
					used[d.cases] = true
					requirePoints(t, d.points, got.points)
					require.Len(t, got.bad, d.bad)
					require.Len(t, got.errs, d.errs)
					return
				}
				requirePoints(t, c.wants(t), got.points)
				reported := len(got.bad)+len(got.errs) > 0 || got.lost != nil
				require.Equal(t, c.reported(), reported, "%v %v %v", got.bad, got.errs, got.lost)
				require.Equal(t, c.Verdict == "closes-connection", got.lost != nil, "%v", got.lost)
			})
		}
	}
	for _, d := range differences {
		require.True(t, used[d.cases], "no case %q", d.cases)
	}
}

// reported says whether we must report something. Carbon skips values that are
// no numbers without a word.
func (c oracleCase) reported() bool {
	for _, silent := range []string{"/val_none", "/val_str_bad", "/one_bad_among_good"} {
		if strings.HasSuffix(c.Name, silent) {
			return true
		}
	}
	return c.Verdict != "ok"
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
