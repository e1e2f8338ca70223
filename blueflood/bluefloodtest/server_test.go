package bluefloodtest_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood/bluefloodtest"
)

// rows is an ingest body.
func rows(at int64, names ...string) string {
	var out []string
	for i, n := range names {
		out = append(out, fmt.Sprintf(`{"metricName":%q,"metricValue":%d.5,"collectionTime":%d,"ttlInSeconds":60}`, n, i, at))
	}
	return "[" + strings.Join(out, ",") + "]"
}

func post(t *testing.T, c *http.Client, url, body string) (int, string, error) {
	res, err := c.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(answer), nil
}

func get(t *testing.T, url string) (int, string) {
	res, err := http.Get(url)
	require.NoError(t, err)
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(answer)
}

func TestFaults(t *testing.T) {
	s := bluefloodtest.Run(t)
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	now := s.Time().UnixMilli()
	url := s.IngestURL() + "/v2.0/t/ingest"
	for i, f := range []struct {
		reply  bluefloodtest.Reply
		status int // 0: no answer
		stored int
	}{
		{bluefloodtest.Reply{}, 200, 1},
		{bluefloodtest.Unconfirmed(), 202, 0},
		{bluefloodtest.PersistFailed(), 500, 0},
		{bluefloodtest.Throttled(time.Second), 429, 0},
		{bluefloodtest.Reply{Status: 500, Store: true}, 500, 1},
		{bluefloodtest.Reply{Reset: true}, 0, 0},
		{bluefloodtest.Reply{Reset: true, Store: true}, 0, 1},
		{bluefloodtest.Reply{Hang: true}, 0, 0},
		{bluefloodtest.Reply{Hang: true, Store: true}, 0, 1},
		{bluefloodtest.Reply{Delay: time.Hour}, 0, 0},
	} {
		before := s.Received()
		s.Queue(f.reply)
		if c.Timeout = 0; f.reply.Hang || f.reply.Delay > 0 {
			c.Timeout = 100 * time.Millisecond
		}
		status, _, err := post(t, c, url, rows(now, fmt.Sprint("m", i)))
		require.Equal(t, f.status == 0, err != nil)
		require.Equal(t, f.status, status)
		require.Eventually(t, func() bool { return s.Received()-before == f.stored }, 10*time.Second, time.Millisecond, i)
	}
	c.Timeout = 0
	s.Fallback(bluefloodtest.Reply{Status: 503, Body: "busy"})
	for range 2 {
		status, body, err := post(t, c, url, rows(now, "x"))
		require.NoError(t, err)
		require.Equal(t, 503, status)
		require.Equal(t, "busy", body)
	}
	s.Fallback(bluefloodtest.Reply{})
	status, _, err := post(t, c, url, rows(now, "x"))
	require.NoError(t, err)
	require.Equal(t, 200, status)
}

func TestOtherBatchesOfAFailedRequestAreStored(t *testing.T) {
	s := bluefloodtest.RunWith(t, bluefloodtest.Options{Storage: func(p bluefloodtest.Point) bluefloodtest.StorageResult {
		if p.Metric == "m150" {
			return bluefloodtest.StoreFailed
		}
		return bluefloodtest.Stored
	}})
	var names []string
	for i := range 250 {
		names = append(names, fmt.Sprintf("m%03d", i))
	}
	status, body, err := post(t, http.DefaultClient, s.IngestURL()+"/v2.0/t/ingest", rows(s.Time().UnixMilli(), names...))
	require.NoError(t, err)
	require.Equal(t, 500, status)
	require.Contains(t, body, "Persisted failed for metrics")
	require.Equal(t, 150, s.Received())
	require.Empty(t, s.Points("t", "m199"))
	require.NotEmpty(t, s.Points("t", "m200"))
}

func TestClock(t *testing.T) {
	s := bluefloodtest.Run(t)
	at := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	s.SetTime(at)
	require.Equal(t, at, s.Time())
	url := s.IngestURL() + "/v2.0/t/ingest"
	for i, c := range []struct {
		offset time.Duration
		status int
	}{
		{0, 200}, {-72 * time.Hour, 200}, {-72*time.Hour - time.Millisecond, 400},
		{10 * time.Minute, 200}, {10*time.Minute + time.Millisecond, 400},
	} {
		status, _, err := post(t, http.DefaultClient, url, rows(at.Add(c.offset).UnixMilli(), "m"))
		require.NoError(t, err)
		require.Equal(t, c.status, status, i)
	}
	view := s.QueryURL() + fmt.Sprintf("/v2.0/t/views/m?from=0&to=%d&resolution=full", at.UnixMilli()+1)
	_, body := get(t, view)
	require.Contains(t, body, `"count": 2`)
	s.SetTime(at.Add(time.Minute)) // their time to live
	_, body = get(t, view)
	require.Contains(t, body, `"count": 0`)
	s.SetTime(time.Time{})
	require.WithinDuration(t, time.Now(), s.Time(), time.Minute)
}

func TestWaitAndOnPoint(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	s := bluefloodtest.RunWith(t, bluefloodtest.Options{OnPoint: func(p bluefloodtest.Point) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, p.Metric)
	}})
	now := s.Time().UnixMilli()
	waited := make(chan error, 1)
	go func() { waited <- s.Wait(t.Context(), 3) }()
	for _, body := range []string{rows(now, "a", "b"), rows(now, "a"), rows(now+1, "a")} {
		_, _, err := post(t, http.DefaultClient, s.IngestURL()+"/v2.0/t/ingest", body)
		require.NoError(t, err)
	}
	require.NoError(t, <-waited)
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, []string{"a", "b", "a", "a"}, seen)
	require.Equal(t, 4, s.Received())
	require.Equal(t, 3, s.Distinct())
	require.Len(t, s.Points("t", "a"), 2)
	require.Equal(t, []string{"a", "b"}, s.Metrics("t"))
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, s.Wait(ended, 4), context.Canceled)
	s.Close()
	require.ErrorIs(t, s.Wait(context.Background(), 4), net.ErrClosed)
}

func TestBounds(t *testing.T) {
	s := bluefloodtest.RunWith(t, bluefloodtest.Options{KeepPoints: 10, KeepRequests: 3})
	now := s.Time().UnixMilli()
	for i := range 25 {
		_, _, err := post(t, http.DefaultClient, s.IngestURL()+"/v2.0/t/ingest", rows(now+int64(i), "a"))
		require.NoError(t, err)
	}
	require.Len(t, s.Points("t", "a"), 10)
	require.Equal(t, now+24, s.Points("t", "a")[9].Timestamp)
	require.Len(t, s.Requests(), 3)
	require.Equal(t, 25, s.Distinct())

	s = bluefloodtest.RunWith(t, bluefloodtest.Options{KeepPoints: -1, KeepRequests: -1})
	_, _, err := post(t, http.DefaultClient, s.IngestURL()+"/v2.0/t/ingest", rows(now, "a"))
	require.NoError(t, err)
	require.Empty(t, s.Requests())
	require.Empty(t, s.Metrics("t"))
	require.Equal(t, 1, s.Distinct())
}

func TestQueryAnswers(t *testing.T) {
	s := bluefloodtest.Run(t)
	s.SetTime(time.UnixMilli(1376509892612))
	body := `[{"metricName":"foo.bar","metricValue":66,"collectionTime":1376509892612,"ttlInSeconds":60},
		{"metricName":"foo.baz.x","metricValue":66.0,"collectionTime":1376509892612,"ttlInSeconds":60,"unit":"s"},
		{"metricName":"inf","metricValue":-1e999,"collectionTime":1376509892612,"ttlInSeconds":60}]`
	_, _, err := post(t, http.DefaultClient, s.IngestURL()+"/v2.0/t/ingest", body)
	require.NoError(t, err)
	const span = "?from=1376509892611&to=1376509892613&"
	const meta = `"metadata":{"count":1,"limit":null,"marker":null,"next_href":null}`
	for _, c := range []struct {
		path   string
		status int
		body   string
	}{
		{"/views/foo.bar" + span + "resolution=FULL", 200,
			`{"unit":"unknown","values":[{"timestamp":1376509892612,"average":66,"numPoints":1}],` + meta + `}`},
		{"/views/foo.baz.x" + span + "points=5&select=average", 200,
			`{"unit":"s","values":[{"timestamp":1376509892612,"average":66.0}],` + meta + `}`},
		{"/views/foo.bar" + span + "resolution=min5&select=sum,nonsense&select=latest", 200,
			`{"unit":"unknown","values":[{"timestamp":1376509800000,"sum":66.0,"latest":66}],` + meta + `}`},
		{"/views/inf" + span + "resolution=FULL&select=average", 200,
			`{"unit":"unknown","values":[{"timestamp":1376509892612,"average":"-Infinity"}],` + meta + `}`},
		{"/views/foo.bar?from=1&to=2", 400, ""},
		{"/views/foo.bar?from=2&to=1&points=1", 400, ""},
		{"/views/foo.bar?from=2&from=3&to=5&points=1", 400, ""},
		{"/views/foo.bar?from=x&to=5&points=1", 400, ""},
		{"/views/foo.bar?from=2&to=5&points=x", 400, ""},
		{"/views/foo.bar?from=2&to=5&resolution=MIN7", 400, ""},
		{"/views/foo/bar?from=2&to=5&points=1", 404, ""},
		{"/views?from=2&to=5&points=1", 405, ""},
		{"/metrics/search?query=foo.*", 200, `[{"metric":"foo.bar"},{"metric":"foo.baz.x","unit":"s"}]`},
		{"/metrics/search", 400, ""},
		{"/metrics/search?query=[", 400, ""},
		{"/metric_name/search?query=foo.*", 200, `[{"foo.bar":true},{"foo.baz":false}]`},
		{"/metric_name/search?query=f?o", 200, `[{"foo":false}]`},
	} {
		status, got := get(t, s.QueryURL()+"/v2.0/t"+c.path)
		require.Equal(t, c.status, status, c.path)
		switch {
		case c.body != "":
			require.JSONEq(t, c.body, got)
		case c.status == 400:
			require.Contains(t, got, `"errors"`)
		}
	}
	for body, status := range map[string]int{"nonsense": 400, `["a"]`: 200, `[` + strings.Repeat(`"a",`, 100) + `"a"]`: 400} {
		got, _, err := post(t, http.DefaultClient, s.QueryURL()+"/v2.0/t/views?from=1&to=2&points=1", body)
		require.NoError(t, err)
		require.Equal(t, status, got)
	}
	status, _ := get(t, s.QueryURL()+"/v2.0")
	require.Equal(t, 200, status)
	r, err := http.NewRequest(http.MethodOptions, s.QueryURL()+"/v2.0/t/views/a", nil)
	require.NoError(t, err)
	res, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	res.Body.Close()
	require.Equal(t, 200, res.StatusCode)
}

func TestCloseLeavesNothing(t *testing.T) {
	s, err := bluefloodtest.Start(bluefloodtest.Options{})
	require.NoError(t, err)
	s.Queue(bluefloodtest.Reply{Delay: time.Hour}, bluefloodtest.Reply{Delay: time.Hour}, bluefloodtest.Reply{Hang: true})
	var conns []net.Conn
	for range 4 { // two whose answer is late, one that gets none, one that says nothing
		c, err := net.Dial("tcp", strings.TrimPrefix(s.IngestURL(), "http://"))
		require.NoError(t, err)
		conns = append(conns, c)
	}
	const request = "POST /v2.0/t/ingest HTTP/1.1\r\nContent-Length: 2\r\n\r\n[]"
	for _, c := range conns[:2] {
		fmt.Fprint(c, request)
	}
	for s.MaxInFlight() < 2 {
		time.Sleep(time.Millisecond)
	}
	fmt.Fprint(conns[2], request)
	for len(s.Requests()) < 1 {
		time.Sleep(time.Millisecond)
	}
	s.Close() // returns only when all goroutines have ended
	s.Close()
	for _, c := range conns {
		_, err := io.ReadAll(c)
		_ = err // a reset is as good as an end
		c.Close()
	}
	buf := make([]byte, 1<<20)
	require.NotContains(t, string(buf[:runtime.Stack(buf, true)]), "bluefloodtest.(*Server)")
}

func TestPortTaken(t *testing.T) {
	s := bluefloodtest.Run(t)
	taken := strings.TrimPrefix(s.IngestURL(), "http://")
	_, err := bluefloodtest.Start(bluefloodtest.Options{IngestAddr: taken})
	require.ErrorContains(t, err, "IngestAddr")
	_, err = bluefloodtest.Start(bluefloodtest.Options{QueryAddr: taken})
	require.ErrorContains(t, err, "QueryAddr")
}

func BenchmarkIngest(b *testing.B) {
	s := bluefloodtest.RunWith(b, bluefloodtest.Options{KeepPoints: -1, KeepRequests: -1})
	const n = 1000
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("servers.web%04d.cpu.user", i))
	}
	body := rows(s.Time().UnixMilli(), names...)
	b.ReportAllocs()
	for b.Loop() {
		res, err := http.Post(s.IngestURL()+"/v2.0/t/ingest", "application/json", strings.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		res.Body.Close()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/point")
}
