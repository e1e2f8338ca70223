//go:build interop || soak

package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
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

// newPlace starts a Graphite that has the points given.
func newPlace(t *testing.T, retentions string, pts points) place {
	t.Helper()
	p := place{carbon: rig.CarbonCache(t, rig.CarbonOptions{Retentions: retentions, FlushAtStop: true})}
	if len(pts) > 0 {
		p.feed(t, pts)
	}
	p.graphite = rig.GraphiteWeb(t, p.carbon)
	return p
}

// feed gives Carbon points and has it write them all to its files, which it does when it ends. What Carbon holds in memory
// Graphite shows too, but by other rules: it makes a coarse slot of any number of fine ones, the files do so only if half
// of them are there, and while Carbon is writing points are in neither. Answers would change by themselves.
func (p place) feed(t *testing.T, pts points) {
	t.Helper()
	conn := dial(t, p.carbon.Line)
	var b strings.Builder
	for metric, samples := range pts {
		for _, at := range slices.Sorted(maps.Keys(samples)) {
			fmt.Fprintf(&b, "%s %v %d\n", metric, samples[at], at)
		}
	}
	_, err := io.WriteString(conn, b.String())
	require.NoError(t, err)
	finish(t, conn)
	p.carbon.Restart()
}

// reading is a value that is nothing special.
func reading(n int, at int64) float64 { return 20 + 5*math.Sin(float64(at)/7000) + float64(n%13)/7 }

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
	Fetched  int       `json:"fetched"`
	Sent     int       `json:"sent"`
	Live     int       `json:"skipped_live"`
	Full     int       `json:"skipped_full"`
	Error    string    `json:"error"`
	Note     string    `json:"note"`
}

// until is where the history of a job ends: the minute in which it was accepted is not part of it.
func (j job) until() int64 { return j.Accepted.Unix() / 60 * 60 }

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
func (g *gateway) waitJob(t *testing.T, id string) job {
	t.Helper()
	return g.waitJobFor(t, id, "end of the job", func(j job) bool { return j.State == "done" })
}

// waitJobFor waits until a job stands as it is to.
func (g *gateway) waitJobFor(t *testing.T, id, what string, as func(job) bool) (j job) {
	t.Helper()
	rig.WaitFor(t, 2*patience, what, func() (err error) {
		if j, err = g.askJob(id); err == nil && !as(j) {
			err = fmt.Errorf("job: %+v", j)
		}
		return err
	})
	return j
}

// ago reads a resolution.
func ago(t *testing.T, resolution string) time.Duration {
	t.Helper()
	for unit, length := range map[string]time.Duration{"days": 24 * time.Hour, "hours": time.Hour} {
		if digits, ok := strings.CutSuffix(resolution, unit); ok {
			n, err := strconv.Atoi(digits)
			require.NoError(t, err)
			return time.Duration(n) * length
		}
	}
	require.Fail(t, "no resolution", resolution)
	return 0
}

// expected is what all minutes of a job are to have: what pandas makes of what the source shows, by the slices that were
// asked for. A slice may have begun some minutes later, so that it was answered from the archive that ends there: what the
// source has around these times is not to depend on it.
func (p place) expected(t *testing.T, target string, j job, resolutions ...string) map[int64]float64 {
	t.Helper()
	var begins []int64
	for _, r := range resolutions {
		begins = append(begins, j.Accepted.Add(-ago(t, r)).Unix()/60*60)
	}
	samples := map[int64]float64{}
	for i, until := range append(begins[1:], j.Accepted.Unix()) {
		for _, s := range p.graphite.Render(t, target, begins[i]-1, until) {
			if !s.Null {
				samples[s.Timestamp] = s.Value
			}
		}
	}
	return minutes(t, samples, begins[0], j.until())
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
				example = fmt.Sprintf("nothing at %d", s.Timestamp)
			case !s.Null && !wanted:
				extra++
				example = fmt.Sprintf("%v at %d was not sent", s.Value, s.Timestamp)
			case wanted && !same(s.Value, value):
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
