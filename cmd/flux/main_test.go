package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood/bluefloodtest"
	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
)

const key = "0123456789abcdef0123456789abcdef"

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// outcome is what a run of flux printed, and its exit code.
type outcome struct {
	code           int
	stdout, stderr string
}

// fluxWith runs flux in this process.
func fluxWith(ctx context.Context, stdin string, env map[string]string, args ...string) outcome {
	var out, errs buffer
	code := run(&cmdContext{ctx: ctx, stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs}, args,
		func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	return outcome{code, out.String(), errs.String()}
}

func fluxRun(args ...string) outcome { return fluxWith(context.Background(), "", nil, args...) }

// ended is a context that has ended: a server started with it stops at once.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{}, {"--help"}} {
		o := fluxRun(args...)
		require.Equal(t, exitOK, o.code)
		for _, cmd := range []string{"serve", "forward", "send", "decode"} {
			require.Contains(t, o.stdout, "\n  "+cmd)
		}
	}
	o := fluxRun("serve", "--help")
	require.Equal(t, exitOK, o.code)
	for _, want := range []string{"HTTP gateway\n", "API keys\n", "Default: 1h.", "Default: 127.0.0.1:2004.", "Others on this host", "FLUX_SERVE_LOG_LEVEL", "[flux]"} {
		require.Contains(t, strings.Join(strings.Fields(o.stdout), " "), strings.TrimSpace(want))
	}
	o = fluxRun("forward", "--help")
	require.Equal(t, exitOK, o.code)
	for _, want := range []string{"-e, --endpoint", "-i, --interval", "-b, --blueflood", "-t, --tenant", "-p, --metric-prefix", "--ttl", "--protocol", "--limit", "--overwrite-collection-timestamp", "blueflood_carbon_forwarder"} {
		require.Contains(t, o.stdout, want)
	}
}

func TestWrongCommandLines(t *testing.T) {
	f := func(text string, args ...string) {
		t.Helper()
		o := fluxRun(args...)
		require.Equal(t, exitUsage, o.code, o.stderr)
		require.Contains(t, o.stderr, text)
		require.NotContains(t, o.stderr, key)
	}
	f("unexpected argument", "swerve")
	f("--no-such", "serve", "--no-such")
	f("--key KEY", "serve")
	f("--no-auth", "serve")
	f("--allow-example-key", "serve", "--key", "YOURown32charSkylineAPIkeySecret")
	f("key 1 has 5 characters", "serve", "--key", "short")
	f(`prefix "a..b"`, "serve", "--key", key+"=a..b")
	f("ends in = without a prefix", "serve", "--key", key+"=")
	f("begins or ends with =", "serve", "--key", key+"==")
	f("--keys-file", "serve", "--keys-file", "/no/such/file")
	f("--max-age", "serve", "--key", key, "--max-age", "soon")
	f("number of seconds", "serve", "--key", key, "--max-future=-5")
	f("--carbon-protocol", "serve", "--key", key, "--carbon-protocol", "carrier")
	f("--dedup", "serve", "--key", key, "--dedup", "disk")
	f("--carbon-ca", "serve", "--key", key, "--carbon-ca", "/no/such/file")
	f("holds no PEM", "serve", "--key", key, "--carbon-ca", os.DevNull)
	f("--carbon-cert", "serve", "--key", key, "--carbon-cert", "/no/such/file")
	f("carbon.example", "serve", "--key", key, "--carbon", "127.0.0.1:2004", "--carbon", "carbon.example")
	f("limits cannot be negative", "serve", "--key", key, "--line-listen", "127.0.0.1:0", "--max-line=-1")
	f("--endpoint is empty", "forward", "-t", "x", "-e", "")
	f("--log-level", "serve", "--key", key, "--log-level", "loud")
	f("--tenant", "forward")
	f("--interval", "forward", "-t", "x", "-i", "0")
	f("--ttl", "forward", "-t", "x", "--ttl", "0")
	f("Limit", "forward", "-t", "x", "--limit", "2000000")
	f("http", "forward", "-t", "x", "-b", "localhost:19000")
	f("Tenant", "forward", "-t", "a/b")
	f("--protocol", "forward", "-t", "x", "--protocol", "Pickle")
	f("does not exist", "serve", "--config", "/no/such/file")
	f("--to", "send", "a", "1")
	f("is not known", "send", "--to", "ftp://host:1", "a", "1")
	f("lacks a port", "send", "--to", "line://host", "a", "1")
}

func TestServeStartsAndStops(t *testing.T) {
	carbon := graphitetest.Run(t)
	o := fluxWith(ended(), "", nil, "serve", "--listen", "127.0.0.1:0", "--line-listen", "127.0.0.1:0", "--key", key, "--carbon", carbon.PickleAddr, "--log-format", "json")
	require.Equal(t, exitOK, o.code, o.stderr)
	require.Contains(t, o.stderr, `"msg":"listening","input":"http","address":"127.0.0.1:`)
	require.Contains(t, o.stderr, `"msg":"account","received":0`)
	require.Contains(t, o.stderr, "kept in memory")
	require.NotContains(t, o.stderr, key)
}

// TestServeTellsWhatIsLost stops a gateway whose Carbon is down.
func TestServeTellsWhatIsLost(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	socket := filepath.Join(t.TempDir(), "line")
	done := make(chan outcome, 1)
	go func() {
		done <- fluxWith(ctx, "", nil, "serve", "--listen", "127.0.0.1:0", "--key", key, "--line-listen", "unix:"+socket,
			"--carbon", "127.0.0.1:1", "--drain-timeout", "0.1")
	}()
	client, err := graphite.NewClient(graphite.ClientConfig{Addrs: []string{"unix:" + socket}, Protocol: graphite.Line})
	require.NoError(t, err)
	var batch graphite.Batch
	batch.Add("a", time.Now(), 1)
	batch.Add("b", time.Now(), 1)
	require.NoError(t, client.Send(ctx, batch.Points()))
	require.NoError(t, client.Close(ctx))
	cancel()
	o := <-done
	require.Equal(t, exitLost, o.code, o.stderr)
	require.Contains(t, o.stderr, "2 accepted points could not be delivered within 100ms and are lost")
}

func TestPortInUseNamesTheOption(t *testing.T) {
	carbon := graphitetest.Run(t)
	o := fluxRun("serve", "--key", key, "--listen", "127.0.0.1:0", "--line-listen", carbon.LineAddr)
	require.Equal(t, exitFailed, o.code)
	require.Contains(t, o.stderr, "choose another address with --line-listen")
	o = fluxRun("forward", "-t", "x", "-e", carbon.LineAddr)
	require.Equal(t, exitFailed, o.code)
	require.Contains(t, o.stderr, "--endpoint")
}

func TestLogFile(t *testing.T) {
	o := fluxWith(ended(), "", nil, "serve", "--listen", "127.0.0.1:0", "--key", key, "--log-file", filepath.Join(t.TempDir(), "log"))
	require.Equal(t, exitOK, o.code, "nothing was pending")
	require.Empty(t, o.stderr, "the log is in its file")
}

func TestEnvironment(t *testing.T) {
	o := fluxWith(ended(), "", map[string]string{"FLUX_SERVE_KEY": key, "FLUX_SERVE_LISTEN": "127.0.0.1:0"}, "serve", "--listen", "127.0.0.1:0")
	require.Equal(t, exitUsage, o.code, "the environment is the process's own, so this process has no such variable")
	t.Setenv("FLUX_SERVE_KEY", key)
	t.Setenv("FLUX_SERVE_LISTEN", "127.0.0.1:0")
	o = fluxWith(ended(), "", nil, "serve")
	require.Equal(t, exitOK, o.code, o.stderr)
}

// TestOldCommandLine runs the forwarder with the original's spelling of everything.
func TestOldCommandLine(t *testing.T) {
	server := bluefloodtest.Run(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	dir := t.TempDir()
	done := make(chan outcome, 1)
	go func() {
		done <- fluxWith(ctx, "", nil, "forward", "-e", "unix:"+dir+"/sock", "-i", "0.01", "-b", server.IngestURL()+"/", "-t", "demo",
			"--metric_prefix=p", "--ttl", "60", "--protocol", "MetricLineReceiver", "--limit=0", "--overwrite_collection_timestamp", "False")
	}()
	require.Eventually(t, func() bool { _, err := os.Stat(dir + "/sock"); return err == nil }, 20*time.Second, time.Millisecond)
	sent := fluxRun("send", "--to", "line://127.0.0.1:1", "--timeout", "0.05", "a.b", "1")
	require.Equal(t, exitFailed, sent.code)
	require.Contains(t, sent.stderr, "1 point not confirmed by 127.0.0.1:1")
	cancel()
	o := <-done
	require.Equal(t, exitOK, o.code, o.stderr)
	require.Contains(t, o.stderr, "input=line")
}
