package ingest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
)

// now is the time in these tests; a fraction of a second is cut off it.
var now = time.Unix(1795293175, 999e6)

// rules are the defaults of the gateway.
func rules() ingest.Rules {
	return ingest.Rules{MaxAge: time.Hour, MaxFuture: time.Minute, Now: now}
}

// post parses and validates a body. Items are nil if it was refused.
func post(t *testing.T, body string) ([]ingest.Item, error) {
	t.Helper()
	var p ingest.Parser
	req, err := p.JSON([]byte(body))
	if err != nil {
		require.Nil(t, req)
		return nil, err
	}
	err = p.Validate(rules(), "")
	return req.Items, err
}

// get does the same to a query.
func get(t *testing.T, query string) ([]ingest.Item, error) {
	t.Helper()
	var p ingest.Parser
	req, err := p.Query(query)
	if err != nil {
		require.Nil(t, req)
		return nil, err
	}
	err = p.Validate(rules(), "")
	return req.Items, err
}

// requireError checks all of an error.
func requireError(t *testing.T, err error, item int, reason ingest.Reason, message string) {
	t.Helper()
	var e *ingest.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, message, e.Message)
	require.Equal(t, item, e.Item)
	require.Equal(t, reason, e.Reason)
	require.Equal(t, http.StatusBadRequest, e.Code)
	require.EqualError(t, err, "ingest: "+message)
}

func item(name string, seconds int64, value float64, fill bool) ingest.Item {
	return ingest.Item{Name: []byte(name), Timestamp: seconds * 1000, Value: value, Fill: fill}
}

func TestSingle(t *testing.T) {
	ts := now.Unix()
	want := []ingest.Item{item("vista.nodes.skyline-1.cpu.user", ts, 1, false)}
	for _, body := range []string{
		`{"metric":"vista.nodes.skyline-1.cpu.user","timestamp":"1795293175","value":"1.0","key":"K"}`,
		`{"metric":"vista.nodes.skyline-1.cpu.user","timestamp":1795293175,"value":1.0,"key":"K"}`,
		"\r\n\t {\"value\" :1e0 , \"key\":\"K\",\n\"timestamp\":\" +1795293175 \",\"metric\": \"vista.nodes.skyline-1.cpu.user\"}\n",
		`{"metr\u0069c":"vista.nodes.skyline\u002d1.cpu.user","timestamp":"1_795_293_175","value":"1","key":"K"}`,
		`{"metric":"vista.nodes.skyline-1.cpu.user","timestamp":"1795293175","value":"1.0","key":"K","other":{"a":[1,{"b":null}]}}`,
		`{"metrics":[],"metric":"vista.nodes.skyline-1.cpu.user","timestamp":"1795293175","value":"1.0","key":"K"}`,
		`{"metrics":null,"metric":"vista.nodes.skyline-1.cpu.user","timestamp":"1795293175","value":"1.0","key":"K"}`,
	} {
		var p ingest.Parser
		req, err := p.JSON([]byte(body))
		require.NoError(t, err, body)
		require.True(t, req.HasKey)
		require.Equal(t, "K", string(req.Key))
		require.Equal(t, 1, req.Points)
		require.False(t, req.Array)
		require.Nil(t, req.Items)
		require.NoError(t, p.Validate(rules(), ""), body)
		require.Equal(t, want, req.Items, body)
	}
}

func TestArray(t *testing.T) {
	const ts = 1795293175
	var p ingest.Parser
	req, err := p.JSON([]byte(`{"key":"K","metric":5,"fill":"true","metrics":[
		{"metric":"c","value":3,"timestamp":1795293175},
		{"metric":"b","value":2},
		{"timestamp":"100","fill":true,"metric":"old","value":"-1e-3"},
		{"metric":"a","value":1.5,"timestamp":"1795293174","tags":["x"]}]}`))
	require.NoError(t, err)
	require.True(t, req.Array)
	require.True(t, req.Fill)
	require.Equal(t, 4, req.Points)
	require.NoError(t, p.Validate(rules(), ""))
	require.Equal(t, []ingest.Item{
		item("old", 100, -0.001, true), item("a", ts-1, 1.5, false), item("c", ts, 3, false), item("b", ts, 2, false),
	}, req.Items)
}

// The first bad point is told, and its first defect, whatever the order of the members.
func TestFirstDefect(t *testing.T) {
	_, err := post(t, `{"metrics":[{"metric":"a","value":1},{"value":"x","timestamp":"y","metric":"a"},{"metric":""}]}`)
	requireError(t, err, 1, ingest.ReasonTimestamp, `invalid timestamp - "y" - timestamp is not an int - item 1 ("a")`)
}

func TestValidateAgain(t *testing.T) {
	var p ingest.Parser
	req, err := p.JSON([]byte(`{"metrics":[{"metric":"a;y=1;x=2","value":1,"timestamp":1478021700}]}`))
	require.NoError(t, err)
	requireError(t, p.Validate(rules(), ""), 0, ingest.ReasonOld,
		`invalid timestamp - 1478021700 - timestamp is too old, older than 3600 seconds - item 0 ("a;y=1;x=2")`)
	require.Nil(t, req.Items)
	require.NoError(t, p.Validate(ingest.Rules{Now: now}, "p"))
	require.Equal(t, []ingest.Item{item("p.a;x=2;y=1", 1478021700, 1, false)}, req.Items)
	require.Error(t, p.Validate(rules(), ""))
	require.Nil(t, req.Items)

	_, err = p.JSON([]byte(`{`))
	require.Error(t, err)
	require.Equal(t, err, p.Validate(rules(), ""))
	_, err = p.Query("what=1")
	require.Error(t, err)
	require.Equal(t, err, p.Validate(rules(), ""))
}

func TestTooManyPoints(t *testing.T) {
	body := func(n int) []byte {
		return []byte(`{"metrics":[` + strings.TrimSuffix(strings.Repeat(`{"metric":"a","value":1},`, n), ",") + `]}`)
	}
	check := func(p *ingest.Parser, limit int) {
		req, err := p.JSON(body(limit))
		require.NoError(t, err)
		require.Equal(t, limit, req.Points)
		require.NoError(t, p.Validate(rules(), ""))
		require.Len(t, req.Items, limit)

		_, err = p.JSON(body(limit + 1))
		var e *ingest.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, http.StatusRequestEntityTooLarge, e.Code)
		require.Equal(t, ingest.ReasonTooMany, e.Reason)
		require.Equal(t, fmt.Sprintf("too many points - more than %d in one request", limit), e.Message)
	}
	check(&ingest.Parser{}, ingest.DefaultMaxPoints)
	check(&ingest.Parser{MaxPoints: 3}, 3)
}

func TestForm(t *testing.T) {
	f := func(body string, item int, reason ingest.Reason, message string) {
		t.Helper()
		_, err := post(t, body)
		requireError(t, err, item, reason, message)
	}
	for _, body := range []string{`{}`, ` [] `, `null`, `0`, `""`, `[1]`, `"x"`, `5`, `true`, `[{"metric":"a","value":1}]`} {
		f(body, -1, ingest.ReasonJSON, "no POST data received")
	}
	f(`{"metrics":5}`, -1, ingest.ReasonForm, "invalid metrics - 5 - not an array")
	f(`{"metrics":{"a":1}}`, -1, ingest.ReasonForm, "invalid metrics - an object - not an array")
	f(`{"metrics":"a\nb"}`, -1, ingest.ReasonForm, `invalid metrics - "a\nb" - not an array`)
	f(`{"metrics":false}`, -1, ingest.ReasonForm, "invalid metrics - false - not an array")
	f(`{"metrics":[5]}`, 0, ingest.ReasonForm, "invalid metric - a number - not an object - item 0")
	f(`{"metrics":[null]}`, 0, ingest.ReasonForm, "invalid metric - null - not an object - item 0")
	f(`{"metrics":["a"]}`, 0, ingest.ReasonForm, "invalid metric - a string - not an object - item 0")
	f(`{"metrics":[[]]}`, 0, ingest.ReasonForm, "invalid metric - an array - not an object - item 0")
	f(`{"metrics":[true]}`, 0, ingest.ReasonForm, "invalid metric - true - not an object - item 0")
	f(`{"metrics":[{"value":1}]}`, 0, ingest.ReasonMissing, "invalid metric - no metric - item 0")
	f(`{"metrics":[{}]}`, 0, ingest.ReasonMissing, "invalid metric - no metric - item 0")
	f(`{"metrics":[{"metric":"a"}]}`, 0, ingest.ReasonMissing, `no value parameter present - item 0 ("a")`)
	f(`{"metrics":[{"metric":"a","value":""}]}`, 0, ingest.ReasonMissing, `no value parameter present - item 0 ("a")`)
	f(`{"key":"K"}`, 0, ingest.ReasonMissing, "no metric data passed - no metric")
	f(`{"metric":"a","value":1}`, 0, ingest.ReasonMissing, `no metric data passed - no timestamp - "a"`)
	f(`{"metric":"a","timestamp":1}`, 0, ingest.ReasonMissing, `no metric data passed - no value - "a"`)
	f(`{"metric":"a","timestamp":1,"value":""}`, 0, ingest.ReasonMissing, `no value parameter present - "a"`)
}

func TestSwitches(t *testing.T) {
	f := func(members string, want ingest.Request) {
		t.Helper()
		var p ingest.Parser
		req, err := p.JSON([]byte("{" + members + "}"))
		require.NoError(t, err)
		want.Points = 1
		require.Equal(t, want, *req)
	}
	f(`"a":1`, ingest.Request{})
	f(`"key":"k"`, ingest.Request{HasKey: true, Key: []byte("k")})
	f(`"key":"k\u00e9"`, ingest.Request{HasKey: true, Key: []byte("ké")})
	for _, key := range []string{`null`, `5`, `true`, `["k"]`, `{"k":1}`} {
		f(`"key":`+key, ingest.Request{HasKey: true})
	}
	for _, v := range []string{`true`, `false`, `0`, `null`, `"x"`, `[]`} {
		f(`"status":`+v, ingest.Request{Status: true})
	}
	f(`"status":""`, ingest.Request{})
	for _, v := range []string{`true`, `1`, `-0.5`, `"true"`, `"0"`, `"false"`, `"False"`, `[0]`, `{"a":1}`} {
		f(`"test":`+v, ingest.Request{Test: true})
		f(`"validate_key":`+v, ingest.Request{ValidateKey: true})
	}
	for _, v := range []string{`false`, `0`, `-0.0e5`, `""`, `null`, `[ ]`, `{}`} {
		f(`"test":`+v, ingest.Request{})
		f(`"validate_key":`+v, ingest.Request{})
	}
	for _, v := range []string{`true`, `"true"`, `"True"`} {
		f(`"fill":`+v, ingest.Request{Fill: true})
	}
	for _, v := range []string{`false`, `"false"`, `"TRUE"`, `1`, `null`, `""`, `" true"`} {
		f(`"fill":`+v, ingest.Request{})
	}
}
