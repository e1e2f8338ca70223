//go:build interop

package main_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/rig"
)

// scraped are samples of a gauge up to a moment, every 15 s of six hours and every 5 minutes of the days given.
func scraped(now time.Time, days int) map[int64]float64 {
	samples := map[int64]float64{}
	at := now.Unix()/300*300 - int64(days)*86400
	for n := 0; at < now.Unix(); n++ {
		if n%41 > 3 {
			samples[at] = reading(n, at)
		}
		if at += 300; now.Unix()-at <= 6*3600 {
			at += 15 - 300
		}
	}
	return samples
}

// openMetrics is the text of a gauge that has two series: the samples in the cellar, and 1 on the roof in the last hour.
func openMetrics(samples map[int64]float64) string {
	var b strings.Builder
	b.WriteString("# TYPE temperature gauge\n")
	order := slices.Sorted(maps.Keys(samples))
	for _, at := range order {
		fmt.Fprintf(&b, "temperature{room=\"cellar\"} %v %d\n", samples[at], at)
	}
	last := order[len(order)-1]
	for at := last - 3600; at < last; at += 60 {
		fmt.Fprintf(&b, "temperature{room=\"roof\"} 1 %d\n", at)
	}
	return b.String()
}

// prometheusBody is a request for one of the series, by raw samples of the periods given.
func prometheusBody(t *testing.T, prometheus, metric string, periods ...string) string {
	t.Helper()
	var urls []string
	for _, p := range periods {
		urls = append(urls, prometheus+"/api/v1/query?query=temperature["+p+"]")
	}
	return rangeBody(t, metric, `temperature{room="cellar"}`, urls...)
}

func rangeBody(t *testing.T, metric, series string, urls ...string) string {
	t.Helper()
	body, err := json.Marshal(map[string]any{
		"remote_host_type": "prometheus", "remote_target": "temperature", "metric": metric, "key": apiKey, "series": series,
		"fetch_resolution_urls": urls,
	})
	require.NoError(t, err)
	return string(body)
}

// A Prometheus as the source of 7 days in four resolutions, of a metric that is there in part, by query_range, and by
// command.
func TestInteropPopulateFromPrometheus(t *testing.T) {
	t.Parallel()
	began := time.Now()
	samples := scraped(began, 8)
	old, newest := before(samples, began.Unix()-3*3600)
	old = means(old, 0, newest/60*60)
	prometheus := rig.Prometheus(t, openMetrics(samples))
	to := newPlace(t, "60s:95d", points{"prom.old": old})
	gw := startPopulate(t, to, prometheus.URL)
	periods := []string{"24h", "7d", "6h", "3d"}

	j := gw.waitJob(t, gw.populate(t, prometheusBody(t, prometheus.URL, "prom.cellar", periods...)))
	want := minutes(t, samples, j.until()-7*86400, j.until())
	require.Greater(t, len(want), 2000)
	require.Equal(t, len(want), j.Sent)
	to.requireMinutes(t, "prom.cellar", want, j.until())

	j = gw.waitJob(t, gw.populate(t, prometheusBody(t, prometheus.URL, "prom.old", periods...)))
	require.Equal(t, slices.Max(slices.Collect(maps.Keys(old))), j.Since.Unix())
	missing := minutes(t, samples, j.Since.Unix(), j.until())
	require.Equal(t, len(missing), j.Sent)
	maps.Copy(old, missing)
	to.requireMinutes(t, "prom.old", old, j.until())

	start := began.Unix()/60*60 - 7200
	query := fmt.Sprintf("%s/api/v1/query_range?query=2*temperature%%7Broom%%3D%%22cellar%%22%%7D&start=%d&end=%d&step=15", prometheus.URL, start, start+3599)
	gw.waitJob(t, gw.populate(t, rangeBody(t, "prom.doubled", "", query)))
	to.requireMinutes(t, "prom.doubled", minutes(t, evaluated(samples, start, start+3600), start, start+3600), start+3600)

	until := began.Unix()/60*60 - 3600
	from := until - 2*86400
	output(t, "", rig.BuildFlux(t), "backfill", `temperature{room="cellar"}`, "--prometheus", prometheus.URL, "--as", "cli.cellar",
		"--carbon", to.carbon.Pickle, "--from", fmt.Sprint(from), "--until", fmt.Sprint(until), "--resolutions", "1day,2hours", "--rate", "0")
	to.requireMinutes(t, "cli.cellar", minutes(t, samples, from, until), until)
}

// evaluated is what Prometheus makes of twice a gauge every 15 s: the newest sample of the last five minutes counts.
func evaluated(samples map[int64]float64, from, until int64) map[int64]float64 {
	out := map[int64]float64{}
	last := math.NaN()
	for at := from - 300; at < until; at++ {
		if v, ok := samples[at]; ok {
			last = v
		}
		if at >= from && (at-from)%15 == 0 && !math.IsNaN(last) {
			out[at] = 2 * last
		}
	}
	return out
}
