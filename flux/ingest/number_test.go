package ingest_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
)

func TestTimestamps(t *testing.T) {
	ts := now.Unix()
	quoted := func(s string) string { return strconv.Quote(s) }
	good := func(text string, fill bool, want int64) {
		t.Helper()
		for _, form := range []string{`{"metric":"a","value":1,"fill":%v,"timestamp":%s}`, `{"metrics":[{"metric":"a","value":1,"fill":%v,"timestamp":%s}]}`} {
			body := fmt.Sprintf(form, fill, text)
			items, err := post(t, body)
			require.NoError(t, err, body)
			require.Equal(t, []ingest.Item{item("a", want, 1, fill)}, items, body)
		}
	}
	bad := func(text string, fill bool, reason ingest.Reason, rule string) {
		t.Helper()
		_, err := post(t, fmt.Sprintf(`{"metric":"a","value":1,"fill":%v,"timestamp":%s}`, fill, text))
		requireError(t, err, 0, reason, "invalid timestamp - "+text+" - "+rule+` - "a"`)
		_, err = post(t, fmt.Sprintf(`{"metrics":[{"metric":"a","value":1,"fill":%v,"timestamp":%s}]}`, fill, text))
		requireError(t, err, 0, reason, "invalid timestamp - "+text+" - "+rule+` - item 0 ("a")`)
	}
	for _, s := range []string{"1795293175", "+1795293175", " 1795293175 ", "\t1795293175\n", "17952_93111", "01795293175", "\u00a01795293175"} {
		want, err := strconv.ParseInt(strings.Trim(strings.ReplaceAll(s, "_", ""), "+ \t\n\u00a0"), 10, 64)
		require.NoError(t, err)
		good(quoted(s), false, want)
		good(quoted(s), true, want)
	}
	good("1795293175", false, ts)

	// The limits themselves are good.
	for _, s := range []int64{ts - 3600, ts + 60} {
		good(fmt.Sprint(s), false, s)
		good(quoted(fmt.Sprint(s)), false, s)
	}
	for _, s := range []int64{ts - 3601, 1478021700, 1, 999999999} {
		bad(fmt.Sprint(s), false, ingest.ReasonOld, "timestamp is too old, older than 3600 seconds")
		bad(quoted(fmt.Sprint(s)), false, ingest.ReasonOld, "timestamp is too old, older than 3600 seconds")
		good(fmt.Sprint(s), true, s)
	}
	for _, s := range []int64{ts + 61, 9999999999} {
		bad(fmt.Sprint(s), false, ingest.ReasonFuture, "timestamp is more than 1 minute in the future")
		good(fmt.Sprint(s), true, s)
	}
	for _, fill := range []bool{false, true} {
		for _, s := range []string{`""`, `" "`, `"abc"`, `1795293175.0`, `1795293175.5`, `"1795293175.0"`, `1.7e9`, `"1e9"`, `"1__0"`, `"_1"`, `"1_"`,
			`"+"`, `"-"`, `"+-1"`, `"1 2"`, `"0x10"`, `"nan"`, `"None"`, `null`, `true`, `false`} {
			bad(s, fill, ingest.ReasonTimestamp, "timestamp is not an int")
		}
		for _, s := range []string{`0`, `-0`, `-1795293175`, `"-1"`, `"0"`, `"-1795293175000"`} {
			bad(s, fill, ingest.ReasonTimestamp, "timestamp is not a valid current unix timestamp")
		}
		for _, s := range []string{`1795293175000`, `"1795293175000"`, `10000000000`, `99999999999999999999999999`, `"18446744075504844791"`} {
			bad(s, fill, ingest.ReasonTimestamp, "timestamp is not a valid current unix timestamp, it has to be in seconds, not milliseconds")
		}
	}
	_, err := post(t, `{"metric":"a","value":1,"timestamp":[1]}`)
	requireError(t, err, 0, ingest.ReasonTimestamp, `invalid timestamp - an array - timestamp is not an int - "a"`)
	_, err = post(t, `{"metric":"a","value":1,"timestamp":{}}`)
	requireError(t, err, 0, ingest.ReasonTimestamp, `invalid timestamp - an object - timestamp is not an int - "a"`)
}

func TestRules(t *testing.T) {
	f := func(r ingest.Rules, seconds int64, want string) {
		t.Helper()
		var p ingest.Parser
		_, err := p.Query("metric=a&value=1&timestamp=" + strconv.FormatInt(seconds, 10))
		require.NoError(t, err)
		err = p.Validate(r, "")
		if want == "" {
			require.NoError(t, err)
			return
		}
		require.ErrorContains(t, err, want)
	}
	ts := now.Unix()
	f(ingest.Rules{Now: now}, 1, "")
	f(ingest.Rules{Now: now}, 9999999999, "")
	f(ingest.Rules{Now: now, MaxAge: time.Minute}, ts-60, "")
	f(ingest.Rules{Now: now, MaxAge: time.Minute}, ts-61, "older than 60 seconds")
	f(ingest.Rules{Now: now, MaxAge: 1500 * time.Millisecond}, ts-1, "")
	f(ingest.Rules{Now: now, MaxAge: 1500 * time.Millisecond}, ts-2, "older than 1 seconds")
	f(ingest.Rules{Now: now, MaxAge: time.Minute}, ts+1e6, "")
	f(ingest.Rules{Now: now, MaxFuture: time.Hour}, ts+3600, "")
	f(ingest.Rules{Now: now, MaxFuture: time.Hour}, ts+3601, "timestamp is more than 3600 seconds in the future")
	f(ingest.Rules{Now: now, MaxFuture: time.Hour}, 1, "")
	f(ingest.Rules{MaxAge: time.Hour, MaxFuture: time.Hour}, time.Now().Unix(), "")
}

func TestValues(t *testing.T) {
	good := func(text string, want float64) {
		t.Helper()
		for _, form := range []string{`{"metric":"a","timestamp":1795293175,"value":%s}`, `{"metrics":[{"metric":"a","value":%s}]}`} {
			body := fmt.Sprintf(form, text)
			items, err := post(t, body)
			require.NoError(t, err, body)
			require.Equal(t, []ingest.Item{item("a", now.Unix(), want, false)}, items, body)
		}
	}
	bad := func(text, rule string) {
		t.Helper()
		_, err := post(t, `{"metrics":[{"metric":"a","value":1},{"metric":"a","value":`+text+`}]}`)
		requireError(t, err, 1, ingest.ReasonValue, "invalid value - "+text+" - "+rule+` - item 1 ("a")`)
	}
	for text, want := range map[string]float64{
		`1`: 1, `1.0`: 1, `-1.50`: -1.5, `0`: 0, `0.0`: 0, `1e5`: 1e5, `1E+5`: 1e5, `1.5e-3`: 0.0015, `0.37`: 0.37,
		`9007199254740993`: 9007199254740992, `123456789012345678`: 123456789012345678, `0.1234567890123456789`: 0.1234567890123456789,
		`1e-999`: 0, `1.7976931348623157e308`: 1.7976931348623157e308, `5e-324`: 5e-324, `100000000000000000000000000000000000000000000000000000000000000000000`: 1e68,
		`0.000000000000000001`: 1e-18,
	} {
		good(text, want)
		good(strconv.Quote(text), want)
	}
	for text, want := range map[string]float64{
		`" 1.5 "`: 1.5, `"+5"`: 5, `"1_000"`: 1000, `".5"`: 0.5, `"5."`: 5, `"-.5e1"`: -5, `"\t7\n"`: 7, `"1_0.0_1e1_0"`: 10.01e10, `"007"`: 7,
		`"\u0031\u002e5"`: 1.5,
	} {
		good(text, want)
	}
	for _, text := range []string{`"abc"`, `"0x10"`, `"0x1p4"`, `"1,5"`, `"."`, `"+"`, `"1e"`, `"e5"`, `"1e+"`, `" "`, `"1 2"`, `"1__0"`, `"_1"`, `"1_"`,
		`"1_.5"`, `"1._5"`, `"1e_5"`, `"--1"`, `"1f"`, `"True"`, `"None"`, `"infi"`, `true`, `false`, `null`} {
		bad(text, "not a number")
	}
	for _, text := range []string{`"nan"`, `"NaN"`, `"-nan"`, `"inf"`, `"Infinity"`, `"+INFINITY"`, `"-inf"`, `1e999`, `-1e999`, `"1e999"`, `"1e309"`,
		`1e99999999999999999999`} {
		bad(text, "not a finite number")
	}
	_, err := post(t, `{"metrics":[{"metric":"a","value":[]}]}`)
	requireError(t, err, 0, ingest.ReasonValue, `invalid value - an array - not a number - item 0 ("a")`)
	_, err = post(t, `{"metrics":[{"metric":"a","value":{"a":1}}]}`)
	requireError(t, err, 0, ingest.ReasonValue, `invalid value - an object - not a number - item 0 ("a")`)
	items, err := post(t, `{"metrics":[{"metric":"a","value":-0},{"metric":"a","value":"-0.0"}]}`)
	require.NoError(t, err)
	for _, it := range items {
		require.Equal(t, "-0", strconv.FormatFloat(it.Value, 'g', -1, 64))
	}
}
