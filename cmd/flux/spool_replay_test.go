package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/blueflood/bluefloodtest"
	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
	"github.com/fluxmetrics/fluxkit/internal/deadletter"
	"github.com/fluxmetrics/fluxkit/internal/queue"
	"github.com/fluxmetrics/fluxkit/internal/record"
)

func TestSpoolReplayToCarbon(t *testing.T) {
	noGoroutines(t)
	for _, protocol := range []string{"line", "pickle"} {
		carbon := graphitetest.Run(t)
		addr := map[string]string{"line": carbon.LineAddr, "pickle": carbon.PickleAddr}[protocol]
		dir := filepath.Join(t.TempDir(), "carbon")
		fillSpool(t, dir, 0, 2500, 7)

		o := spoolRun("replay", "--keep", "--carbon", addr, "--carbon-protocol", protocol, dir)
		require.Equal(t, outcome{0, "2500 points delivered to carbon " + addr + ", 0 refused\n", ""}, o)
		require.Equal(t, 2500, carbon.Received())
		carbon.Forget()

		q, err := queue.Open(queue.Options{Dir: dir})
		require.NoError(t, err)
		o = spoolRun("replay", "--carbon", addr, "--carbon-protocol", protocol, dir)
		require.Equal(t, exitFailed, o.code)
		require.Empty(t, o.stdout)
		require.Contains(t, o.stderr, "is in use: stop the server first")
		o = spoolRun("replay", "--keep", "--carbon", addr, "--carbon-protocol", protocol, dir)
		require.Equal(t, exitOK, o.code)
		carbon.Forget()
		require.NoError(t, q.Release())

		o = spoolRun("replay", "--carbon", addr, "--carbon-protocol", protocol, dir)
		require.Equal(t, outcome{0, "2500 points delivered to carbon " + addr + ", 0 refused\n", ""}, o)
		for i, p := range carbon.All() {
			require.Equal(t, spoolPoint(i).Value, p.Value, "in order")
		}
		o = spoolRun("replay", "--carbon", addr, "--carbon-protocol", protocol, filepath.Dir(dir))
		require.Equal(t, outcome{0, "0 points delivered to carbon " + addr + ", 0 refused\n", ""}, o)
	}
}

// TestSpoolReplayInterrupted is told to stop in the middle; the next one goes on.
func TestSpoolReplayInterrupted(t *testing.T) {
	noGoroutines(t)
	const total = 2*deliverPoints + 1000
	var taken atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	carbon := graphitetest.RunOptions(t, graphitetest.Options{OnPoint: func(graphitetest.Point) {
		if taken.Add(1) == deliverPoints+5000 {
			cancel()
		}
	}})
	dir := filepath.Join(t.TempDir(), "carbon")
	fillSpool(t, dir, 0, total, 100)
	o := fluxWith(ctx, "", nil, "spool", "replay", "--carbon", carbon.PickleAddr, dir)
	require.Equal(t, exitFailed, o.code)
	require.Contains(t, o.stderr, "flux: interrupted before the end; ")
	require.Contains(t, o.stderr, " points left in "+dir)
	o = spoolRun("replay", "--carbon", carbon.PickleAddr, dir)
	require.Equal(t, exitOK, o.code, o.stderr)
	seen := map[string]int{}
	for _, p := range carbon.All() {
		seen[p.Metric]++
	}
	require.Len(t, seen, total)
	for i := range deliverPoints {
		require.Equal(t, 1, seen[string(spoolPoint(i).Name)], "acknowledged")
	}
}

// TestSpoolReplayDown has nobody to deliver to.
func TestSpoolReplayDown(t *testing.T) {
	noGoroutines(t)
	dir := filepath.Join(t.TempDir(), "carbon")
	fillSpool(t, dir, 0, 30, 10)
	o := spoolRun("replay", "--carbon", "127.0.0.1:1", "--timeout", "0.2", dir)
	require.Equal(t, exitFailed, o.code)
	require.Empty(t, o.stdout)
	require.Contains(t, o.stderr, "flux: carbon 127.0.0.1:1: no point was delivered for 200ms: ")
	require.Contains(t, o.stderr, "30 points left in "+dir)
	require.Equal(t, 30, strings.Count(spoolRun("export", dir).stdout, "\n"))
	require.NoFileExists(t, filepath.Join(dir, "refused.jsonl"))

	path := lettersFile(t, letter("carbon", "nan", "a"), letter("carbon", "nan", "b"))
	before := readLetters(t, path)
	o = spoolRun("replay", "--carbon", "127.0.0.1:1", "--timeout", "0.2", path)
	require.Equal(t, exitFailed, o.code)
	require.Contains(t, o.stderr, "2 points left in "+path)
	require.Equal(t, before, readLetters(t, path))
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, left, 1)
}

// TestSpoolReplayRefused has points that Carbon cannot be given.
func TestSpoolReplayRefused(t *testing.T) {
	noGoroutines(t)
	carbon := graphitetest.Run(t)
	dir := filepath.Join(t.TempDir(), "carbon")
	fillSpool(t, dir, 0, 5, 2)
	q, err := queue.Open(queue.Options{Dir: dir})
	require.NoError(t, err)
	var w record.Writer
	w.Add(&record.Point{Name: []byte("with space"), Value: 1, Timestamp: 1})
	w.Add(&record.Point{Name: []byte("nan"), Value: math.NaN(), Timestamp: 1700000000000})
	w.Add(&record.Point{Name: []byte("good"), Value: 1, Timestamp: 1700000000000})
	_, err = q.Append(context.Background(), w.Bytes(), w.Len())
	require.NoError(t, err)
	require.NoError(t, q.Release())

	o := spoolRun("replay", "--carbon", carbon.PickleAddr, dir, "--keep")
	require.Equal(t, exitFailed, o.code)
	require.Contains(t, o.stdout, "6 points delivered to carbon "+carbon.PickleAddr+", 2 refused\n")
	require.Contains(t, o.stderr, "refused: nan: 1 point, such as \"nan\"")
	require.Contains(t, o.stderr, "flux: 2 points refused\n")
	require.NoFileExists(t, filepath.Join(dir, "refused.jsonl"))

	file := filepath.Join(dir, "refused.jsonl")
	o = spoolRun("replay", "--carbon", carbon.PickleAddr, dir)
	require.Equal(t, exitFailed, o.code)
	require.Contains(t, o.stderr, "flux: 2 points refused, kept in "+file+"\n")
	require.Equal(t, []string{"carbon name_space with space", "carbon nan nan"}, readLetters(t, file))
	require.Empty(t, spoolRun("export", dir).stdout)

	// They are refused again, as often as one tries.
	for range 2 {
		o = spoolRun("replay", "--carbon", carbon.PickleAddr, file)
		require.Equal(t, exitFailed, o.code)
		require.Contains(t, o.stdout, "0 points delivered to carbon "+carbon.PickleAddr+", 2 refused\n")
		require.Contains(t, o.stderr, "flux: 2 points refused, kept in "+file+"\n")
		require.Equal(t, []string{"carbon name_space with space", "carbon nan nan"}, readLetters(t, file))
	}
}

func TestSpoolReplayLetters(t *testing.T) {
	noGoroutines(t)
	carbon := graphitetest.Run(t)
	path := lettersFile(t, letter("carbon", "too_old", "a"), letter("carbon", "name_space", "b b"), letter("blueflood", "too_old", "a"),
		letter("carbon", "replay_age", "c"))
	o := spoolRun("replay", "--carbon", carbon.PickleAddr, path)
	require.Equal(t, exitUsage, o.code)
	require.Contains(t, o.stderr, "choose one with --destination: blueflood, carbon")
	before := readLetters(t, path)

	o = spoolRun("replay", "--keep", "--destination", "carbon", "--carbon", carbon.PickleAddr, path)
	require.Equal(t, exitFailed, o.code)
	require.Contains(t, o.stdout, "2 points delivered")
	require.Equal(t, before, readLetters(t, path))
	carbon.Forget()

	o = spoolRun("replay", "--destination", "carbon", "--reason", "replay_age", "--carbon", carbon.PickleAddr, path)
	require.Equal(t, exitOK, o.code, o.stderr)
	require.Equal(t, before[:3], readLetters(t, path))
	o = spoolRun("replay", "--destination", "carbon", "--carbon", carbon.PickleAddr, path)
	require.Equal(t, exitFailed, o.code)
	require.Contains(t, o.stdout, "1 point delivered to carbon "+carbon.PickleAddr+", 1 refused\n")
	require.Contains(t, o.stderr, "flux: 1 point refused, kept in "+path+"\n")
	require.ElementsMatch(t, []string{"carbon name_space b b", "blueflood too_old a"}, readLetters(t, path))
	o = spoolRun("replay", "--destination", "blueflood", "--carbon", carbon.PickleAddr, path)
	require.Equal(t, exitOK, o.code, o.stderr)
	require.Len(t, carbon.Points("a"), 2)
	require.Len(t, carbon.Points("c"), 1)
	require.Equal(t, []string{"carbon name_space b b"}, readLetters(t, path))

	// A replay runs, and is killed: what it set aside goes with the next one.
	other, err := deadletter.SetAside(path)
	require.NoError(t, err)
	appendLetters(t, path, letter("carbon", "x", "later"))
	o = spoolRun("replay", "--carbon", carbon.PickleAddr, path)
	require.Equal(t, exitFailed, o.code)
	require.Contains(t, o.stderr, "another replay is under way")
	other.Close()
	o = spoolRun("replay", "--carbon", carbon.PickleAddr, path)
	require.Contains(t, o.stdout, "1 point delivered to carbon "+carbon.PickleAddr+", 1 refused\n")
	require.Len(t, carbon.Points("later"), 1)
	require.Equal(t, []string{"carbon name_space b b"}, readLetters(t, path))
}

// TestSpoolReplayWhileAppending has a server that goes on giving up points during the replay.
func TestSpoolReplayWhileAppending(t *testing.T) {
	noGoroutines(t)
	path := lettersFile(t, letter("carbon", "x", "a"), letter("carbon", "x", "b"))
	server, err := deadletter.Open(deadletter.Options{Path: path})
	require.NoError(t, err)
	defer server.Close()
	carbon := graphitetest.RunOptions(t, graphitetest.Options{OnPoint: func(p graphitetest.Point) {
		if err := server.Append([]deadletter.Entry{letter("carbon", "x", "again."+p.Metric)}); err != nil {
			t.Error(err)
		}
	}})
	o := spoolRun("replay", "--carbon", carbon.LineAddr, "--carbon-protocol", "line", path)
	require.Equal(t, exitOK, o.code, o.stderr)
	require.Equal(t, []string{"carbon x again.a", "carbon x again.b"}, readLetters(t, path))
	require.EqualValues(t, 2, server.Stats().Points)
}

func TestSpoolReplayDamagedLetters(t *testing.T) {
	carbon := graphitetest.Run(t)
	path := lettersFile(t, letter("carbon", "x", "a"))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, append([]byte("what\n"), text...), 0o600))
	o := spoolRun("replay", "--carbon", carbon.PickleAddr, path)
	require.Equal(t, exitFailed, o.code)
	require.Contains(t, o.stdout, "1 point delivered")
	require.Contains(t, o.stderr, "flux: 1 damaged place passed over, kept in "+path+".damaged.1\n")
	require.NoFileExists(t, path)
}

func TestSpoolReplayToBlueflood(t *testing.T) {
	noGoroutines(t)
	server := bluefloodtest.Run(t)
	now := server.Time().UnixMilli()
	dir := filepath.Join(t.TempDir(), "blueflood-acme")
	e, err := blueflood.NewEndpoint(blueflood.EndpointConfig{URL: "http://127.0.0.1:1", Tenant: "acme", SpoolDir: dir})
	require.NoError(t, err)
	require.NoError(t, e.Send(context.Background(), []blueflood.Metric{
		{Name: []byte("a"), Timestamp: now, Value: 1.5, TTL: time.Hour, Unit: "percent"},
		{Name: []byte("b"), Timestamp: now, Value: 2},
		{Name: []byte("old"), Timestamp: 5, Value: 2, TTL: time.Minute, Unit: "s"},
	}))
	require.Error(t, e.Close(ended()))

	o := spoolRun("replay", "--blueflood", server.IngestURL(), "--tenant", "acme", "--metric-prefix", "p", "--ttl", "60", "--gzip", dir)
	require.Equal(t, exitFailed, o.code)
	require.Contains(t, o.stdout, "2 points delivered to blueflood "+server.IngestURL()+", 1 refused\n")
	a, b := server.Points("acme", "p.a"), server.Points("acme", "p.b")
	require.Len(t, a, 1)
	require.Equal(t, []any{3600, "percent", 1.5, now}, []any{a[0].TTL, a[0].Unit, a[0].Value, a[0].Timestamp})
	require.Len(t, b, 1)
	require.Equal(t, 60, b[0].TTL)
	require.Equal(t, []string{"blueflood-acme too_old old"}, readLetters(t, filepath.Join(dir, "refused.jsonl")))

	// Each point goes to its own tenant, unless one is named.
	x, y := letter("bf", "refused", "x"), letter("bf", "refused", "y")
	x.Timestamp, x.Tenant, x.TTL = now, "one", time.Hour
	y.Timestamp, y.Tenant = now, "two"
	path := lettersFile(t, x, y)
	o = spoolRun("replay", "--keep", "--blueflood", server.IngestURL(), "--tenant", "three", path)
	require.Equal(t, exitOK, o.code, o.stderr)
	require.Equal(t, []string{"x", "y"}, server.Metrics("three"))
	o = spoolRun("replay", "--blueflood", server.IngestURL(), path)
	require.Equal(t, exitOK, o.code, o.stderr)
	require.Equal(t, []string{"x"}, server.Metrics("one"))
	require.Equal(t, []string{"y"}, server.Metrics("two"))
	require.Equal(t, 3600, server.Points("one", "x")[0].TTL)
	require.NoFileExists(t, path)
	path = lettersFile(t, letter("carbon", "x", "z"))
	o = spoolRun("replay", "--blueflood", server.IngestURL(), path)
	require.Equal(t, exitUsage, o.code)
	require.Contains(t, o.stderr, "--tenant is missing")
}

// TestSpoolReplayTenants has the same point of several tenants, one of which is refused, and with several times to live.
func TestSpoolReplayTenants(t *testing.T) {
	noGoroutines(t)
	var stored sync.Map // path and body: how often
	var refuse atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if r.URL.Path == "/v2.0/bad/ingest" && refuse.Load() {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		n, _ := stored.LoadOrStore(r.URL.Path, new(atomic.Int64))
		n.(*atomic.Int64).Add(int64(strings.Count(string(body), "metricName")))
	}))
	defer srv.Close()
	times := func(tenant string) int64 {
		n, ok := stored.Load("/v2.0/" + tenant + "/ingest")
		if !ok {
			return 0
		}
		return n.(*atomic.Int64).Load()
	}
	left := func(path string) (out []string) {
		_, err := deadletter.Read(path, func(e deadletter.Entry) error {
			out = append(out, fmt.Sprintf("%s %s %v", e.Tenant, e.Reason, e.TTL))
			return nil
		})
		require.NoError(t, err)
		return out
	}
	one := letter("bf", "too_old", "cpu")
	one.Timestamp = time.Now().UnixMilli()
	var letters []deadletter.Entry
	for i := range 40 { // whichever is settled first
		e := one
		if e.Tenant = "good"; i%2 > 0 {
			e.Tenant = "bad"
		}
		letters = append(letters, e)
	}
	path := lettersFile(t, letters...)
	refuse.Store(true)
	o := spoolRun("replay", "--blueflood", srv.URL, path)
	require.Equal(t, exitFailed, o.code)
	require.Contains(t, o.stdout, "20 points delivered")
	require.Contains(t, o.stdout, "20 refused")
	require.Equal(t, slices.Repeat([]string{"bad refused 0s"}, 20), left(path))
	require.EqualValues(t, 20, times("good"))
	refuse.Store(false)
	o = spoolRun("replay", "--blueflood", srv.URL, path)
	require.Equal(t, exitOK, o.code, o.stderr)
	require.EqualValues(t, 20, times("good"))
	require.EqualValues(t, 20, times("bad"))

	short := one
	one.Tenant, one.TTL = "ttl", time.Hour
	short.Tenant, short.TTL = "ttl", time.Millisecond // which Blueflood cannot be given
	path = lettersFile(t, one, short)
	o = spoolRun("replay", "--blueflood", srv.URL, path)
	require.Equal(t, exitFailed, o.code)
	require.Equal(t, []string{"ttl bad_ttl 1ms"}, left(path))
	require.EqualValues(t, 1, times("ttl"))

	// To Carbon they are alike.
	carbon := graphitetest.Run(t)
	o = spoolRun("replay", "--carbon", carbon.PickleAddr, lettersFile(t, letters...))
	require.Equal(t, exitOK, o.code, o.stderr)
	require.Equal(t, 40, carbon.Received())
}

// TestSpoolReplayOneTenantDown: another tenant's points do not wait for it.
func TestSpoolReplayOneTenantDown(t *testing.T) {
	noGoroutines(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if !strings.Contains(r.URL.Path, "/up") {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer srv.Close()
	var letters []deadletter.Entry
	for i := range 12 {
		e := letter("bf", "x", "a")
		e.Timestamp = time.Now().UnixMilli()
		if e.Tenant = fmt.Sprint("up", i); i == 0 {
			e.Tenant = "down"
		}
		letters = append(letters, e)
	}
	path := lettersFile(t, letters...)
	o := spoolRun("replay", "--blueflood", srv.URL, "--timeout", "1", path)
	require.Equal(t, exitFailed, o.code)
	require.Contains(t, o.stdout, "11 points delivered")
	require.Contains(t, o.stderr, "1 point left in "+path)
}

// TestSpoolReplayKeystone leaves nothing of its token requests behind.
func TestSpoolReplayKeystone(t *testing.T) {
	noGoroutines(t)
	keystone := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done() // when the client hangs up
	}))
	defer keystone.Close()
	dir := filepath.Join(t.TempDir(), "blueflood")
	fillSpool(t, dir, 0, 3, 3)
	o := spoolRun("replay", "--blueflood", "http://127.0.0.1:1", "-t", "acme", "-u", "me", "--key-file", write(t, "hunter2hunter2\n"),
		"--auth-url", keystone.URL, "--timeout", "0.2", dir)
	require.Equal(t, exitFailed, o.code)
	require.Contains(t, o.stderr, "3 points left in "+dir)
	buf := make([]byte, 1<<20)
	require.NotContains(t, string(buf[:runtime.Stack(buf, true)]), "blueflood.(*Keystone)")
}
