package backfill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite"
)

const key = "0123456789abcdef0123456789abcdef"

// noLeaks fails the test when goroutines of ours are left at its end. Call it first.
func noLeaks(t testing.TB) {
	t.Helper()
	t.Cleanup(func() {
		var left string
		for range 200 {
			buf := make([]byte, 1<<20)
			left = ""
			for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
				if strings.Contains(g, "fluxkit/") && !strings.Contains(g, "testing.tRunner") && !strings.Contains(g, "testing.(*B)") {
					left += g + "\n\n"
				}
			}
			if left == "" {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("goroutines left:\n%s", left)
	})
}

// sample is a datapoint of a source.
type sample struct {
	ms    int64
	value float64
}

// source is a Graphite or a Prometheus that answers from samples by the times of the query, without a network.
type source struct {
	mu      sync.Mutex
	samples []sample // in order of time
	asked   []string
	// fault, if set, may answer in place of the source.
	fault func(n int, r *http.Request) (*http.Response, error)
}

func (s *source) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	n := len(s.asked)
	s.asked = append(s.asked, r.URL.String())
	fault := s.fault
	s.mu.Unlock()
	if fault != nil {
		if resp, err := fault(n, r); resp != nil || err != nil {
			return resp, err
		}
	}
	q := r.URL.Query()
	if strings.HasSuffix(strings.TrimSuffix(r.URL.Path, "/"), "/render") {
		return respond(200, s.render(q)), nil
	}
	return respond(200, s.matrix(r.URL.Path, q)), nil
}

func (s *source) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// render answers as Graphite does: later than from, not later than until.
func (s *source) render(q url.Values) string {
	from, err1 := strconv.ParseInt(q.Get("from"), 10, 64)
	until, err2 := strconv.ParseInt(q.Get("until"), 10, 64)
	if err1 != nil || err2 != nil || q.Get("format") != "json" {
		panic(fmt.Sprintf("the times are not absolute, or it is not JSON: %v", q))
	}
	var b strings.Builder
	target, _ := json.Marshal(q.Get("target"))
	fmt.Fprintf(&b, `[{"target": %s, "tags": {"name": "x"}, "datapoints": [`, target)
	comma := ""
	for _, p := range s.samples {
		if p.ms > from*1000 && p.ms <= until*1000 {
			value := "null"
			if !math.IsNaN(p.value) {
				value = strconv.FormatFloat(p.value, 'g', -1, 64)
			}
			fmt.Fprintf(&b, "%s[%s, %d]", comma, value, p.ms/1000)
			comma = ", "
		}
	}
	return b.String() + "]}]"
}

func (s *source) matrix(path string, q url.Values) string {
	var from, until int64
	if strings.HasSuffix(path, "/query_range") {
		a, _ := parseInstant(q.Get("start"))
		b, _ := parseInstant(q.Get("end"))
		from, until = a-1, b
	} else {
		until, _ = parseInstant(q.Get("time"))
		d, _, err := trailingRange(q.Get("query"))
		if err != nil {
			panic(err)
		}
		from = until - d.Milliseconds()
	}
	var b strings.Builder
	b.WriteString(`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"up","job":"a"},"values":[`)
	comma := ""
	for _, p := range s.samples {
		if p.ms > from && p.ms <= until {
			fmt.Fprintf(&b, `%s[%s,"%s"]`, comma, formatSeconds(p.ms), strconv.FormatFloat(p.value, 'g', -1, 64))
			comma = ","
		}
	}
	return b.String() + `]}]}}`
}

func respond(status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Status: fmt.Sprintf("%d %s", status, http.StatusText(status)), Header: http.Header{},
		Body: io.NopCloser(strings.NewReader(body)),
	}
}

// sink keeps what it is given.
type sink struct {
	mu     sync.Mutex
	points []graphite.Point // in the order of arrival
	calls  int
	// fault, if set, may refuse a call.
	fault func(n int) error
	// wrote, if set, is called when points are there and not confirmed yet; its error has them unconfirmed.
	wrote func(pts []graphite.Point) error
}

func (s *sink) Send(ctx context.Context, pts []graphite.Point) error {
	s.mu.Lock()
	n, fault := s.calls, s.fault
	s.calls++
	s.mu.Unlock()
	if fault != nil {
		if err := fault(n); err != nil {
			return err
		}
	}
	s.write(pts)
	if s.wrote != nil {
		if err := s.wrote(pts); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (s *sink) write(pts []graphite.Point) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range pts {
		p.Name = slices.Clone(p.Name)
		s.points = append(s.points, p)
	}
}

// last is the last value of each time of a metric.
func (s *sink) last(metric string) map[int64]float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[int64]float64{}
	for _, p := range s.points {
		if string(p.Name) == metric {
			out[p.Timestamp] = p.Value
		}
	}
	return out
}

// local is a Graphite that is filled.
type local struct {
	mu    sync.Mutex
	sink  *sink              // what it shows besides full
	full  map[int64]struct{} // slots that have a value
	known bool               // the metric exists
	live  [][]int64          // live minutes of each Last
	fault func() error
	lasts []time.Time // until of each Last
	asked int         // calls of Slots
	blind bool        // it does not show what the sink has

	coarse bool // what it shows are averages
}

func (l *local) Last(_ context.Context, _ string, until time.Time, known func() []int64) (int64, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lasts = append(l.lasts, until)
	live := known()
	l.live = append(l.live, live)
	if l.fault != nil {
		if err := l.fault(); err != nil {
			return 0, false, err
		}
	}
	best, ok := int64(none), false
	for ms := range l.full {
		if ms <= until.UnixMilli() && ms > best && !slices.Contains(live, floorMinute(ms)) {
			best, ok = ms, true
		}
	}
	return best, ok, nil
}

func (l *local) Slots(_ context.Context, metric string, times []int64) ([]Slot, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	if l.fault != nil {
		if err := l.fault(); err != nil {
			return nil, err
		}
	}
	var sent map[int64]float64
	if l.sink != nil && !l.blind {
		sent = l.sink.last(metric)
	}
	out := make([]Slot, len(times))
	for i, t := range times {
		_, full := l.full[t]
		value, there := sent[t]
		switch {
		case there:
			out[i] = Slot{Filled, value, !l.coarse}
		case full:
			out[i] = Slot{Filled, -1, !l.coarse}
		case l.known || len(sent) > 0 || len(l.full) > 0:
			out[i].State = Null
		}
	}
	return out, nil
}

// origin is the one that tests fetch from.
func origin(t testing.TB, s string) Origin {
	t.Helper()
	o, err := ParseOrigin(s)
	require.NoError(t, err)
	return o
}

func limit(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// rig is a Manager with doubles around it.
type rig struct {
	t      testing.TB
	cfg    Config
	source *source
	sink   *sink
	m      *Manager
}

// newRig prepares one; start starts it.
func newRig(t testing.TB) *rig {
	r := &rig{t: t, source: &source{}, sink: &sink{}}
	r.cfg = Config{
		Sink: r.sink, Rate: -1, Workers: 2, Origins: []Origin{origin(t, "http://source:8080")},
		Fetch: FetchConfig{transport: r.source},
	}
	return r
}

func (r *rig) start() *rig {
	r.t.Helper()
	m, err := New(r.cfg)
	require.NoError(r.t, err)
	r.m = m
	return r
}

func (r *rig) close() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := r.m.Close(ctx); !errors.Is(err, ErrClosed) {
		require.NoError(r.t, err)
	}
}

// request asks for slices of a Graphite at http://source:8080, by their queries without target and format.
func request(metric string, queries ...string) *Request {
	r := &Request{HostType: Graphite, Metric: metric, Key: key}
	for _, q := range queries {
		r.URLs = append(r.URLs, "http://source:8080/render/?"+q+"&format=json&target=web.cpu")
	}
	return r
}

// submit has a request accepted.
func (r *rig) submit(req *Request) Status {
	r.t.Helper()
	s, _, err := r.m.Submit(context.Background(), req)
	require.NoError(r.t, err)
	return s
}

// stir has the workers look at the clock.
func (r *rig) stir() {
	r.m.set(r.m.rouse)
}

// wait waits for a job's end, without a limit of its own: under a test clock that would end it.
func (r *rig) wait(id string) Status {
	r.t.Helper()
	s, err := r.m.Wait(context.Background(), id)
	require.NoError(r.t, err)
	return s
}

// every makes a sample each step of from to before until, whose value is its number.
func every(from, until, step int64) []sample {
	var out []sample
	for ms, i := from, 0; ms < until; ms, i = ms+step, i+1 {
		out = append(out, sample{ms, float64(i)})
	}
	return out
}

// means are the means per minute, by the plainest way.
func means(samples []sample, from, until int64) map[int64]float64 {
	sum, n := map[int64]float64{}, map[int64]float64{}
	for _, s := range samples {
		if s.ms >= from && s.ms < until && !math.IsNaN(s.value) {
			sum[floorMinute(s.ms)] += s.value
			n[floorMinute(s.ms)]++
		}
	}
	for at := range sum {
		sum[at] /= n[at]
	}
	return sum
}
