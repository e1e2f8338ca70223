package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/flux"
	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
)

// postTo sends one point to a server that asks for no key.
func postTo(t *testing.T, s *flux.Server, metric string, at int64) {
	t.Helper()
	w := httptest.NewRecorder()
	body := fmt.Sprintf(`{"metric": %q, "timestamp": %d, "value": 1, "key": ""}`, metric, at)
	s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/flux/metric_data_post", strings.NewReader(body)))
	require.Equal(t, 204, w.Code, w.Body)
}

func TestMarksOutliveTheProcess(t *testing.T) {
	carbon := graphitetest.Run(t)
	path := filepath.Join(t.TempDir(), "marks")
	args := []string{"--no-auth", "--max-age=0", "--dedup-file", path, "--carbon", carbon.PickleAddr}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var log buffer
	s, end := startServer(t, &log, args...)
	postTo(t, s, "a", 1700000000)
	require.NoError(t, s.Close(ctx))
	require.NoError(t, end())

	s, end = startServer(t, &log, args...)
	postTo(t, s, "a", 1700000000)
	postTo(t, s, "a", 1699999999)
	postTo(t, s, "a", 1700000001)
	require.NoError(t, s.Close(ctx))
	st := s.Stats()
	require.Equal(t, []uint64{1, 1, 1}, []uint64{st.Duplicate, st.Late, st.Accepted})
	require.NoError(t, end())

	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, whole[:len(whole)-1], 0o600))
	require.NotContains(t, log.String(), "damaged")
	s, _ = startServer(t, &log, args...)
	require.Contains(t, log.String(), "the file of marks is damaged")
	postTo(t, s, "a", 1700000001)
	require.EqualValues(t, 1, s.Stats().Duplicate)
}

func TestMarksAreSavedEveryMinute(t *testing.T) {
	path := filepath.Join(t.TempDir(), "marks")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f := &markFile{path: path, memory: newMemory(10)}
		var count atomic.Uint64
		ended := make(chan error, 1)
		go func() {
			ended <- f.keep(ctx, slog.New(slog.DiscardHandler), count.Load)
		}()
		saved := func() bool {
			synctest.Wait()
			err := os.Remove(path)
			require.True(t, err == nil || errors.Is(err, os.ErrNotExist), err)
			return err == nil
		}
		time.Sleep(3 * saveEvery)
		require.False(t, saved(), "nothing was delivered")
		count.Add(1)
		time.Sleep(saveEvery)
		require.True(t, saved())
		time.Sleep(saveEvery)
		require.False(t, saved())
		cancel()
		require.NoError(t, <-ended)
		require.True(t, saved(), "it saves at the end")
	})
}

func TestMarksThatCannotBeSaved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dir")
	require.NoError(t, os.Mkdir(dir, 0o700))
	carbon := graphitetest.Run(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	args := []string{"serve", "--no-auth", "--listen", "127.0.0.1:0", "--carbon", carbon.PickleAddr, "--dedup-file"}
	o := fluxWith(ctx, "", nil, append(args, filepath.Join(dir, "marks"))...)
	require.Equal(t, exitOK, o.code, o.stderr)
	require.FileExists(t, filepath.Join(dir, "marks"))
	require.NoFileExists(t, filepath.Join(dir, "marks.tmp"))

	f := &markFile{path: filepath.Join(dir, "gone", "marks"), memory: newMemory(10)}
	require.ErrorContains(t, f.save(), "--dedup-file")
}

func TestDedupCommandInRedis(t *testing.T) {
	server := miniredis.RunT(t)
	server.RequireAuth("hunter2")
	store := []string{"--dedup", "redis://" + server.Addr(), "--dedup-password-file", write(t, "hunter2\n")}
	ok := func(args ...string) string {
		t.Helper()
		o := fluxRun(append(append([]string{"dedup"}, args...), store...)...)
		require.Equal(t, exitOK, o.code, o.stderr)
		require.NotContains(t, o.stdout+o.stderr, "hunter2")
		return o.stdout
	}
	require.Equal(t, "web.load\n  mark    none\n", ok("get", "web.load"))
	require.NoError(t, server.Set("flux.last.web.load", "[1478021700, 1.0]"))
	server.SetTTL("flux.last.web.load", time.Hour)
	server.HSet("flux.last.metric_data", "web.load", "{'timestamp': 1478021760, 'value': 2.5}")
	server.HSet("flux.last.metric_data", "db", "{'timestamp': 1478021760, 'value': nan}")
	out := ok("get", "web.load", "db")
	for _, want := range []string{
		"web.load\n  mark    1478021760  2016-11-01T17:36:00Z (", "ago)  value 2.5\n",
		"  string  flux.last.web.load  [1478021700, 1.0]  (forgotten in 1h0m0s)\n",
		"  hash    flux.last.metric_data  {'timestamp': 1478021760, 'value': 2.5}\n",
		"db\n  mark    none\n  hash    flux.last.metric_data  {'timestamp': 1478021760, 'value': nan}  (not a mark: Skyline could not read it either)\n",
	} {
		require.Contains(t, out, want)
	}

	out = ok("set", "web.load", "1478021700=3")
	require.Contains(t, out, "  was     1478021760  2016-11-01T17:36:00Z")
	require.Contains(t, out, "  is now  1478021700  2016-11-01T17:35:00Z")
	require.Contains(t, out, "lowered")
	require.Contains(t, ok("get", "web.load"), "[1478021700, 3.0]")
	out = ok("set", "web.load", "1478021700.5")
	require.Contains(t, out, "  is now  1478021700.5  2016-11-01T17:35:00.5Z")
	require.Contains(t, out, "value unknown")
	require.Contains(t, out, "raised")
	require.Contains(t, ok("set", "new", "9999999999", "--skyline-hash", "--dedup-ttl=60"), "ahead")
	require.Contains(t, ok("get", "new"), "(forgotten in 1m0s)")

	require.Contains(t, ok("rm", "web.load", "db", "none"), "none\n  removed none\n")
	require.Equal(t, "web.load\n  mark    none\n", ok("get", "web.load"))

	require.Contains(t, ok("set", "t;b=2;a=1", "1"), "t;a=1;b=2\n")
	require.True(t, server.Exists("flux.last.t;a=1;b=2"), "under the canonical name")

	server.Close()
	o := fluxRun(append([]string{"dedup", "get", "a"}, store...)...)
	require.Equal(t, exitFailed, o.code)
	require.Contains(t, o.stderr, "store unavailable")
}

func TestDedupCommandInAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "marks")
	var memory dedup.Memory
	require.NoError(t, memory.Raise(t.Context(), []dedup.Mark{{Metric: []byte("a"), Timestamp: 1000, Value: 1}, {Metric: []byte("b"), Timestamp: 2000, Value: 1}}))
	require.NoError(t, (&markFile{path: path, memory: &memory}).save())
	ok := func(args ...string) string {
		t.Helper()
		o := fluxRun(append([]string{"dedup"}, append(args, "--dedup-file", path)...)...)
		require.Equal(t, exitOK, o.code, o.stderr)
		return o.stdout
	}
	require.Contains(t, ok("get", "a"), "a\n  mark    1  1970-01-01T00:00:01Z")
	require.Contains(t, ok("rm", "a"), "a\n  removed 1  ")
	require.Contains(t, ok("set", "b", "1.5"), "lowered")
	out := ok("get", "a", "b")
	require.Contains(t, out, "a\n  mark    none\nb\n  mark    1.5  ")

	require.NoError(t, os.Truncate(path, 20))
	o := fluxRun("dedup", "rm", "a", "--dedup-file", path)
	require.Equal(t, exitFailed, o.code)
	require.Contains(t, o.stderr, "is damaged")
}

func TestDedupCommandRefused(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		o := fluxRun(append([]string{"dedup"}, args...)...)
		require.Equal(t, exitUsage, o.code, o.stdout)
		require.Contains(t, o.stderr, want)
		require.NotContains(t, o.stderr, "hunter2")
	}
	f("name the store with --dedup redis://HOST:PORT, or with --dedup-file FILE", "get", "a")
	f("name the store", "get", "a", "--dedup", "redis://h", "--dedup-file", "x")
	f("keeps no marks that can be seen from here", "get", "a", "--dedup", "memory")
	f("use memory, off, or the URL of a Redis", "get", "a", "--dedup", "http://:hunter2@h")
	f("/no/such/file does not exist", "rm", "a", "--dedup-file", "/no/such/file")
	f("expected", "get", "--dedup", "redis://h")
	f("is no name of a metric", "get", "a;b", "--dedup", "redis://127.0.0.1:1")
	f(`"soon" is not a Unix time in seconds`, "set", "a", "soon", "--dedup", "redis://h")
	f(`"1700000000000" is not a Unix time`, "set", "a", "1700000000000", "--dedup", "redis://h")
	f(`"nan" is not a finite value`, "set", "a", "1=nan", "--dedup", "redis://h")
}

// TestRedisWithACertificateOfItsOwn has a Redis whose authority the system does not know, and which asks for a
// certificate too.
func TestRedisWithACertificateOfItsOwn(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	newCertificate(t, file("server.pem"), file("server.key"))
	clients := x509.NewCertPool()
	clients.AddCert(newCertificate(t, file("client.pem"), file("client.key")))
	newCertificate(t, file("other.pem"), file("other.key"))
	pair, err := tls.LoadX509KeyPair(file("server.pem"), file("server.key"))
	require.NoError(t, err)
	server, err := miniredis.RunTLS(&tls.Config{
		Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients,
	})
	require.NoError(t, err)
	t.Cleanup(server.Close)
	url := "rediss://" + server.Addr()
	args := []string{"--dedup-ca", file("server.pem"), "--dedup-cert", file("client.pem"), "--dedup-key", file("client.key")}

	o := fluxRun(append([]string{"dedup", "set", "web.load", "1478021700=1", "--dedup", url}, args...)...)
	require.Equal(t, exitOK, o.code, o.stderr)
	value, err := server.Get("flux.last.web.load")
	require.NoError(t, err)
	require.Equal(t, "[1478021700, 1.0]", value)
	for _, lacking := range [][]string{
		{}, {"--dedup-ca", file("server.pem")}, {"--dedup-cert", file("client.pem"), "--dedup-key", file("client.key")},
		{"--dedup-ca", file("other.pem"), "--dedup-cert", file("client.pem"), "--dedup-key", file("client.key")},
		{"--dedup-ca", file("server.pem"), "--dedup-cert", file("other.pem"), "--dedup-key", file("other.key")},
	} {
		o = fluxRun(append([]string{"dedup", "get", "web.load", "--dedup", url}, lacking...)...)
		require.Equal(t, exitFailed, o.code, lacking)
		require.Contains(t, o.stderr, "store unavailable")
	}

	carbon := graphitetest.Run(t)
	var log buffer
	s, end := startServer(t, &log, append([]string{"--no-auth", "--max-age=0", "--carbon", carbon.PickleAddr, "--dedup", url}, args...)...)
	postTo(t, s, "web.load", 1478021700)
	require.EqualValues(t, 1, s.Stats().Duplicate)
	require.NoError(t, s.Close(t.Context()))
	require.NoError(t, end())
}

func TestRedisCertificatesRefused(t *testing.T) {
	dir := t.TempDir()
	newCertificate(t, filepath.Join(dir, "cert"), filepath.Join(dir, "key"))
	cert, secret := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	commands := map[string][]string{
		"serve": {"serve", "--no-auth", "--check-config"}, "forward": {"forward", "-t", "x", "--check-config"}, "dedup": {"dedup", "get", "a"},
	}
	for name, command := range commands {
		t.Run(name, func(t *testing.T) {
			f := func(want string, args ...string) {
				t.Helper()
				o := fluxRun(append(slices.Clone(command), args...)...)
				require.Equal(t, exitUsage, o.code, o.stdout)
				require.Contains(t, o.stderr, want)
			}
			f("--dedup rediss://HOST:PORT", "--dedup", "redis://h", "--dedup-ca", cert)
			f("--dedup rediss://HOST:PORT", "--dedup", "unix:///s", "--dedup-cert", cert)
			f("--dedup-ca: open /no/such/file", "--dedup", "rediss://h", "--dedup-ca", "/no/such/file")
			f("holds no PEM certificate", "--dedup", "rediss://h", "--dedup-ca", secret)
			f("--dedup-key without --dedup-cert", "--dedup", "rediss://h", "--dedup-key", secret)
			f("--dedup-cert, --dedup-key: ", "--dedup", "rediss://h", "--dedup-cert", cert)
			if name == "serve" {
				f("--dedup rediss://HOST:PORT", "--dedup-ca", cert)
			} else if name == "dedup" {
				f("--dedup rediss://HOST:PORT", "--dedup-file", cert, "--dedup-ca", cert)
			}
		})
	}
}

func TestCheckConfigTellsOfDedup(t *testing.T) {
	dir := t.TempDir()
	cert, secret := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	newCertificate(t, cert, secret)
	f := func(want string, args ...string) {
		t.Helper()
		o := fluxRun(append(args, "--check-config")...)
		require.Equal(t, exitOK, o.code, o.stderr)
		require.Contains(t, o.stdout, "\njudge  "+want+"\n")
		require.NotContains(t, o.stdout+o.stderr, "hunter2")
	}
	serve := func(args ...string) []string { return append([]string{"serve", "--no-auth"}, args...) }
	f("HTTP points by marks in memory, at most 1000000 metrics; late points: discard", serve()...)
	f("HTTP points by marks in memory, at most 5 metrics, saved in "+filepath.Join(dir, "marks")+"; late points: deliver",
		serve("--dedup-max-metrics=5", "--dedup-file", filepath.Join(dir, "marks"), "--late=deliver")...)
	f("nothing: repeated and late points are delivered", serve("--dedup=off")...)
	f("HTTP points by marks in redis://h:6379/2; late points: discard\n        while it is away: hold, an HTTP request for at most 5s",
		serve("--dedup", "redis://me:hunter2@h:6379/2")...)
	f("points of all inputs save under raw, x.y by marks in rediss://h, TLS, verified by "+cert+", certificate "+cert+
		", string keys forgotten after 1h0m0s, Skyline's hash; late points: discard\n        while it is away: refuse",
		serve("--dedup", "rediss://:hunter2@h", "--dedup-ca", cert, "--dedup-cert", cert, "--dedup-key", secret, "--dedup-ttl=1h",
			"--skyline-hash", "--dedup-away=refuse", "--dedup-inputs=all", "--dedup-bypass=raw", "--dedup-bypass=x.y.")...)
	f("HTTP points by marks in unix:///run/r.sock?db=1; late points: discard\n        while it is away: deliver",
		serve("--dedup", "unix://:hunter2@/run/r.sock?db=1", "--dedup-away=deliver")...)
	f("points of all inputs by marks in rediss://h, TLS, verified by the system's authorities", "forward", "-t", "x", "--dedup", "rediss://h")
}
