//go:build interop

package main_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/rig"
)

// 90 days in four resolutions, then a gap that is caught up with, then a metric that is there in part.
func TestInteropPopulateFourResolutions(t *testing.T) {
	t.Parallel()
	from, to := newPlace(t, sourceRetentions), newPlace(t, "60s:95d")
	gw := startPopulate(t, to, from.graphite.URL)
	began := time.Now()
	from.feed(t, "web.load", readings(began, 90))

	j := gw.waitJob(t, gw.populate(t, populateBody(from.graphite.URL, "web.load", "vista.web.load", resolutions...)))
	want := expected(t, from.graphite, "web.load", time.Time{}, j.Accepted, resolutions...)
	require.Greater(t, len(want), 15_000)
	require.Equal(t, len(want), j.Sent)
	require.Empty(t, j.Note)
	to.requireMinutes(t, "vista.web.load", want, j.Accepted.Unix()/60*60)

	// Another gateway, that has no mark, finds out by itself from when on history is missing.
	older := map[int64]float64{}
	for at, v := range want {
		if at < j.Accepted.Unix()-3*3600 {
			older[at] = v
		}
	}
	to.feed(t, "vista.in.part", older)
	again := startPopulate(t, to, from.graphite.URL)
	j = again.waitJob(t, again.populate(t, populateBody(from.graphite.URL, "web.load", "vista.in.part", resolutions...)))
	require.InDelta(t, 180, j.Sent, 30, "three hours")
	want = expected(t, from.graphite, "web.load", time.Time{}, j.Accepted, resolutions...)
	to.requireMinutes(t, "vista.in.part", want, j.Accepted.Unix()/60*60)
}

// A Prometheus as the source, by a range selector and by query_range.
func TestInteropPopulateFromPrometheus(t *testing.T) {
	t.Parallel()
	to := newPlace(t, "60s:95d")
	now := time.Now()
	samples, text := prometheusReadings(now, 2*24*time.Hour)
	prometheus := rig.Prometheus(t, text)
	gw := startPopulate(t, to, prometheus.URL)
	populateFromPrometheus(t, gw, to, prometheus.URL, samples, "2d")

	until := now.Add(-time.Hour).Unix() / 60 * 60
	output(t, "", rig.BuildFlux(t), "backfill", `temperature{room="cellar"}`, "--prometheus", prometheus.URL, "--as", "cli.cellar",
		"--carbon", to.carbon.Pickle, "--from", "2days", "--until", fmt.Sprint(until), "--resolutions", "1day,2hours", "--rate", "0")
	to.requireMinutes(t, "cli.cellar", means(samples, now.Add(-48*time.Hour).Unix()/60*60, until), until)
}

// Killed and started again, with live traffic on the same metric, it ends complete and what is live stays.
func TestInteropPopulateKilled(t *testing.T) {
	t.Parallel()
	populateThroughKills(t, 3, 4000)
}

// flux backfill copies what a glob matches from one Graphite to another.
func TestInteropPopulateByCommand(t *testing.T) {
	t.Parallel()
	from, to := newPlace(t, sourceRetentions), newPlace(t, "60s:95d")
	now := time.Now()
	samples := readings(now, 2)
	for _, name := range []string{"a", "b"} {
		from.feed(t, "rack."+name+".load", samples)
	}
	until := now.Unix() / 60 * 60
	out := output(t, "", rig.BuildFlux(t), "backfill", "rack.*.load", "--graphite", from.graphite.URL, "--carbon", to.carbon.Pickle,
		"--render", to.graphite.URL, "--prefix", "copy", "--from", "1day", "--until", fmt.Sprint(until), "--rate", "0", "--verify")
	require.Contains(t, out, "2 of 2 metrics done, 0 failed")
	for _, name := range []string{"a", "b"} {
		metric := "copy.rack." + name + ".load"
		recent := until - 5*3600 // of which the source has every sample; of 8 hours ago it has one a minute
		to.requireMinutes(t, metric, means(samples, recent, until), until)
		shown := to.graphite.Render(t, metric, now.Unix()-24*3600, until-8*3600)
		kept := slices.DeleteFunc(shown, func(s rig.Sample) bool { return s.Null })
		require.Greater(t, len(kept), 700)
		for _, s := range kept {
			require.Contains(t, samples, s.Timestamp)
		}
	}
}
