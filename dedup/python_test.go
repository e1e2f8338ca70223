package dedup

import (
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAppendPythonFloat(t *testing.T) {
	for _, c := range []struct {
		in   float64
		want string
	}{
		{1, "1.0"},
		{0, "0.0"},
		{math.Copysign(0, -1), "-0.0"},
		{0.1, "0.1"},
		{-2.5, "-2.5"},
		{100000, "100000.0"},
		{123456789012345680, "1.2345678901234568e+17"},
		{1e15, "1000000000000000.0"},
		{9999999999999998, "9999999999999998.0"},
		{1e16, "1e+16"},
		{-1e16, "-1e+16"},
		{1e22, "1e+22"},
		{3e100, "3e+100"},
		{0.0001, "0.0001"},
		{0.00012345, "0.00012345"},
		{9.999999999999999e-05, "9.999999999999999e-05"},
		{1e-5, "1e-05"},
		{1e-7, "1e-07"},
		{5e-324, "5e-324"},
		{math.MaxFloat64, "1.7976931348623157e+308"},
		{1.0 / 3, "0.3333333333333333"},
		{math.NaN(), "None"},
		{math.Inf(1), "None"},
		{math.Inf(-1), "None"},
	} {
		require.Equal(t, c.want, string(appendPythonFloat(nil, c.in)))
	}
}

func TestAppendMark(t *testing.T) {
	for _, c := range []struct {
		ms         int64
		value      float64
		list, dict string
	}{
		{1478021700000, 1, "[1478021700, 1.0]", "{'timestamp': 1478021700, 'value': 1.0}"},
		{1478021700250, 1e16, "[1478021700.25, 1e+16]", "{'timestamp': 1478021700.25, 'value': 1e+16}"},
		{1478021700001, -1, "[1478021700.001, -1.0]", "{'timestamp': 1478021700.001, 'value': -1.0}"},
		{0, 0, "[0, 0.0]", "{'timestamp': 0, 'value': 0.0}"},
		{-1000, 0.5, "[-1, 0.5]", "{'timestamp': -1, 'value': 0.5}"},
		{1795293240000, math.NaN(), "[1795293240, None]", "{'timestamp': 1795293240, 'value': None}"},
	} {
		list, dict := appendList(nil, c.ms, c.value), appendDict(nil, c.ms, c.value)
		require.Equal(t, c.list, string(list))
		require.Equal(t, c.dict, string(dict))
		for _, parse := range []func() (int64, float64, bool){
			func() (int64, float64, bool) { return parseList(list) },
			func() (int64, float64, bool) { return parseDict(dict) },
		} {
			ms, v, ok := parse()
			require.True(t, ok)
			require.Equal(t, c.ms, ms)
			require.True(t, v == c.value || v != v && c.value != c.value)
		}
	}
}

// What a stored mark may look like, and what is none. The same texts go through
// the script in TestRaiseReadsLikeLast.
var storedTexts = []struct {
	list string
	ms   int64 // None: no mark
}{
	{"[1478021700, 1.0]", 1478021700000},
	{"[1478021700, 1]", 1478021700000},
	{"[1478021700.5, 1.0]", 1478021700500},
	{"[1.4780217e9, 1.0]", 1478021700000},
	{"[ 1478021700 ,\t1e-07 ] ", 1478021700000},
	{"[1478021700, None]", 1478021700000},
	{"[-5, -0.0]", -5000},
	{"[1478021700, nan]", None},
	{"[1478021700, inf]", None},
	{"[1478021700, -inf]", None},
	{"[nan, 1.0]", None},
	{"[None, None]", None},
	{"[0x10, 1.0]", None},
	{"[1478021700, 0x1p4]", None},
	{"[1478021700, 1.0", None},
	{"[1478021700, 1.0]]", None},
	{"[1478021700]", None},
	{"[1478021700, ]", None},
	{"[1478021700, 1.0.0]", None},
	{"[--1, 1.0]", None},
	{"['1478021700', 1.0]", None},
	{"{'timestamp': 1478021700, 'value': 1.0}", None},
	{"1478021700", None},
	{"", None},
	{"None", None},
	{"garbage", None},
	{"[\x00, 1.0]", None},
}

func TestParseList(t *testing.T) {
	for _, c := range storedTexts {
		ms, _, ok := parseList([]byte(c.list))
		require.Equal(t, c.ms != None, ok, "%q", c.list)
		require.Equal(t, c.ms, ms, "%q", c.list)
	}
}

func TestParseDict(t *testing.T) {
	for _, c := range []struct {
		text string
		ms   int64
	}{
		{"{'timestamp': 1478021700, 'value': 1.0}", 1478021700000},
		{"{'timestamp': 1478021700, 'value': None}", 1478021700000},
		{"{ 'timestamp' :1478021700.5,'value':2 }", 1478021700500},
		{"{'timestamp': None, 'value': 1.0}", None},
		{"{'timestamp': 1478021700, 'value': nan}", None},
		{"{'timestamp': 1478021700}", None},
		{"[1478021700, 1.0]", None},
		{"", None},
	} {
		ms, _, ok := parseDict([]byte(c.text))
		require.Equal(t, c.ms != None, ok, "%q", c.text)
		require.Equal(t, c.ms, ms, "%q", c.text)
	}
}

func TestParseFarTimestamps(t *testing.T) {
	for text, want := range map[string]int64{
		"[99999999999999999999, 1.0]":  math.MaxInt64,
		"[1e999, 1.0]":                 math.MaxInt64,
		"[-99999999999999999999, 1.0]": math.MinInt64 + 1,
	} {
		ms, _, ok := parseList([]byte(text))
		require.True(t, ok, text)
		require.Equal(t, want, ms, text)
	}
}

// The short ways agree with strconv.
func TestShortNumbers(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		v := float64(rnd.IntN(2_000_000_000)-1_000_000_000) / tens[rnd.IntN(len(tens))]
		switch rnd.IntN(4) {
		case 0:
			v = math.Nextafter(v, 1e300)
		case 1:
			v *= math.Pow(10, float64(rnd.IntN(12)-6))
		}
		want := strconv.FormatFloat(v, 'f', -1, 64)
		if !strings.Contains(want, ".") {
			want += ".0"
		}
		if got, ok := appendShort(nil, v); ok {
			require.Equal(t, want, string(got))
		}
		for _, text := range []string{want, want + "0", "0" + want, "-" + want, want[1:]} {
			if got, ok := parseShort([]byte(text)); ok {
				back, err := strconv.ParseFloat(text, 64)
				require.NoError(t, err, text)
				require.Equal(t, math.Float64bits(back), math.Float64bits(got), text)
			}
		}
	}
	for _, v := range []float64{0.1, 1, 12.5, -3.25, 99.9999, 0} {
		text, ok := appendShort(nil, v)
		require.True(t, ok)
		back, ok := parseShort(text)
		require.True(t, ok)
		require.Equal(t, v, back)
	}
	for _, v := range []float64{math.Copysign(0, -1), math.NaN(), math.Inf(1), math.Inf(-1), 1e10, 1e-5, 1.0 / 3} {
		_, ok := appendShort(nil, v)
		require.False(t, ok)
	}
	for _, text := range []string{"", "-", ".", "1", "1.", ".5", "-.5", "1.00000", "1e5", "+1.5", "1.5.5", "1_0.5", "12345678901234567.5"} {
		_, ok := parseShort([]byte(text))
		require.False(t, ok, text)
	}
}

func FuzzPythonFloat(f *testing.F) {
	for _, v := range []float64{0, 1, 0.1, 1e16, 1e-5, 123456.789, math.MaxFloat64} {
		f.Add(math.Float64bits(v))
	}
	f.Fuzz(func(t *testing.T, bits uint64) {
		v := math.Float64frombits(bits)
		text := string(appendPythonFloat(nil, v))
		if math.IsNaN(v) || math.IsInf(v, 0) {
			require.Equal(t, "None", text)
			return
		}
		back, err := strconv.ParseFloat(text, 64)
		require.NoError(t, err)
		require.Equal(t, v, back)
		require.True(t, strings.ContainsAny(text, ".e"), text)
		if short, ok := appendShort(nil, v); ok {
			plain := strconv.FormatFloat(v, 'f', -1, 64)
			require.Equal(t, plain, strings.TrimSuffix(string(short), ".0"))
		}
	})
}

func FuzzParseMark(f *testing.F) {
	for _, c := range storedTexts {
		f.Add([]byte(c.list))
	}
	f.Add([]byte("{'timestamp': 1478021700, 'value': 1.0}"))
	f.Add([]byte("{'timestamp': 1478021700, 'value': 1e-07}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		same := func(ms int64, v float64, usual bool, parts [][]string) {
			if usual {
				slowly, value, ok := parseMark(text, parts)
				require.True(t, ok)
				require.Equal(t, slowly, ms)
				require.Equal(t, math.Float64bits(value), math.Float64bits(v))
			}
		}
		ms, v, ok := parseUsual(text, "[", ", ", ']')
		same(ms, v, ok, listParts[:])
		ms, v, ok = parseUsual(text, "{'timestamp': ", ", 'value': ", '}')
		same(ms, v, ok, dictParts[:])
		if ms, v, ok := parseList(text); ok {
			again, _, ok := parseList(appendList(nil, ms, v))
			require.True(t, ok)
			if ms > -1<<53 && ms < 1<<53 {
				require.Equal(t, ms, again)
			}
		} else {
			require.EqualValues(t, None, ms)
		}
		if ms, v, ok := parseDict(text); ok {
			_, _, ok = parseDict(appendDict(nil, ms, v))
			require.True(t, ok)
		}
	})
}
