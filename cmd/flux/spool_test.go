package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood/bluefloodtest"
	"github.com/fluxmetrics/fluxkit/flux"
	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
	"github.com/fluxmetrics/fluxkit/internal/deadletter"
	"github.com/fluxmetrics/fluxkit/internal/queue"
	"github.com/fluxmetrics/fluxkit/internal/record"
)

func spoolPoint(i int) graphite.Point {
	return graphite.Point{Name: fmt.Appendf(nil, "m.%05d", i), Timestamp: 1700000000000 + int64(i), Value: float64(i)}
}

// fillSpool makes a queue of records of points with the numbers from to to, per of them a record.
func fillSpool(t *testing.T, dir string, from, to, per int) {
	t.Helper()
	q, err := queue.Open(queue.Options{Dir: dir})
	require.NoError(t, err)
	var w record.Writer
	for i := from; i < to; {
		w.Reset()
		for n := 0; n < per && i < to; n++ {
			p := spoolPoint(i)
			w.Add(&record.Point{Name: p.Name, Timestamp: p.Timestamp, Value: p.Value})
			i++
		}
		_, err := q.AppendAsync(context.Background(), w.Bytes(), w.Len())
		require.NoError(t, err)
	}
	require.NoError(t, q.Release())
}

func lettersFile(t *testing.T, entries ...deadletter.Entry) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dead.jsonl")
	appendLetters(t, path, entries...)
	return path
}

func appendLetters(t *testing.T, path string, entries ...deadletter.Entry) {
	t.Helper()
	f, err := deadletter.Open(deadletter.Options{Path: path})
	require.NoError(t, err)
	require.NoError(t, f.Append(entries))
	require.NoError(t, f.Close())
}

func letter(destination, reason, name string) deadletter.Entry {
	return deadletter.Entry{Destination: destination, Reason: reason, Name: []byte(name), Timestamp: 1700000000500, Value: 1}
}

func readLetters(t *testing.T, path string) (out []string) {
	t.Helper()
	_, err := deadletter.Read(path, func(e deadletter.Entry) error {
		out = append(out, fmt.Sprintf("%s %s %s", e.Destination, e.Reason, e.Name))
		return nil
	})
	if ok, _ := deadletter.Exists(path); ok {
		require.NoError(t, err)
	}
	return out
}

// noGoroutines checks at the test's end that none is left of those that deliver and queue.
func noGoroutines(t *testing.T) {
	t.Helper()
	ours := func() (left string) {
		buf := make([]byte, 1<<20)
		for s := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			for _, name := range []string{"internal/queue", "internal/deliver", "fluxkit/graphite.", "fluxkit/blueflood."} {
				if strings.Contains(s, name) {
					left += s + "\n\n"
					break
				}
			}
		}
		return left
	}
	t.Cleanup(func() {
		require.Eventually(t, func() bool { return ours() == "" }, 10*time.Second, time.Millisecond, "goroutines left:\n%s", ours())
	})
}

func spoolRun(args ...string) outcome { return fluxRun(append([]string{"spool"}, args...)...) }

func TestSpoolWrongPaths(t *testing.T) {
	f := func(text string, args ...string) {
		t.Helper()
		o := spoolRun(args...)
		require.Equal(t, exitUsage, o.code, o.stderr)
		require.Contains(t, o.stderr, text)
		require.Empty(t, o.stdout)
	}
	empty := t.TempDir()
	other := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(other, "sub", "subsub"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(other, "file"), nil, 0o600))
	spool := t.TempDir()
	fillSpool(t, filepath.Join(spool, "carbon"), 0, 1, 1)
	seg, err := filepath.Glob(filepath.Join(spool, "carbon", "*.seg"))
	require.NoError(t, err)
	for _, action := range []string{"show", "verify", "export"} {
		f("/no/such does not exist", action, "/no/such")
		f(empty+" is no spool", action, empty)
		f(other+" is no spool", action, other)
		f("one file of a spool: name its directory, "+filepath.Join(spool, "carbon"), action, seg[0])
		f("neither a directory nor a file", action, os.DevNull)
		f("is no dead-letter file", action, write(t, "one\ntwo\n"))
		f("expected \"<path>\"", action)
	}
	f("does not exist", "replay", "--carbon", "127.0.0.1:1", "/no/such")
	f("where to is missing", "replay", spool)
	f("both given", "replay", "--carbon", "127.0.0.1:1", "--blueflood", "http://127.0.0.1:1", spool)
	f("--tenant is missing", "replay", "--blueflood", "http://127.0.0.1:1", spool)
	f("--tenant is for --blueflood", "replay", "--carbon", "127.0.0.1:1", "--tenant", "x", spool)
	f("neither host:port", "replay", "--carbon", "nonsense", spool)
	f("http", "replay", "--blueflood", "ftp://x", "--tenant", "x", spool)
	f("--ttl 0", "replay", "--carbon", "127.0.0.1:1", "--ttl", "0", spool)
	f("--carbon-ca", "replay", "--carbon", "127.0.0.1:1", "--carbon-ca", "/no/such", spool)
	f("--user", "replay", "--blueflood", "http://127.0.0.1:1", "--tenant", "x", "--user", "u", spool)
	f("--reason nan is for a dead-letter file", "replay", "--carbon", "127.0.0.1:1", "--reason", "nan", spool)
	f("--dead-letter is for", "replay", "--carbon", "127.0.0.1:1", "--keep", "--dead-letter", "x", spool)
	f("expected one of")
	require.FileExists(t, seg[0])
}

// TestSpoolOfAnotherTenant: what is pending does not go to another tenant because the command line has changed.
func TestSpoolOfAnotherTenant(t *testing.T) {
	noGoroutines(t)
	server := bluefloodtest.Run(t)
	server.Fallback(bluefloodtest.Reply{Status: http.StatusServiceUnavailable})
	spool := t.TempDir()
	forward := func(tenant string) (*flux.Server, error) {
		cfg, err := configOf("forward", "-t", tenant, "-b", server.IngestURL(), "--spool", spool, "--endpoint", "127.0.0.1:0")
		require.NoError(t, err)
		return flux.New(cfg)
	}
	s, err := forward("old")
	require.NoError(t, err)
	_, err = s.Ingest(context.Background(), []graphite.Point{{Name: []byte("a"), Timestamp: time.Now().UnixMilli(), Value: 1}})
	require.NoError(t, err)
	require.Error(t, s.Close(ended()))

	o := fluxRun("forward", "-t", "new", "-b", server.IngestURL(), "--spool", spool, "--endpoint", "127.0.0.1:0")
	require.Equal(t, exitUsage, o.code)
	require.Contains(t, o.stderr, filepath.Join(spool, "blueflood")+`" holds 1 points of the tenant "old"`)
	require.Contains(t, o.stderr, "--tenant old")
	require.Contains(t, o.stderr, "another --spool")
	require.Contains(t, o.stderr, "flux spool replay --blueflood URL --tenant old "+filepath.Join(spool, "blueflood"))

	server.Fallback(bluefloodtest.Reply{})
	o = spoolRun("replay", "--blueflood", server.IngestURL(), "--tenant", "old", spool)
	require.Equal(t, exitOK, o.code, o.stderr)
	s, err = forward("new")
	require.NoError(t, err)
	require.NoError(t, s.Close(context.Background()))
	require.Equal(t, []string{"a"}, server.Metrics("old"))
	require.Empty(t, server.Metrics("new"))
}

// TestSpoolKilledEmpty has what a server leaves that was killed before it got a point.
func TestSpoolKilledEmpty(t *testing.T) {
	f := func(names ...string) {
		t.Helper()
		dir := filepath.Join(t.TempDir(), "carbon")
		require.NoError(t, os.Mkdir(dir, 0o700))
		for _, name := range names {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
		}
		for _, path := range []string{dir, filepath.Dir(dir)} {
			o := spoolRun("show", path)
			require.Equal(t, exitOK, o.code, o.stderr)
			require.Regexp(t, `\ncarbon +0 `, o.stdout)
		}
	}
	f("lock")
	f("lock", "unfinished")
	f("lock", "tenant", "unfinished")
	f("lock", "acked", "unfinished", "tenant", "tenant.next")
	f("acked")
	f("lock", "refused.jsonl")
}

func TestSpoolShow(t *testing.T) {
	dir := t.TempDir()
	fillSpool(t, filepath.Join(dir, "carbon"), 0, 25, 10)
	fillSpool(t, filepath.Join(dir, "blueflood-2"), 0, 0, 1)
	o := spoolRun("show", dir)
	require.Equal(t, exitOK, o.code, o.stderr)
	require.Empty(t, o.stderr)
	lines := strings.Split(o.stdout, "\n")
	require.Regexp(t, `^DESTINATION +POINTS +BYTES +RECORDS +OLDEST +NEWEST +DAMAGED$`, lines[0])
	require.Regexp(t, `^blueflood-2 +0 +0 +0 +- +- +0$`, lines[1])
	require.Regexp(t, `^carbon +25 +\d+ +3 +\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \(\d+s ago\) +\S+Z \(\d+s ago\) +0$`, lines[2])
	require.Equal(t, []string{""}, lines[3:])

	o = spoolRun("show", "--json", filepath.Join(dir, "carbon"))
	require.Equal(t, exitOK, o.code, o.stderr)
	var got struct {
		Path         string
		Destinations []spoolState
	}
	require.NoError(t, json.Unmarshal([]byte(o.stdout), &got))
	require.Len(t, got.Destinations, 1)
	st := got.Destinations[0]
	require.Equal(t, "carbon", st.Destination)
	require.EqualValues(t, 25, st.Points)
	require.Equal(t, 3, st.Records)
	require.False(t, st.Newest.Before(st.Oldest))
	require.Less(t, time.Since(st.Oldest), time.Hour)
	require.NotContains(t, spoolRun("show", "--json", filepath.Join(dir, "blueflood-2")).stdout, "oldest")
}

func TestSpoolShowLetters(t *testing.T) {
	a, b, c := letter("carbon", "nan", "a"), letter("carbon", "nan", "b"), letter("carbon", "name_space", "c")
	a.At = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	b.At, c.At = a.At.Add(time.Minute), a.At
	d := letter("blueflood\x1b[31m", "too_old", "d")
	d.At, d.Tenant = a.At, "acme"
	path := lettersFile(t, a, b, c, d)
	o := spoolRun("show", path)
	require.Equal(t, exitOK, o.code, o.stderr)
	lines := strings.Split(o.stdout, "\n")
	require.Regexp(t, `^DESTINATION +TENANT +REASON +POINTS +OLDEST +NEWEST$`, lines[0])
	require.Regexp(t, `^"blueflood\\x1b\[31m" +acme +too_old +1 `, lines[1])
	require.Regexp(t, `^carbon +- +name_space +1 `, lines[2])
	require.Regexp(t, `^carbon +- +nan +2 +2026-01-02T03:04:05Z \(\S+ ago\) +2026-01-02T03:05:05Z`, lines[3])
	require.Regexp(t, `^4 points in \d+ bytes$`, lines[4])

	o = spoolRun("show", "--json", path)
	require.Contains(t, o.stdout, `{"destination":"carbon","reason":"nan","points":2,"oldest":"2026-01-02T03:04:05Z","newest":"2026-01-02T03:05:05Z"}`)
	require.Contains(t, o.stdout, `"points":4,`)

	// A replay was killed, and a line is damaged.
	r, err := deadletter.SetAside(path)
	require.NoError(t, err)
	r.Close()
	require.NoFileExists(t, path)
	o = spoolRun("show", path)
	require.Equal(t, exitOK, o.code, o.stderr)
	require.Contains(t, o.stdout, "4 of them were set aside")
	require.NoError(t, os.WriteFile(path, []byte("what\n"), 0o600))
	require.Contains(t, spoolRun("show", path).stdout, "1 damaged line;")
}

func TestSpoolVerify(t *testing.T) {
	dir := t.TempDir()
	fillSpool(t, filepath.Join(dir, "carbon"), 0, 30, 10)
	fillSpool(t, filepath.Join(dir, "other"), 0, 5, 5)
	o := spoolRun("verify", dir)
	require.Equal(t, exitOK, o.code, o.stderr)
	require.Regexp(t, `^carbon/\S+\.seg: 30 points in 3 records
carbon: 30 points can be read, 0 damaged places
other/\S+\.seg: 5 points in 1 record
other: 5 points can be read, 0 damaged places
$`, o.stdout)

	seg, err := filepath.Glob(filepath.Join(dir, "carbon", "*.seg"))
	require.NoError(t, err)
	whole, err := os.ReadFile(seg[0])
	require.NoError(t, err)
	broken := append([]byte{}, whole...)
	broken[len(whole)/2] ^= 1 // in the second of three records
	broken = append(broken, whole[:20]...)
	require.NoError(t, os.WriteFile(seg[0], broken, 0o600))
	o = spoolRun("verify", dir)
	require.Equal(t, exitFailed, o.code)
	require.Regexp(t, `carbon/\S+\.seg: 20 points in 2 records
carbon/\S+\.seg: at byte \d+: \d+ bytes are damaged
carbon/\S+\.seg: at byte \d+: 20 bytes of a write that was cut short, which is normal after a crash
carbon: 20 points can be read, 1 damaged place
`, o.stdout)
	require.Equal(t, "flux: 1 damaged place\n", o.stderr)
	require.Regexp(t, `carbon +20 .* 1\n`, spoolRun("show", dir).stdout)

	o = spoolRun("export", filepath.Join(dir, "carbon"))
	require.Equal(t, exitFailed, o.code)
	require.Equal(t, 20, strings.Count(o.stdout, "\n"))
	require.Contains(t, o.stderr, "1 damaged place passed over")
}

// TestSpoolForeignRecord has a record that is whole and yet not one of ours.
func TestSpoolForeignRecord(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "carbon")
	fillSpool(t, dir, 0, 3, 3)
	q, err := queue.Open(queue.Options{Dir: dir})
	require.NoError(t, err)
	_, err = q.Append(context.Background(), []byte("\x02of another version"), 7)
	require.NoError(t, err)
	require.NoError(t, q.Release())
	fillSpool(t, dir, 3, 6, 3)

	o := spoolRun("verify", dir)
	require.Equal(t, exitFailed, o.code)
	require.Contains(t, o.stdout, "record: not a record")
	require.Contains(t, o.stdout, "carbon: 6 points can be read, 1 damaged place")
	o = spoolRun("export", dir)
	require.Equal(t, exitFailed, o.code)
	require.Equal(t, 6, strings.Count(o.stdout, "\n"))

	carbon := graphitetest.Run(t)
	o = spoolRun("replay", "--carbon", carbon.PickleAddr, dir)
	require.Equal(t, exitFailed, o.code)
	require.Contains(t, o.stdout, "3 points delivered")
	require.Contains(t, o.stderr, "position 2")
	require.Contains(t, o.stderr, "replay with the version that wrote it; or deliver all others with --keep")
	require.Contains(t, o.stderr, "10 points left in "+dir)
	require.Equal(t, 3, carbon.Received())
}

func TestSpoolVerifyLetters(t *testing.T) {
	path := lettersFile(t, letter("carbon", "nan", "a"))
	require.Equal(t, outcome{0, path + ": 1 point can be read, 0 damaged lines\n", ""}, spoolRun("verify", path))
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString("{}\n{\"at\"")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	o := spoolRun("verify", path)
	require.Equal(t, exitFailed, o.code)
	require.Contains(t, o.stdout, path+": line 2, at byte ")
	require.Contains(t, o.stdout, "5 bytes of a line that was cut short")
	require.Equal(t, "flux: 1 damaged place\n", o.stderr)
}

func TestSpoolExport(t *testing.T) {
	dir := t.TempDir()
	client, err := graphite.NewClient(graphite.ClientConfig{Addrs: []string{"127.0.0.1:1"}, SpoolDir: filepath.Join(dir, "carbon")})
	require.NoError(t, err)
	require.NoError(t, client.Send(context.Background(), []graphite.Point{
		{Name: []byte("a"), Timestamp: 1700000000000, Value: 0.5},
		{Name: []byte("b;t=ä"), Timestamp: 1700000000250, Value: math.Inf(1)},
		{Name: []byte("c d"), Timestamp: 1, Value: 1},
		{Name: []byte("e"), Timestamp: -1500, Value: 3},
	}))
	require.Error(t, client.Close(ended()))
	want := "a 0.5 1700000000\nb;t=ä inf 1700000000.25\ne 3 -1.5\n"
	for range 2 {
		o := spoolRun("export", dir)
		require.Equal(t, exitFailed, o.code)
		require.Equal(t, want, o.stdout)
		require.Contains(t, o.stderr, "left out: \"c d\": ")
		require.Contains(t, o.stderr, "flux: 1 point with a name that no line can hold\n")
	}

	fillSpool(t, filepath.Join(dir, "third"), 0, 0, 1)
	require.Equal(t, want, spoolRun("export", dir).stdout, "the one that has points")
	fillSpool(t, filepath.Join(dir, "other"), 7, 8, 1)
	o := spoolRun("export", dir)
	require.Equal(t, exitUsage, o.code)
	require.Contains(t, o.stderr, "choose one with --destination: carbon, other, third")
	other := outcome{0, "m.00007 7 1700000000.007\n", ""}
	require.Equal(t, other, spoolRun("export", dir, "--destination", "other"))
	require.Equal(t, other, spoolRun("export", filepath.Join(dir, "other")))
	o = spoolRun("export", dir, "--destination", "none")
	require.Equal(t, exitUsage, o.code)
	require.Contains(t, o.stderr, "carbon, other, third")

	path := lettersFile(t, letter("carbon", "nan", "a"), letter("carbon", "too_old", "b"), letter("blueflood", "too_old", "c"))
	require.Equal(t, outcome{0, "a 1 1700000000.5\nb 1 1700000000.5\nc 1 1700000000.5\n", ""}, spoolRun("export", path))
	require.Equal(t, "b 1 1700000000.5\nc 1 1700000000.5\n", spoolRun("export", "--reason", "too_old", path).stdout)
	require.Equal(t, "b 1 1700000000.5\n", spoolRun("export", "--reason", "too_old", "--destination", "carbon", path).stdout)

	o = fluxWith(ended(), "", nil, "spool", "export", path)
	require.Equal(t, outcome{1, "", "flux: interrupted before the end\n"}, o)
}
