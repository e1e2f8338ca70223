//go:build interop

package main_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood/bluefloodtest"
	"github.com/fluxmetrics/fluxkit/internal/rig"
)

// startForward runs flux forward with its input at addr.
func startForward(t *testing.T, addr string, args ...string) *rig.Process {
	t.Helper()
	f := rig.StartFlux(t, append([]string{"forward", "--log-format", "json"}, args...)...)
	f.WaitListening(addr)
	return f
}

// endpoint is an address as the original forwarder spells it.
func endpoint(t *testing.T) (addr, description string) {
	t.Helper()
	port := rig.FreePort(t)
	return fmt.Sprintf("127.0.0.1:%d", port), fmt.Sprintf("tcp:%d:interface=127.0.0.1", port)
}

// requireForwarded checks that exactly these points are in Blueflood, each once, under the prefix.
func requireForwarded(t *testing.T, b *bluefloodtest.Server, prefix string, ttl int, want points) {
	t.Helper()
	count := 0
	for metric, samples := range want {
		stored := b.Points("demo", prefix+metric)
		require.Len(t, stored, len(samples), metric)
		for _, p := range stored {
			require.Zero(t, p.Timestamp%1000, metric)
			require.Contains(t, samples, p.Timestamp/1000, metric)
			require.Equal(t, samples[p.Timestamp/1000], p.Value, metric)
			require.Equal(t, ttl, p.TTL)
		}
		count += len(samples)
	}
	require.Equal(t, count, b.Received())
	require.Len(t, b.Metrics("demo"), len(want))
}

func TestInteropForwardPickles(t *testing.T) {
	t.Parallel()
	b := bluefloodtest.Run(t)
	addr, description := endpoint(t)
	f := startForward(t, addr, "-e", description, "-t", "demo", "-b", b.IngestURL(), "-i", "0.2",
		"--metric_prefix", "old.prefix", "--ttl", "3600", "--limit", "65536",
		"--protocol", "MetricPickleReceiver", "--overwrite_collection_timestamp", "False")
	want := table("forward", 100, 100, time.Now().Unix()-3600)
	pickleByPython(t, addr, want)
	require.NoError(t, b.Wait(t.Context(), 10_000))
	requireForwarded(t, b, "old.prefix.", 3600, want)
	for _, r := range b.Requests() {
		require.LessOrEqual(t, len(r.Body), 65536)
		require.Equal(t, "/v2.0/demo/ingest", r.Target)
	}
	require.Equal(t, 10_000, stop(t, f).Delivered)
}

func TestInteropForwardFromCarbonRelay(t *testing.T) {
	t.Parallel()
	b := bluefloodtest.Run(t)
	pickle, pickleEndpoint := endpoint(t)
	line, lineEndpoint := endpoint(t)
	common := []string{"-t", "demo", "-b", b.IngestURL(), "-i", "0.2"}
	startForward(t, pickle, append(common, "-e", pickleEndpoint, "-p", "pickle")...)
	startForward(t, line, append(common, "-e", lineEndpoint, "-p", "line", "--protocol", "MetricLineReceiver")...)
	want := points{"relayed": {time.Now().Unix(): 4.25}}
	for protocol, addr := range map[string]string{"pickle": pickle, "line": line} {
		relay := rig.CarbonRelay(t, rig.RelayOptions{Destinations: []string{addr}, Protocol: protocol})
		conn := dial(t, relay.Line)
		_, err := io.WriteString(conn, lines(want))
		require.NoError(t, err)
	}
	require.NoError(t, b.Wait(t.Context(), 2))
	for _, prefix := range []string{"pickle.", "line."} {
		require.Len(t, b.Points("demo", prefix+"relayed"), 1)
	}
}

func TestInteropForwardConfigFile(t *testing.T) {
	t.Parallel()
	b := bluefloodtest.Run(t)
	addr, description := endpoint(t)
	path := filepath.Join(t.TempDir(), "forwarder.conf")
	require.NoError(t, os.WriteFile(path, []byte(`# as for the original
[blueflood_carbon_forwarder]
endpoint = `+description+`
interval = 3600
blueflood = `+b.IngestURL()+`
tenant = demo
metric_prefix = from.the.file
ttl: 7200
overwrite_collection_timestamp=False

[other]
tenant = nobody
`), 0o600))
	f := startForward(t, addr, "--config", path, "--metric_prefix=from.the.line")
	require.Contains(t, f.Output(), "overridden")

	// The interval is an hour, so all that follows is pending when the forwarder is told to stop.
	want := table("pending", 10, 25, time.Now().Unix()-60)
	pickleByPython(t, addr, want)
	require.Zero(t, b.Received())
	require.Equal(t, 250, stop(t, f).Delivered)
	requireForwarded(t, b, "from.the.line.", 7200, want)
}

func TestInteropForwardConfigFileIsChecked(t *testing.T) {
	t.Parallel()
	for _, f := range []struct{ file, says string }{
		{"[blueflood_carbon_forwarder]\ntenant = demo\nflush_every = 3\n", `no option "flush_every"`},
		{"[blueflood_carbon_forwarder]\nblueflood = http://127.0.0.1:1\n", "--tenant"},
		{"[forwarder]\ntenant = demo\n", "no section [blueflood_carbon_forwarder]"},
		{"[blueflood_carbon_forwarder]\ntenant = demo\nttl = soon\n", "ttl"},
		{"[blueflood_carbon_forwarder]\ntenant = demo\noverwrite_collection_timestamp = maybe\n", "neither true nor false"},
	} {
		path := filepath.Join(t.TempDir(), "forwarder.conf")
		require.NoError(t, os.WriteFile(path, []byte(f.file), 0o600))
		flux := rig.StartFlux(t, "forward", "--config", path)
		require.Equal(t, 2, flux.Wait(patience), flux.Output())
		require.Contains(t, flux.Output(), f.says)
	}
}

func TestInteropForwardOverwritesTimestamps(t *testing.T) {
	t.Parallel()
	b := bluefloodtest.Run(t)
	addr, description := endpoint(t)
	f := startForward(t, addr, "-e", description, "-t", "demo", "-b", b.IngestURL(), "-i", "0.2",
		"--overwrite_collection_timestamp", "True")
	before := time.Now().Unix()
	pickleByPython(t, addr, points{"overwritten": {1478021700: 1.5}})
	require.NoError(t, b.Wait(t.Context(), 1))
	stored := b.Points("demo", "overwritten")
	require.Len(t, stored, 1)
	require.GreaterOrEqual(t, stored[0].Timestamp, before*1000)
	require.LessOrEqual(t, stored[0].Timestamp, time.Now().UnixMilli())
	stop(t, f)
}
