package ingest_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
)

// verdicts are what the reference makes of a request whose points are judged one by one.
type verdicts struct {
	items    []ingest.Item
	rejected []left
	tooLong  bool // all names together
}

// left is a point that is left out.
type left struct {
	item   int
	field  string
	reason ingest.Reason
}

func leftOut(req *ingest.Request) []left {
	var out []left
	for i := range req.Rejected {
		r := &req.Rejected[i]
		out = append(out, left{r.Item, string(r.Field), r.Reason})
	}
	return out
}

// add puts a point where it belongs.
func (v *verdicts) add(it ingest.Item, l left) {
	if l.reason != "" {
		v.rejected = append(v.rejected, l)
		return
	}
	v.items = append(v.items, it)
}

func (v *verdicts) sort() {
	slices.SortStableFunc(v.items, func(a, b ingest.Item) int { return cmp.Compare(a.Timestamp, b.Timestamp) })
}

// member is one member of an object; a map would lose the order.
type member struct {
	name string
	raw  json.RawMessage
}

func membersOf(raw json.RawMessage) (out []member, isObject bool) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, false
		}
		var v json.RawMessage
		if d.Decode(&v) != nil {
			return nil, false
		}
		out = append(out, member{t.(string), v})
	}
	return out, true
}

func valueOf(raw json.RawMessage) (v any) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if d.Decode(&v) != nil {
		panic("not JSON")
	}
	return v
}

func pick(list []member, name string) (json.RawMessage, bool) {
	i := slices.IndexFunc(list, func(m member) bool { return m.name == name })
	if i < 0 {
		return nil, false
	}
	return list[i].raw, true
}

// referenceTelegraf judges a body that decode takes. ok is false if it is not telegraf's.
func referenceTelegraf(body []byte, r ingest.Rules, header, prefix string) (v verdicts, ok bool) {
	m, _ := membersOf(body)
	list, hasList := pick(m, "metrics")
	array, isArray := valueOf(list0(list)).([]any)
	size := 0
	switch {
	case isArray && len(array) > 0:
		var raws []json.RawMessage
		if json.Unmarshal(list, &raws) != nil {
			panic("not an array")
		}
		for i, raw := range raws {
			v.element(i, raw, r, header, prefix, &size)
		}
	case hasList && !isArray && valueOf(list) != nil:
		return v, false
	default:
		_, hasMetric := pick(m, "metric")
		_, hasFields := pick(m, "fields")
		if hasMetric || !hasFields {
			return v, false
		}
		v.element(0, body, r, header, prefix, &size)
	}
	v.tooLong = size > 64<<10+32*len(body)
	v.sort()
	return v, true
}

func list0(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}

// element judges one element of metrics.
func (v *verdicts) element(i int, raw json.RawMessage, r ingest.Rules, header, prefix string, size *int) {
	m, _ := membersOf(raw)
	_, hasMetric := pick(m, "metric")
	fields, hasFields := pick(m, "fields")
	if hasMetric || !hasFields {
		it, reason := referencePoint(valueOf(raw), true, r, prefix)
		v.add(it, left{i, "", reason})
		return
	}
	list, isObject := membersOf(fields)
	if !isObject {
		v.add(ingest.Item{}, left{i, "", ingest.ReasonForm})
		return
	}
	for _, f := range list {
		it, reason := referenceField(m, f, r, header, prefix, size)
		v.add(it, left{i, f.name, reason})
	}
}

// referenceField judges one field of an object.
func referenceField(m []member, f member, r ingest.Rules, header, prefix string, size *int) (it ingest.Item, reason ingest.Reason) {
	rawName, hasName := pick(m, "name")
	rawTags, hasTags := pick(m, "tags")
	rawTime, hasTime := pick(m, "timestamp")
	measurement := ""
	if hasName {
		var isText bool
		if measurement, isText = valueOf(rawName).(string); !isText {
			return it, ingest.ReasonForm
		}
	}
	if measurement == "" {
		return it, ingest.ReasonMissing
	}
	tags, isObject := membersOf(rawTags)
	if hasTags && !isObject {
		return it, ingest.ReasonForm
	}
	flat := strings.NewReplacer(".", "_", "/", "-")
	host, parts := "", []string{}
	for _, t := range tags {
		value, isText := valueOf(t.raw).(string)
		switch {
		case !isText:
			return it, ingest.ReasonForm
		case t.name == "host":
			host = value
		case value != "":
			parts = append(parts, flat.Replace(value))
		}
	}
	if host == "" || f.name == "" {
		return it, ingest.ReasonMissing
	}
	whole := strings.Join(append(append([]string{host}, parts...), measurement, flat.Replace(f.name)), ".")
	if header != "" {
		whole = header + "." + whole
	}
	for strings.Contains(whole, "..") {
		whole = strings.ReplaceAll(whole, "..", ".")
	}
	if len(whole) <= 4062 {
		*size += len(whole) + len(prefix)
	}
	name, ok := referenceName(whole, !strings.Contains(whole, ";"), prefix)
	if !ok {
		return it, ingest.ReasonName
	}
	if !hasTime {
		return it, ingest.ReasonMissing
	}
	ts, reason := referenceTime(scalar(valueOf(rawTime)), false, r)
	if reason != "" {
		return it, reason
	}
	n, isNumber := valueOf(f.raw).(json.Number)
	if !isNumber {
		return it, ingest.ReasonNonNumeric
	}
	value, ok := referenceFloat(n.String())
	if !ok {
		return it, ingest.ReasonValue
	}
	return ingest.Item{Name: []byte(name), Timestamp: ts * 1000, Value: value}, ""
}

// checkTelegraf compares the parser with the reference.
func checkTelegraf(t *testing.T, p *ingest.Parser, body []byte, header string) {
	t.Helper()
	m, isObject, ok := decode(body)
	req, err := p.Telegraf(body, ingest.Telegraf{Prefix: header})
	if !ok || !isObject {
		require.Nil(t, req)
		require.Equal(t, &failure{-1, ingest.ReasonJSON}, failed(err))
		return
	}
	require.NoError(t, err, "%s", body)
	for _, prefix := range []string{"", "p"} {
		want, isTelegraf := referenceTelegraf(body, rules(), header, prefix)
		err := p.Validate(rules(), prefix)
		require.Equal(t, isTelegraf, req.OneByOne)
		switch {
		case !isTelegraf: // then it is read as Flux's own
			want, failure := referenceRequest(m, rules(), prefix)
			require.Equal(t, failure, failed(err))
			require.Equal(t, want.Items, req.Items)
		case want.tooLong:
			require.Equal(t, &failure{-1, ingest.ReasonTooMany}, failed(err))
		default:
			require.NoError(t, err)
			require.Equal(t, want.items, append([]ingest.Item(nil), req.Items...), "%s", body)
			require.Equal(t, want.rejected, leftOut(req), "%s", body)
			require.Equal(t, req.Points, len(req.Items)+len(req.Rejected))
			for i := range req.Rejected {
				requireHarmless(t, req.Rejected[i].Message())
			}
		}
	}
}

// requireHarmless checks that a message is a short line of printable ASCII.
func requireHarmless(t *testing.T, message string) {
	t.Helper()
	require.Less(t, len(message), 2000)
	for _, c := range []byte(message) {
		require.True(t, c >= ' ' && c <= '~', "%q", message)
	}
}

// telegrafBodies are what the fuzzer starts from.
var telegrafBodies = []string{
	`{"metrics":[` + nginx + `]}`, nginx,
	`{"metrics":[{"fields":{"usage_idle":98.5,"usage_user":1.25e0,"s":"x","b":true,"n":null},"name":"cpu","tags":{"cpu":"cpu0","host":"web-1"},"timestamp":1795293175}]}`,
	`{"key":"k","metrics":[{"fields":{"a":1},"name":"m","tags":{"host":"h"},"timestamp":1},{"metric":"a","value":1},5,{}]}`,
	`{"metrics":[{"tags":{"a":"","host":"h.i/j","b":"c.d/e f"},"fields":{"x(1)":1,"":2,"a;b=c":3},"timestamp":"1795293175","name":"m..n"}]}`,
	`{"metrics":[{"fields":[],"name":5,"tags":{"host":1}},{"fields":{"a":1},"name":"","tags":null},{"fields":{"a":1},"name":"m","tags":{}}]}`,
	`{"metrics":[{"fields":{"a":1,"a":2}}]}`, `{"fields":{"a":{"b":[1]}},"name":"m","tags":{"host":"h"},"metrics":[]}`,
	`{"metrics":[{"fields":{"a":1},"metric":"p.x","value":"2","tags":{"host":"h"}}]}`, `{"fields":{"a":1},"metrics":5}`, `{"tags":{"host":"h"},"fields":{},"name":"m"}`,
	`{"metrics":[{"fields":{"a":1e400,"b":-0.0,"c":12345678901234567890},"name":"p.m","tags":{"host":"p"},"timestamp":1795293175}]}`,
	"{\"fields\":{\"\xff\":1}}", strings.Repeat(`{"fields":`, 40), `{"metrics":[{"fields":{"\ud83d\ude00":1},"name":"\u0061","tags":{"host":"h\n"},"timestamp":null}]}`,
}

// FuzzTelegraf compares the parser with encoding/json and the rules over its values.
func FuzzTelegraf(f *testing.F) {
	for i, s := range telegrafBodies {
		f.Add([]byte(s), []string{"", "h", "a b", "p"}[i%4])
	}
	var p ingest.Parser
	f.Fuzz(func(t *testing.T, body []byte, header string) {
		before := string(body)
		checkTelegraf(t, &p, body, header)
		require.Equal(t, before, string(body))
	})
}

// TestTruncated cuts bodies at every byte: what is left is no JSON.
func TestTruncated(t *testing.T) {
	var p ingest.Parser
	for _, body := range append(telegrafBodies[:2:2],
		`{"key":"k","metrics":[{"metric":"a\u0041","timestamp":1795293175,"value":-1.5e-3,"x":{"y":[1,null,true,"é"]}},{"value":"2","metric":"c d","fill":"true"}]}`) {
		for i := range body {
			_, err := p.JSON([]byte(body[:i]))
			require.Equal(t, &failure{-1, ingest.ReasonJSON}, failed(err), body[:i])
			_, err = p.Telegraf([]byte(body[:i]), ingest.Telegraf{})
			require.Equal(t, &failure{-1, ingest.ReasonJSON}, failed(err), body[:i])
			checkLines(t, &p, []byte(body[:i]))
		}
	}
}
