package graphite_test

import (
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"io"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite"
)

// oracleNow is the clock of the oracle tests; the oracle writes "NOW" for it.
var oracleNow = time.UnixMilli(1_700_000_000_123)

// oracleCase is what carbon 1.1 on Python 3 made of some bytes on its line port.
type oracleCase struct {
	Name    string
	Hex     string
	Points  [][3]any // name, timestamp, value
	Verdict string
}

func readOracle(t *testing.T, file string) []oracleCase {
	t.Helper()
	f, err := os.Open("testdata/" + file)
	require.NoError(t, err)
	defer f.Close()
	var text io.Reader = f
	if strings.HasSuffix(file, ".gz") {
		text, err = gzip.NewReader(f)
		require.NoError(t, err)
	}
	var cases []oracleCase
	require.NoError(t, json.NewDecoder(text).Decode(&cases))
	require.NotEmpty(t, cases)
	return cases
}

func (c oracleCase) bytes(t *testing.T) []byte {
	t.Helper()
	b, err := hex.DecodeString(c.Hex)
	require.NoError(t, err)
	return b
}

// want is the case's points as this package has them.
func (c oracleCase) want(t *testing.T) []textPoint {
	t.Helper()
	var pts []textPoint
	for _, p := range c.Points {
		pts = append(pts, textPoint{p[0].(string), oracleMillis(t, p[1]), oracleValue(t, p[2])})
	}
	return pts
}

func oracleMillis(t *testing.T, v any) int64 {
	t.Helper()
	if v == "NOW" {
		return oracleNow.UnixMilli()
	}
	return int64(math.Round(v.(float64) * 1000))
}

func oracleValue(t *testing.T, v any) float64 {
	t.Helper()
	switch v {
	case "inf":
		return math.Inf(1)
	case "-inf":
		return math.Inf(-1)
	}
	return v.(float64)
}

// textPoint is a point that can be kept and compared.
type textPoint struct {
	Name  string
	Time  int64
	Value float64
}

func textPoints(pts []graphite.Point) []textPoint {
	var out []textPoint
	for _, p := range pts {
		out = append(out, textPoint{string(p.Name), p.Timestamp, p.Value})
	}
	return out
}

// A difference is a case of the oracle in which the points are not carbon's.
type difference struct {
	points []textPoint
	why    string
}

const (
	whyInf    = "an infinite value is rejected unless AllowInf: a destination that speaks JSON cannot carry it"
	whyFields = "only space and tab stand between fields: whitespace of other kinds is not a separator by intent"
	whyName   = "a name with a control character or whitespace would break the next hop's line"
	whyKept   = "carbon closes the connection over the bad line and loses what follows; here the line alone is lost"
	whyRange  = "the timestamp is more milliseconds than an int64 holds"
	whyLine   = "a datagram's lines end as a stream's do, at newlines; whatever else Python's splitlines ends a line at " +
		"is no separator by intent"
	whyBadUTF8 = "one bad line harms only itself, not its datagram"
)

// defaultDifferences is every case of the oracle in which the default rules do not hand on carbon's points.
func defaultDifferences() map[string]difference {
	two := time.Unix(2, 0).UnixMilli()
	good2 := textPoint{"good2", two, 1}
	return map[string]difference{
		// TCP
		`a.b inf 2` + "\n":                   {nil, whyInf},
		`a.b -Infinity 2` + "\n":             {nil, whyInf},
		`a.b infinity 2` + "\n":              {nil, whyInf},
		`a.b 1e400 2` + "\n":                 {nil, whyInf},
		"a.b\u00a01\u00a02\n":                {nil, whyFields},
		"a\x00b 1 2\n":                       {nil, whyName},
		"good 1 2\n\xff 1 2\ngood2 1 2\n":    {[]textPoint{{"good", two, 1}, good2}, whyKept},
		"a.b 1 99999999999999999999999999\n": {nil, whyRange},
		// UDP
		"a 1 2\u0085b 3 4": {nil, whyLine},
		"a 1 2\rb 3 4":     {nil, whyLine},
		"a 1 2\n\xff 1 2":  {[]textPoint{{"a", two, 1}}, whyBadUTF8},
		"a 1 inf\nb 1 2":   {[]textPoint{{"b", two, 1}}, whyBadUTF8},
	}
}

// strictDifferences is the same for the strict rules.
func strictDifferences() map[string]difference {
	d := defaultDifferences()
	out := map[string]difference{}
	for _, input := range []string{"good 1 2\n\xff 1 2\ngood2 1 2\n", "a.b 1 99999999999999999999999999\n"} {
		out[input] = d[input]
	}
	return out
}

// Carbon's own points for the bytes of the oracle, with every difference named.
func TestLineOracle(t *testing.T) {
	type parse func(p *graphite.LineParser, b []byte) []textPoint
	tcp := func(p *graphite.LineParser, b []byte) []textPoint {
		n := p.Parse(b)
		pts := textPoints(p.Rows)
		p.ParseLast(b[n:])
		return append(pts, textPoints(p.Rows)...)
	}
	udp := func(p *graphite.LineParser, b []byte) []textPoint {
		p.ParseDatagram(b)
		return textPoints(p.Rows)
	}
	used := map[string]bool{}
	f := func(file string, strict bool, differences map[string]difference, run parse) {
		t.Helper()
		for _, c := range readOracle(t, file) {
			p := graphite.LineParser{Strict: strict, Now: func() time.Time { return oracleNow }}
			input := c.bytes(t)
			got, want := run(&p, input), c.want(t)
			if d, ok := differences[string(input)]; ok {
				require.NotEqual(t, want, got, "%s (strict %v) is as carbon's after all", c.Name, strict)
				want = d.points
				used[string(input)] = true
			}
			require.Equal(t, want, got, "%s (strict %v), carbon: %s", c.Name, strict, c.Verdict)
		}
	}
	f("carbon-line-tcp.json", true, strictDifferences(), tcp)
	f("carbon-line-udp.json", true, strictDifferences(), udp)
	clear(used)
	f("carbon-line-tcp.json", false, defaultDifferences(), tcp)
	f("carbon-line-udp.json", false, defaultDifferences(), udp)
	for input := range defaultDifferences() {
		require.True(t, used[input], "no such case: %q", input)
	}
}
