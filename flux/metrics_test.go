package flux_test

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood/bluefloodtest"
	"github.com/fluxmetrics/fluxkit/flux"
)

func TestMetricsPage(t *testing.T) {
	noLeaks(t)
	bf := bluefloodtest.Run(t)
	r := newRig(t, func(c *flux.Config) {
		c.StatusListen = "127.0.0.1:0"
		c.Also = []flux.Destination{toBlueflood(bf, required, func(d *flux.Destination) { d.Tenants = []flux.TenantRule{{Pattern: "^a", Tenant: "acme"}} })}
	})
	r.run()
	code, _ := r.post(array(testKey, now(), "secret.name", "a.b"))
	require.Equal(t, 204, code)
	code, _ = r.post(single("secret.name", now(), "x"))
	require.Equal(t, 400, code)
	code, _ = r.post("{")
	require.Equal(t, 400, code)
	r.flush()
	resp, err := http.Get("http://" + r.server.Addr("status").String() + "/metrics")
	require.NoError(t, err)
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, 200, resp.StatusCode)
	for _, line := range []string{
		"flux_points_received_total 3", "flux_points_accepted_total 2", `flux_points_rejected_total{reason="value"} 1`,
		`flux_requests_unread_total{reason="json"} 1`, `flux_destination_up{destination="carbon",tenant=""} 1`,
		`flux_destination_points_delivered_total{destination="blueflood-acme",tenant="acme"} 1`, "go_goroutines ", "process_cpu_seconds_total ",
	} {
		require.Contains(t, string(page), "\n"+line)
	}
	for _, never := range []string{"secret", testKey, "127.0.0.1"} {
		require.NotContains(t, string(page), never)
	}
	form := regexp.MustCompile(`^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{([a-z]+="[^"]*",?)+\})? [0-9.e+-]+)$`)
	for _, line := range strings.Split(strings.TrimSpace(string(page)), "\n") {
		if strings.Contains(line, "flux_") {
			require.Regexp(t, form, line)
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/flux/readyz", "/flux/metrics"} {
		resp, err := http.Get("http://" + r.server.Addr("status").String() + path)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, 200, resp.StatusCode, path)
		code, _ := r.do("GET", path, "")
		require.Equal(t, 200, code, path)
	}
	resp, err = http.Get("http://" + r.server.Addr("status").String() + "/flux/metric_data?status=true")
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, 404, resp.StatusCode, "points are not taken there")
	http.DefaultClient.CloseIdleConnections()
}

func TestCollectorsOfTwoServers(t *testing.T) {
	noLeaks(t)
	a, b := newRig(t, nil), newRig(t, nil)
	one, two := prometheus.NewRegistry(), prometheus.NewPedanticRegistry()
	one.MustRegister(a.server.Collector())
	two.MustRegister(b.server.Collector())
	code, _ := a.post(single("x", now(), 1))
	require.Equal(t, 204, code)
	require.Equal(t, []float64{1}, received(t, one))
	require.Equal(t, []float64{0}, received(t, two))
	both := prometheus.NewPedanticRegistry()
	for name, s := range map[string]*flux.Server{"a": a.server, "b": b.server} {
		require.NoError(t, prometheus.WrapRegistererWith(prometheus.Labels{"server": name}, both).Register(s.Collector()))
	}
	require.ElementsMatch(t, []float64{0, 1}, received(t, both))
	require.Error(t, one.Register(a.server.Collector()))
}

// received gathers all, and returns how many points each server has received.
func received(t *testing.T, g prometheus.Gatherer) (out []float64) {
	t.Helper()
	families, err := g.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == "flux_points_received_total" {
			for _, m := range f.GetMetric() {
				out = append(out, m.GetCounter().GetValue())
			}
		}
	}
	return out
}

func TestSelfMetrics(t *testing.T) {
	noLeaks(t)
	at := newClock()
	r := newRig(t, func(c *flux.Config) {
		c.Now = at.now
		c.HTTP.KeyMaxMetrics = 2
		c.SelfMetrics = flux.SelfMetrics{Prefix: "skyline.flux.web-1", Every: 20 * time.Millisecond}
	})
	ts := at.now().Unix()
	for _, body := range []string{
		array(testKey, ts, "a", "b"), single("a", ts, 1), single("a", ts-9000, 1), single("a/../b", ts, 1), single("a", ts, "x"),
		with("unknown-unknown-unknown", single("a", ts, 1)), single("c", ts, 1), "{",
	} {
		r.post(body)
	}
	r.do("POST", "/flux/metric_data_post", fmt.Sprintf(`{"metrics":[{"fields":{"s":"x"},"name":"m","tags":{"host":"h"},"timestamp":%d}]}`, ts), "Key", testKey, "Telegraf", "1")
	const prefix = "skyline.flux.web-1."
	sum := func(name string) (sum float64) {
		for _, p := range r.carbon.Points(prefix + name) {
			require.EqualValues(t, ts, p.Timestamp)
			sum += p.Value
		}
		return sum
	}
	for name, want := range map[string]float64{
		"worker.discarded.already_received": 1, "listen.discarded.invalid_timestamp": 1, "listen.discarded.metric_name": 1,
		"listen.discarded.invalid_value": 1, "listen.discarded.invalid_key": 1, "listen.discarded.invalid_parameters": 1,
		"listen.dropped_non_numeric_metrics": 1, "listen.over_quota_metrics_count": 1,
	} {
		eventually(t, name, func() bool { return sum(name) == want })
	}
	eventually(t, "its own points count", func() bool { return sum("listen.added_to_queue") > 11 && sum("worker.metrics_sent_to_graphite") > 11 })
	require.NotEmpty(t, r.carbon.Points(prefix+"worker.httpMetricDataQueue.size"))
	require.NoError(t, r.server.Close(soon(t)))
	st := r.account()
	require.EqualValues(t, st.Accepted, r.carbon.Received())
	require.Zero(t, (st.Accepted-2)%11)

	for _, bad := range []flux.SelfMetrics{{Prefix: "a b"}, {Prefix: "a."}, {Prefix: "a", Every: -1}} {
		_, err := flux.New(flux.Config{Destination: toCarbon(nowhere), SelfMetrics: bad})
		require.ErrorIs(t, err, flux.ErrConfig)
	}
}
