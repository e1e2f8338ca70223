package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/flux/backfill"
	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
)

// oldGraphite is a source with a value every 10 s, the number of the minute, and metrics that can be found.
type oldGraphite struct {
	*httptest.Server
	metrics []string
	mu      sync.Mutex
	asked   []string
	fail    func(n int, target string) bool // answer 500
}

func newOldGraphite(t *testing.T, metrics ...string) *oldGraphite {
	g := &oldGraphite{metrics: metrics}
	mux := http.NewServeMux()
	mux.HandleFunc("/metrics/find", g.find)
	mux.HandleFunc("/render", g.render)
	g.Server = httptest.NewServer(mux)
	t.Cleanup(g.Close)
	return g
}

func (g *oldGraphite) find(w http.ResponseWriter, r *http.Request) {
	type node struct {
		Path string `json:"path"`
		Leaf string `json:"is_leaf"`
	}
	nodes := []node{}
	for _, m := range g.metrics {
		if ok, _ := filepath.Match(r.URL.Query().Get("query"), m); ok && strings.Count(m, ".") == strings.Count(r.URL.Query().Get("query"), ".") {
			nodes = append(nodes, node{m, "1"})
		}
	}
	if r.URL.Query().Get("query") == "*" {
		nodes = append(nodes, node{"servers.", "0"})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"metrics": nodes})
}

func (g *oldGraphite) render(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	g.mu.Lock()
	g.asked = append(g.asked, q.Get("target"))
	n, fail := len(g.asked), g.fail
	g.mu.Unlock()
	if fail != nil && fail(n, q.Get("target")) {
		http.Error(w, "no", 500)
		return
	}
	from, _ := strconv.ParseInt(q.Get("from"), 10, 64)
	until, _ := strconv.ParseInt(q.Get("until"), 10, 64)
	points := [][2]int64{}
	for at := from/10*10 + 10; at <= until; at += 10 {
		points = append(points, [2]int64{at / 60, at})
	}
	_ = json.NewEncoder(w).Encode([]map[string]any{{"target": q.Get("target"), "datapoints": points}})
}

// requireWhole checks that a metric has a value of every minute from the first to before the last.
func requireWhole(t *testing.T, carbon *graphitetest.Server, metric string, from, until time.Time) {
	t.Helper()
	have, want := map[int64]float64{}, map[int64]float64{}
	for _, s := range carbon.Points(metric) {
		have[int64(s.Timestamp)] = s.Value
	}
	for at := from.Unix() / 60 * 60; at < until.Unix()/60*60; at += 60 {
		want[at] = float64(at / 60)
	}
	require.Equal(t, want, have)
}

// requireWholeSince checks that a metric has a value of every minute from from, or of the last 24 hours where that is zero,
// to before the one in which the command began, which was not before began.
func requireWholeSince(t *testing.T, carbon *graphitetest.Server, metric string, from, began time.Time) {
	t.Helper()
	until := time.Time{}
	for _, s := range carbon.Points(metric) {
		if at := time.Unix(int64(s.Timestamp)+60, 0); at.After(until) {
			until = at
		}
	}
	require.WithinRange(t, until, began.Truncate(time.Minute), time.Now())
	if from.IsZero() {
		from = until.Add(-24 * time.Hour)
	}
	requireWhole(t, carbon, metric, from, until)
}

func TestBackfillFromGraphite(t *testing.T) {
	old := newOldGraphite(t, "servers.a.cpu", "servers.b.cpu", "other")
	carbon := graphitetest.Run(t)
	args := []string{"backfill", "servers.*.cpu", "--graphite", old.URL, "--carbon", carbon.PickleAddr, "--prefix", "copy", "--resolutions", "24hours,6hours"}
	o := fluxRun(append(args, "--dry-run")...)
	require.Equal(t, exitOK, o.code, o.stderr)
	require.Contains(t, o.stdout, "copy.servers.a.cpu\n")
	require.Contains(t, o.stdout, "target=servers.b.cpu")
	require.Contains(t, o.stdout, "2 metrics would be fetched")
	require.Zero(t, carbon.Received())

	began := time.Now()
	o = fluxRun(args...)
	require.Equal(t, exitOK, o.code, o.stderr)
	require.Contains(t, o.stdout, "2 of 2 metrics done, 0 failed, 2880 points sent")
	require.Contains(t, o.stderr, "copy.servers.a.cpu  done, 1440 points to ")
	for _, m := range []string{"copy.servers.a.cpu", "copy.servers.b.cpu"} {
		requireWholeSince(t, carbon, m, time.Time{}, began)
	}

	from, until := began.Add(-3*time.Hour).Unix()/60*60, began.Add(-time.Hour).Unix()/60*60
	o = fluxRun("backfill", "sum(a,'x y')", "--as", "sums", "--graphite", old.URL+"/", "--carbon", carbon.LineAddr, "--carbon-protocol", "line",
		"--from", fmt.Sprint(from), "--until", fmt.Sprint(until))
	require.Equal(t, exitOK, o.code, o.stderr)
	requireWhole(t, carbon, "sums", time.Unix(from, 0), time.Unix(until, 0))
}

func TestBackfillFromPrometheus(t *testing.T) {
	var queries []string
	prometheus := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		queries = append(queries, r.URL.Path+" "+r.URL.Query().Get("query")+" "+r.URL.Query().Get("time"))
		at, _ := strconv.ParseFloat(r.URL.Query().Get("time"), 64)
		fmt.Fprintf(w, `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"up"},"values":[[%.3f,"2.5"]]}]}}`, at-30)
	}))
	defer prometheus.Close()
	carbon := graphitetest.Run(t)
	o := fluxRun("backfill", "up", "--prometheus", prometheus.URL, "--carbon", carbon.PickleAddr, "--from", "2hours", "--resolutions", "1h")
	require.Equal(t, exitOK, o.code, o.stderr)
	require.Len(t, queries, 2)
	require.Contains(t, queries[0], "/api/v1/query up[39")
	require.Regexp(t, `\.999$`, queries[0])
	require.Contains(t, queries[1], "/api/v1/query up[3")
	require.Len(t, carbon.Points("up"), 2)
	require.Equal(t, exitUsage, fluxRun("backfill", "rate(up[5m])", "--prometheus", prometheus.URL, "--carbon", carbon.PickleAddr).code, "a name is needed")
}

func TestBackfillOnlyWhatIsMissing(t *testing.T) {
	old := newOldGraphite(t)
	carbon := graphitetest.Run(t)
	marks := filepath.Join(t.TempDir(), "marks")
	began := time.Now()
	known := began.Add(-time.Hour)
	store := &dedup.Memory{}
	require.NoError(t, store.Raise(t.Context(), []dedup.Mark{{Metric: []byte("a"), Timestamp: known.UnixMilli()}}))
	require.NoError(t, (&markFile{path: marks, memory: store}).save())
	args := []string{"backfill", "a", "b", "--graphite", old.URL, "--carbon", carbon.PickleAddr, "--dedup-file", marks, "--resolutions", "24hours,6hours", "--frequency", "60"}
	args = args[:len(args):len(args)]
	o := fluxRun(append(args, "--dry-run")...)
	require.Contains(t, o.stdout, "since what is older is there")
	o = fluxRun(append(args, "--if-behind")...)
	require.Equal(t, exitOK, o.code, o.stderr)
	requireWholeSince(t, carbon, "a", known, began)
	requireWholeSince(t, carbon, "b", time.Time{}, began)

	carbon.Forget()
	o = fluxRun(append(args, "--if-behind")...)
	require.Equal(t, exitOK, o.code, o.stderr)
	require.Contains(t, o.stderr, "a is not behind")
	require.Contains(t, o.stdout, "0 of 0 metrics")
	require.Empty(t, carbon.All(), "the marks were raised and saved")
	o = fluxRun(append(args, "--missing", "all")...)
	require.Equal(t, exitOK, o.code, o.stderr)
	requireWholeSince(t, carbon, "a", time.Time{}, began)
}

// Interrupted in the middle, the same command goes on and ends complete; another one is refused meanwhile.
func TestBackfillGoesOn(t *testing.T) {
	for _, source := range []string{"graphite", "file"} {
		t.Run(source, func(t *testing.T) {
			carbon := graphitetest.Run(t)
			state := filepath.Join(t.TempDir(), "state")
			old := newOldGraphite(t, "m.0", "m.1", "m.2", "m.3", "m.4", "m.5")
			args := []string{"backfill", "--carbon", carbon.PickleAddr, "--state", state, "--jobs", "1"}
			began := time.Now()
			if source == "graphite" {
				args = append(args, "m.*", "--graphite", old.URL, "--from", "24hours")
			} else {
				var b strings.Builder
				for m := range 6 {
					for at := began.Add(-24*time.Hour).Unix() / 60 * 60; at < began.Unix()/60*60; at += 60 {
						fmt.Fprintf(&b, "m.%d %d %d\n", m, at/60, at)
					}
				}
				args = append(args, "--file", write(t, b.String()))
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan outcome, 1)
			go func() { ended <- fluxWith(ctx, "", nil, append(args[:len(args):len(args)], "--rate", "1000")...) }()
			require.NoError(t, carbon.Wait(soon(t), 2500))
			cancel()
			o := <-ended
			require.Equal(t, exitFailed, o.code, o.stderr)
			require.Contains(t, o.stderr, "the same command goes on")
			had := carbon.Received()
			require.Less(t, had, 6*1440)

			require.Equal(t, exitUsage, fluxRun(append(args[:len(args):len(args)], "--prefix", "x")...).code)
			o = fluxRun(append(args, "--rate", "0")...)
			require.Equal(t, exitOK, o.code, o.stderr)
			require.Contains(t, o.stderr, "going on with the run of")
			require.Contains(t, o.stdout, "6 of 6 metrics done")
			for m := range 6 {
				requireWholeSince(t, carbon, fmt.Sprintf("m.%d", m), time.Time{}, began)
			}
			require.LessOrEqual(t, carbon.Received(), 6*1440+2000, "what was done is not done again")
			require.NoFileExists(t, filepath.Join(state, stateFile))
		})
	}
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestBackfillThatFails(t *testing.T) {
	old := newOldGraphite(t, "good", "bad")
	old.fail = func(_ int, target string) bool { return target == "bad" }
	carbon := graphitetest.Run(t)
	o := fluxRun("backfill", "good", "bad", "--graphite", old.URL, "--carbon", carbon.PickleAddr, "--from", "1h", "--give-up", "1ms")
	require.Equal(t, exitFailed, o.code)
	require.Contains(t, o.stderr, "bad  failed, 0 points")
	require.Contains(t, o.stderr, "500")
	require.Contains(t, o.stderr, "1 metric failed")
	require.Contains(t, o.stdout, "1 of 2 metrics done, 1 failed, 60 points sent")
}

// What cannot stand here is left out of a glob, and told.
func TestBackfillOfAGlobWithAnOddName(t *testing.T) {
	old := newOldGraphite(t, "s.a.cpu", "s.b.cpu", "s.weird name.cpu")
	carbon := graphitetest.Run(t)
	o := fluxRun("backfill", "s.*.cpu", "--graphite", old.URL, "--carbon", carbon.PickleAddr, "--from", "1h")
	require.Equal(t, exitFailed, o.code, o.stderr)
	require.Contains(t, o.stderr, `"s.weird name.cpu" is left out`)
	require.Contains(t, o.stderr, "1 metric left out")
	require.Contains(t, o.stdout, "2 of 2 metrics done, 0 failed, 120 points sent")
	o = fluxRun("backfill", "s.weird*.cpu", "--graphite", old.URL, "--carbon", carbon.PickleAddr, "--from", "1h")
	require.Equal(t, exitFailed, o.code, o.stderr)
	require.Contains(t, o.stderr, "no metric whose name can stand here")
	o = fluxRun("backfill", "s.weird name.cpu", "--graphite", old.URL, "--carbon", carbon.PickleAddr, "--from", "1h")
	require.Equal(t, exitUsage, o.code, o.stderr)
}

// A metric that no job can be made for harms no other.
func TestBackfillOfAMetricThatIsRefused(t *testing.T) {
	old := newOldGraphite(t)
	carbon := graphitetest.Run(t)
	long := "a;t=" + strings.Repeat("%", 3000) // three bytes each in an URL
	o := fluxRun("backfill", "a", long, "b", "--graphite", old.URL, "--carbon", carbon.PickleAddr, "--from", "1h")
	require.Equal(t, exitFailed, o.code, o.stderr)
	require.Contains(t, o.stderr, "  failed, 0 points: invalid fetch_resolution_urls[0]")
	require.Contains(t, o.stdout, "2 of 3 metrics done, 1 failed, 120 points sent")
}

// Lines that cannot be read are left out when somebody says so.
func TestBackfillSkipsBadLines(t *testing.T) {
	text := "a 1 1600000000\na NaN 1600000060\nsome words here\na 3 1600000120\n"
	o, carbon := fileRun(t, "x.txt", text)
	require.Equal(t, exitUsage, o.code, o.stderr)
	require.Contains(t, o.stderr, "2 lines cannot be read, nothing was sent (--skip-bad leaves such lines out)")
	require.Empty(t, carbon.All())
	o, carbon = fileRun(t, "x.txt", text, "--skip-bad")
	require.Equal(t, exitFailed, o.code, o.stderr)
	require.Contains(t, o.stderr, "line 2: ")
	require.Contains(t, o.stderr, "line 3: ")
	require.Contains(t, o.stderr, "2 lines left out")
	require.Contains(t, o.stdout, "1 of 1 metric done, 0 failed, 2 points sent")
	require.Len(t, carbon.Points("a"), 2)
	o, carbon = fileRun(t, "x.txt", strings.Repeat("x\n", 20), "--skip-bad")
	require.Equal(t, exitUsage, o.code, o.stderr)
	require.Contains(t, o.stderr, "20 lines cannot be read, nothing was sent:")
	require.Empty(t, carbon.All())
}

func TestBackfillUsage(t *testing.T) {
	csv := filepath.Join(t.TempDir(), "bad.csv")
	require.NoError(t, os.WriteFile(csv, []byte("timestamp,a\nyesterday,1\n2026-01-01,x\n"), 0o600))
	old := newOldGraphite(t)
	for text, args := range map[string][]string{
		"where from":             {"a", "--carbon", "x:1"},
		"can't be used together": {"a", "--graphite", "http://a", "--prometheus", "http://b"},
		"where to":               {"a", "--graphite", "http://a"},
		"what to fetch":          {"--graphite", "http://a", "--carbon", "x:1"},
		"--graphite is not http": {"a", "--graphite", "a:80", "--carbon", "x:1"},
		"--from":                 {"a", "--graphite", "http://a", "--carbon", "x:1", "--from", "soon"},
		"nothing between":        {"a", "--graphite", "http://a", "--carbon", "x:1", "--from", "1h", "--until", "2h"},
		"--resolutions":          {"a", "--graphite", "http://a", "--carbon", "x:1", "--resolutions", "90"},
		"--if-behind needs":      {"a", "--graphite", "http://a", "--carbon", "x:1", "--if-behind"},
		"need --render":          {"a", "--graphite", "http://a", "--carbon", "x:1", "--verify"},
		"--as NAME":              {"sum(a)", "--graphite", "http://a", "--carbon", "x:1"},
		"--as names one":         {"a", "b", "--graphite", "http://a", "--carbon", "x:1", "--as", "c"},
		"no such file":           {"--file", "/no/such/file", "--carbon", "x:1"},
		"2 lines cannot be read": {"--file", csv, "--carbon", "x:1"},
		"--rate":                 {"a", "--graphite", old.URL, "--carbon", "127.0.0.1:1", "--rate", "NaN"},
		"--jobs":                 {"a", "--graphite", old.URL, "--carbon", "127.0.0.1:1", "--jobs", "0"},
	} {
		o := fluxRun(append([]string{"backfill"}, args...)...)
		require.Equal(t, exitUsage, o.code, "%s: %s", text, o.stderr)
		require.Contains(t, o.stderr, text)
	}
	o := fluxRun("backfill", "none.*", "--graphite", old.URL, "--carbon", "127.0.0.1:1")
	require.Equal(t, exitFailed, o.code)
	require.Contains(t, o.stderr, "has no metric none.*")
	o = fluxRun("backfill", "*", "--graphite", old.URL, "--carbon", "127.0.0.1:1")
	require.Contains(t, o.stderr, "matches folders alone, such as servers")
}

func TestBackfillFiles(t *testing.T) {
	const first, second = 1599999960, 1600000020
	for name, c := range map[string]struct {
		name, text string
		args       []string
		want       map[string]map[int64]float64
		told       string
	}{
		"lines": {"x.txt", "# comment\na.b 1 1600000000\na.b 3 1600000010\n\nc 2.5 1600000000.5\n", nil,
			map[string]map[int64]float64{"a.b": {first: 2}, "c": {first: 2.5}}, ""},
		"wide": {"x.CSV", "\ufeffDate;cpu;mem load\n2020-09-13 14:26:40;1;4\n2020-09-13 14:27:40;;5\n", []string{"--time-zone", "Europe/Berlin", "--prefix", "p."},
			map[string]map[int64]float64{"p.cpu": {first: 1}, "p.mem_load": {first: 4, second: 5}}, ""},
		"long": {"x.csv", "metric,value,timestamp,note\na,1,1600000000000,\"x, y\"\nb,2,2020-09-13T12:26:40Z,\n", nil,
			map[string]map[int64]float64{"a": {first: 1}, "b": {first: 2}}, ""},
		"one of them": {"x.csv", "time,a,b\n1600000000,1,2\n1600000060,3,4\n", []string{"b", "--until", "2020-09-13T12:27:00Z"},
			map[string]map[int64]float64{"b": {first: 2}}, "2 points of the file lie before"},
		"renamed": {"x.csv", "time\tvalue\n1600000000\t1\n", []string{"--as", "n"}, map[string]map[int64]float64{"n": {first: 1}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			carbon := graphitetest.Run(t)
			path := filepath.Join(t.TempDir(), c.name)
			require.NoError(t, os.WriteFile(path, []byte(c.text), 0o600))
			args := append([]string{"backfill", "--file", path, "--carbon", carbon.PickleAddr}, c.args...)
			o := fluxRun(append(args, "--dry-run")...)
			require.Equal(t, exitOK, o.code, o.stderr)
			require.Zero(t, carbon.Received())
			o = fluxRun(args...)
			require.Equal(t, exitOK, o.code, o.stderr)
			require.Contains(t, o.stderr, c.told)
			have := map[string]map[int64]float64{}
			for _, p := range carbon.All() {
				if have[p.Metric] == nil {
					have[p.Metric] = map[int64]float64{}
				}
				have[p.Metric][int64(p.Timestamp)] = p.Value
			}
			require.Equal(t, c.want, have)
		})
	}
	for text, file := range map[string]string{
		"names no column timestamp":   "a,b\n1,2\n",
		"two columns for one thing":   "time,date,a\n1,2,3\n",
		"no column of values":         "time\n1\n",
		"a column metric, and none":   "time,metric,v\n1,a,2\n",
		"line 3: wrong number of fie": "time,a\n1600000000,1\n1600000060,1,2\n",
		"no name of a metric":         "time,a..b;c\n1600000000,1\n",
		"no finite value":             "time,a\n1600000000,NaN\n",
		"no point between":            "time,a\n",
	} {
		path := filepath.Join(t.TempDir(), "x.csv")
		require.NoError(t, os.WriteFile(path, []byte(file), 0o600))
		o := fluxRun("backfill", "--file", path, "--carbon", "127.0.0.1:1")
		require.Equal(t, exitUsage, o.code, text)
		require.Contains(t, o.stderr, text)
	}
}

func TestPeriods(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 30, 500e6, time.UTC)
	f := func(c backfillCmd, want ...string) {
		t.Helper()
		p := &backfillPlan{now: now}
		require.NoError(t, c.period(p))
		var have []string
		for _, at := range p.bounds(now) {
			have = append(have, time.UnixMilli(at).UTC().Format("01-02T15:04:05.000"))
		}
		require.Equal(t, want, have)
	}
	usual := []string{"6hours", "90days", "7d", "24h", "1d"}
	f(backfillCmd{Resolutions: usual, MinuteAtHand: "skip"},
		"12-01T12:00:00.000", "12-01T12:10:00.000", "02-22T12:10:00.000", "02-28T12:10:00.000", "03-01T06:10:00.000", "03-01T12:00:00.000")
	f(backfillCmd{Resolutions: usual, From: "2days", MinuteAtHand: "keep"},
		"02-27T12:00:00.000", "02-28T12:10:00.000", "03-01T06:10:00.000", "03-01T12:00:30.500")
	f(backfillCmd{Resolutions: usual, From: "-8d", Until: "now-25h", MinuteAtHand: "skip"},
		"02-21T12:00:00.000", "02-22T12:10:00.000", "02-28T11:00:00.000")
	f(backfillCmd{Resolutions: usual, From: "2026-02-28 23:59:59", Until: "2026-03-01T01:00:00+01:00", MinuteAtHand: "skip"},
		"02-28T23:59:00.000", "03-01T00:00:00.000")
	f(backfillCmd{Resolutions: []string{"90days"}, From: "2025-01-01", MinuteAtHand: "skip"},
		"01-01T00:00:00.000", "12-01T12:10:00.000", "03-01T12:00:00.000")
	for _, text := range []string{"", "x", "5", "0d", "5 fortnights", "99999999999d", "-5d", "999999999w"} {
		_, err := parseAgo(text)
		require.Error(t, err, text)
	}
}

func TestProgressOnATerminal(t *testing.T) {
	old := newOldGraphite(t)
	carbon := graphitetest.Run(t)
	sink, err := backfill.NewCarbon(graphite.ClientConfig{Addrs: []string{carbon.PickleAddr}})
	require.NoError(t, err)
	defer sink.Close(t.Context())
	c := &backfillCmd{Target: []string{"a"}, Graphite: old.URL, Resolutions: []string{"1h"}, MinuteAtHand: "skip", Jobs: 1, Missing: "known", GiveUp: span(time.Hour), Rate: 1}
	p := &backfillPlan{now: time.Now(), client: plainClient()}
	require.NoError(t, c.period(p))
	require.NoError(t, c.openSource(p))
	r := &backfillRun{cmd: c, plan: p, state: &backfillState{Histories: []history{{"a", "a"}, {"b", "b"}}}, settled: map[string]backfill.Status{}, since: map[string]time.Time{}}
	require.NoError(t, r.open(sink, make(chan backfill.Status, 4)))
	defer r.manager.Close(t.Context())
	r.settle(backfill.Status{Metric: "b", State: backfill.Done, Sent: 1234})
	var out bytes.Buffer
	show := newProgress(&out, r)
	show.terminal = true
	show.draw()
	require.Equal(t, "\r\x1b[K[===============               ]  50%  1 of 2 metrics, 1234 points  ", out.String())
	show.settled(backfill.Status{Metric: "a", State: backfill.Failed, Error: "gone"})
	show.end()
	require.Contains(t, out.String(), "\r\x1b[Ka  failed, 0 points: gone\n")
}

// What is the matter with Carbon is told at once, and once.
func TestProgressTellsThatCarbonIsAway(t *testing.T) {
	old := newOldGraphite(t)
	carbon := graphitetest.Run(t)
	carbon.Pickle().Refuse()
	sink, err := backfill.NewCarbon(graphite.ClientConfig{Addrs: []string{carbon.PickleAddr}})
	require.NoError(t, err)
	ended, end := context.WithCancel(t.Context())
	end()
	defer func() { _ = sink.Close(ended) }()
	c := &backfillCmd{Target: []string{"a"}, Graphite: old.URL, Resolutions: []string{"1h"}, MinuteAtHand: "skip", Jobs: 1, Missing: "known", GiveUp: span(time.Hour), Rate: 1}
	p := &backfillPlan{now: time.Now(), client: plainClient()}
	require.NoError(t, c.period(p))
	require.NoError(t, c.openSource(p))
	r := &backfillRun{cmd: c, plan: p, sink: sink, state: &backfillState{Histories: []history{{"a", "a"}}}, settled: map[string]backfill.Status{}, since: map[string]time.Time{}}
	require.NoError(t, r.open(sink, make(chan backfill.Status, 4)))
	defer r.manager.Close(t.Context())
	_, err = r.submit(t.Context(), history{"a", "a"})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return sink.Stats().LastError != "" }, 10*time.Second, time.Millisecond)
	var out bytes.Buffer
	show := newProgress(&out, r)
	defer show.end()
	show.draw()
	show.draw()
	require.Equal(t, 1, strings.Count(out.String(), "nothing is delivered to Carbon: "), out.String())
	require.Contains(t, out.String(), "refused")
	require.Contains(t, out.String(), carbon.PickleAddr)
}
