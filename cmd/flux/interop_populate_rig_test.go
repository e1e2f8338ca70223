//go:build interop || soak

package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/rig"
)

// place is a Graphite of its own: carbon-cache and graphite-web over one folder.
type place struct {
	carbon   *rig.Carbon
	graphite *rig.Graphite
}

func newPlace(t *testing.T, retentions string) place {
	t.Helper()
	carbon := rig.CarbonCache(t, rig.CarbonOptions{Retentions: retentions, FlushAtStop: true})
	return place{carbon, rig.GraphiteWeb(t, carbon)}
}

// feed gives a Carbon samples of one metric and waits until Graphite shows the newest.
func (p place) feed(t *testing.T, metric string, samples map[int64]float64) {
	t.Helper()
	conn := dial(t, p.carbon.Line)
	var b strings.Builder
	order := slices.Sorted(maps.Keys(samples))
	for _, at := range order {
		fmt.Fprintf(&b, "%s %v %d\n", metric, samples[at], at)
	}
	_, err := io.WriteString(conn, b.String())
	require.NoError(t, err)
	finish(t, conn)
	last := order[len(order)-1]
	rig.WaitFor(t, patience, "the newest sample", func() error {
		for _, s := range p.graphite.Render(t, metric, last-3600, last+3600) {
			if !s.Null && s.Timestamp <= last && s.Timestamp > last-600 {
				return nil
			}
		}
		return fmt.Errorf("%s has nothing at %d", metric, last)
	})
}

// readings are samples of a metric: every 10 s for the last 7 hours, every minute for 8 days, every 10 minutes for the
// days given. Some are missing.
func readings(now time.Time, days int) map[int64]float64 {
	samples := map[int64]float64{}
	at := now.Add(-time.Duration(days)*24*time.Hour).Unix() / 600 * 600
	for n := 0; at < now.Unix(); n++ {
		if n%17 != 5 && n%101 > 8 {
			samples[at] = 20 + 5*math.Sin(float64(at)/7000) + float64(n%13)/7
		}
		switch age := now.Unix() - at; {
		case age <= 7*3600:
			at += 10
		case age <= 8*86400:
			at += 60
		default:
			at += 600
		}
	}
	return samples
}

// sourceRetentions keep what readings has.
const sourceRetentions = "10s:7h,60s:8d,600s:95d"

// resolutions are those of Vista's documentation.
var resolutions = []string{"90days", "7days", "24hours", "6hours"}

// populateBody is a request as Vista sends it.
func populateBody(source, target, metric string, resolutions ...string) string {
	var urls []string
	for i, r := range resolutions {
		until := ""
		if i+1 < len(resolutions) {
			until = "&until=-" + resolutions[i+1]
		}
		urls = append(urls, fmt.Sprintf("'%s/render/?from=-%s%s&format=json&target=%s'", source, r, until, target))
	}
	slices.Reverse(urls[1:]) // a set has no order
	body, _ := json.Marshal(map[string]any{
		"remote_host_type": "graphite", "remote_target": target, "metric": metric, "namespace_prefix": "", "key": apiKey,
		"token": "None", "user": "None", "password": "None", "fetch_resolution_urls": `"[` + strings.Join(urls, ", ") + `]"`,
	})
	return string(body)
}

// job is how flux says that a job stands.
type job struct {
	ID       string    `json:"id"`
	State    string    `json:"state"`
	Accepted time.Time `json:"accepted"`
	Since    time.Time `json:"since"`
	Sent     int       `json:"sent"`
	Live     int       `json:"skipped_live"`
	Error    string    `json:"error"`
	Note     string    `json:"note"`
}

var jobClient = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// populate has history fetched and returns the job's id.
func (g *gateway) populate(t *testing.T, body string) string {
	t.Helper()
	resp, err := jobClient.Post(g.URL+"/populate_metric", "application/json", strings.NewReader(body))
	require.NoError(t, err)
	defer resp.Body.Close()
	answer, _ := io.ReadAll(resp.Body)
	require.Equal(t, 204, resp.StatusCode, "%s", answer)
	return resp.Header.Get("X-Flux-Job")
}

// fill sends a point that no mark keeps out.
func (g *gateway) fill(t *testing.T, metric string, at int64, value float64) {
	t.Helper()
	body := fmt.Sprintf(`{"metric": %q, "timestamp": %d, "value": %v, "key": %q, "fill": "true"}`, metric, at, value, apiKey)
	resp, err := jobClient.Post(g.URL+"/metric_data_post", "application/json", strings.NewReader(body))
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, 204, resp.StatusCode)
}

// askJob asks how a job stands.
func (g *gateway) askJob(id string) (j job, err error) {
	req, err := http.NewRequest(http.MethodGet, g.URL+"/populate_metric/"+id, nil)
	if err != nil {
		return j, err
	}
	req.Header.Set("Key", apiKey)
	resp, err := jobClient.Do(req)
	if err != nil {
		return j, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return j, fmt.Errorf("job %s: status %d", id, resp.StatusCode)
	}
	return j, json.NewDecoder(resp.Body).Decode(&j)
}

// waitJob waits until a job has ended well.
func (g *gateway) waitJob(t *testing.T, id string) (j job) {
	t.Helper()
	rig.WaitFor(t, 2*patience, "end of the job", func() (err error) {
		if j, err = g.askJob(id); err == nil && j.State != "done" {
			err = fmt.Errorf("job: %+v", j)
		}
		return err
	})
	return j
}

// spans are the periods of the slices of a job, as absolute times: from is not part of it, until is. Where one slice ends
// and the next begins is a little later than was asked for, so that the next is answered from the archive that ends there.
func spans(accepted time.Time, resolutions ...string) [][2]int64 {
	back := map[string]time.Duration{"90days": 90 * 24 * time.Hour, "7days": 7 * 24 * time.Hour, "24hours": 24 * time.Hour, "6hours": 6 * time.Hour}
	var out [][2]int64
	for i, r := range resolutions {
		from := accepted.Add(-back[r]).Unix() / 60 * 60
		if i > 0 {
			from += 120
			out[i-1][1] = from
		}
		out = append(out, [2]int64{from - 1, accepted.Unix()})
	}
	return out
}

// expected is what the minutes from since on are to have: the mean of what the source shows, a finer slice before a coarser one.
func expected(t *testing.T, source *rig.Graphite, target string, since time.Time, accepted time.Time, resolutions ...string) map[int64]float64 {
	t.Helper()
	samples := map[int64]float64{}
	for _, span := range spans(accepted, resolutions...) {
		for _, s := range source.Render(t, target, span[0], span[1]) {
			if !s.Null {
				samples[s.Timestamp] = s.Value
			}
		}
	}
	first := accepted.Add(-90*24*time.Hour).Unix() / 60 * 60
	if !since.IsZero() {
		first = max(first, since.Unix())
	}
	return means(samples, first, accepted.Unix()/60*60)
}

// means are the means a minute of samples from a time to before another.
func means(samples map[int64]float64, from, until int64) map[int64]float64 {
	sums, counts := map[int64]float64{}, map[int64]float64{}
	for _, at := range slices.Sorted(maps.Keys(samples)) {
		if at >= from && at < until {
			sums[at/60*60] += samples[at]
			counts[at/60*60]++
		}
	}
	for at := range sums {
		sums[at] /= counts[at]
	}
	return sums
}

// requireMinutes waits until Graphite shows exactly these values of a metric that it keeps by the minute, of all times
// from the first to before until.
func (p place) requireMinutes(t *testing.T, metric string, want map[int64]float64, until int64) {
	t.Helper()
	from := slices.Min(slices.Collect(maps.Keys(want)))
	rig.WaitFor(t, patience, "the same minutes", func() error {
		missing, extra, wrong, example := 0, 0, 0, ""
		left := maps.Clone(want)
		for _, s := range p.graphite.Render(t, metric, from-1, until-1) {
			value, wanted := left[s.Timestamp]
			delete(left, s.Timestamp)
			switch {
			case s.Null && wanted:
				missing++
			case !s.Null && !wanted:
				extra++
				example = fmt.Sprintf("%v at %d was not sent", s.Value, s.Timestamp)
			case wanted && math.Abs(s.Value-value) > 1e-12*math.Abs(value):
				wrong++
				example = fmt.Sprintf("%v at %d, not %v", s.Value, s.Timestamp, value)
			}
		}
		if missing+extra+wrong+len(left) == 0 {
			return nil
		}
		return fmt.Errorf("of %d minutes %d are missing, %d wrong, %d too many; %s", len(want), missing+len(left), wrong, extra, example)
	})
}

// startPopulate runs flux serve in front of a place, and lets it fetch from an origin.
func startPopulate(t *testing.T, to place, origin string, args ...string) *gateway {
	t.Helper()
	return startServe(t, to.carbon.Pickle, append([]string{
		"--self-key", apiKey, "--populate-allow", origin, "--render", to.graphite.URL, "--populate-rate", "0",
	}, args...)...)
}

// slowly is a proxy in front of a Graphite that answers render requests with a pause.
func slowly(t *testing.T, to string, pause time.Duration) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(pause):
		case <-r.Context().Done():
			return
		}
		req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, to+r.URL.RequestURI(), nil)
		if err != nil {
			return
		}
		resp, err := jobClient.Do(req)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		var b bytes.Buffer
		_, _ = b.ReadFrom(resp.Body)
		w.WriteHeader(resp.StatusCode)
		_, _ = w.Write(b.Bytes())
	})}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Close() })
	return "http://" + l.Addr().String()
}

// populateThroughKills has a gateway with a spool populate a metric, kills it that often at random moments of the job and
// starts it again, while live points of the metric come in for minutes that the history has too.
func populateThroughKills(t *testing.T, kills, rate int) {
	from, to := newPlace(t, sourceRetentions), newPlace(t, "60s:95d")
	began := time.Now()
	from.feed(t, "web.load", readings(began, 90))
	origin := slowly(t, from.graphite.URL, 20*time.Millisecond)
	spool := t.TempDir()
	start := func() *gateway {
		return startPopulate(t, to, origin, "--spool", spool, "--populate-rate", fmt.Sprint(rate))
	}
	gw := start()
	id := gw.populate(t, populateBody(origin, "web.load", "vista.load", resolutions...))
	live := map[int64]float64{}
	killed := 0
	for k := range kills {
		at := (began.Unix()/60 - 90 - 7*int64(k)) * 60 // in the past, which the history has not reached yet
		live[at] = -float64(k + 1)
		gw.fill(t, "vista.load", at, live[at])
		// The minutes of live points are kept with the job whenever it has come further.
		before := job{Sent: -1}
		var j job
		rig.WaitFor(t, patience, "progress", func() (err error) {
			if j, err = gw.askJob(id); err != nil || j.State == "done" {
				return err
			}
			if before.Sent < 0 {
				before = j
			}
			if j.Sent < before.Sent+2*500 {
				return fmt.Errorf("job: %+v", j)
			}
			return nil
		})
		if j.State == "done" {
			break
		}
		select {
		case <-time.After(time.Duration(rand.IntN(200)) * time.Millisecond):
		case <-t.Context().Done():
		}
		gw.Kill()
		killed++
		gw = start()
	}
	j := gw.waitJob(t, id)
	t.Logf("killed %d times", killed)
	require.Positive(t, killed)
	want := expected(t, from.graphite, "web.load", time.Time{}, j.Accepted, resolutions...)
	maps.Copy(want, live)
	to.requireMinutes(t, "vista.load", want, j.Accepted.Unix()/60*60)
}
