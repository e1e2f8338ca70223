package backfill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/graphite"
)

// began is when jobs of these tests are accepted, in the test clock: 2000-01-01 00:00 UTC.
const began = int64(946684800_000)

// The original reads UTC as local time: in New York history is written five hours into the future.
func TestFluxB11TimeIsUTC(t *testing.T) {
	host := time.Local
	defer func() { time.Local = host }()
	for _, zone := range []string{"UTC", "America/New_York", "Asia/Kolkata", "Pacific/Apia"} {
		location, err := time.LoadLocation(zone)
		require.NoError(t, err)
		time.Local = location
		// 2011-12-30 does not exist in Apia; in New York the clocks change on 2011-11-06.
		for _, day := range []string{"2011-12-31T00:30:20Z", "2011-11-06T06:30:20Z"} {
			synctest.Test(t, func(t *testing.T) {
				now, err := time.Parse(time.RFC3339, day)
				require.NoError(t, err)
				r := newRig(t)
				r.cfg.Now = func() time.Time { return now }
				r.source.samples = every(now.UnixMilli()-3*3600_000, now.UnixMilli(), 10_000)
				r.start()
				defer r.close()
				s := r.wait(r.submit(request("a", "from=-2hours")).ID)
				require.Equal(t, Done, s.State, s.Error)
				from := floorMinute(now.UnixMilli() - 2*3600_000)
				require.Equal(t, means(r.source.samples, from, floorMinute(now.UnixMilli())), r.sink.last("a"), zone)
			})
		}
	}
}

// The original goes on with the URLs of the job before when it cannot read those of this one.
func TestFluxB12OneMetricsHistoryIsNeverAnothers(t *testing.T) {
	for _, c := range []struct{ urls, field string }{
		{`"\"['http://source:8080/render/?from=-1h&target=alias(x,'y')']\""`, "fetch_resolution_urls"},
		{`"garbage"`, "fetch_resolution_urls"},
		{`"()"`, "fetch_resolution_urls"},
		{`"None"`, "fetch_resolution_urls"},
		{`null`, "fetch_resolution_urls"},
		{`["http://source:8080/render/?from=-1h&target=x", 5]`, "fetch_resolution_urls"},
		{`[]`, "fetch_resolution_urls"},
	} {
		_, err := ParseRequest([]byte(`{"remote_host_type":"graphite","remote_target":"b","metric":"b","namespace_prefix":"","key":"` + key +
			`","fetch_resolution_urls":` + c.urls + `}`))
		var refused *RequestError
		require.ErrorAs(t, err, &refused, c.urls)
		require.Equal(t, c.field, refused.Field)
	}
	// A token that is missing kills the original's worker.
	_, err := ParseRequest([]byte(`{"remote_host_type":"graphite","remote_target":"b","metric":"b","namespace_prefix":"","key":"` + key +
		`","fetch_resolution_urls":["http://source:8080/render/?from=-1h&target=x"]}`))
	require.NoError(t, err)
}

// The original sends raw points where its resampling fails, and NaN for each minute without a sample.
func TestFluxB21OneValueAMinuteAndNoneForEmptyOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		at := began - 3600_000
		r.source.samples = []sample{{at, 1}, {at + 30_000, 2}, {at + 59_000, 6}, {at + 60_000, 10}, {at + 301_000, 5}, {at + 302_000, math.NaN()}}
		r.start()
		defer r.close()
		s := r.wait(r.submit(request("a", "from=-2hours")).ID)
		require.Equal(t, map[int64]float64{at: 3, at + 60_000: 10, at + 300_000: 5}, r.sink.last("a"))
		require.EqualValues(t, 3, s.Sent)
		require.EqualValues(t, 1, s.Nulls)
	})
}

// The original notes the newest point as sent whatever came of it.
func TestFluxB22MarkFollowsConfirmation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		marks := &dedup.Memory{}
		r.cfg.Marks = marks
		r.source.samples = every(began-24*3600_000, began, 60_000)
		failures := 0
		r.sink.fault = func(n int) error {
			if n >= 1 && failures < 5 { // the first chunk arrives, then Carbon is away
				failures++
				m := []dedup.Mark{{Metric: []byte("a")}}
				_ = marks.Last(context.Background(), m)
				assert.Equal(t, began-24*3600_000+499*60_000, m[0].Timestamp, "the mark is the end of the confirmed chunk")
				return errors.New("carbon is away")
			}
			return nil
		}
		r.start()
		defer r.close()
		s := r.wait(r.submit(request("a", "from=-24hours")).ID)
		require.Equal(t, Done, s.State)
		require.EqualValues(t, 5, s.Errors)
		require.Len(t, r.sink.last("a"), 1440)
		require.Equal(t, 5+3, r.sink.calls, "one call a chunk and one a failure")
		m := []dedup.Mark{{Metric: []byte("a")}}
		require.NoError(t, marks.Last(context.Background(), m))
		require.Equal(t, began-60_000, m[0].Timestamp)
	})
}

// The original logs success as failure and failure not at all.
func TestFluxB23CountsAreTrue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.source.samples = every(began-5*3600_000, began, 1000)
		r.start()
		defer r.close()
		s := r.wait(r.submit(request("a", "from=-4hours")).ID)
		require.EqualValues(t, 240, s.Sent)
		require.EqualValues(t, 4*3600, s.Samples)
		require.EqualValues(t, 0, s.Errors)
		require.Empty(t, s.Error)
		require.EqualValues(t, 1000, s.ResolutionMS)
	})
}

// Anyone can make the original fetch any URL and write under any name.
func TestFluxB24NothingThatIsNotListedIsFetched(t *testing.T) {
	for _, k := range []string{`"None"`, `null`, `""`} {
		r, err := ParseRequest([]byte(`{"remote_host_type":"graphite","metric":"b","key":` + k + `,"fetch_resolution_urls":["http://h/render?target=x"]}`))
		require.NoError(t, err)
		require.Empty(t, r.Key, "it is no key")
	}
	r := newRig(t).start()
	defer r.close()
	var origin *OriginError
	var invalid *RequestError
	for _, u := range []string{"http://elsewhere/render/?target=x", "https://source:8080/render/?target=x", "http://source/render/?target=x", "http://source:8081/render?target=x"} {
		_, _, err := r.m.Submit(limit(t), &Request{HostType: Graphite, Metric: "a", URLs: []string{u}})
		require.ErrorAs(t, err, &origin, u)
	}
	for _, u := range []string{"file:///etc/passwd", "ftp://source:8080/x?target=x", "http://u:p@source:8080/render?target=x", "gopher://source:8080/", "//source:8080/render?target=x", "http:source"} {
		_, _, err := r.m.Submit(limit(t), &Request{HostType: Graphite, Metric: "a", URLs: []string{u}})
		require.ErrorAs(t, err, &invalid, u)
	}
	for _, name := range []string{"", "a b", "..", "a\nb", ".a", "a.", "/etc/../x", "a;b", "a*", "a'", strings.Repeat("a", 300)} {
		_, _, err := r.m.Submit(limit(t), &Request{HostType: Graphite, Metric: name, URLs: []string{"http://source:8080/render?target=x"}})
		require.ErrorAs(t, err, &invalid, name)
		require.Equal(t, "metric", invalid.Field)
	}
	require.Empty(t, r.m.List())
	require.Empty(t, r.source.requests())
}

// The original never tries again, lets equal jobs pile up, forgets them at a restart, and marks the metric as done when
// one URL has failed.
func TestFluxB25FailedSliceIsRetriedAndJobsJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		marks := &dedup.Memory{}
		r.cfg.Marks, r.cfg.Dir = marks, t.TempDir()
		r.source.samples = every(began-8*24*3600_000, began, 60_000)
		downUntil := began + 2*3600_000
		r.source.fault = func(_ int, q *http.Request) (*http.Response, error) {
			from, _ := strconv.ParseInt(q.URL.Query().Get("from"), 10, 64)
			middle := from*1000 > began-86400_000-2*minute && from*1000 < began-12*3600_000 // slice
			if middle && time.Now().UnixMilli() < downUntil {
				m := []dedup.Mark{{Metric: []byte("a")}}
				_ = marks.Last(context.Background(), m)
				assert.Less(t, m[0].Timestamp, began-86400_000, "the mark stays below the slice that is missing")
				return respond(500, "no"), nil
			}
			return nil, nil
		}
		r.start()
		defer r.close()
		first := r.submit(request("a", "from=-6hours", "from=-7days&until=-24hours", "from=-24hours&until=-6hours"))
		second, joined, err := r.m.Submit(t.Context(), request("a", "from=-6hours"))
		require.NoError(t, err)
		require.True(t, joined)
		require.Equal(t, first.ID, second.ID)
		synctest.Wait()
		waiting, _ := r.m.Get(first.ID)
		require.Equal(t, Waiting, waiting.State)
		require.Contains(t, waiting.Error, "status 500")
		require.NotZero(t, waiting.RetryAt)

		time.Sleep(30 * time.Minute) // of test clock; then the process is replaced by another
		r.close()
		r.start()
		s := r.wait(first.ID)
		require.Equal(t, Done, s.State, s.Error)
		require.Greater(t, s.Errors, int64(10))
		require.Less(t, s.Errors, int64(80), "the wait between attempts grows")
		require.Equal(t, means(r.source.samples, began-7*86400_000, began), r.sink.last("a"), "no minute is missing")
		m := []dedup.Mark{{Metric: []byte("a")}}
		require.NoError(t, marks.Last(t.Context(), m))
		require.Equal(t, began-60_000, m[0].Timestamp)
		require.GreaterOrEqual(t, s.Finished.UnixMilli(), downUntil)
	})
}

// The original rewrites queries by greedy patterns, takes the first series, and knows no path but /render.
func TestFluxB26QueriesStayAsTheyAre(t *testing.T) {
	now := time.UnixMilli(began + 12_345).UTC()
	list := origins{origin(t, "http://p:9090"), origin(t, "http://g")}
	for _, c := range []struct {
		host     HostType
		url      string
		want     string
		from     int64
		vista    bool
		targeted string
	}{
		{host: Prometheus, url: "http://p:9090/api/v1/query?query=rate(x%5B5m%5D)%5B15d:1m%5D", want: "http://p:9090/api/v1/query?query=rate(x%5B5m%5D)%5B15d:1m%5D&time=946684800", from: began - 15*86400_000},
		{host: Prometheus, url: "http://p:9090/api/v1/query?query=node_load1[15d]", vista: true, want: "http://p:9090/api/v1/query?query=node_load1[15d]&time=946684800", from: began - 15*86400_000},
		{host: Prometheus, url: "http://p:9090/sub/api/v1/query_range?query=a+%2B+b&start=1000&end=2000&step=15s", want: "http://p:9090/sub/api/v1/query_range?query=a+%2B+b&start=960&end=2000&step=15s", from: 960_000},
		{host: Prometheus, url: "http://p:9090/api/v1/query?query=x%5B5m%5D+offset+1d&time=2000", want: "http://p:9090/api/v1/query?query=x%5B5m%5D+offset+1d&time=2000", from: none},
		{host: Graphite, url: "http://g/custom/render?target=alias(a,'x+y')&from=-1h&until=-30min&format=csv", want: "http://g/custom/render?target=alias(a,'x+y')&from=946681199&until=946683013&format=json", from: began - 3600_000},
		{host: Graphite, vista: true, targeted: "a+b.%2Fc&d", url: "http://g/render/?from=-1h&format=json&target=a+b.%2Fc&d", want: "http://g/render/?from=946681199&format=json&target=a%2Bb.%252Fc%26d&until=946684813", from: began - 3600_000},
	} {
		r := &Request{HostType: c.host, Vista: c.vista, RemoteTarget: c.targeted}
		s, err := r.resolveURL(c.url, list, now, true)
		require.NoError(t, err, c.url)
		require.Equal(t, c.want, s.URL)
		require.Equal(t, c.from, s.From)
	}

	two := `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"up","i":"1"},"values":[[60,"1"]]},{"metric":{"__name__":"up","i":"2"},"values":[[60,"3"],[61,"NaN"]]}]}}`
	take := func(want string) (answer, error) {
		return decode(strings.NewReader(two), Prometheus, want, limits{bytes: 1 << 20, points: 1000})
	}
	_, err := take("")
	require.ErrorIs(t, err, errSeries, "several series are never silently one")
	a, err := take(`up{i="2"}`)
	require.NoError(t, err)
	require.Len(t, a.samples, 1)
	require.Equal(t, 3.0, a.samples[0].Value)
	a, err = take(AllSeries)
	require.NoError(t, err)
	require.Len(t, a.samples, 2)
	_, err = take(`up{i="3"}`)
	require.ErrorIs(t, err, errSeries)
}

// After a catch-up the original overwrites a whole minute with the mean of a part of it.
func TestFluxPartialMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(25 * time.Second) // into a minute
		accepted := began + 25_000
		for _, current := range []bool{false, true} {
			r := newRig(t)
			marks := &dedup.Memory{}
			r.cfg.Marks, r.cfg.CurrentMinute = marks, current
			r.source.samples = every(began-3600_000, accepted+1, 5000)
			mark := began - 1800_000 + 35_000 // within a minute
			require.NoError(t, marks.Raise(t.Context(), []dedup.Mark{{Metric: []byte("a"), Timestamp: mark}}))
			r.start()
			s := r.wait(r.submit(request("a", "from="+fmt.Sprint(mark/1000-7))).ID)
			r.close()
			cut, last := began, began-5000
			if current {
				cut, last = accepted+1, accepted
			}
			require.Equal(t, means(r.source.samples, began-1800_000, cut), r.sink.last("a"), "the first minute is whole, though the URL begins in it")
			m := []dedup.Mark{{Metric: []byte("a")}}
			require.NoError(t, marks.Last(t.Context(), m))
			require.Equal(t, last, m[0].Timestamp, "the mark is the newest sample, not the minute's beginning")
			require.Equal(t, last, s.Mark.UnixMilli())
		}
	})
}

// Carbon forgets what came for a metric that it could not create in time.
func TestFluxNewMetricIsCreatedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		seen := &local{blind: true, sink: r.sink}
		r.cfg.Local = seen
		r.source.samples = every(began-3600_000, began, 60_000)
		r.start()
		defer r.close()
		id := r.submit(request("a", "from=-1hours")).ID
		time.Sleep(150 * time.Second)
		synctest.Wait()
		require.Equal(t, 3, r.sink.calls, "one point, sent again each minute")
		require.Len(t, r.sink.last("a"), 1)
		require.Less(t, seen.asked, 60)
		seen.mu.Lock()
		seen.blind = false
		seen.mu.Unlock()
		s := r.wait(id)
		require.Equal(t, Done, s.State)
		require.Empty(t, s.Note)
		require.Len(t, r.sink.last("a"), 60)
		require.Equal(t, []time.Time{time.UnixMilli(began).UTC()}, seen.lasts, "asked once, with the moment of acceptance")
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.Local = &local{blind: true, sink: r.sink}
		r.source.samples = every(began-3600_000, began, 60_000)
		r.start()
		defer r.close()
		s := r.wait(r.submit(request("a", "from=-1hours")).ID)
		require.Equal(t, Done, s.State)
		require.Contains(t, s.Note, "not seen")
		require.InDelta(t, 15*60, s.Finished.Sub(s.Accepted).Seconds(), 11)
		require.Len(t, r.sink.last("a"), 60)
	})
}

// An outage of the local Graphite makes the original fetch and overwrite everything.
func TestFluxProbeErrorIsNotNoData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		down := true
		seen := &local{known: true, sink: r.sink, full: map[int64]struct{}{began - 600_000: {}}, fault: func() error {
			if down {
				return errors.New("down")
			}
			return nil
		}}
		r.cfg.Local = seen
		r.source.samples = every(began-3600_000, began, 60_000)
		r.start()
		defer r.close()
		id := r.submit(request("a", "from=-1hours")).ID
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		s, _ := r.m.Get(id)
		require.Equal(t, Waiting, s.State)
		require.Empty(t, r.source.requests(), "nothing is fetched before it is known what is missing")
		seen.mu.Lock()
		down = false
		seen.full[began+60_000] = struct{}{} // live points go on
		seen.mu.Unlock()
		s = r.wait(id)
		require.Equal(t, means(r.source.samples, began-600_000, began), r.sink.last("a"))
		require.Equal(t, began-600_000, s.Since.UnixMilli())
		for _, until := range seen.lasts {
			require.Equal(t, began, until.UnixMilli())
		}
	})
}

// A source that has nothing but nulls is told of, so that nobody asks again and again.
func TestFluxNullSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var finished []Status
		r.cfg.Finished = func(s Status) { finished = append(finished, s) }
		r.source.samples = []sample{{began - 120_000, math.NaN()}, {began - 60_000, math.NaN()}}
		r.start()
		s := r.wait(r.submit(request("a", "from=-1hours")).ID)
		r.close()
		require.Equal(t, Done, s.State)
		require.Zero(t, s.Sent)
		require.True(t, s.NewestNull)
		require.Equal(t, began-60_000, s.Newest.UnixMilli())
		require.Zero(t, s.Mark)
		require.Equal(t, []Status{s}, finished)
		_, err := json.Marshal(s)
		require.NoError(t, err)
	})
}

// Values of live points are left alone.
func TestFluxLiveMinutesAreLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.Live, r.cfg.Dir = &Live{}, t.TempDir()
		r.source.samples = every(began-3600_000, began, 10_000)
		down := true
		r.source.fault = func(int, *http.Request) (*http.Response, error) {
			if down {
				return respond(503, ""), nil
			}
			return nil, nil
		}
		note := func(metric string, ms int64) {
			r.cfg.Live.Note([]graphite.Point{{Name: []byte(metric), Timestamp: ms}})
		}
		note("a", began-59*60_000) // before the job
		r.start()
		id := r.submit(request("a", "from=-1hours")).ID
		note("a", began-30*60_000+1000)
		note("b", began-20*60_000)
		time.Sleep(5 * time.Minute)
		r.close()
		down = false
		r.cfg.Live = &Live{} // of the next process
		r.start()
		s := r.wait(id)
		r.close()
		want := means(r.source.samples, began-3600_000, began)
		delete(want, began-30*60_000)
		require.Equal(t, want, r.sink.last("a"))
		require.EqualValues(t, 1, s.SkippedLive)
		require.Zero(t, r.cfg.Live.watched.Load())
	})
}
