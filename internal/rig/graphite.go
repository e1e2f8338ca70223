package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"testing"
	"time"
)

// Graphite is a running graphite-web.
type Graphite struct {
	*Process
	URL    string // http://host:port, without a slash at the end
	client *http.Client
}

// Sample is one slot of a rendered series.
type Sample struct {
	Timestamp int64   // Unix seconds
	Value     float64 // meaningless if Null
	Null      bool    // no point in this slot
}

// Series is one rendered target.
type Series struct {
	Target  string
	Samples []Sample
}

// renderWithin bounds the tries of one render.
const renderWithin = 20 * time.Second

// wsgi is the module that makes graphite-web a web application.
const wsgi = "/usr/lib/python3/dist-packages/graphite/wsgi.py"

// GraphiteWeb starts graphite-web (Debian packages graphite-web and gunicorn)
// on carbon's whisper files, and on what carbon still holds in memory.
func GraphiteWeb(t testing.TB, carbon *Carbon) *Graphite {
	t.Helper()
	gunicorn := Tool(t, "/usr/bin/gunicorn", "gunicorn")
	if _, err := os.Stat(wsgi); err != nil {
		t.Fatalf("rig: graphite-web is missing: install the Debian package graphite-web (apt-get install graphite-web)")
	}
	dir := t.TempDir()
	logs := makeDir(t, dir, "log")
	writeFile(t, dir, "rig_local.py", "")
	writeFile(t, dir, "rig_settings.py", graphiteSettings(dir, logs, carbon))

	addr := FreeAddr(t)
	g := &Graphite{
		URL: "http://" + addr,
		// No idle connections: they would hold goroutines of the test.
		client: &http.Client{Timeout: readyWithin, Transport: &http.Transport{DisableKeepAlives: true}},
	}
	g.Process = Start(t, Spec{
		Name: "graphite-web",
		Path: gunicorn,
		// A worker with threads looks every second whether its master lives, and
		// ends after it; one without would outlive a killed test by a minute.
		Args: []string{"--bind", addr, "--workers", "1", "--threads", "4", "--timeout", "120",
			"--graceful-timeout", "5", "--worker-tmp-dir", dir, "graphite.wsgi:application"},
		Env: []string{
			"PYTHONPATH=" + dir,
			"DJANGO_SETTINGS_MODULE=rig_settings",
			"GRAPHITE_SETTINGS_MODULE=rig_local", // not this machine's
		},
		Dir:   dir,
		Ready: g.answers,
		Logs:  []string{logs + "/*.log"},
	})
	return g
}

func graphiteSettings(dir, logs string, carbon *Carbon) string {
	return fmt.Sprintf(`from graphite.settings import *
SECRET_KEY = 'rig'
STORAGE_DIR = %[1]q
WHISPER_DIR = %[2]q
STANDARD_DIRS = [%[2]q]
LOG_DIR = %[3]q
INDEX_FILE = %[4]q
CARBONLINK_HOSTS = [%[5]q]
CARBONLINK_TIMEOUT = 10.0
LOG_ROTATION = False
LOG_INFO_PERFORMANCE = False
DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': %[6]q}}
`, dir, carbon.WhisperDir, logs, dir+"/index", carbon.Query, dir+"/graphite.db")
}

// answers returns nil if a render works.
func (g *Graphite) answers(ctx context.Context) error {
	now := time.Now().Unix()
	_, err := g.render(ctx, []string{"rig.not.there"}, now-60, now)
	return err
}

// Render reads one series: its slots with from < timestamp <= until, Unix
// seconds, at the step of the archive that graphite chooses. It is nil if
// graphite knows no such metric; more than one series fails the test.
func (g *Graphite) Render(t testing.TB, target string, from, until int64) []Sample {
	t.Helper()
	series := g.RenderMany(t, []string{target}, from, until)
	if len(series) == 0 {
		return nil
	}
	if len(series) > 1 {
		t.Fatalf("rig: %s is %d series, not one; use RenderMany", target, len(series))
	}
	return series[0].Samples
}

// RenderMany reads the series of every target, which may be a glob or call
// functions, in graphite's order. Graphite leaves out what it does not know. It
// answers with an error while carbon is creating a file, so a render is tried
// again for a while before it fails the test.
func (g *Graphite) RenderMany(t testing.TB, targets []string, from, until int64) []Series {
	t.Helper()
	var series []Series
	WaitFor(t, renderWithin, "render", func() (err error) {
		series, err = g.render(t.Context(), targets, from, until)
		return err
	})
	return series
}

func (g *Graphite) render(ctx context.Context, targets []string, from, until int64) ([]Series, error) {
	form := url.Values{
		"target":  targets,
		"from":    {strconv.FormatInt(from, 10)},
		"until":   {strconv.FormatInt(until, 10)},
		"format":  {"json"},
		"noCache": {"1"}, // a test that polls wants to see the change
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.URL+"/render", bytes.NewReader([]byte(form.Encode())))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := g.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("graphite-web answered %s: %.500s", resp.Status, body)
	}
	return decodeSeries(body)
}

// decodeSeries reads graphite's [{"target": …, "datapoints": [[value, ts], …]}].
func decodeSeries(body []byte) ([]Series, error) {
	var raw []struct {
		Target     string            `json:"target"`
		Datapoints [][2]*json.Number `json:"datapoints"`
	}
	if err := json.Unmarshal(body, &raw); err != nil {
		return nil, fmt.Errorf("graphite-web's answer: %w", err)
	}
	series := make([]Series, len(raw))
	for i, r := range raw {
		series[i] = Series{Target: r.Target, Samples: make([]Sample, len(r.Datapoints))}
		for j, d := range r.Datapoints {
			sample, err := decodeSample(d[0], d[1])
			if err != nil {
				return nil, fmt.Errorf("graphite-web's answer: %s: %w", r.Target, err)
			}
			series[i].Samples[j] = sample
		}
	}
	return series, nil
}

func decodeSample(value, timestamp *json.Number) (Sample, error) {
	if timestamp == nil {
		return Sample{}, errors.New("a timestamp is null")
	}
	ts, err := timestamp.Int64()
	if err != nil {
		return Sample{}, err
	}
	if value == nil {
		return Sample{Timestamp: ts, Null: true}, nil
	}
	// Graphite writes infinity as a number that is too large.
	v, err := value.Float64()
	if err != nil && !math.IsInf(v, 0) {
		return Sample{}, err
	}
	return Sample{Timestamp: ts, Value: v}, nil
}
