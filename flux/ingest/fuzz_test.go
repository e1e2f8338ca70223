package ingest_test

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
)

// FuzzJSON compares the parser with encoding/json and the rules over its maps.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{
		`{"metric":"vista.nodes.skyline-1.cpu.user","timestamp":"1795293175","value":"1.0","key":"YOURown32charSkylineAPIkeySecret"}`,
		`{"key":"k","metrics":[{"metric":"a.b","timestamp":1795293175,"value":1.5},{"value":"2","metric":"c d","fill":"true","timestamp":5}]}`,
		`{"key":"k","metrics":[{"metric":"a","timestamp":1795293174,"value":-1e5,"x":{"y":[1,null,"é"]}},{"metric":"b;k=v;a=b","value":".5"}]}`,
		`{"metrics":[ { "metric" : "a" , "value" : 12345678901234567890.125 , "fill" : true } , 5 ] }`,
		`{"metrics":[{"metric":"p.a","value":1},{"metric":"p","value":0.1234567890123456},{"metric":"px","value":1E-3}]}`,
		`{"m\u0065tric":"\ud83d\ude00\n","timestamp":" +1_795_293_175 ","value":"1_0.5e-0_1","test":"x","status":""}`,
		`{"metrics":5,"status":0,"validate_key":[ ]}`, `{"metrics":null,"metric":null,"timestamp":null,"value":true}`,
		`{"a":1,"a":2}`, `{"a":[{"b":{}},[[]]]}`, `{"a":"\ud800"}`, `{"a":"\\ud800\"\/"}`, `[1]`, `null`, `{}`, ``, "\"\xff\"", `{"a":-0.0e+00}`,
		strings.Repeat(`{"a":`, 33) + `1` + strings.Repeat(`}`, 33),
		`{"metrics":[{"metric":"/a/../b.","value":1}]}`, `{"metrics":[{"metric":"a","value":"nan","timestamp":99999999999}]}`,
		`{"metric":"a","timestamp":1795293175,"value":1e99999999999999999999}`, `{"metric":"a","timestamp":1e9,"value":-1E-99999999999999999999}`,
		`{"metric":"a","timestamp":1795293175,"value":` + strings.Repeat("9", 400) + `}`, `{"metric":"a","value":1,"timestamp":` + strings.Repeat("1", 400) + `}`,
		`{"metrics":[{"metric":"a","value":0.` + strings.Repeat("0", 400) + `1e401}]}`, "{\"metric\":\"\xed\xa0\x80\"}", "{\"metric\":\"\xc3\"}", `{"metric":"` + strings.Repeat("\\u0061", 300) + `"}`,
		`{"key":"k","metrics":[` + strings.Repeat(`{"metric":"servers.web-1.cpu.user","timestamp":1795293175,"value":369.63},`, 5) + `{"metric":"a","timestamp":1795293174,"value":-1.5}]}`,
		`{"metrics":[` + strings.Repeat(`{"value": "12", "fill": true, "metric": "a.b;k=v", "timestamp": "1478021700"}, `, 5) + `{"value":1}],"key":"0123456789abcdef"}`,
		`{"fill":"True","metric":"a","timestamp":1,"value":007}`, `{"metrics":[{"metric":"","value":""}],"key":7}`,
	} {
		f.Add([]byte(s))
	}
	var p ingest.Parser
	f.Fuzz(func(t *testing.T, body []byte) {
		before := string(body)
		m, isObject, ok := decode(body)
		req, err := p.JSON(body)
		if !ok || !isObject {
			require.Nil(t, req)
			require.Equal(t, &failure{-1, ingest.ReasonJSON}, failed(err))
			require.Equal(t, ok, err.Error() == "ingest: no POST data received")
			return
		}
		require.NoError(t, err)
		for _, prefix := range []string{"", "p"} {
			want, failure := referenceRequest(m, rules(), prefix)
			require.Equal(t, failure, failed(p.Validate(rules(), prefix)))
			if req.Key == nil {
				req.Key = []byte{}
			}
			require.Equal(t, want, *req)
		}
		require.Equal(t, before, string(body))
	})
}

// FuzzQuery compares the parser with net/url and the same rules.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{
		"metric=a.b&timestamp=1795293175&value=1.0&key=k", "metric=a+b%20c&value=%2B1&fill=true&timestamp=5", "status", "test=true&&key=",
		"metric=a;k=v&value=1", "metric=%&value", "what=1", "metric=a&metric=b", "m%65tric=%ff&value=nan", "metric=p.x&value=1e5&timestamp=+1",
	} {
		f.Add(s)
	}
	var p ingest.Parser
	f.Fuzz(func(t *testing.T, query string) {
		m, ok := splitQuery(query)
		req, err := p.Query(query)
		if !ok {
			require.Nil(t, req)
			require.Equal(t, &failure{-1, ingest.ReasonQuery}, failed(err))
			return
		}
		require.NoError(t, err)
		require.Equal(t, m["key"], map[bool]any{true: string(req.Key)}[req.HasKey])
		_, status := m["status"]
		require.Equal(t, status, req.Status)
		test, asked := m["test"]
		require.Equal(t, asked && test != "false" && test != "False" && test != "0", req.Test)
		require.Equal(t, filled(m["fill"]), req.Fill)
		require.Equal(t, 1, req.Points)

		it, reason := referencePoint(m, true, rules(), "p")
		_, hasValue := m["value"]
		switch {
		case m["metric"] == "":
			reason = ingest.ReasonMissing
		case m["value"] == "" && reason == ingest.ReasonMissing && hasValue:
			m["value"] = "?"
			_, reason = referencePoint(m, true, rules(), "p")
		}
		err = p.Validate(rules(), "p")
		if reason != "" {
			require.Equal(t, &failure{0, reason}, failed(err))
			require.Nil(t, req.Items)
			return
		}
		require.NoError(t, err)
		require.Equal(t, []ingest.Item{it}, req.Items)
	})
}

// splitQuery is the query as a map, if Flux would know every parameter of it.
func splitQuery(query string) (m map[string]any, ok bool) {
	m = map[string]any{}
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		name, err := url.QueryUnescape(name)
		value, err2 := url.QueryUnescape(value)
		_, twice := m[name]
		if err != nil || err2 != nil || twice ||
			!slices.Contains([]string{"metric", "timestamp", "value", "key", "fill", "status", "test"}, name) {
			return nil, false
		}
		m[name] = value
	}
	return m, true
}

// FuzzName checks that a name has one final form, whichever way it comes, and the right one.
func FuzzName(f *testing.F) {
	for _, s := range []string{
		"a.b.c", "a..b", "...", "a b*'", "a;b=2;a=1", "a;name=x;k=v", "a;k=1;k-=2;k=3", "/a", "a/../b", "a./b", "p.a", "p", "p;k=v", "px", "a;k=~", "a;k={x=\"}",
		strings.Repeat("a", 252), strings.Repeat("a", 256) + ".b", strings.Repeat("a.", 2031) + "b", "é", "a;é=é", "a=b:c%d+e_f-g/h",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, metric string) {
		if !utf8.ValidString(metric) {
			return // FuzzQuery has these
		}
		want, ok := referenceName(metric, true, "p")
		got, err := named(t, metric, "p")
		require.Equal(t, ok, err == nil)
		if ok {
			require.Equal(t, want, got)
		}
	})
}

// FuzzNumber compares timestamps and values, as text and bare, with the rules over regular expressions.
func FuzzNumber(f *testing.F) {
	for _, s := range []string{
		"1795293175", " +1795293175\n", "17952_93175", "1795293175000", "-1", "1.5", ".5", "5.", "1e5", "1_0.0_1e1_0", "nan", "-Infinity", "0x10", "1e999",
		"9007199254740993", "0.30000000000000004", "123456789012345678", "1234567890123456789012345", "5e-324", "1.7976931348623159e308", "-0", "00", "1__0",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			return
		}
		quoted, err := json.Marshal(s)
		require.NoError(t, err)
		bodies := []string{string(quoted)}
		if s == strings.TrimSpace(s) && s != "" && strings.IndexByte("-0123456789", s[0]) >= 0 && json.Valid([]byte(s)) {
			bodies = append(bodies, s)
		}
		for _, text := range bodies {
			for _, member := range []string{`"timestamp":1795293175,"value":`, `"value":1,"fill":true,"timestamp":`} {
				m, _, ok := decode([]byte(`{"metric":"a",` + member + text + `}`))
				require.True(t, ok)
				want, failure := referenceRequest(m, rules(), "")
				for _, body := range []string{`{"metric":"a",` + member + text + `}`, `{"metrics":[{"metric":"a",` + member + text + `}]}`} {
					items, err := post(t, body)
					require.Equal(t, failure, failed(err), body)
					require.Equal(t, want.Items, items, body)
				}
			}
		}
	})
}
