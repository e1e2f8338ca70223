package flux_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux"
	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
)

// traceOf asks for a metric; the code tells whether it is known.
func (r *rig) traceOf(key, metric string) (int, flux.Trace) {
	r.t.Helper()
	code, body := r.do("GET", "/flux/trace?metric="+url.QueryEscape(metric)+"&key="+key, "")
	var tr flux.Trace
	if code == 200 {
		require.NoError(r.t, json.Unmarshal([]byte(body), &tr), body)
		require.Equal(r.t, tr.Received+tr.Recovered, tr.Accepted+tr.Duplicate+tr.Late+tr.Rejected, body)
	}
	return code, tr
}

func TestTraceTellsWhatBecameOfAPoint(t *testing.T) {
	noLeaks(t)
	r := newRig(t, nil)
	r.carbon.Pickle().Kill()
	ts := now()
	code, _ := r.traceOf(testKey, "a b")
	require.Equal(t, 404, code)
	for _, at := range []int64{ts, ts - 60, ts - 60} {
		code, body := r.post(single("a b", at, 1))
		require.Equal(t, 204, code, body)
	}
	_, tr := r.traceOf(testKey, "a b")
	require.Equal(t, "a_b", tr.Metric, "the name is read as that of a point is")
	require.Equal(t, [4]uint64{3, 2, 1, 2}, [4]uint64{tr.Received, tr.Accepted, tr.Duplicate, tr.Pending})
	require.Equal(t, (ts-60)*1000, tr.LastReceived.Timestamp)
	require.WithinDuration(t, time.Now(), tr.LastReceived.At, time.Minute)
	require.Nil(t, tr.LastDelivered)
	require.Nil(t, tr.LastReject)
	require.NoError(t, r.carbon.Pickle().Restore())
	r.flush()
	code, _ = r.post(single("a_b", ts-90, 1))
	require.Equal(t, 204, code)
	code, _ = r.post(single("a_b", ts-9000, 1))
	require.Equal(t, 400, code)
	code, _ = r.post(single("a_b", ts, "x"))
	require.Equal(t, 400, code)
	_, tr = r.traceOf(testKey, "a_b")
	require.Equal(t, [6]uint64{6, 2, 2, 0, 1, 2}, [6]uint64{tr.Received, tr.Accepted, tr.Delivered, tr.Pending, tr.Late, tr.Rejected})
	require.Equal(t, ts*1000, max(tr.LastDelivered.Timestamp, (ts-60)*1000+60_000))
	require.Equal(t, "value", tr.LastRejectReason)
}

// TestTraceOfRejects refuses points in every way that leaves them a name.
func TestTraceOfRejects(t *testing.T) {
	noLeaks(t)
	at := newClock()
	r := newRig(t, func(c *flux.Config) {
		c.Now = at.now
		c.HTTP.Keys = []flux.Key{
			{Secret: testKey}, {Secret: prefixedKey, Prefix: "w", Rate: 1, MaxPoints: 3, MaxMetrics: 2},
			{Secret: "populate-populate", Rights: flux.RightPopulate},
		}
	})
	ts := at.now().Unix()
	f := func(key, metric, reason string, rejected uint64) {
		t.Helper()
		code, tr := r.traceOf(key, metric)
		require.Equal(t, 200, code, metric)
		require.Equal(t, reason, tr.LastRejectReason, metric)
		require.Equal(t, rejected, tr.Rejected, metric)
		require.Equal(t, at.now().UTC(), *tr.LastReject)
	}
	code, _ := r.post(array(testKey, ts-9000, "old.array"))
	require.Equal(t, 400, code)
	f(testKey, "old.array", "too_old", 1)
	code, _ = r.do("GET", fmt.Sprintf("/flux/metric_data?metric=old.get&timestamp=%d&value=1&key=%s", ts+100, testKey), "")
	require.Equal(t, 400, code)
	f(testKey, "old.get", "future", 1)
	code, _ = r.post(strings.Replace(array(testKey, ts, "sib.1", "sib.2", "sib.1"), `"sib.2","timestamp":`, `"sib.2","timestamp":1`, 1))
	require.Equal(t, 400, code)
	f(testKey, "sib.1", "sibling", 2)
	f(testKey, "sib.2", "timestamp", 1)
	code, _ = r.do("POST", "/flux/lines", fmt.Sprintf("l.1;b=1;a=1 x %d\nl.2 1 5\nl.3 1 %[1]d\n", ts), "Key", testKey)
	require.Equal(t, 207, code)
	f(testKey, "l.1;a=1;b=1", "value", 1)
	f(testKey, "l.2", "too_old", 1)
	code, _ = r.post(with("populate-populate", single("right", ts, 1)))
	require.Equal(t, 403, code)
	f(testKey, "right", "right", 1)
	code, _ = r.post(array(prefixedKey, ts, "1", "2", "3", "4"))
	require.Equal(t, 413, code)
	f(prefixedKey, "3", "limit", 1)
	code, _ = r.post(array(prefixedKey, ts, "1", "2", "3"))
	require.Equal(t, 207, code)
	f(prefixedKey, "w.3", "quota", 2)
	code, _ = r.post(array(prefixedKey, ts, "1"))
	require.Equal(t, 429, code)
	f(testKey, "w.1", "rate", 2)
	code, _ = r.do("POST", "/flux/metric_data_post", fmt.Sprintf(`{"metrics":[{"fields":{"s":"x","n":1},"name":"m","tags":{"host":"h"},"timestamp":%d}]}`, ts), "Key", testKey, "Telegraf", "1")
	require.Equal(t, 204, code)
	f(testKey, "h.m.s", "non_numeric", 1)
	code, _ = r.post(array("unknown-unknown-unknown", ts, "unknown"))
	require.Equal(t, 401, code)
	code, _ = r.traceOf(testKey, "unknown")
	require.Equal(t, 404, code, "who has no key leaves no trace")
	r.account()
}

func TestTraceIsUnderTheKeysPrefix(t *testing.T) {
	noLeaks(t)
	r := newRig(t, nil)
	code, _ := r.post(array(testKey, now(), "other.a", "warehouse-1.b", "warehouse-1x.c"))
	require.Equal(t, 204, code)
	for metric, want := range map[string]int{"other.a": 404, "b": 200, "warehouse-1.b": 200, "warehouse-1x.c": 404, "no.such": 404} {
		code, tr := r.traceOf(prefixedKey, metric)
		require.Equal(t, want, code, metric)
		if want == 200 {
			require.Equal(t, "warehouse-1.b", tr.Metric)
		}
	}
	_, unknown := r.do("GET", "/flux/trace?metric=no.such&key="+prefixedKey, "")
	_, other := r.do("GET", "/flux/trace?metric=other.a&key="+prefixedKey, "")
	require.Equal(t, unknown, other)
	code, _ = r.do("GET", "/flux/metric_data?metric=t.m;b=2;a=1&value=1&timestamp="+strconv.FormatInt(now(), 10)+"&key="+testKey, "")
	require.Equal(t, 204, code)
	for query, want := range map[string]int{"metric=t.m;b=2;a=1&key=" + testKey: 200, "metrics=a&key=" + testKey: 400, "metric=other.a": 400, "metric=other.a&key=x": 401, "key=" + testKey: 400, "metric=a%0a&key=" + testKey: 400} {
		code, body := r.do("GET", "/flux/trace?"+query, "")
		require.Equal(t, want, code, body)
	}
}

func TestTraceOutlivesTheServerAsFarAsTheSpoolDoes(t *testing.T) {
	noLeaks(t)
	carbon := graphitetest.Run(t)
	carbon.Pickle().Kill()
	cfg := flux.Config{
		HTTP:        &flux.HTTPConfig{Keys: []flux.Key{{Secret: testKey}}},
		Destination: toCarbon(carbon.PickleAddr), SpoolDir: t.TempDir(),
	}
	r := &rig{t: t, server: newServer(t, cfg), carbon: carbon}
	ts := now()
	code, _ := r.post(array(testKey, ts, "a", "b"))
	require.Equal(t, 204, code)
	require.Error(t, r.server.Close(ended()))
	r.server = newServer(t, cfg)
	_, tr := r.traceOf(testKey, "a")
	require.Equal(t, [4]uint64{0, 1, 1, 1}, [4]uint64{tr.Received, tr.Recovered, tr.Accepted, tr.Pending})
	code, _ = r.post(single("a", ts, 1))
	require.Equal(t, 204, code)
	require.NoError(t, carbon.Pickle().Restore())
	r.flush()
	_, tr = r.traceOf(testKey, "a")
	require.Equal(t, [5]uint64{1, 1, 1, 0, 1}, [5]uint64{tr.Received, tr.Accepted, tr.Delivered, tr.Pending, tr.Duplicate})
}

func TestTraceWhileManySend(t *testing.T) {
	noLeaks(t)
	r := newRig(t, nil)
	const senders, rounds = 4, 50
	ts := now()
	var sending sync.WaitGroup
	for range senders {
		sending.Go(func() {
			for i := range rounds {
				if code, body := r.post(array(testKey, ts-rounds+int64(i), "a", "b", "c")); code != 204 {
					panic(body)
				}
				r.do("GET", "/flux/trace?metric=a&key="+testKey, "")
			}
		})
	}
	sending.Wait()
	r.flush()
	for _, m := range []string{"a", "b", "c"} {
		_, tr := r.traceOf(testKey, m)
		require.EqualValues(t, senders*rounds, tr.Received)
		require.Equal(t, tr.Accepted, tr.Delivered)
		require.Zero(t, tr.Pending)
	}
	r.account()
}
