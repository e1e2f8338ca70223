package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux/backfill"
	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
)

// newPrometheus answers range queries with the number of the minute at each step, and refuses what has too many.
func newPrometheus(t *testing.T) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		start, err1 := strconv.ParseFloat(q.Get("start"), 64)
		end, err2 := strconv.ParseFloat(q.Get("end"), 64)
		step, err3 := strconv.ParseFloat(q.Get("step"), 64)
		if err1 != nil || err2 != nil || err3 != nil || (end-start)/step > 11000 {
			http.Error(w, `{"status":"error","errorType":"bad_data","error":"exceeded maximum resolution"}`, http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[`)
		for at, comma := start, ""; at <= end; at, comma = at+step, "," {
			fmt.Fprintf(w, `%s[%.0f,"%.0f"]`, comma, at, at/60)
		}
		fmt.Fprint(w, `]}]}}`)
	}))
	t.Cleanup(s.Close)
	return s
}

// An expression is asked for in parts, and no minute lies between two of them.
func TestBackfillOfAnExpressionIsWhole(t *testing.T) {
	prometheus := newPrometheus(t)
	until := time.Now().Add(-time.Hour).Truncate(time.Minute)
	for name, c := range map[string]struct {
		minutes     int
		resolutions string
	}{
		"20 days":              {28_800, "90days,7days,24hours,6hours"},
		"one part":             {10_999, "90days"},
		"as many as a part":    {11_000, "90days"},
		"one more":             {11_001, "90days"},
		"two parts":            {22_000, "90days"},
		"parts that end as an": {22_000 + 60, "22000m"},
	} {
		t.Run(name, func(t *testing.T) {
			carbon := graphitetest.Run(t)
			from := until.Add(-time.Duration(c.minutes) * time.Minute)
			o := fluxRun("backfill", "rate(up[5m])", "--prometheus", prometheus.URL, "--as", "r", "--carbon", carbon.PickleAddr, "--rate", "0",
				"--from", strconv.FormatInt(from.Unix(), 10), "--until", strconv.FormatInt(until.Unix(), 10), "--resolutions", c.resolutions)
			require.Equal(t, exitOK, o.code, o.stderr)
			require.Len(t, carbon.Points("r"), c.minutes)
			requireWhole(t, carbon, "r", from, until)
		})
	}
}

// Each minute of the period is asked for once, whatever the options cut it into.
func TestPartsOfAnExpression(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 34, 56, 789e6, time.UTC)
	for _, minute := range []string{"skip", "keep"} {
		for _, from := range []string{"20d", "11000m", "10999m", "33000m", "400d", "1m"} {
			c := &backfillCmd{Target: []string{"rate(up[5m])"}, Prometheus: "http://p", From: from, MinuteAtHand: minute, Resolutions: []string{"90d", "7d", "24h", "6h"}}
			p := &backfillPlan{now: now}
			require.NoError(t, c.period(p))
			require.NoError(t, c.openSource(p))
			urls, err := p.source.urls(history{Target: c.Target[0]})
			require.NoError(t, err)
			next := p.from / 1000
			for _, text := range urls {
				u, err := url.Parse(text)
				require.NoError(t, err)
				start, err := strconv.ParseInt(u.Query().Get("start"), 10, 64)
				require.NoError(t, err)
				end, err := strconv.ParseFloat(u.Query().Get("end"), 64)
				require.NoError(t, err)
				require.Equal(t, next, start, "%s %s", from, text)
				steps := int64(end-float64(start)) / 60
				require.Less(t, steps, int64(11_000))
				next = start + 60*(steps+1)
			}
			require.Equal(t, (p.until+minuteMS-1)/minuteMS*60, next, from)
		}
	}
}

// More history than the queries of a job can fetch is refused before anything is sent, with what to type.
func TestBackfillOfTooLongAnExpression(t *testing.T) {
	prometheus := newPrometheus(t)
	carbon := graphitetest.Run(t)
	args := []string{"backfill", "up", "rate(up[5m])", "--prometheus", prometheus.URL, "--carbon", carbon.PickleAddr}
	o := fluxRun(append(args, "--from", "2020-01-01", "--until", "2024-01-01")...)
	require.Equal(t, exitUsage, o.code, o.stderr)
	require.Contains(t, o.stderr, "rate(up[5m]): 2020-01-01T00:00:00Z to 2024-01-01T00:00:00Z is too long for an expression, which is fetched in queries of 11000 minutes, and a run makes at most 100 of them for a metric. "+
		"Run it in parts, the oldest first: --from 2020-01-01T00:00:00Z --until 2022-01-03T08:00:00Z, then --from 2022-01-03T08:00:00Z --until 2024-01-01T00:00:00Z\n")
	require.NotContains(t, o.stderr, "fetch_resolution_urls")
	require.Empty(t, carbon.All())
	o = fluxRun(append(args, "--from", "1000d")...)
	require.Equal(t, exitUsage, o.code, o.stderr)
	require.Regexp(t, `the oldest first: --from (\S+Z) --until (\S+Z), then --from (\S+Z)\n`, o.stderr, "until now stays so")

	// What the message says is taken, and a selector is fetched in as many queries as there are archives.
	args = []string{"backfill", "rate(up[5m])", "--prometheus", prometheus.URL, "--as", "r", "--dry-run"}
	for _, part := range [][]string{{"--from", "2020-01-01T00:00:00Z", "--until", "2022-01-03T08:00:00Z"}, {"--from", "2022-01-03T08:00:00Z", "--until", "2024-01-01T00:00:00Z"}} {
		o = fluxRun(append(args[:len(args):len(args)], part...)...)
		require.Equal(t, exitOK, o.code, o.stderr)
	}
	o = fluxRun("backfill", "up", "--prometheus", prometheus.URL, "--dry-run", "--from", "2020-01-01")
	require.Equal(t, exitOK, o.code, o.stderr)

	many := []string{"backfill", "a", "--graphite", prometheus.URL, "--dry-run"}
	for i := range 51 {
		many = append(many, "--resolutions", fmt.Sprintf("%dd", i+1))
	}
	o = fluxRun(many...)
	require.Equal(t, exitUsage, o.code, o.stderr)
	require.Contains(t, o.stderr, "--resolutions: 51 of them, at most 50")
}

type nopSink struct{}

func (nopSink) Send(context.Context, []graphite.Point) error { return nil }

// The limit is that of jobs.
func TestMostQueriesAreThoseOfAJob(t *testing.T) {
	m, err := backfill.New(backfill.Config{Sink: nopSink{}, Origins: []backfill.Origin{{Scheme: "http", Host: "127.0.0.1", Port: "1"}}})
	require.NoError(t, err)
	defer m.Close(t.Context())
	r := &backfill.Request{HostType: backfill.Prometheus, Metric: "a"}
	for i := range maxQueries + 1 {
		r.URLs = append(r.URLs, fmt.Sprintf("http://127.0.0.1:1/api/v1/query_range?query=a&start=%d&end=%d&step=60", i, i+60))
	}
	_, _, err = m.Submit(t.Context(), r)
	require.ErrorContains(t, err, "at most 100")
	r.URLs = r.URLs[:maxQueries]
	_, _, err = m.Submit(t.Context(), r)
	require.NoError(t, err)
}

// What follows the path of a source's URL would not be sent.
func TestBackfillFromAURLWithAQuery(t *testing.T) {
	for _, kind := range []string{"graphite", "prometheus"} {
		for _, more := range []string{"?org=1", "?", "/sub?org=1", "#x"} {
			o := fluxRun("backfill", "a", "--"+kind, "http://127.0.0.1:1"+more, "--dry-run")
			require.Equal(t, exitUsage, o.code, o.stderr)
			require.Contains(t, o.stderr, "--"+kind+": the URL goes on after its path: leave out what begins with ? or #")
		}
	}
}
