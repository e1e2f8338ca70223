package backfill

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite"
)

// crowd is an answer that has more points than any limit.
func crowd() *http.Response {
	resp := respond(200, "")
	resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(`[{"target":"a","datapoints":[`), io.LimitReader(&repeat{text: "[1,60],"}, 1<<30)))
	return resp
}

// An answer that is too large is asked for in parts, each of which is delivered before the next one comes.
func TestAnswerThatIsTooLargeIsFetchedInParts(t *testing.T) {
	prom := "http://source:8080/api/v1/"
	for name, c := range map[string]struct {
		req   *Request
		step  int64
		tail  string // of each query, but for the first
		shift int64  // of the samples: what is at the beginning of a range itself is not in it
	}{
		"graphite": {req: request("a", "from=-3days"), step: 60_000},
		"absolute": {req: request("a", fmt.Sprintf("from=%d", ago(3*day)/1000)), step: 60_000},
		"selector": {req: &Request{HostType: Prometheus, Metric: "a", URLs: []string{prom + "query?query=up[3d]"}}, step: 15_000, shift: 1000},
		"subquery": {req: &Request{HostType: Prometheus, Metric: "a", URLs: []string{prom + "query?query=up[3d:1m]"}}, step: 60_000, tail: ":1m]", shift: 1000},
		"range":    {req: &Request{HostType: Prometheus, Metric: "a", URLs: []string{prom + fmt.Sprintf("query_range?query=up&step=7m&start=%d&end=%d", ago(3*day)/1000, began/1000)}}, step: 420_000},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.cfg.Fetch.MaxPoints = 1000
				r.source.samples = every(ago(3*day)+c.shift, began, c.step)
				most := 0
				r.sink.wrote = func(pts []graphite.Point) error { most = max(most, len(pts)); return nil }
				r.start()
				defer r.close()
				s := r.wait(r.submit(c.req).ID)
				require.Equal(t, Done, s.State, s.Error)
				require.Equal(t, means(r.source.samples, ago(3*day), began), r.sink.last("a"))
				require.Zero(t, s.Errors)
				if name != "graphite" { // asks for a minute twice where it is cut
					require.EqualValues(t, len(r.source.samples), s.Samples)
				}
				asked := r.source.requests()
				require.Less(t, len(asked), 3*len(r.source.samples)/1000+8)
				for _, u := range asked[1:] {
					parsed, err := url.Parse(u)
					require.NoError(t, err)
					require.True(t, strings.HasSuffix(parsed.Query().Get("query"), c.tail), u)
				}
			})
		})
	}
}

// A source that sends far too much whatever it is asked for, for two hours.
func TestTooMuchForTwoHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.Fetch.MaxBody = 1 << 16
		r.source.samples = every(ago(day), began, 60_000)
		tooMuch := 0
		r.source.fault = func(int, *http.Request) (*http.Response, error) {
			if time.Since(time.UnixMilli(began)) < 2*time.Hour {
				tooMuch++
				return crowd(), nil
			}
			return nil, nil
		}
		r.start()
		defer r.close()
		s := r.wait(r.submit(request("a", fmt.Sprintf("from=%d", ago(day)/1000))).ID)
		require.Equal(t, Done, s.State, s.Error)
		require.Equal(t, means(r.source.samples, ago(day), began), r.sink.last("a"))
		require.Less(t, tooMuch, 14, "asking again is dear")
		require.Less(t, len(r.source.requests()), 30, "and parts grow again")
	})
}

func TestTooMuchForEver(t *testing.T) {
	for name, req := range map[string]*Request{
		"graphite": request("a", fmt.Sprintf("from=%d", ago(day)/1000)),
		"a range that is not known": {HostType: Prometheus, Metric: "a", URLs: []string{
			"http://source:8080/api/v1/query?query=" + url.QueryEscape("sum_over_time(up[1d])")}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.cfg.Fetch.MaxBody = 1 << 16
				r.source.fault = func(int, *http.Request) (*http.Response, error) {
					if name != "graphite" {
						return respond(200, `{"status":"success`+strings.Repeat("x", 1<<17)), nil
					}
					return crowd(), nil
				}
				r.start()
				defer r.close()
				s := r.wait(r.submit(req).ID)
				require.Equal(t, Failed, s.State)
				require.EqualValues(t, maxLarge, s.Errors)
				require.Contains(t, s.Error, "slice 1 of 1: ")
				require.Contains(t, s.Error, "too large")
				if name == "graphite" {
					require.Contains(t, s.Error, "1999-12-31 00:00:00 +0000 UTC to 1999-12-31 00:1")
				}
			})
		})
	}
}

// Samples that wait for slices which begin as early as they do are bounded.
func TestSamplesThatWaitAreBounded(t *testing.T) {
	for most, want := range map[int]State{500: Failed, 1600: Done} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.cfg.Fetch.MaxPoints = most
			r.source.fault = func(n int, _ *http.Request) (*http.Response, error) {
				part := &source{samples: every(ago(day)+1000+int64(n), ago(day)+1000+400*60_000, 60_000)}
				return respond(200, part.matrix("/query", url.Values{"query": {"a[1d]"}, "time": {fmt.Sprint(began / 1000)}})), nil
			}
			r.start()
			defer r.close()
			req := &Request{HostType: Prometheus, Metric: "a"}
			for i := range 5 {
				req.URLs = append(req.URLs, fmt.Sprintf("http://source:8080/api/v1/query?query=a[1d]&n=%d", i))
			}
			s := r.wait(r.submit(req).ID)
			require.Equal(t, want, s.State, s.Error)
			if want == Failed {
				require.Contains(t, s.Error, "slice 3 of 5: 800 samples wait")
				require.Contains(t, s.Error, "at most 500 may (FetchConfig.MaxPoints)")
				require.Len(t, r.source.requests(), 2, "asking again changes nothing")
				return
			}
			require.Len(t, r.sink.last("a"), 400)
		})
	}
}

func TestTargetsThatNeedTheWholePeriod(t *testing.T) {
	for target, want := range map[string]bool{
		"a.b": false, "integral.a": false, "scale(a.b,2)": false, "derivative(a)": false, "summarize(a,'1h','sum')": false,
		"integral(a)": true, "alias(offsetToZero(a),'x')": true, "nPercentile(a,95)": true, "removeAbovePercentile(a, 5)": true,
		"summarize(a,'1h','sum',true)": true, "smartSummarize(a,'1h')": true, "highestAverage(a.*,1)": true, "maximumAbove(a.*,1)": true,
	} {
		s := slice{URL: "http://g/render?target=" + url.QueryEscape(target) + "&from=1", From: 1000}
		require.Equal(t, want, s.whole(Graphite), target)
		require.False(t, s.whole(Prometheus))
	}
}
