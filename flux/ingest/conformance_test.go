package ingest_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
)

const documented = `{"metric":"vista.nodes.skyline-1.cpu.user","timestamp":"1478021700","value":"1.0","key":"YOURown32charSkylineAPIkeySecret"}`

// TestConformance holds what is made of typical requests, with the defects of Flux mended: the names of the points that
// are taken, or the status of a refusal. What an answer is besides, and all about keys, is the gateway's.
func TestConformance(t *testing.T) {
	code := func(err error) int {
		t.Helper()
		if err == nil {
			return 0
		}
		var e *ingest.Error
		require.ErrorAs(t, err, &e)
		return e.Code
	}
	check := func(what, prefix string, p *ingest.Parser, req *ingest.Request, err error, status int, names []string) {
		t.Helper()
		if err == nil {
			err = p.Validate(rules(), prefix)
		}
		require.Equal(t, status, code(err), what)
		var got []string
		if err == nil {
			for _, it := range req.Items {
				got = append(got, string(it.Name))
			}
		}
		require.Equal(t, names, got, what)
	}
	const bad = http.StatusBadRequest
	for _, c := range []struct {
		what, query string
		status      int
		names       []string
	}{
		{"good", "metric=a.b&timestamp=1795293175&value=1.0&key=K", 0, []string{"a.b"}},
		{"too old", "metric=a.b&timestamp=1795289475&value=1.0&key=K", bad, nil},
		{"at the limit", "metric=a.b&timestamp=1795289575&value=1.0&key=K", 0, []string{"a.b"}},
		{"in the future", "metric=a.b&timestamp=1795293265&value=1.0&key=K", bad, nil},
		{"at that limit", "metric=a.b&timestamp=1795293235&value=1.0&key=K", 0, []string{"a.b"}},
		{"milliseconds", "metric=a.b&timestamp=1795293175000&value=1.0&key=K", bad, nil},
		{"half a second", "metric=a.b&timestamp=1795293175.5&value=1.0&key=K", bad, nil},
		{"no timestamp", "metric=a.b&timestamp=abc&value=1.0&key=K", bad, nil},
		{"not a number", "metric=a.b&timestamp=1795293175&value=nan&key=K", bad, nil},
		{"half a tag", "metric=a;b&timestamp=1795293175&value=1&key=K", bad, nil},
		{"a tag", "metric=a;b=c&timestamp=1795293175&value=1&key=K", 0, []string{"a;b=c"}},
		{"unknown parameter", "metric=a.b&value=1&what=2", bad, nil},
	} {
		var p ingest.Parser
		req, err := p.Query(c.query)
		check(c.what, "", &p, req, err, c.status, c.names)
	}

	now := `{"metric":"vista.nodes.skyline-1.cpu.user","timestamp":"1795293175","value":"1.0","key":"K"}`
	for _, c := range []struct {
		what, prefix, body string
		status             int
		names              []string
	}{
		{"documented, with a timestamp of now", "", now, 0, []string{"vista.nodes.skyline-1.cpu.user"}},
		{"documented, to the letter", "", documented, bad, nil},
		{"empty object", "", `{}`, bad, nil},
		{"array", "", `[1]`, bad, nil},
		{"broken JSON", "", `{"metric"`, bad, nil},
		{"empty body", "", ``, bad, nil},
		{"good, bad, good", "", `{"metrics":[{"metric":"a","value":1},{"metric":"b","timestamp":1,"value":1},{"metric":"c","value":1}]}`, bad, nil},
		{"one under the prefix", "k", `{"metrics":[{"metric":"a","value":1},{"metric":"k.b","value":1},{"metric":"c","value":1}]}`, 0, []string{"k.a", "k.b", "k.c"}},
		{"old, with fill", "", `{"metric":"a","timestamp":1478021700,"value":1,"fill":"true"}`, 0, []string{"a"}},
		{"the same point twice, for the filter", "", `{"metrics":[` + `{"metric":"a","value":1},{"metric":"a","value":1}]}`, 0, []string{"a", "a"}},
	} {
		var p ingest.Parser
		req, err := p.JSON([]byte(c.body))
		check(c.what, c.prefix, &p, req, err, c.status, c.names)
	}

	var p ingest.Parser
	req, err := p.Telegraf([]byte(`{"metrics":[{"fields":{"s":"ok","b":true},"name":"m","tags":{"host":"h"},"timestamp":1795293175}]}`), ingest.Telegraf{})
	check("telegraf without a number", "", &p, req, err, 0, nil)
	require.Len(t, req.Rejected, 2)
}

// Without the window the documented request is accepted as it stands.
func TestConformanceWithoutWindow(t *testing.T) {
	var p ingest.Parser
	req, err := p.JSON([]byte(documented))
	require.NoError(t, err)
	require.Equal(t, "YOURown32charSkylineAPIkeySecret", string(req.Key))
	require.NoError(t, p.Validate(ingest.Rules{MaxFuture: time.Minute, Now: now}, ""))
	require.Equal(t, []ingest.Item{item("vista.nodes.skyline-1.cpu.user", 1478021700, 1, false)}, req.Items)
}
