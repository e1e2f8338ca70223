package rig

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"testing"
)

// PrometheusServer is a running prometheus.
type PrometheusServer struct {
	*Process
	URL string // http://host:port, without a slash at the end
}

// Prometheus starts prometheus (Debian package prometheus) over samples of the
// past, in the OpenMetrics text format without its last line, # EOF. It scrapes
// nothing, keeps ten years, and listens on 127.0.0.1 alone.
func Prometheus(t testing.TB, openMetrics string) *PrometheusServer {
	t.Helper()
	path := Tool(t, "/usr/bin/prometheus", "prometheus")
	promtool := Tool(t, "/usr/bin/promtool", "prometheus")
	dir := t.TempDir()
	data := makeDir(t, dir, "data")
	samples := writeFile(t, dir, "samples", openMetrics+"# EOF\n")
	load := exec.CommandContext(t.Context(), promtool, "tsdb", "create-blocks-from", "openmetrics", samples, data)
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("rig: promtool: %v\n%s", err, out)
	}
	config := writeFile(t, dir, "prometheus.yml", "global: {scrape_interval: 1h}\n")
	addr := FreeAddr(t)
	p := &PrometheusServer{URL: "http://" + addr}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	p.Process = Start(t, Spec{
		Path: path,
		Args: []string{
			"--config.file=" + config, "--storage.tsdb.path=" + data, "--storage.tsdb.retention.time=10y",
			"--web.listen-address=" + addr, "--log.level=warn",
		},
		Dir: dir,
		Ready: func(ctx context.Context) error {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL+"/-/ready", nil)
			if err != nil {
				return err
			}
			resp, err := client.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				return fmt.Errorf("prometheus answered %s", resp.Status)
			}
			return nil
		},
		Remove: []string{filepath.Join(data, "lock")},
	})
	return p
}
