//go:build interop

package main_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// prometheusReadings are samples of a gauge every 15 s, by Unix second, and in the OpenMetrics format with another series.
func prometheusReadings(now time.Time, back time.Duration) (map[int64]float64, string) {
	samples := map[int64]float64{}
	var b strings.Builder
	b.WriteString("# TYPE temperature gauge\n")
	for at := now.Add(-back).Unix()/60*60 - 300; at < now.Unix(); at += 15 {
		if at/15%41 > 3 {
			samples[at] = 18 + 4*math.Cos(float64(at)/9000)
			fmt.Fprintf(&b, "temperature{room=\"cellar\"} %v %d\n", samples[at], at)
		}
	}
	for at := now.Add(-time.Hour).Unix() / 60 * 60; at < now.Unix(); at += 60 {
		fmt.Fprintf(&b, "temperature{room=\"roof\"} 1 %d\n", at)
	}
	return samples, b.String()
}

// populateFromPrometheus asks for one of two series, as raw samples of the period given and of a part by query_range.
func populateFromPrometheus(t *testing.T, gw *gateway, to place, prometheus string, samples map[int64]float64, period string) {
	t.Helper()
	body, err := json.Marshal(map[string]any{
		"remote_host_type": "prometheus", "remote_target": "temperature", "metric": "prom.cellar", "key": apiKey,
		"series":                `temperature{room="cellar"}`,
		"fetch_resolution_urls": []string{prometheus + "/api/v1/query?query=temperature[" + period + "]"},
	})
	require.NoError(t, err)
	j := gw.waitJob(t, gw.populate(t, string(body)))
	length, err := time.ParseDuration(strings.Replace(period, "2d", "48h", 1))
	require.NoError(t, err)
	until := j.Accepted.Unix() / 60 * 60
	to.requireMinutes(t, "prom.cellar", means(samples, until-int64(length.Seconds()), until), until)

	now := time.Now().Unix() / 60 * 60
	body, err = json.Marshal(map[string]any{
		"remote_host_type": "prometheus", "remote_target": "temperature", "metric": "prom.doubled", "key": apiKey,
		"fetch_resolution_urls": []string{fmt.Sprintf("%s/api/v1/query_range?query=2*temperature%%7Broom%%3D%%22cellar%%22%%7D&start=%d&end=%d&step=15", prometheus, now-7200, now-3601)},
	})
	require.NoError(t, err)
	gw.waitJob(t, gw.populate(t, string(body)))
	// The value of a moment is the newest sample of the last five minutes.
	evaluated := map[int64]float64{}
	last := math.NaN()
	for at := now - 7800; at < now-3600; at += 15 {
		if v, ok := samples[at]; ok {
			last = v
		}
		if at >= now-7200 && !math.IsNaN(last) {
			evaluated[at] = 2 * last
		}
	}
	to.requireMinutes(t, "prom.doubled", means(evaluated, now-7200, now-3600), now-3600)
}
