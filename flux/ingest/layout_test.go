package ingest_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
)

// layout writes items in one way: what stands around the values, and which member each value is.
type layout struct {
	around  []string // one more than members
	members []string
	comma   string // between two items
}

func (g generator) layout() layout {
	l := layout{members: []string{"metric", "timestamp", "value"}, comma: g.space() + "," + g.space()}
	g.Shuffle(3, func(i, j int) { l.members[i], l.members[j] = l.members[j], l.members[i] })
	if g.odds(8) {
		l.members = l.members[:2]
	}
	before := "{" + g.space()
	fill := g.space() + `"fill":` + g.one(`true`, `"True"`)
	if g.odds(4) {
		before += fill + ","
	}
	for i, m := range l.members {
		quote := ""
		if m == "metric" || g.odds(3) {
			quote = `"`
		}
		l.around = append(l.around, before+`"`+m+`"`+g.space()+":"+g.space()+quote)
		before = quote + g.space()
		if i < len(l.members)-1 {
			before += "," + g.space()
		}
	}
	if l.around[0][0] == '{' && !strings.Contains(l.around[0], "fill") && g.odds(4) {
		before += "," + fill
	}
	l.around = append(l.around, before+"}")
	return l
}

// item writes an item; few of the values are unusual.
func (l layout) item(g generator) string {
	s := ""
	for i, m := range l.members {
		s += l.around[i]
		odd := g.odds(40)
		switch {
		case m == "metric" && odd:
			s += g.one("", ".a", "a.", "a..b", "a b", "a+b", "a;k=v", "a;b", "é", "aíaíaí", `\u0061`, `a\`, `"`, strings.Repeat("a", 252), strings.Repeat("abc.", 200)+"d")
		case m == "metric":
			s += g.name(g.IntN(30))
		case m == "timestamp" && odd:
			s += g.one("", "5", "179529317", "17952931750", "0795293175", "179529317a", "1795293175.0", "1795290000", "1795299999", "null", "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
		case m == "timestamp":
			s += fmt.Sprint(1795293175 - g.IntN(3)*g.IntN(1000))
		case odd:
			s += g.one("", "-", ".5", "5.", "1e", "1e5", "1E+2", "01", "00.5", "0x1", "1_0", "nan", "1e999", "1..5", "123456789012345678901", "0.30000000000000004")
		default:
			s += g.number()
		}
	}
	return s + l.around[len(l.members)]
}

// name is a name, good as a rule.
func (g generator) name(n int) string {
	b := []byte(g.one("a", "b", "servers.web-0001.cpu.user", "servers.web-0001."))
	for range n {
		b = append(b, "abzAZ019._-:/+%="[g.IntN(16)])
	}
	if g.odds(2) {
		b = []byte(strings.NewReplacer(".", "_", "/", "-").Replace(string(b)))
	}
	return string(b)
}

// number is a JSON number.
func (g generator) number() string {
	s := g.one("", "", "", "-") + fmt.Sprint(g.IntN([4]int{1, 10, 1000, 1e12}[g.IntN(4)]))
	if g.odds(3) {
		return s
	}
	return s + "." + fmt.Sprint(g.IntN([4]int{1, 100, 1e4, 1e12}[g.IntN(4)]))
}

// TestAlike compares the parser with the reference on items that are all laid out alike, or nearly so, and with itself
// on items that are not.
func TestAlike(t *testing.T) {
	g := generator{rand.New(rand.NewPCG(5, 6))}
	var p ingest.Parser
	accepted, refused, broken := 0, 0, 0
	for range 6000 {
		l := g.layout()
		var items []string
		for range 2 + g.IntN(12) {
			items = append(items, l.item(g))
			if g.odds(40) {
				l = g.layout()
			}
		}
		if n := len(items) - 1; g.odds(5) {
			items[n] = g.spoil(g.spoil(items[n]))
		}
		end := g.one("]}", "]    }", `],"x":"0123456789abcdef"}`)
		join := func() []byte {
			return []byte(`{"key":"k","metrics":[` + strings.Join(items, l.comma) + end)
		}
		body := join()
		err := checkBody(t, &p, body, g.one("", "p"))
		switch {
		case err == nil:
			accepted++
		case failed(err).reason == ingest.ReasonJSON: // the place that is told must be right too
			broken++
			for i := range items[1:] {
				items[i] = strings.Replace(items[i], `"metric"`, `"metriX"`, 1)
			}
			_, other := p.JSON(join())
			require.EqualError(t, other, err.Error(), "%s", body)
		default:
			refused++
			for i := range items {
				items[i] = strings.TrimSuffix(items[i], "}") + `,"x":[]}`
			}
			_, other := p.JSON(join())
			require.NoError(t, other)
			require.EqualError(t, p.Validate(rules(), ""), err.Error(), "%s", body)
		}
	}
	// The mix must not drift to one side.
	require.Greater(t, accepted, 1000)
	require.Greater(t, refused, 1000)
	require.Greater(t, broken, 500)
}

// checkBody compares what the parser makes of a body with the reference. It returns the error of the parse or, with no
// prefix, of the validation.
func checkBody(t *testing.T, p *ingest.Parser, body []byte, prefix string) error {
	t.Helper()
	m, isObject, ok := decode(body)
	req, err := p.JSON(body)
	if !ok || !isObject {
		require.Equal(t, &failure{-1, ingest.ReasonJSON}, failed(err), "%s", body)
		return err
	}
	require.NoError(t, err, "%s", body)
	want, failure := referenceRequest(m, rules(), prefix)
	require.Equal(t, failure, failed(p.Validate(rules(), prefix)), "%s", body)
	if req.Key == nil {
		req.Key = []byte{}
	}
	require.Equal(t, want, *req, "%s", body)
	return p.Validate(rules(), "")
}

// Every text of a few characters that may occur in a number is read as encoding/json reads it, wherever it stands.
func TestShortNumbers(t *testing.T) {
	const characters = "019.-e"
	var p ingest.Parser
	var check func(text string)
	check = func(text string) {
		for _, end := range []string{"}]}", `,"timestamp":1795293175},{"metric":"b","timestamp":1795293175,"value":1}]}`} {
			body := `{"metrics":[{"metric":"a","value":` + text + end
			req, err := p.JSON([]byte(body))
			if !json.Valid([]byte(text)) {
				require.Error(t, err, body)
				continue
			}
			require.NoError(t, err, body)
			want, outOfRange := strconv.ParseFloat(text, 64)
			if err = p.Validate(rules(), ""); outOfRange != nil {
				require.ErrorContains(t, err, "not a finite number", body)
				continue
			}
			require.NoError(t, err, body)
			require.Equal(t, math.Float64bits(want), math.Float64bits(req.Items[0].Value), body)
		}
		if len(text) < 5 {
			for _, c := range characters {
				check(text + string(c))
			}
		}
	}
	check("")
}

// The points that a parser may take end at its limit wherever that falls.
func TestMaxPointsOfItemsAlike(t *testing.T) {
	for most := 1; most < 12; most++ {
		p := ingest.Parser{MaxPoints: most}
		for n := range 15 {
			req, err := p.JSON(arrayOf(n, layouts[0].item))
			if n > most {
				require.ErrorContains(t, err, "too many points")
				continue
			}
			require.NoError(t, err)
			require.Equal(t, max(1, n), req.Points)
		}
	}
}

// What stands between the fields may be of any length, and the body may end anywhere.
func TestLongLayouts(t *testing.T) {
	var p ingest.Parser
	for spaces := range 30 {
		gap := strings.Repeat(" ", spaces)
		one := `,{"metric":"a.b",` + gap + `"value":1,` + gap + `"timestamp":1795293175}`
		items := strings.Repeat(one, 4)
		body := []byte(`{"metrics":[` + items[1:] + "]}")
		require.NoError(t, checkBody(t, &p, body, ""))
		for n := len(body) - len(one) - 10; n < len(body); n++ {
			require.Error(t, checkBody(t, &p, body[:n:n], ""), "%s", body[:n])
		}
		for i := len(items) - len(one); i < len(items); i++ { // another byte in the last item
			other := []byte(`{"metrics":[` + items[1:i] + "x" + items[i+1:] + `],"key":"0123456789abcdef0123456789abcdef"}`)
			_ = checkBody(t, &p, other, "")
		}
	}
}

// Nothing is left of the items of one request in those of the next.
func TestNothingIsLeft(t *testing.T) {
	var p ingest.Parser
	items := func(n int, item string) string { return strings.Repeat(item+",", n) }
	broken := items(9, `{"metric":"a","timestamp":1795293100,"fill":true,"value":5}`) + `{"metric":"a","timestamp":1795293100,"fill":true,"value":x}`
	fields := `{"metrics":[{"fields":{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8,"i":9,"j":9},"metric":"a","timestamp":1795293100,"fill":true,"value":5}]}`
	for _, before := range []func(){
		func() {
			_, err := p.JSON([]byte(`{"metrics":[` + broken + "]}"))
			require.Error(t, err)
		},
		func() {
			_, err := p.Telegraf([]byte(fields), ingest.Telegraf{})
			require.NoError(t, err)
		},
	} {
		for _, item := range []string{`{"metric":"a;k=v","value":1}`, `{"timestamp":1795293175,"value":1}`, `{"metric":"a","timestamp":1795293175}`} {
			p = ingest.Parser{}
			require.NoError(t, checkBody(t, &p, []byte(`{"metrics":[`+items(40, `{"metric":"a","value":1}`)+`{"metric":"a","value":1}]}`), ""))
			before()
			_ = checkBody(t, &p, []byte(`{"metrics":[`+items(15, item)+item+`]}`), "")
		}
	}
}

// A clean name is held to the limits of lengths too.
func TestLongCleanNames(t *testing.T) {
	var p ingest.Parser
	prefix := strings.TrimSuffix(strings.Repeat("p.", 2000), ".")
	long := strings.Repeat("a", 252)
	const item = `{"metric":"%s","timestamp":1795293175,"value":1},`
	for _, before := range []int{0, 5} {
		body := `{"metrics":[` + strings.Repeat(fmt.Sprintf(item, "b"), before) + item + fmt.Sprintf(item, "b") + `{}],"test":1}`
		body = strings.Replace(body, ",{}", "", 1)
		_, err := p.JSON(fmt.Appendf(nil, body, long))
		require.NoError(t, err)
		require.ErrorContains(t, p.Validate(rules(), ""), "longer than 255 characters")
		_, err = p.JSON(fmt.Appendf(nil, body, long[:100]))
		require.NoError(t, err)
		require.NoError(t, p.Validate(rules(), prefix[:2001]))
		require.ErrorContains(t, p.Validate(rules(), prefix), "name too long")
	}
	req, err := p.Lines([]byte(long + " 1 1795293175\n" + long[1:] + " 1 1795293175\n"))
	require.NoError(t, err)
	require.NoError(t, p.Validate(rules(), ""))
	require.Len(t, req.Items, 1)
	require.Contains(t, req.Rejected[0].Message(), "longer than 255 characters")
}
