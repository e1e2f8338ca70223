package main

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
)

func TestServePopulates(t *testing.T) {
	old := newOldGraphite(t)
	carbon, history := graphitetest.Run(t), graphitetest.Run(t)
	redis := miniredis.RunT(t)
	var log buffer
	s, _ := startServer(t, &log, "--self-key", key, "--carbon", carbon.LineAddr, "--carbon-protocol", "line", "--dedup", "redis://"+redis.Addr(),
		"--populate-allow", old.URL, "--populate-carbon", history.PickleAddr, "--render", history.RenderURL, "--populate-verify",
		"--populate-current-minute", "keep", "--skyline-keys", "--spool", t.TempDir())
	began := time.Now()
	body := fmt.Sprintf(`{"remote_host_type": "graphite", "remote_target": "a", "metric": "copied", "key": %q, "fetch_resolution_urls": ["%s/render?from=-1h&target=a"]}`, key, old.URL)
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest("POST", "/flux/populate_metric", strings.NewReader(body)))
	require.Equal(t, 204, w.Code, w.Body)
	require.Empty(t, w.Header().Get("Warning"))
	require.Eventually(t, func() bool { return redis.Exists("vista.last.resolution.copied") }, 30*time.Second, 5*time.Millisecond)
	require.Empty(t, carbon.All())
	minutes := map[float64]bool{}
	for _, p := range history.Points("copied") {
		minutes[p.Timestamp] = true
	}
	require.True(t, minutes[float64(began.Unix()/60*60-60)])
	require.GreaterOrEqual(t, len(minutes), 60)
}

func TestPopulateOptions(t *testing.T) {
	f := func(text string, args ...string) {
		t.Helper()
		o := fluxRun(append([]string{"serve", "--key", key}, args...)...)
		require.Equal(t, exitUsage, o.code, o.stderr)
		require.Contains(t, o.stderr, text)
	}
	f("--populate-allow is missing", "--populate-listen", "127.0.0.1:0")
	f("--populate-allow is missing", "--render", "http://127.0.0.1")
	f("--populate-allow, number 2", "--populate-allow", "http://a", "--populate-allow", "file:///etc")
	f("--populate-rate", "--populate-allow", "http://a", "--populate-rate", "NaN")
	f("needs --render", "--populate-allow", "http://a", "--populate-verify")
	f("needs a Redis", "--populate-allow", "http://a", "--skyline-keys")
	f("Populate.Render", "--populate-allow", "http://a", "--render", "graphite:80")

	file := write(t, "[flux]\nkey = "+key+"\npopulate_allow = http://a\n  https://b:8443=10.0.0.0/8,192.168.0.0/16\npopulate_listen = 127.0.0.1:0\n")
	o := fluxRun("serve", "--config", file, "--check-config")
	require.Equal(t, exitOK, o.code, o.stderr)
	require.Contains(t, o.stdout, "listen populate 127.0.0.1:0")
	require.Contains(t, o.stdout, "from http://a, https://b:8443=10.0.0.0/8,192.168.0.0/16")
}
