package flux_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood/bluefloodtest"
	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/flux"
	"github.com/fluxmetrics/fluxkit/flux/backfill"
	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
)

const (
	selfKey     = "self_key_0123456789abcdef"
	teamKey     = "team_key_0123456789abcdef"
	noRightsKey = "0123456789abcdef0123456789abcdef"
)

// source is a Graphite that has a value every 10 s of any metric: the time of the minute, and for a name with "null" none.
type source struct {
	*httptest.Server
	mu      sync.Mutex
	asked   []string
	refuse  bool          // answer 500
	stalled chan struct{} // if set, answers wait for it
}

func newSource(t *testing.T) *source {
	s := &source{}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *source) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked = append(s.asked, r.URL.String())
	refuse, stalled := s.refuse, s.stalled
	s.mu.Unlock()
	if stalled != nil {
		select {
		case <-stalled:
		case <-r.Context().Done():
			return
		}
	}
	if refuse {
		http.Error(w, "no", http.StatusInternalServerError)
		return
	}
	q := r.URL.Query()
	if strings.Contains(q.Get("target"), "gone") {
		http.NotFound(w, r)
		return
	}
	from, _ := strconv.ParseInt(q.Get("from"), 10, 64)
	until, _ := strconv.ParseInt(q.Get("until"), 10, 64)
	points := [][2]any{}
	for at := from/10*10 + 10; at <= until; at += 10 {
		var value any = at / 60
		if strings.Contains(q.Get("target"), "null") {
			value = nil
		}
		points = append(points, [2]any{value, at})
	}
	_ = json.NewEncoder(w).Encode([]map[string]any{{"target": q.Get("target"), "datapoints": points}})
}

func (s *source) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *source) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

// populating is a server that may fetch from src, with a key of every right, one confined to team, and one without the
// right.
func populating(t *testing.T, src *source, change func(*flux.Config)) *rig {
	return newRig(t, func(c *flux.Config) {
		c.HTTP.Keys = []flux.Key{
			{Secret: selfKey, Rights: flux.RightIngest | flux.RightFill | flux.RightPopulate},
			{Secret: teamKey, Prefix: "team", Rights: flux.RightPopulate, MaxMetrics: 2},
			{Secret: noRightsKey},
		}
		c.Populate = &flux.PopulateConfig{Allow: []string{src.URL}}
		if change != nil {
			change(c)
		}
	})
}

// request is a request as Vista sends it, with changes to its members; nil removes one.
func (s *source) request(metric, key string, changes ...any) string {
	m := map[string]any{
		"remote_host_type": "graphite", "remote_target": "a", "metric": metric, "namespace_prefix": "None", "key": key,
		"token": "None", "user": "None", "password": "None",
		"fetch_resolution_urls": fmt.Sprintf(`"['%s/render/?from=-24hours&until=-1hours&format=json&target=a', '%[1]s/render/?from=-1hours&format=json&target=a']"`, s.URL),
	}
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == nil {
			delete(m, changes[i].(string))
		} else {
			m[changes[i].(string)] = changes[i+1]
		}
	}
	b, _ := json.Marshal(m)
	return string(b)
}

// ask sends a request to any path and returns the answer whole.
func (r *rig) ask(method, path, body string, header ...string) *http.Response {
	r.t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	r.server.Handler().ServeHTTP(rec, req)
	return rec.Result()
}

// submit has a request accepted and returns the job's id.
func (r *rig) submit(body string, header ...string) string {
	r.t.Helper()
	answer := r.ask("POST", "/flux/populate_metric", body, header...)
	text, err := io.ReadAll(answer.Body)
	require.NoError(r.t, err)
	require.Equal(r.t, 204, answer.StatusCode, "%s", text)
	require.NotEmpty(r.t, answer.Header.Get("X-Flux-Job"))
	return answer.Header.Get("X-Flux-Job")
}

// job waits until a job stands as it should.
func (r *rig) job(id string, done func(backfill.Status) bool) (s backfill.Status) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		code, text := r.do("GET", "/flux/populate_metric/"+id, "", "Key", selfKey)
		require.Equal(r.t, 200, code, text)
		s = backfill.Status{}
		require.NoError(r.t, json.Unmarshal([]byte(text), &s))
		return done(s)
	}, patience, 5*time.Millisecond, "%+v", s)
	return s
}

func isDone(s backfill.Status) bool { return s.State == backfill.Done }

// requireMinutes checks that a metric has, once each, a value for every minute of a time.
func (r *rig) requireMinutes(metric string, from, until time.Time) {
	r.t.Helper()
	have := map[int64]float64{}
	for _, s := range r.carbon.Points(metric) {
		have[int64(s.Timestamp)] = s.Value
	}
	want := map[int64]float64{}
	for at := from.Unix() / 60 * 60; at < until.Unix()/60*60; at += 60 {
		want[at] = float64(at / 60)
	}
	require.Equal(r.t, want, have)
}

func TestPopulateFetchesAndTells(t *testing.T) {
	noLeaks(t)
	src := newSource(t)
	r := populating(t, src, nil)
	answer := r.ask("POST", "/flux/populate_metric", src.request("vista.a", selfKey))
	require.Equal(t, 204, answer.StatusCode)
	id := answer.Header.Get("X-Flux-Job")
	require.Equal(t, "/flux/populate_metric/"+id, answer.Header.Get("Location"))
	require.Contains(t, answer.Header.Get("Warning"), "kept in memory")
	s := r.job(id, isDone)
	require.Equal(t, "vista.a", s.Metric)
	require.EqualValues(t, 1440, s.Sent)
	r.requireMinutes("vista.a", s.Accepted.Add(-24*time.Hour), s.Accepted)

	// The mark stands at the newest sample, so that live points behind it are late.
	late := fmt.Sprintf(`{"metric": "vista.a", "timestamp": %d, "value": 1, "key": %q}`, s.Mark.Unix()-1, selfKey)
	code, text := r.post(late)
	require.Equal(t, 204, code, text)
	require.EqualValues(t, 1, r.server.Stats().Late)

	// Asked again, only what is missing is fetched: the newest minute, whole.
	again := r.submit(src.request("vista.a", selfKey))
	require.LessOrEqual(t, r.job(again, isDone).Sent, int64(3))

	code, text = r.do("GET", "/populate_metric", "", "Authorization", "Bearer "+selfKey)
	require.Equal(t, 200, code)
	var list struct{ Jobs []backfill.Status }
	require.NoError(t, json.Unmarshal([]byte(text), &list))
	require.Equal(t, id, list.Jobs[0].ID)
	require.NotContains(t, text, selfKey)
	require.NoError(t, r.server.Close(soon(t)))
	require.Equal(t, 503, r.ask("POST", "/flux/populate_metric", src.request("vista.a", selfKey)).StatusCode)
}

func TestPopulateJoinsAndShowsOnlyWhatTheKeyMaySee(t *testing.T) {
	src := newSource(t)
	src.stalled = make(chan struct{})
	r := populating(t, src, nil)
	first := r.ask("POST", "/populate_metric", src.request("team.a", ""), "Authorization", "Bearer "+teamKey)
	second := r.ask("POST", "/flux/populate_metric", src.request("team.a", "", "key", nil), "Key", selfKey)
	id := first.Header.Get("X-Flux-Job")
	require.NotEmpty(t, id)
	require.Equal(t, id, second.Header.Get("X-Flux-Job"))
	require.Equal(t, []string{"", "true"}, []string{first.Header.Get("X-Flux-Job-Joined"), second.Header.Get("X-Flux-Job-Joined")})
	other := r.submit(src.request("teamwork.a", selfKey))

	r.job(id, func(s backfill.Status) bool { return s.State == backfill.Running })
	code, text := r.do("GET", "/flux/populate_metric/"+id, "", "Key", teamKey)
	require.Equal(t, 200, code)
	require.Contains(t, text, `"metric":"team.a"`)
	code, _ = r.do("GET", "/flux/populate_metric/"+other, "", "Key", teamKey)
	require.Equal(t, 404, code)
	code, text = r.do("GET", "/flux/populate_metric?key="+teamKey, "")
	require.Equal(t, 200, code)
	require.Contains(t, text, id)
	require.NotContains(t, text, other)
	code, _ = r.do("GET", "/flux/populate_metric/none", "", "Key", selfKey)
	require.Equal(t, 404, code)
	close(src.stalled)
	r.job(id, isDone)
	r.job(other, isDone)
}

func TestPopulateRefusals(t *testing.T) {
	src := newSource(t)
	elsewhere := httptest.NewServer(http.HandlerFunc(src.serve))
	defer elsewhere.Close()
	redirects := httptest.NewServer(http.RedirectHandler(src.URL+"/render/?from=0&target=a", http.StatusFound))
	defer redirects.Close()
	port := src.Listener.Addr().(*net.TCPAddr).Port
	r := populating(t, src, func(c *flux.Config) {
		c.Populate.Allow = append(c.Populate.Allow, redirects.URL, fmt.Sprintf("http://localhost:%d", port))
	})
	list := func(urls ...string) any { return urls }
	at := func(base string) any { return list(base + "/render/?from=-1h&target=a") }
	for name, c := range map[string]struct {
		code   int
		text   string
		body   string
		header []string
	}{
		"no key":            {401, "no key passed", src.request("a", "", "key", nil), nil},
		"key None":          {401, "no key passed", src.request("a", "None"), nil},
		"wrong key":         {401, "invalid key", src.request("a", strings.Repeat("x", 32)), nil},
		"wrong key beside":  {401, "invalid key", src.request("a", selfKey), []string{"Key", "nonsense"}},
		"without the right": {403, "the right populate", src.request("a", noRightsKey), nil},
		"origin":            {403, "is not listed", src.request("a", selfKey, "fetch_resolution_urls", at(elsewhere.URL)), nil},
		"other port":        {403, "is not listed", src.request("a", selfKey, "fetch_resolution_urls", at("http://127.0.0.1:1")), nil},
		"other scheme":      {403, "is not listed", src.request("a", selfKey, "fetch_resolution_urls", at("https"+src.URL[4:])), nil},
		"one of two":        {403, "is not listed", src.request("a", selfKey, "fetch_resolution_urls", list(src.URL+"/render/?target=a", elsewhere.URL+"/render/?target=a")), nil},
		"file":              {400, "neither http nor https", src.request("a", selfKey, "fetch_resolution_urls", list("file:///etc/passwd")), nil},
		"gopher":            {400, "neither http nor https", src.request("a", selfKey, "fetch_resolution_urls", at("gopher://127.0.0.1")), nil},
		"user":              {400, "password", src.request("a", selfKey, "fetch_resolution_urls", at(strings.Replace(src.URL, "//", "//u:p@", 1))), nil},
		"prefix":            {403, "not under the key's prefix", src.request("other.a", teamKey), nil},
		"prefix, no dot":    {403, "not under the key's prefix", src.request("teams.a", teamKey), nil},
		"name":              {400, "invalid metric", src.request("a..b", selfKey), nil},
		"name with spaces":  {400, "invalid metric", src.request("a b", selfKey), nil},
		"no metric":         {400, "invalid metric", src.request("", selfKey), nil},
		"host type":         {400, "remote_host_type", src.request("a", selfKey, "remote_host_type", "influx"), nil},
		"literal":           {400, "fetch_resolution_urls", src.request("a", selfKey, "fetch_resolution_urls", `"['x', "`), nil},
		"no URL":            {400, "fetch_resolution_urls", src.request("a", selfKey, "fetch_resolution_urls", "None"), nil},
		"time":              {400, "no time", src.request("a", selfKey, "since", "yesterday"), nil},
		"not JSON":          {400, "JSON", "metric=a", nil},
		"empty":             {400, "JSON", "", nil},
		"encoding":          {415, "", src.request("a", selfKey), []string{"Content-Encoding", "br"}},
	} {
		t.Run(name, func(t *testing.T) {
			code, text := r.do("POST", "/flux/populate_metric", c.body, c.header...)
			require.Equal(t, c.code, code, text)
			require.Contains(t, text, c.text)
			require.NotContains(t, text, selfKey)
		})
	}
	code, text := r.do("GET", "/flux/populate_metric", "", "Key", selfKey)
	require.Equal(t, 200, code)
	require.JSONEq(t, `{"jobs": []}`, text, "no refusal makes a job")
	require.Zero(t, src.requests())
	code, _ = r.do("GET", "/flux/populate_metric", "", "Key", noRightsKey)
	require.Equal(t, 403, code)
	answer := r.ask("PUT", "/flux/populate_metric", "")
	require.Equal(t, 405, answer.StatusCode)
	require.Equal(t, "GET, POST", answer.Header.Get("Allow"))

	t.Run("redirect", func(t *testing.T) {
		s := r.job(r.submit(src.request("redirected", selfKey, "fetch_resolution_urls", at(redirects.URL))), func(s backfill.Status) bool { return s.State == backfill.Failed })
		require.Contains(t, s.Error, "redirects are not followed")
		require.Zero(t, src.requests())
	})
	t.Run("name that resolves to loopback", func(t *testing.T) {
		s := r.job(r.submit(src.request("local", selfKey, "fetch_resolution_urls", at(fmt.Sprintf("http://localhost:%d", port)))), func(s backfill.Status) bool { return s.State == backfill.Failed })
		require.Contains(t, s.Error, "not allowed")
		require.Zero(t, src.requests())
	})
	t.Run("quota of names", func(t *testing.T) {
		r.submit(src.request("team.a", teamKey))
		r.submit(src.request("team.b", teamKey))
		code, text := r.do("POST", "/flux/populate_metric", src.request("team.c", teamKey))
		require.Equal(t, 403, code)
		require.Contains(t, text, "over quota")
	})
}

func TestPopulateIsOffByDefault(t *testing.T) {
	src := newSource(t)
	r := populating(t, src, func(c *flux.Config) { c.Populate = nil })
	code, text := r.do("POST", "/flux/populate_metric", src.request("a", selfKey))
	require.Equal(t, 403, code)
	require.Contains(t, text, "--populate-allow")
	code, _ = r.do("POST", "/flux/populate_metric", src.request("a", "", "key", nil))
	require.Equal(t, 401, code, "who has no key is told nothing")
}

func TestPopulateListensElsewhere(t *testing.T) {
	noLeaks(t)
	src := newSource(t)
	r := populating(t, src, func(c *flux.Config) {
		c.HTTP.Listen, c.Populate.Listen = "127.0.0.1:0", "127.0.0.1:0"
	})
	r.run()
	code, _ := r.do("POST", "/flux/populate_metric", src.request("a", selfKey))
	require.Equal(t, 404, code, "it is moved, not doubled")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Post("http://"+r.server.Addr("populate").String()+"/populate_metric", "application/json", strings.NewReader(src.request("a", selfKey)))
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, 204, resp.StatusCode)
	resp, err = client.Get("http://" + r.server.Addr("populate").String() + "/flux/metric_data?status=true")
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, 404, resp.StatusCode)

	_, err = flux.New(flux.Config{
		HTTP: &flux.HTTPConfig{NoAuth: true}, Destination: toCarbon(nowhere),
		Populate: &flux.PopulateConfig{Allow: []string{src.URL}, Listen: r.server.Addr("populate").String()},
	})
	var taken *flux.ListenError
	require.ErrorAs(t, err, &taken)
	require.Equal(t, "populate", taken.Input)
}

func TestPopulateConfigurations(t *testing.T) {
	config := func(p *flux.PopulateConfig) flux.Config {
		return flux.Config{HTTP: &flux.HTTPConfig{NoAuth: true}, Destination: toCarbon(nowhere), Populate: p}
	}
	for text, c := range map[string]flux.Config{
		"Allow is empty":       config(&flux.PopulateConfig{}),
		"it has no scheme":     config(&flux.PopulateConfig{Allow: []string{"example"}}),
		"needs Render":         config(&flux.PopulateConfig{Allow: []string{"http://a"}, Verify: true}),
		"no http or https URL": config(&flux.PopulateConfig{Allow: []string{"http://a"}, Render: "graphite:8080"}),
		"needs a Redis":        config(&flux.PopulateConfig{Allow: []string{"http://a"}, SkylineKeys: true}),
		"Populate.Carbon":      config(&flux.PopulateConfig{Allow: []string{"http://a"}, Carbon: &graphite.ClientConfig{}}),
		"a wait of":            config(&flux.PopulateConfig{Allow: []string{"http://a"}, CreateWait: -1}),
		"a rate of NaN":        config(&flux.PopulateConfig{Allow: []string{"http://a"}, Rate: math.NaN()}),
	} {
		_, err := flux.New(c)
		require.ErrorIs(t, err, flux.ErrConfig, text)
		require.ErrorContains(t, err, text)
	}
	blue := config(&flux.PopulateConfig{Allow: []string{"http://a"}})
	blue.Destination = toBlueflood(bluefloodtest.Run(t))
	_, err := flux.New(blue)
	require.ErrorContains(t, err, "no destination is a Carbon")
	alone := config(&flux.PopulateConfig{Allow: []string{"http://a"}})
	alone.HTTP = nil
	_, err = flux.New(alone)
	require.ErrorContains(t, err, "needs HTTP")

	locked := config(&flux.PopulateConfig{Allow: []string{"http://a"}})
	locked.SpoolDir = t.TempDir()
	newServer(t, locked)
	locked.Destination.Name = "other"
	_, err = flux.New(locked)
	require.ErrorIs(t, err, flux.ErrSpool)
	require.ErrorIs(t, err, backfill.ErrLocked)
}

// A job goes on after a restart where it stood, and its directory is no destination's.
func TestPopulateResumes(t *testing.T) {
	noLeaks(t)
	src := newSource(t)
	spool := t.TempDir()
	var log bytes.Buffer
	with := func(c *flux.Config) { c.SpoolDir, c.Logger = spool, slog.New(slog.NewTextHandler(&log, nil)) }
	r := populating(t, src, with)
	src.set(func() { src.stalled = make(chan struct{}) })
	body := src.request("a", selfKey)
	answer := r.ask("POST", "/flux/populate_metric", body)
	require.Empty(t, answer.Header.Get("Warning"))
	id := answer.Header.Get("X-Flux-Job")
	require.NoError(t, r.server.Close(soon(t)))
	require.FileExists(t, filepath.Join(spool, "populate.jobs", id+".job"))
	src.set(func() { src.stalled = nil })
	r = populating(t, src, with)
	s := r.job(id, isDone)
	r.requireMinutes("a", s.Accepted.Add(-24*time.Hour), s.Accepted)
	require.NoError(t, r.server.Close(soon(t)))
	require.Contains(t, log.String(), "populate jobs have not ended")
	require.NotContains(t, log.String(), "cannot be read")
	entries, err := os.ReadDir(spool)
	require.NoError(t, err)
	require.Len(t, entries, 2, "carbon and populate.jobs")
}

// B-12: a target that could not be read left the last metric's history to be written under the next one's name.
func TestPopulateAfterARequestThatCannotBeRead(t *testing.T) {
	src := newSource(t)
	r := populating(t, src, nil)
	before := r.submit(src.request("a", selfKey))
	r.job(before, isDone)
	asked := src.requests()
	for _, urls := range []string{
		fmt.Sprintf(`"['%s/render/?from=-1hours&format=json&target=alias(b,'x')']"`, src.URL),
		fmt.Sprintf(`"['%s/render/?from=-1hours&format=json&target=b']`, src.URL),
		`"[]"`, `""`, "None",
	} {
		answer := r.ask("POST", "/flux/populate_metric", src.request("b", selfKey, "fetch_resolution_urls", urls))
		require.Equal(t, 400, answer.StatusCode, urls)
	}
	after := r.submit(src.request("c", selfKey))
	r.job(after, isDone)
	r.flush()
	require.Greater(t, src.requests(), asked)
	require.Empty(t, r.carbon.Points("b"))
	require.NotEmpty(t, r.carbon.Points("a"))
	require.NotEmpty(t, r.carbon.Points("c"))
}

// A live point that a spool still holds is known to the jobs that go on, even if nobody had time to note it.
func TestPopulateKnowsWhatTheSpoolHolds(t *testing.T) {
	src := newSource(t)
	src.stalled = make(chan struct{})
	spool := t.TempDir()
	with := func(c *flux.Config) { c.SpoolDir = spool }
	r := populating(t, src, with)
	id := r.submit(src.request("a", selfKey))
	r.carbon.Pickle().Refuse()
	at := time.Now().Unix()/60*60 - 1800
	code, text := r.post(fmt.Sprintf(`{"metric": "a", "timestamp": %d, "value": -1, "key": %q}`, at, selfKey))
	require.Equal(t, 204, code, text)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) // Carbon is away, but jobs end in time
	defer cancel()
	_ = r.server.Close(ctx)
	trail := filepath.Join(spool, "populate.jobs", id+".trail")
	require.FileExists(t, trail)
	require.NoError(t, os.Truncate(trail, 0)) // the power went before it was on the disk
	src.set(func() { close(src.stalled); src.stalled = nil })
	r = populating(t, src, with)
	s := r.job(id, isDone)
	require.EqualValues(t, 1, s.SkippedLive)
	r.flush()
	for _, p := range r.carbon.Points("a") {
		if int64(p.Timestamp) == at {
			require.EqualValues(t, -1, p.Value)
		}
	}
}

// What is live is left alone, and the mark does not pass what is pending.
func TestPopulateBesideLivePoints(t *testing.T) {
	src := newSource(t)
	for name, allInputs := range map[string]bool{"judged": true, "not judged": false} {
		t.Run(name, func(t *testing.T) {
			src.set(func() { src.stalled = make(chan struct{}) })
			store := &dedup.Memory{}
			r := populating(t, src, func(c *flux.Config) {
				c.Dedup.Store = store
				c.Line = &flux.CarbonInput{Listen: "127.0.0.1:0"}
				c.Dedup.AllInputs = allInputs
				c.Destination = toCarbon(c.Destination.Carbon.Addrs[0])
			})
			r.run()
			id := r.ask("POST", "/flux/populate_metric", src.request("a", selfKey)).Header.Get("X-Flux-Job")
			live := time.Now().Unix()/60*60 - 1800
			if allInputs {
				code, text := r.post(fmt.Sprintf(`{"metric": "a", "timestamp": %d, "value": -1, "key": %q}`, live+7, selfKey))
				require.Equal(t, 204, code, text)
			} else {
				r.sendAll("line", fmt.Sprintf("a -1 %d\n", live+7))
			}
			r.flush()
			close(src.stalled)
			s := r.job(id, isDone)
			require.EqualValues(t, 1, s.SkippedLive)
			for _, p := range r.carbon.Points("a") {
				if at := int64(p.Timestamp); at/60*60 == live {
					require.Equal(t, live+7, at)
					require.EqualValues(t, -1, p.Value)
				}
			}
			mark := []dedup.Mark{{Metric: []byte("a")}}
			require.NoError(t, store.Last(t.Context(), mark))
			require.Equal(t, s.Mark.UnixMilli(), mark[0].Timestamp)
		})
	}
}

func TestPopulateMarkWaitsForAPendingPoint(t *testing.T) {
	src := newSource(t)
	history := graphitetest.Run(t)
	store := &dedup.Memory{}
	r := populating(t, src, func(c *flux.Config) {
		c.Dedup.Store = store
		c.Populate.Carbon = toCarbon(history.PickleAddr).Carbon
	})
	r.carbon.Pickle().Refuse() // live points wait
	pending := time.Now().Unix() - 1800
	code, text := r.post(fmt.Sprintf(`{"metric": "a", "timestamp": %d, "value": -1, "key": %q}`, pending, selfKey))
	require.Equal(t, 204, code, text)
	s := r.job(r.submit(src.request("a", selfKey)), isDone)
	require.NotEmpty(t, history.Points("a"), "history does not wait for the live lane")
	mark := func() int64 {
		m := []dedup.Mark{{Metric: []byte("a")}}
		require.NoError(t, store.Last(t.Context(), m))
		return m[0].Timestamp
	}
	require.Less(t, mark(), pending*1000)
	require.NoError(t, r.carbon.Pickle().Restore())
	r.flush()
	require.Equal(t, s.Mark.UnixMilli(), mark())
}

func TestPopulateSkylineKeys(t *testing.T) {
	src := newSource(t)
	mini := miniredis.RunT(t)
	store, err := dedup.NewRedis("redis://"+mini.Addr(), dedup.RedisOptions{})
	require.NoError(t, err)
	defer store.Close()
	r := populating(t, src, func(c *flux.Config) {
		c.Dedup.Store, c.Populate.SkylineKeys = store, true
	})
	s := r.job(r.submit(src.request("vista.a", selfKey, "remote_target", "a")), isDone)
	require.Eventually(t, func() bool { return mini.Exists("vista.last.resolution.vista.a") }, patience, time.Millisecond)
	resolution, _ := mini.Get("vista.last.resolution.vista.a")
	require.Equal(t, "10", resolution)
	member, err := mini.IsMember("vista.fetcher.unique_metrics", "a")
	require.NoError(t, err)
	require.True(t, member)
	text, _ := mini.Get("flux.last.vista.a")
	require.Equal(t, fmt.Sprintf("[%d, %.1f]", s.Mark.Unix(), s.Value), text)

	nulls := src.request("vista.n", selfKey, "remote_target", "null", "fetch_resolution_urls", []string{src.URL + "/render/?from=-1h&target=null"})
	s = r.job(r.submit(nulls), isDone)
	require.Zero(t, s.Sent)
	require.Eventually(t, func() bool {
		member, err := mini.IsMember("vista.fetcher.unique_metrics", "null")
		return err == nil && member
	}, patience, time.Millisecond)
	before := s.Accepted.Truncate(time.Minute).Add(-time.Minute)
	if s.Newest.Before(before) {
		before = s.Newest
	}
	text, _ = mini.Get("flux.last.vista.n")
	require.Equal(t, fmt.Sprintf("[%d, None]", before.Unix()), text, "before the minute at hand, whose live point may be yet to come")

	mini.Close()
	code, message := r.do("POST", "/flux/populate_metric", src.request("vista.c", selfKey))
	require.Equal(t, 503, code)
	require.Contains(t, message, "dedup store")
}

// A metric whose source has nothing newer than its live points is not null: its next live point is none that was there.
func TestPopulateLeavesTheMarkOfALiveMetric(t *testing.T) {
	src := newSource(t)
	mini := miniredis.RunT(t)
	store, err := dedup.NewRedis("redis://"+mini.Addr(), dedup.RedisOptions{})
	require.NoError(t, err)
	defer store.Close()
	r := populating(t, src, func(c *flux.Config) {
		c.Dedup.Store, c.Populate.SkylineKeys = store, true
	})
	send := func(at int64) {
		t.Helper()
		code, text := r.post(fmt.Sprintf(`{"metric": "vista.n", "timestamp": %d, "value": 1, "key": %q}`, at, selfKey))
		require.Equal(t, 204, code, text)
		r.flush()
	}
	at := time.Now().Unix() / 60 * 60
	send(at - 60)
	nulls := src.request("vista.n", selfKey, "remote_target", "null", "fetch_resolution_urls", []string{src.URL + "/render/?from=-1h&target=null"})
	s := r.job(r.submit(nulls), isDone)
	require.True(t, s.NewestNull)
	require.Eventually(t, func() bool {
		member, err := mini.IsMember("vista.fetcher.unique_metrics", "null")
		return err == nil && member
	}, patience, time.Millisecond)
	text, _ := mini.Get("flux.last.vista.n")
	require.Equal(t, fmt.Sprintf("[%d, 1.0]", at-60), text)
	send(at)
	require.Zero(t, r.server.Stats().Duplicate)
	require.Len(t, r.carbon.Points("vista.n"), 2)
}

// A minute whose samples have no finite mean harms no answer.
func TestPopulateOfWhatOverflows(t *testing.T) {
	src := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		until, _ := strconv.ParseInt(q.FormValue("until"), 10, 64)
		at := until/60*60 - 600
		fmt.Fprintf(w, `[{"target": "a", "datapoints": [[1, %d], [1.7e308, %d], [1.7e308, %d]]}]`, at-60, at, at+30)
	}))
	defer src.Close()
	r := populating(t, &source{Server: src}, func(c *flux.Config) { c.SpoolDir = t.TempDir() })
	s := r.job(r.submit((&source{Server: src}).request("inf.a", selfKey, "fetch_resolution_urls", []string{src.URL + "/render/?from=-1h&target=a"})), isDone)
	require.EqualValues(t, 1, s.Sent)
	require.EqualValues(t, 1, s.Overflows)
	code, text := r.do("GET", "/flux/populate_metric", "", "Key", selfKey)
	require.Equal(t, 200, code)
	require.Contains(t, text, s.ID)
	require.Len(t, r.carbon.Points("inf.a"), 1)
}

// What is refused for another reason uses up none of the names of a key.
func TestPopulateRefusalsUseNoName(t *testing.T) {
	src := newSource(t)
	r := populating(t, src, nil)
	for i := range 3 {
		for want, url := range map[int]string{403: "http://127.0.0.1:1/render/?target=a", 400: src.URL + "/render/?target=a&from=soon"} {
			code, text := r.do("POST", "/flux/populate_metric", src.request(fmt.Sprintf("team.x%d", i), teamKey, "fetch_resolution_urls", []string{url}))
			require.Equal(t, want, code, text)
			require.NotContains(t, text, "over quota")
		}
	}
	r.submit(src.request("team.a", teamKey))
	r.submit(src.request("team.b", teamKey))
}

// Jobs that nobody goes on with are told of.
func TestPopulateJobsThatNobodyGoesOnWith(t *testing.T) {
	src := newSource(t)
	src.stalled = make(chan struct{})
	spool := t.TempDir()
	var log bytes.Buffer
	with := func(c *flux.Config) { c.SpoolDir, c.Logger = spool, slog.New(slog.NewTextHandler(&log, nil)) }
	r := populating(t, src, with)
	r.submit(src.request("a", selfKey))
	r.submit(src.request("b", selfKey))
	require.NoError(t, r.server.Close(soon(t)))
	log.Reset()
	r = populating(t, src, func(c *flux.Config) { with(c); c.Populate = nil })
	require.NoError(t, r.server.Close(soon(t)))
	require.Contains(t, log.String(), "level=WARN")
	require.Contains(t, log.String(), "--populate-allow")
	require.Contains(t, log.String(), "jobs=2")
	log.Reset()
	with2 := func(c *flux.Config) {
		c.SpoolDir, c.Logger, c.Populate = t.TempDir(), slog.New(slog.NewTextHandler(&log, nil)), nil
	}
	require.NoError(t, populating(t, src, with2).server.Close(soon(t)))
	require.NotContains(t, log.String(), "populate")
}

func TestBehind(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	require.False(t, flux.Behind(now.Add(-360*time.Second), now, time.Minute))
	require.True(t, flux.Behind(now.Add(-361*time.Second), now, time.Minute))
	require.True(t, flux.Behind(time.Time{}, now, time.Minute))
}

// The local Graphite tells what is missing where there is no mark, and a new metric is created first.
func TestPopulateAsksTheLocalGraphite(t *testing.T) {
	src := newSource(t)
	r := populating(t, src, nil)
	last := time.Now().Unix()/60*60 - 3000
	var lines strings.Builder
	fmt.Fprintf(&lines, "there 1 %d\n", last)
	c, err := net.Dial("tcp", r.carbon.LineAddr)
	require.NoError(t, err)
	_, err = c.Write([]byte(lines.String()))
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.NoError(t, r.carbon.Wait(soon(t), 1))

	local := populating(t, src, func(c *flux.Config) {
		c.Populate.Render = r.carbon.RenderURL
		c.Populate.Carbon = toCarbon(r.carbon.PickleAddr).Carbon
	})
	s := local.job(local.submit(src.request("there", selfKey)), isDone)
	require.EqualValues(t, last, s.Since.Unix())
	s = local.job(local.submit(src.request("new", selfKey)), isDone)
	require.True(t, s.Since.IsZero())
	require.Empty(t, s.Note)
	require.Greater(t, len(r.carbon.Points("new")), 1440, "one point went first")
	require.NoError(t, local.server.Close(soon(t)))
}

// A job can be ended by who may have history fetched, under the key's prefix. What is confirmed stays.
func TestPopulateCancel(t *testing.T) {
	noLeaks(t)
	src := newSource(t)
	r := populating(t, src, func(c *flux.Config) { c.Populate.Rate = 100 })
	running := r.submit(src.request("team.a", teamKey))
	sent := r.job(running, func(s backfill.Status) bool { return s.Sent > 0 })
	require.Equal(t, backfill.Running, sent.State)
	other := r.submit(src.request("other.a", selfKey))

	for name, c := range map[string]struct {
		id, key string
		code    int
		text    string
	}{
		"no key":            {running, "", 401, "no key passed"},
		"without the right": {running, noRightsKey, 403, "the right populate"},
		"others' job":       {other, teamKey, 404, "belongs to others"},
		"no job":            {"none", selfKey, 404, "no such job"},
	} {
		t.Run(name, func(t *testing.T) {
			var header []string
			if c.key != "" {
				header = []string{"Key", c.key}
			}
			code, text := r.do("DELETE", "/flux/populate_metric/"+c.id, "", header...)
			require.Equal(t, c.code, code, text)
			require.Contains(t, text, c.text)
		})
	}
	answer := r.ask("POST", "/flux/populate_metric/"+running, "", "Key", selfKey)
	require.Equal(t, 405, answer.StatusCode)
	require.Equal(t, "GET, DELETE", answer.Header.Get("Allow"))

	code, text := r.do("DELETE", "/flux/populate_metric/"+running, "", "Authorization", "Bearer "+teamKey)
	require.Equal(t, 200, code, text)
	var s backfill.Status
	require.NoError(t, json.Unmarshal([]byte(text), &s))
	require.Equal(t, backfill.Cancelled, s.State)
	require.GreaterOrEqual(t, s.Sent, sent.Sent)
	require.Less(t, s.Sent, int64(1440))
	require.GreaterOrEqual(t, int64(len(r.carbon.Points("team.a"))), s.Sent, "what is confirmed stays")
	again, text := r.do("DELETE", "/populate_metric/"+running+"?key="+selfKey, "")
	require.Equal(t, 200, again)
	require.Contains(t, text, `"cancelled"`)
	require.Equal(t, backfill.Cancelled, r.job(running, func(s backfill.Status) bool { return s.State.Ended() }).State)
	require.NotEqual(t, running, r.submit(src.request("team.a", teamKey)), "the metric can be asked for again")
	st, ok := r.server.PopulateStats()
	require.True(t, ok)
	require.EqualValues(t, 1, st.Ended[backfill.Cancelled])
	require.NoError(t, r.server.Close(soon(t)))
}

// The jobs' account stands beside the others.
func TestPopulateMetrics(t *testing.T) {
	src := newSource(t)
	r := populating(t, src, func(c *flux.Config) { c.StatusListen = "127.0.0.1:0" })
	r.run()
	s := r.job(r.submit(src.request("a", selfKey)), isDone)
	at := func(target string) any { return []string{src.URL + "/render/?from=-1h&target=" + target} }
	failed := r.job(r.submit(src.request("fails", selfKey, "fetch_resolution_urls", at("gone"))), func(s backfill.Status) bool { return s.State.Ended() })
	require.Equal(t, backfill.Failed, failed.State)
	src.set(func() { src.stalled = make(chan struct{}) })
	defer func() { close(src.stalled) }()
	r.submit(src.request("hangs", selfKey, "fetch_resolution_urls", at("a")))
	require.Eventually(t, func() bool { return src.requests() == s.Fetched+2 }, patience, time.Millisecond)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + r.server.Addr("status").String() + "/metrics")
	require.NoError(t, err)
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	for _, line := range []string{
		`flux_populate_jobs{state="queued"} 0`, `flux_populate_jobs{state="running"} 1`, `flux_populate_jobs{state="waiting"} 0`,
		`flux_populate_jobs_pending 1`, `flux_populate_jobs_accepted_total 3`,
		`flux_populate_jobs_ended_total{state="done"} 1`, `flux_populate_jobs_ended_total{state="failed"} 1`, `flux_populate_jobs_ended_total{state="cancelled"} 0`,
		fmt.Sprintf(`flux_populate_points_sent_total %d`, s.Sent), `flux_populate_points_resent_total 0`, `flux_populate_live_points_restored_total 0`,
	} {
		require.Contains(t, string(text), line+"\n")
	}
	st, ok := r.server.PopulateStats()
	require.True(t, ok)
	require.Contains(t, string(text), fmt.Sprintf("flux_populate_fetches_total %d\n", s.Fetched+2))
	require.Contains(t, string(text), "flux_populate_fetch_errors_total 1\n")
	require.Contains(t, string(text), fmt.Sprintf("flux_populate_fetched_bytes_total %v\n", float64(st.FetchedBytes)))
	require.Greater(t, st.FetchedBytes, uint64(8640*15), "a value every ten seconds")

	_, ok = newRig(t, nil).server.PopulateStats()
	require.False(t, ok)
}

// Jobs stop before the destinations, at once, whatever they wait for.
func TestPopulateCloseStopsJobs(t *testing.T) {
	noLeaks(t)
	src := newSource(t)
	src.refuse = true
	r := populating(t, src, nil)
	id := r.submit(src.request("fails", selfKey))
	s := r.job(id, func(s backfill.Status) bool { return s.State == backfill.Waiting })
	require.Contains(t, s.Error, "status 500")
	require.Positive(t, s.Errors)
	r.carbon.Pickle().Pause()
	src.set(func() { src.refuse = false })
	r.submit(src.request("hangs", selfKey))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(t, r.server.Close(ctx))
	require.False(t, errors.Is(ctx.Err(), context.DeadlineExceeded))
}
