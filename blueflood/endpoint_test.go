package blueflood_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/blueflood/bluefloodtest"
)

func TestSendDelivers(t *testing.T) {
	for _, compress := range []bool{false, true} {
		t.Run(fmt.Sprintf("gzip=%v", compress), func(t *testing.T) {
			noLeaks(t)
			s := bluefloodtest.Run(t)
			e, a := start(t, blueflood.EndpointConfig{URL: s.IngestURL() + "/", Prefix: "pre.fix", Gzip: compress})
			at := time.Now().UnixMilli()
			ms := []blueflood.Metric{
				{Name: []byte("a.b"), Timestamp: at, Value: 1},
				{Name: []byte(`n"a\ï` + "\t"), Timestamp: at, Value: -2.5e-7, TTL: time.Hour, Unit: "ms"},
			}
			require.NoError(t, e.Send(within(t), ms))
			require.NoError(t, e.Close(within(t)))

			p := s.Points("ten", "pre.fix.a.b")
			require.Len(t, p, 1)
			require.Equal(t, 1.0, p[0].Value)
			require.Equal(t, "Double", p[0].Kind)
			require.Equal(t, at, p[0].Timestamp)
			require.Equal(t, 86400, p[0].TTL)
			p = s.Points("ten", `pre.fix.n"a\ï`+"\t")
			require.Len(t, p, 1)
			require.Equal(t, -2.5e-7, p[0].Value)
			require.Equal(t, 3600, p[0].TTL)
			require.Equal(t, "ms", p[0].Unit)
			require.Equal(t, map[string]int{"a.b": 1, `n"a\ï` + "\t": 1}, a.delivered)

			r := s.Requests()
			require.Len(t, r, 1)
			require.Equal(t, "/v2.0/ten/ingest", r[0].Target)
			require.Equal(t, "application/json", r[0].Header.Get("Content-Type"))
			require.Equal(t, "application/json", r[0].Header.Get("Accept"))
			require.Equal(t, "fluxkit", r[0].Header.Get("User-Agent"))
			require.Equal(t, compress, r[0].Header.Get("Content-Encoding") == "gzip")
		})
	}
}

// TestResponseMatrix gives each answer once, and then genuine ones.
func TestResponseMatrix(t *testing.T) {
	status := func(code int, message string) bluefloodtest.Reply {
		return bluefloodtest.Reply{Status: code, Message: message}
	}
	for _, c := range []struct {
		name     string
		reply    bluefloodtest.Reply
		requests int
	}{
		{"200", bluefloodtest.Reply{Status: 200}, 1},
		{"201", bluefloodtest.Reply{Status: 201}, 1},
		{"204", bluefloodtest.Reply{Status: 204}, 1},
		{"202", bluefloodtest.Unconfirmed(), 2},
		{"203", bluefloodtest.Reply{Status: 203}, 2},
		{"207 without a list", bluefloodtest.Reply{Status: 207}, 3},
		{"207 in plain text", bluefloodtest.Reply{Status: 207, Body: "The following errors have been encountered:\nx"}, 3},
		{"301", bluefloodtest.Reply{Status: 301, Header: http.Header{"Location": {"http://127.0.0.1:1/"}}}, 2},
		{"400 cannot parse", status(400, "Cannot parse content"), 3},
		{"400 no valid metrics", status(400, "No valid metrics"), 3},
		{"400 of a proxy", bluefloodtest.Reply{Status: 400, Body: "<html>"}, 3},
		{"401", bluefloodtest.Reply{Status: 401}, 2},
		{"403", bluefloodtest.Reply{Status: 403}, 2},
		{"404", bluefloodtest.Reply{Status: 404}, 2},
		{"405", bluefloodtest.Reply{Status: 405}, 2},
		{"408", bluefloodtest.Reply{Status: 408}, 2},
		{"413 for a small body", bluefloodtest.Reply{Status: 413}, 2},
		{"415", bluefloodtest.Reply{Status: 415}, 2},
		{"417", bluefloodtest.Reply{Status: 417}, 3},
		{"429", bluefloodtest.Throttled(0), 2},
		{"500 failed parsing", status(500, "Failed parsing content"), 2},
		{"500 persist failed", bluefloodtest.PersistFailed(), 2},
		{"500 error persisting", status(500, "Error persisting metrics"), 2},
		{"500 error preparing", status(500, "Error preparing response"), 2},
		{"501", bluefloodtest.Reply{Status: 501}, 2},
		{"502", bluefloodtest.Reply{Status: 502, Body: "<html>Bad gateway"}, 2},
		{"503", bluefloodtest.Reply{Status: 503}, 2},
		{"no answer", bluefloodtest.Reply{Hang: true}, 2},
		{"stored, no answer", bluefloodtest.Reply{Hang: true, Store: true}, 2},
		{"reset", bluefloodtest.Reply{Reset: true}, 2},
		{"stored, reset", bluefloodtest.Reply{Reset: true, Store: true}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := bluefloodtest.Run(t)
			s.Queue(c.reply)
			cfg := blueflood.EndpointConfig{URL: s.IngestURL()}
			if c.reply.Hang {
				cfg.Timeout = 500 * time.Millisecond
			}
			e, a := start(t, cfg)
			require.NoError(t, e.Send(within(t), points(4)))
			require.NoError(t, e.Flush(within(t)))
			if c.reply.Hang { // on a machine that is busy enough, an answer can come too late as well
				require.GreaterOrEqual(t, len(s.Requests()), c.requests)
			} else {
				require.Len(t, s.Requests(), c.requests)
			}
			require.Len(t, a.delivered, 4)
			require.Empty(t, a.failed)
			st := e.Stats()
			require.EqualValues(t, 4, st.Accepted)
			require.EqualValues(t, 4, st.Delivered)
			require.Zero(t, st.PendingPoints)
			require.False(t, st.Down, st.LastError)
		})
	}
}

func TestRefusedPointsAreGivenUpAlone(t *testing.T) {
	s := bluefloodtest.Run(t)
	e, a := start(t, blueflood.EndpointConfig{URL: s.IngestURL(), Prefix: "p"})
	old, ahead := point("old", 1), point("ahead", 1)
	old.Timestamp -= (73 * time.Hour).Milliseconds()
	ahead.Timestamp += (11 * time.Minute).Milliseconds()
	huge := point(strings.Repeat("x", blueflood.MaxLimit), 1)
	ttl, unit := point("ttl", 1), point("unit", 1)
	ttl.TTL, unit.Unit = 1500*time.Millisecond, "\xff"
	ms := []blueflood.Metric{
		point("good1", 1), old, point("inf", inf), ahead, point("nan", nan), huge, point("", 1), point("\xff", 1),
		ttl, unit, point("good2", 2),
	}
	require.NoError(t, e.Send(within(t), ms))
	require.NoError(t, e.Flush(within(t)))
	require.Equal(t, map[string]int{"good1": 1, "good2": 1}, a.delivered)
	require.Equal(t, map[string]string{
		"old": "too_old", "ahead": "in_future", "inf": "bad_value", "nan": "bad_value", string(huge.Name): "too_big",
		"": "bad_name", "\xff": "bad_name", "ttl": "bad_ttl", "unit": "bad_unit",
	}, a.failed)
	require.Contains(t, a.details["old"], "Out of bounds")
	require.Len(t, s.Points("ten", "p.good2"), 1)
	st := e.Stats()
	require.EqualValues(t, len(ms), st.Accepted)
	require.EqualValues(t, 2, st.Delivered)
	require.Equal(t, map[string]uint64{
		"too_old": 1, "in_future": 1, "bad_value": 2, "bad_name": 2, "too_big": 1, "bad_ttl": 1, "bad_unit": 1,
	}, st.Rejected)
}

// TestAllRefused is a 400 whose list names every point.
func TestAllRefused(t *testing.T) {
	s := bluefloodtest.Run(t)
	e, a := start(t, blueflood.EndpointConfig{URL: s.IngestURL()})
	ms := points(3)
	for i := range ms {
		ms[i].Timestamp = 1000
	}
	require.NoError(t, e.Send(within(t), ms))
	require.NoError(t, e.Flush(within(t)))
	require.Len(t, a.failed, 3)
	require.Len(t, s.Requests(), 1)
	require.Equal(t, 400, s.Requests()[0].Status)
}

// TestCulpritStandsAlone has a server that refuses whole any body with a certain name in it.
func TestCulpritStandsAlone(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func() *http.Response
		extra  int // requests until the halving begins
		reason string
	}{
		{"400", func() *http.Response { return reply(400, "no") }, 0, "refused"},
		{"207 without a list", func() *http.Response { return reply(207, "") }, 0, "refused"},
		{"413", func() *http.Response { return reply(417, "") }, 0, "too_big"},
		{"500 failed parsing", func() *http.Response {
			return reply(500, `{"errors":[{"tenantId":"ten","timestamp":null,"metricName":"","source":null,"message":"Failed parsing content"}]}`)
		}, 2, "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, n := range []int{1, 2, 3, 64, 100} {
				for _, bad := range []int{0, n / 3, n - 1} {
					requests := 0
					e, a := start(t, blueflood.EndpointConfig{Transport: transport(func(body []byte, _ *http.Request) *http.Response {
						requests++
						if bytes.Contains(body, []byte(fmt.Sprintf("m%03d", bad))) {
							return c.answer()
						}
						return reply(200, "")
					})})
					require.NoError(t, e.Send(within(t), points(n)))
					require.NoError(t, e.Close(within(t)))
					require.Len(t, a.delivered, n-1)
					require.Equal(t, map[string]string{fmt.Sprintf("m%03d", bad): c.reason}, a.failed)
					depth := 0
					for 1<<depth < n {
						depth++
					}
					require.LessOrEqual(t, requests, 1+2*depth+c.extra)
				}
			}
		})
	}
}

// TestHalvingSurvivesAFailure fails in the middle of the halving, between parts that were stored.
func TestHalvingSurvivesAFailure(t *testing.T) {
	bad := map[string]bool{"m005": true, "m006": true}
	requests, poisoned := 0, 0
	var log bytes.Buffer
	e, a := start(t, blueflood.EndpointConfig{
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Transport: transport(func(body []byte, _ *http.Request) *http.Response {
			if requests++; requests%3 == 0 {
				return reply(503, "")
			}
			for name := range bad {
				if bytes.Contains(body, []byte(name)) {
					poisoned++
					return reply(400, "")
				}
			}
			return reply(200, "")
		}),
	})
	require.NoError(t, e.Send(within(t), points(16)))
	require.NoError(t, e.Flush(within(t)))
	require.Len(t, a.delivered, 14)
	require.Equal(t, map[string]string{"m005": "refused", "m006": "refused"}, a.failed)
	require.LessOrEqual(t, poisoned, 10, "the plan was kept over the failures")
	require.Contains(t, log.String(), "code=400")
	require.Contains(t, log.String(), "503")
	for name, n := range a.delivered {
		require.Equal(t, 1, n, name)
	}
}

// TestListThatLeavesPointsOut is a 400 with entries for some points: the others are not stored and go again, save those
// that are too old by then.
func TestListThatLeavesPointsOut(t *testing.T) {
	var bodies [][]string
	e, a := start(t, blueflood.EndpointConfig{Transport: transport(func(body []byte, _ *http.Request) *http.Response {
		bodies = append(bodies, namesIn(t, body))
		if len(bodies) > 1 {
			return reply(200, "")
		}
		return reply(400, `{"errors":[{"tenantId":"ten","timestamp":5,"metricName":"m001","source":"collectionTime","message":"x"}]}`)
	})})
	ms := points(4)
	ms[1].Timestamp, ms[2].Timestamp = 5, 6
	require.NoError(t, e.Send(within(t), ms))
	require.NoError(t, e.Flush(within(t)))
	require.Equal(t, map[string]string{"m001": "too_old", "m002": "too_old"}, a.failed)
	require.Equal(t, "x", a.details["m001"], "the server says so")
	require.Equal(t, "older than the past limit", a.details["m002"])
	require.Equal(t, [][]string{{"m000", "m001", "m002", "m003"}, {"m000", "m003"}}, bodies)
}

// TestListInAPlan refuses a request whole, then lists one point of its first half. All that was refused once is checked
// before it is sent again, and stays apart from newer points.
func TestListInAPlan(t *testing.T) {
	var bodies [][]string
	e, a := start(t, blueflood.EndpointConfig{Transport: transport(func(body []byte, _ *http.Request) *http.Response {
		bodies = append(bodies, namesIn(t, body))
		switch len(bodies) {
		case 1:
			return reply(400, "no")
		case 2:
			return reply(400, `{"errors":[{"tenantId":"ten","timestamp":7,"metricName":"m001","source":"metricValue","message":"x"}]}`)
		case 3:
			return reply(503, "")
		}
		return reply(200, "")
	}), Now: func() time.Time { return time.UnixMilli(7) }})
	ms := points(8)
	for i := range ms {
		ms[i].Timestamp = 7
	}
	require.NoError(t, e.Send(within(t), ms))
	require.NoError(t, e.Flush(within(t)))
	require.Equal(t, map[string]string{"m001": "bad_value"}, a.failed)
	require.Len(t, a.delivered, 7)
	require.Equal(t, [][]string{
		{"m000", "m001", "m002", "m003", "m004", "m005", "m006", "m007"},
		{"m000", "m001", "m002", "m003"},
		{"m000", "m002", "m003"},
		{"m000", "m002", "m003"},
		{"m004", "m005", "m006", "m007"},
	}, bodies)
}

// TestHandedBackIsChecked has a point of the second half that is too old once the first half was refused in part.
func TestHandedBackIsChecked(t *testing.T) {
	ms := points(4)
	ms[3].Timestamp = 7
	var bodies [][]string
	e, a := start(t, blueflood.EndpointConfig{Transport: transport(func(body []byte, _ *http.Request) *http.Response {
		bodies = append(bodies, namesIn(t, body))
		switch len(bodies) {
		case 1:
			return reply(400, "no")
		case 2:
			return reply(400, fmt.Sprintf(
				`{"errors":[{"tenantId":"ten","timestamp":%d,"metricName":"m000","source":"metricValue","message":"x"}]}`, ms[0].Timestamp))
		}
		return reply(200, "")
	})})
	require.NoError(t, e.Send(within(t), ms))
	require.NoError(t, e.Flush(within(t)))
	require.Equal(t, map[string]string{"m000": "bad_value", "m003": "too_old"}, a.failed)
	require.Equal(t, map[string]int{"m001": 1, "m002": 1}, a.delivered)
	require.Equal(t, [][]string{{"m000", "m001", "m002", "m003"}, {"m000", "m001"}, {"m001"}, {"m002"}}, bodies)
}

// TestFlushOfAClosedEndpoint waits for nothing that will not come.
func TestFlushOfAClosedEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := start(t, blueflood.EndpointConfig{Transport: transport(func([]byte, *http.Request) *http.Response {
			return reply(503, "")
		})})
		require.NoError(t, e.Flush(t.Context()))
		require.NoError(t, e.Send(t.Context(), points(2)))
		flushed := make(chan error)
		go func() { flushed <- e.Flush(context.Background()) }()
		synctest.Wait()
		require.Error(t, e.Close(ended()))
		require.ErrorIs(t, <-flushed, blueflood.ErrClosed)
		err := e.Flush(context.Background())
		require.ErrorIs(t, err, blueflood.ErrClosed)
		require.ErrorContains(t, err, "2 points not delivered")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		f, _ := start(t, blueflood.EndpointConfig{Transport: transport(func([]byte, *http.Request) *http.Response { return nil })})
		require.NoError(t, f.Send(t.Context(), points(1)))
		require.ErrorIs(t, f.Flush(ctx), context.DeadlineExceeded)
	})
}

func TestUnconfirmedFiveTimes(t *testing.T) {
	s := bluefloodtest.Run(t)
	e, a := start(t, blueflood.EndpointConfig{URL: s.IngestURL()})
	for range 3 { // another failure between them does not start the count anew
		s.Queue(bluefloodtest.Unconfirmed())
	}
	s.Queue(bluefloodtest.PersistFailed(), bluefloodtest.Unconfirmed(), bluefloodtest.Unconfirmed())
	require.NoError(t, e.Send(within(t), points(3)))
	require.NoError(t, e.Flush(within(t)))
	require.Len(t, s.Requests(), 6)
	require.Empty(t, a.delivered)
	require.Equal(t, map[string]string{"m000": "unconfirmed", "m001": "unconfirmed", "m002": "unconfirmed"}, a.failed)

	s.Queue(bluefloodtest.Unconfirmed(), bluefloodtest.Unconfirmed()) // the count is of these points alone
	require.NoError(t, e.Send(within(t), []blueflood.Metric{point("later", 1)}))
	require.NoError(t, e.Flush(within(t)))
	require.Equal(t, map[string]int{"later": 1}, a.delivered)
}

// TestRetryWithoutNewPoints is the timer: nothing else happens between the failure and the next try.
func TestRetryWithoutNewPoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		begin := time.Now()
		answers := []*http.Response{
			reply(500, ""),
			reply(503, "", "Retry-After", "120"),
			reply(429, "", "Retry-After", begin.Add(10*time.Minute).UTC().Format(http.TimeFormat)),
			reply(200, ""),
		}
		e, a := start(t, blueflood.EndpointConfig{
			Interval: 30 * time.Second, BackoffMin: time.Second, BackoffMax: 8 * time.Second,
			Transport: transport(func([]byte, *http.Request) *http.Response {
				at = append(at, time.Since(begin))
				answer := answers[0]
				answers = answers[1:]
				return answer
			}),
		})
		require.NoError(t, e.Send(t.Context(), points(1)))
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Len(t, at, 4)
		require.Equal(t, 30*time.Second, at[0], "the interval of a batch that is not full")
		require.LessOrEqual(t, at[1]-at[0], time.Second)
		require.GreaterOrEqual(t, at[1]-at[0], time.Second/2)
		require.Equal(t, 120*time.Second, at[2]-at[1], "seconds to wait")
		require.InDelta(t, (10 * time.Minute).Seconds(), at[3].Seconds(), 1, "a time to wait for")
		require.Len(t, a.delivered, 1)
		require.NoError(t, e.Close(t.Context()))
	})
}

// TestCheckedBeforeRetry: the first sending leaves the judgement of the time to the server, a later one does not.
func TestCheckedBeforeRetry(t *testing.T) {
	for _, c := range []struct {
		name         string
		past, future time.Duration
		requests     int
		failed       int
	}{
		{"off", -1, -1, 2, 0},
		{"before a retry", 0, 0, 2, 2},
		{"before the first", 72 * time.Hour, 10 * time.Minute, 2, 2},
		{"limits that let all through", 100 * time.Hour, time.Hour, 2, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var bodies [][]string
			e, a := start(t, blueflood.EndpointConfig{
				PastLimit: c.past, FutureLimit: c.future,
				Transport: transport(func(body []byte, _ *http.Request) *http.Response {
					bodies = append(bodies, namesIn(t, body))
					if len(bodies) == 1 {
						return reply(503, "")
					}
					return reply(200, "")
				}),
			})
			old, ahead := point("old", 1), point("ahead", 1)
			old.Timestamp -= (80 * time.Hour).Milliseconds()
			ahead.Timestamp += (30 * time.Minute).Milliseconds()
			require.NoError(t, e.Send(within(t), []blueflood.Metric{old, point("good", 1), ahead}))
			require.NoError(t, e.Flush(within(t)))
			require.Len(t, bodies, c.requests)
			require.Len(t, a.failed, c.failed)
			require.Len(t, a.delivered, 3-c.failed)
			require.Len(t, bodies[1], 3-c.failed)
			if c.past > 0 && c.failed > 0 {
				require.Equal(t, []string{"good"}, bodies[0])
			} else {
				require.Len(t, bodies[0], 3)
			}
		})
	}
}

// TestNeverTwiceInFlight has a slow server and many senders.
func TestNeverTwiceInFlight(t *testing.T) {
	s := bluefloodtest.Run(t)
	s.Fallback(bluefloodtest.Reply{Delay: 2 * time.Millisecond, Status: 0})
	e, a := start(t, blueflood.EndpointConfig{URL: s.IngestURL(), Interval: time.Millisecond})
	for i := range 100 {
		require.NoError(t, e.Send(within(t), []blueflood.Metric{point(fmt.Sprintf("m%03d", i), 1)}))
	}
	require.NoError(t, e.Flush(within(t)))
	require.Len(t, a.delivered, 100)
	require.Equal(t, 1, s.MaxInFlight())
	require.Equal(t, 100, s.Received(), "nothing was sent twice")
	for _, r := range s.Requests() {
		require.Equal(t, 1, r.Conn, "the connection was kept")
	}
}

// TestConnectionSurvivesFailures: the answers were read to their end.
func TestConnectionSurvivesFailures(t *testing.T) {
	s := bluefloodtest.Run(t)
	long := strings.Repeat("x", 60_000)
	for _, code := range []int{500, 404, 429, 207, 202} {
		s.Queue(bluefloodtest.Reply{Status: code, Body: long})
	}
	s.Queue(bluefloodtest.Reply{Status: 200, Body: long})
	e, _ := start(t, blueflood.EndpointConfig{URL: s.IngestURL()})
	require.NoError(t, e.Send(within(t), points(2)))
	require.NoError(t, e.Flush(within(t)))
	for _, r := range s.Requests() {
		require.Equal(t, 1, r.Conn)
	}
}

// TestByteLimit sends far more than fits, and finds no body longer than the limit.
func TestByteLimit(t *testing.T) {
	for _, limit := range []int{128, 200, 350, 1000, 10_000} {
		for _, compress := range []bool{false, true} {
			s := bluefloodtest.Run(t)
			e, a := start(t, blueflood.EndpointConfig{URL: s.IngestURL(), Limit: limit, Gzip: compress})
			ms := points(300)
			for i := range ms {
				ms[i].Value *= 1.1
			}
			require.NoError(t, e.Send(within(t), ms))
			require.NoError(t, e.Flush(within(t)))
			require.Len(t, a.delivered, 300)
			require.Equal(t, 300, s.Received())
			requests := s.Requests()
			for i, r := range requests {
				require.LessOrEqual(t, len(r.Body), limit)
				if i < len(requests)-1 { // the next row would not have fitted
					require.Greater(t, len(r.Body)+128, limit)
				}
			}
		}
	}
}

// TestExactLimit has rows that fill a body to the byte.
func TestExactLimit(t *testing.T) {
	s := bluefloodtest.Run(t)
	e, _ := start(t, blueflood.EndpointConfig{URL: s.IngestURL(), Limit: 1000})
	ms := []blueflood.Metric{point("a", 1), point("b", 1)}
	require.NoError(t, e.Send(within(t), ms))
	require.NoError(t, e.Flush(within(t)))
	pad := 1000 - len(s.Requests()[0].Body)

	for i, extra := range []int{0, 1} {
		ms[1].Name = []byte("b" + strings.Repeat("x", pad+extra))
		require.NoError(t, e.Send(within(t), ms))
		require.NoError(t, e.Flush(within(t)))
		require.Len(t, s.Requests(), []int{2, 4}[i])
	}
	require.Len(t, s.Requests()[1].Body, 1000)
}

// TestServerWithALowerLimit never answers bodies that are too long for it. They get shorter after some timeouts.
func TestServerWithALowerLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, a := start(t, blueflood.EndpointConfig{Transport: transport(func(body []byte, _ *http.Request) *http.Response {
			if len(body) > 3000 {
				return nil
			}
			return reply(200, "")
		})})
		require.NoError(t, e.Send(t.Context(), points(100)))
		require.NoError(t, e.Flush(t.Context()))
		require.Len(t, a.delivered, 100)
		require.NoError(t, e.Close(t.Context()))
	})
}

func TestFullBuffer(t *testing.T) {
	noLeaks(t)
	s := bluefloodtest.Run(t)
	s.Fallback(bluefloodtest.Reply{Status: 503})
	e, a := start(t, blueflood.EndpointConfig{URL: s.IngestURL(), MemoryMax: 64 << 10, Interval: time.Millisecond})
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	n, err := 0, error(nil)
	for err == nil {
		if err = e.Send(ended, points(100)); err == nil {
			n += 100
		}
	}
	require.ErrorIs(t, err, blueflood.ErrFull)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, e.Send(ended, points(10_000)), blueflood.ErrTooBig)
	require.EqualValues(t, n, e.Stats().PendingPoints)
	require.EqualValues(t, n, e.Stats().Accepted)

	blocked := make(chan error, 1)
	go func() { blocked <- e.Send(within(t), points(100)) }()
	s.Fallback(bluefloodtest.Reply{})
	require.NoError(t, <-blocked)
	require.NoError(t, e.Close(within(t)))
	require.EqualValues(t, n+100, e.Stats().Delivered)
	require.Len(t, a.delivered, 100)
	require.ErrorIs(t, e.Send(within(t), points(1)), blueflood.ErrClosed)
	require.ErrorIs(t, e.Close(within(t)), blueflood.ErrClosed)
}

// TestCloseWithServerDown keeps nobody waiting beyond the context, and says what is lost.
func TestCloseWithServerDown(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := ln.Addr().String()
	ln.Close()
	for _, hang := range []bool{false, true} {
		t.Run(fmt.Sprintf("hang=%v", hang), func(t *testing.T) {
			noLeaks(t)
			cfg := blueflood.EndpointConfig{URL: "http://" + addr, Interval: time.Millisecond, BackoffMin: time.Hour, BackoffMax: time.Hour}
			if hang {
				s := bluefloodtest.Run(t)
				s.Fallback(bluefloodtest.Reply{Hang: true})
				cfg.URL = s.IngestURL()
			}
			e, a := start(t, cfg)
			require.NoError(t, e.Send(within(t), points(7)))
			require.Eventually(t, func() bool { return e.Stats().Requests > 0 }, 10*time.Second, time.Millisecond)
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			defer cancel()
			err := e.Close(ctx)
			var lost *blueflood.UndeliveredError
			require.ErrorAs(t, err, &lost)
			require.EqualValues(t, 7, lost.Points)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Empty(t, a.delivered)
			require.Empty(t, a.failed)
		})
	}
}

func TestDownIsSaid(t *testing.T) {
	var log bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		var up atomic.Bool
		e, _ := start(t, blueflood.EndpointConfig{
			URL: "http://user:secret@blueflood.example", Interval: time.Second, BackoffMin: time.Minute, BackoffMax: time.Minute,
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
			Transport: transport(func([]byte, *http.Request) *http.Response {
				if !up.Load() {
					return reply(404, "")
				}
				return reply(200, "")
			}),
		})
		require.NoError(t, e.Send(t.Context(), points(3)))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		st := e.Stats()
		require.True(t, st.Down)
		require.Contains(t, st.LastError, "404")
		require.Contains(t, st.LastError, "check the URL")
		require.EqualValues(t, 3, st.PendingPoints)
		require.Equal(t, 2*time.Second, st.Oldest)
		up.Store(true)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		require.False(t, e.Stats().Down)
		require.NoError(t, e.Close(t.Context()))
	})
	require.NotContains(t, log.String(), "secret")
	require.Equal(t, 1, strings.Count(log.String(), "404"), "one line a failure")
	require.Contains(t, log.String(), "retry_in=")
	require.Contains(t, log.String(), "3 points in the request")
}

// renewing is an Authenticator whose token the server refuses until it was renewed.
type renewing struct{ token, renewals int }

func (a *renewing) Authorize(r *http.Request) error {
	r.Header.Set("X-Auth-Token", fmt.Sprint(a.token))
	return nil
}

func (a *renewing) Refused(_ *http.Request, status int) bool {
	a.renewals++
	a.token++
	return status == 401 || status == 403
}

func TestRefusedCredentials(t *testing.T) {
	for _, status := range []int{401, 403} {
		auth := new(renewing)
		var bodies []string
		e, a := start(t, blueflood.EndpointConfig{Auth: auth, Transport: transport(func(body []byte, r *http.Request) *http.Response {
			bodies = append(bodies, string(body))
			if r.Header.Get("X-Auth-Token") == "0" {
				return reply(status, "")
			}
			return reply(200, "")
		})})
		require.NoError(t, e.Send(within(t), points(2)))
		require.NoError(t, e.Flush(within(t)))
		require.Len(t, a.delivered, 2)
		require.Equal(t, 1, auth.renewals)
		require.Len(t, bodies, 2)
		require.Equal(t, bodies[0], bodies[1], "the same bytes")
		require.Zero(t, e.Stats().Resent)
	}
}

func TestHeaderAuth(t *testing.T) {
	s := bluefloodtest.Run(t)
	e, _ := start(t, blueflood.EndpointConfig{URL: s.IngestURL(), Auth: blueflood.HeaderAuth{"authorization": {"Bearer x"}}})
	require.NoError(t, e.Send(within(t), points(1)))
	require.NoError(t, e.Flush(within(t)))
	require.Equal(t, "Bearer x", s.Requests()[0].Header.Get("Authorization"))
}

func TestTags(t *testing.T) {
	var got []uint8
	s := bluefloodtest.Run(t)
	e, err := blueflood.NewEndpoint(blueflood.EndpointConfig{
		URL: s.IngestURL(), Tenant: "ten", Delivered: func(ms []blueflood.Metric) {
			for _, m := range ms {
				got = append(got, m.Tag)
				require.Equal(t, time.Minute, m.TTL)
				require.Equal(t, "s", m.Unit)
			}
		},
	})
	require.NoError(t, err)
	m := point("a", 1)
	m.Tag, m.TTL, m.Unit = 127, time.Minute, "s"
	require.NoError(t, e.Send(within(t), []blueflood.Metric{m}))
	m.Tag = 128
	require.Error(t, e.Send(within(t), []blueflood.Metric{m}))
	require.NoError(t, e.Send(within(t), nil))
	require.NoError(t, e.Close(within(t)))
	require.Equal(t, []uint8{127}, got)
}
