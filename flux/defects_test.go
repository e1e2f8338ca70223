package flux_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/flux"
	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
	"github.com/fluxmetrics/fluxkit/internal/queue"
)

// The defects of Flux, by the number that each has in our description of it, as far as they concern the gateway and the
// way to Carbon. Those that parsing alone shows are in package ingest, B-11, B-12 and B-21 to B-26 in package backfill.

// TestConformance sends what was sent to Flux, and expects what its documentation has, or what is right where that is
// not what it does.
func TestConformance(t *testing.T) {
	noLeaks(t)
	r := newRig(t, nil)
	ts := now()
	f := func(want int, answer, method, target, body string, header ...string) {
		t.Helper()
		code, got := r.do(method, target, body, header...)
		require.Equal(t, want, code, got)
		require.Contains(t, got, answer)
		if want == 204 {
			require.Empty(t, got)
		}
	}
	get := func(want int, answer, query string) {
		t.Helper()
		f(want, answer, "GET", "/flux/metric_data?"+query, "")
	}
	post := func(want int, answer, body string, header ...string) {
		t.Helper()
		f(want, answer, "POST", "/flux/metric_data_post", body, header...)
	}
	get(204, "", fmt.Sprintf("metric=a.b&timestamp=%d&value=1.0&key=%s", ts, testKey))
	get(400, `{"code":400,"message":"no key passed"}`, fmt.Sprintf("metric=a.b&timestamp=%d&value=1.0", ts))
	get(401, `{"code":401,"message":"invalid key"}`, "key=abc")
	get(401, "invalid key", fmt.Sprintf("metric=a.b&timestamp=%d&value=1.0&key=", ts))
	for _, bad := range []string{fmt.Sprint(ts - 3700), fmt.Sprint(ts + 90), fmt.Sprint(ts * 1000), fmt.Sprint(ts, ".5"), "abc", ""} {
		get(400, "timestamp", "metric=a.b&timestamp="+strings.ReplaceAll(bad, " ", "")+"&value=1.0&key="+testKey)
	}
	get(400, "invalid value", fmt.Sprintf("metric=a.b&timestamp=%d&value=nan&key=%s", ts, testKey))
	get(400, "invalid metric", fmt.Sprintf("metric=a;b&timestamp=%d&value=1&key=%s", ts, testKey))
	get(400, `"Invalid parameter received - x"`, "x=1")
	get(200, `{"status": "ok"}`, "status=true")
	post(204, "", fmt.Sprintf(`{"metric":"vista.nodes.skyline-1.cpu.user","timestamp":"%d","value":"1.0","key":%q}`, ts, testKey))
	post(400, "too old", `{"metric":"vista.nodes.skyline-1.cpu.user","timestamp":"1478021700","value":"1.0","key":"`+testKey+`"}`)
	for _, body := range []string{`{}`, `[1]`, `{"metric":`, ``, `null`, `5`, `"x"`, `[]`} {
		post(400, `"code":400`, body)
	}
	post(400, "no key passed", fmt.Sprintf(`{"metric":"a","timestamp":%d,"value":1}`, ts))
	post(401, "invalid key", with("abc", single("a", ts, 1)))
	post(400, "no metric data passed", `{"key":"`+testKey+`"}`)
	post(200, "key valid", `{"key":"`+testKey+`","validate_key":"true"}`)
	post(200, `{"status": "ok"}`, `{"status":false}`)
	post(204, "", strings.Replace(single("old", 1478021700, 1), "{", `{"fill":"true",`, 1))
	post(200, `"ingest_count":2`, strings.Replace(array(testKey, ts, "x", "y"), "{", `{"test":true,`, 1))
	telegraf := fmt.Sprintf(`{"metrics":[{"fields":{"s":"ok","b":true},"name":"m","tags":{"host":"h"},"timestamp":%d}]}`, ts)
	post(204, "", telegraf, "Key", testKey, "Telegraf", "true")
	before := r.server.Stats()
	post(204, "", single("twice", ts, 1))
	post(204, "", single("twice", ts, 1))
	require.Equal(t, before.Duplicate+1, r.account().Duplicate)
	r.flush()
	require.Len(t, r.carbon.Points("twice"), 1)
	require.Empty(t, r.carbon.Points("x"))

	reporting := newRig(t, func(c *flux.Config) { c.HTTP.TelegrafReport = true })
	code, answer := reporting.do("POST", "/flux/metric_data_post", telegraf, "Key", testKey, "Telegraf", "true")
	require.Equal(t, 207, code)
	require.Contains(t, answer, `"2 non-numeric value metrics were dropped"`)
}

// B-1: the prefix of a key was lost unless the key was the last parameter.
func TestFluxB01PrefixWhereverTheKeyStands(t *testing.T) {
	r := newRig(t, nil)
	code, body := r.do("GET", fmt.Sprintf("/flux/metric_data?key=%s&metric=a&timestamp=%d&value=1&fill=true", prefixedKey, now()), "")
	require.Equal(t, 204, code, body)
	r.flush()
	require.Len(t, r.carbon.Points("warehouse-1.a"), 1)
	require.Equal(t, 1, r.carbon.Received())
}

// B-2: the points before a bad one were taken although the answer was 400, and dropped as seen when all was sent again.
func TestFluxB02ArraysAreAllOrNothing(t *testing.T) {
	r := newRig(t, nil)
	ts := now()
	bad := strings.Replace(array(testKey, ts, "a", "b", "c"), `"b","timestamp":`, `"b","timestamp":1`, 1)
	code, _ := r.post(bad)
	require.Equal(t, 400, code)
	require.Zero(t, r.account().Accepted)
	code, _ = r.post(array(testKey, ts, "a", "b", "c"))
	require.Equal(t, 204, code)
	r.flush()
	require.Equal(t, 3, r.carbon.Received())
	require.Zero(t, r.account().Duplicate)
}

// B-3: a GET checked nothing of the name: line breaks reached Carbon.
func TestFluxB03GetChecksTheName(t *testing.T) {
	r := newRig(t, nil)
	code, _ := r.do("GET", fmt.Sprintf("/flux/metric_data?metric=a%%201%%205%%0Ab&timestamp=%d&value=1&key=%s", now(), testKey), "")
	require.Equal(t, 400, code)
	require.Equal(t, map[string]uint64{"name": 1}, r.account().Rejected)
}

// B-4: a GET without a key was a 500.
func TestFluxB04GetWithoutKey(t *testing.T) {
	r := newRig(t, nil)
	code, body := r.do("GET", fmt.Sprintf("/flux/metric_data?metric=a&timestamp=%d&value=1", now()), "")
	require.Equal(t, 400, code)
	require.JSONEq(t, `{"code":400,"message":"no key passed"}`, body)
}

// B-5: fill was ignored in a POST of a single point.
func TestFluxB05FillOnASinglePoint(t *testing.T) {
	r := newRig(t, nil)
	code, body := r.post(strings.Replace(single("a", 1478021700, 1), "{", `{"fill":"true",`, 1))
	require.Equal(t, 204, code, body)
	r.flush()
	require.Len(t, r.carbon.Points("a"), 1)
}

// B-6: a prefix had no dot boundary, and an item that had it already took it from those that followed.
func TestFluxB06PrefixConfinesEachItem(t *testing.T) {
	r := newRig(t, nil)
	code, _ := r.post(array(prefixedKey, now(), "x.y", "warehouse-1.x", "z.z", "warehouse-1x.a"))
	require.Equal(t, 204, code)
	r.flush()
	for _, m := range []string{"warehouse-1.x.y", "warehouse-1.x", "warehouse-1.z.z", "warehouse-1.warehouse-1x.a"} {
		require.Len(t, r.carbon.Points(m), 1, m)
	}
}

// B-7: a value that is not finite was stored as the metric's mark, which nobody could read from then on.
func TestFluxB07NoMarkIsPoisoned(t *testing.T) {
	store := &dedup.Memory{}
	r := newRig(t, func(c *flux.Config) { c.Dedup.Store = store })
	ts := now()
	for _, value := range []string{"nan", "inf", "-Infinity", "1e999"} {
		code, _ := r.do("GET", fmt.Sprintf("/flux/metric_data?metric=a&timestamp=%d&value=%s&key=%s", ts, value, testKey), "")
		require.Equal(t, 400, code)
		code, _ = r.post(single("a", ts, value))
		require.Equal(t, 400, code)
	}
	for range 2 {
		code, _ := r.post(single("a", ts, 1))
		require.Equal(t, 204, code)
		r.flush()
	}
	require.Equal(t, ts, markOf(t, store, "a"))
	require.EqualValues(t, 1, r.account().Duplicate)
}

// B-8: booleans counted as numbers, null as a name, and an empty timestamp as now.
func TestFluxB08Types(t *testing.T) {
	r := newRig(t, nil)
	for _, members := range []string{`"metric":"a","value":true`, `"metric":null,"value":1`, `"metric":5,"value":1`, `"metric":"a","value":1,"timestamp":""`} {
		code, _ := r.post(`{"key":"` + testKey + `","metrics":[{` + members + `}]}`)
		require.Equal(t, 400, code, members)
	}
	require.EqualValues(t, 4, r.account().Received)
}

// B-9: a new key was refused by the request that found it, and had no prefix until a restart.
func TestFluxB09NewKeysHaveTheirPrefixAtOnce(t *testing.T) {
	r := newRig(t, nil)
	const fresh = "fresh-fresh-fresh"
	code, _ := r.post(with(fresh, single("a", now(), 1)))
	require.Equal(t, 401, code)
	require.NoError(t, r.server.SetKeys([]flux.Key{{Secret: fresh, Prefix: "new"}}))
	code, _ = r.post(with(fresh, single("a", now(), 1)))
	require.Equal(t, 204, code)
	code, _ = r.post(single("a", now(), 1))
	require.Equal(t, 401, code, "and one that was taken away is gone")
	r.flush()
	require.Len(t, r.carbon.Points("new.a"), 1)
}

// B-10: whoever had no key could have the server reload, and bodies kept.
func TestFluxB10NothingHappensWithoutAKey(t *testing.T) {
	r := newRig(t, nil)
	for _, body := range []string{with("unknown-unknown-unknown", single("a", now(), 1)), `{"status":1,"status_code":207}`, "{", array("unknown-unknown-unknown", now(), "a", "b")} {
		r.post(body)
	}
	st := r.account()
	require.Zero(t, st.Accepted)
	require.Equal(t, map[string]uint64{"key": 3}, st.Rejected)
	require.Equal(t, map[string]uint64{"json": 1}, st.Unread)
	code, _ := r.post(single("a", now(), 1))
	require.Equal(t, 204, code)
}

// B-13: a metric's mark rose before its point was delivered, so that what was sent again after a crash was thrown away.
func TestFluxB13MarksFollowDelivery(t *testing.T) {
	carbon := graphitetest.Run(t)
	carbon.Pickle().Kill()
	store := &dedup.Memory{} // outlives the server
	cfg := flux.Config{
		HTTP: &flux.HTTPConfig{Keys: []flux.Key{{Secret: testKey}}}, Destination: toCarbon(carbon.PickleAddr), Dedup: flux.DedupConfig{Store: store},
	}
	r := &rig{t: t, server: newServer(t, cfg), carbon: carbon}
	ts := now()
	code, _ := r.post(single("a", ts, 1))
	require.Equal(t, 204, code)
	require.Error(t, r.server.Close(ended()), "it dies with the point")
	require.Zero(t, markOf(t, store, "a"))
	require.NoError(t, carbon.Pickle().Restore())
	r.server = newServer(t, cfg)
	code, _ = r.post(single("a", ts, 1))
	require.Equal(t, 204, code)
	r.flush()
	require.Len(t, carbon.Points("a"), 1)
	require.Equal(t, ts, markOf(t, store, "a"))
}

// B-14: the answer was 204 before the point was anywhere but in memory.
func TestFluxB14AcknowledgedMeansOnDisk(t *testing.T) {
	dir := t.TempDir()
	r := newRig(t, func(c *flux.Config) { c.SpoolDir, c.Destination = dir, toCarbon(nowhere) })
	for i := range 10 {
		code, _ := r.post(single("a", now()-int64(i), 1))
		require.Equal(t, 204, code)
		rep, err := queue.Inspect(filepath.Join(dir, "carbon"), nil)
		require.NoError(t, err)
		require.EqualValues(t, i+1, rep.Points)
	}
}

// B-15: nothing was bounded, and every answer 204.
func TestFluxB15AFullQueueSaysSo(t *testing.T) {
	r := newRig(t, func(c *flux.Config) { c.HTTP.RoomWait, c.Destination = time.Millisecond, toCarbon(nowhere, smallQueue) })
	for i := 0; ; i++ {
		require.Less(t, i, 10_000)
		rec := httptest.NewRecorder()
		r.server.Handler().ServeHTTP(rec, httptest.NewRequest("POST", "/flux/metric_data_post", strings.NewReader(single(fmt.Sprint("m", i), now(), 1))))
		if rec.Code == 503 {
			require.NotEmpty(t, rec.Header().Get("Retry-After"))
			require.Contains(t, rec.Body.String(), "no room")
			break
		}
		require.Equal(t, 204, rec.Code)
	}
	r.account()
}

// B-16: a Carbon that hung held up its worker for ever.
func TestFluxB16AHungCarbonHoldsNobodyUp(t *testing.T) {
	r := newRig(t, nil)
	r.carbon.Pickle().Pause()
	for i := range 50 {
		code, _ := r.post(single(fmt.Sprint("m", i), now(), 1))
		require.Equal(t, 204, code)
	}
	r.carbon.Pickle().Resume()
	r.flush()
	require.Equal(t, 50, r.carbon.Received())
}

// fillThenRestart posts to a gateway before a Carbon that takes nothing until there is no room, and has the next one
// deliver what the first one accepted.
func fillThenRestart(t *testing.T, addr string) {
	t.Helper()
	cfg := flux.Config{
		HTTP:     &flux.HTTPConfig{Keys: []flux.Key{{Secret: testKey}}, RoomWait: time.Millisecond},
		SpoolDir: t.TempDir(), SpoolMax: 64 << 10, Destination: toCarbon(addr),
	}
	r := &rig{t: t, server: newServer(t, cfg)}
	accepted := 0
	for ; ; accepted++ {
		require.Less(t, accepted, 10_000)
		code, body := r.start(single(fmt.Sprint("m", accepted), now(), 1))()
		if code == 503 {
			require.Contains(t, body, "no room")
			break
		}
		require.Equal(t, 204, code, body)
	}
	require.Greater(t, accepted, 50)
	code, _ := r.do("GET", "/healthz", "")
	require.Equal(t, 200, code)
	require.EqualValues(t, accepted, r.account().Destinations[0].Pending)
	var left *flux.UndeliveredError
	require.ErrorAs(t, r.server.Close(ended()), &left)
	require.EqualValues(t, accepted, left.Kept)

	r.carbon = graphitetest.Run(t)
	cfg.Destination = toCarbon(r.carbon.PickleAddr)
	r.server = newServer(t, cfg)
	r.flush()
	for i := range accepted {
		require.Len(t, r.carbon.Points(fmt.Sprint("m", i)), 1)
	}
}

// B-16, for good: nobody waits for a Carbon that never goes on, until there is no room, and then all are told so.
func TestFluxB16ACarbonThatStaysHung(t *testing.T) {
	noLeaks(t)
	carbon := graphitetest.Run(t)
	carbon.Pickle().Pause()
	fillThenRestart(t, carbon.PickleAddr)
}

// B-17: of two points of one metric the older was dropped when a worker took the newer one first, and marks could fall.
func TestFluxB17OrderAmongSendersLosesNothing(t *testing.T) {
	store := &dedup.Memory{}
	r := newRig(t, func(c *flux.Config) { c.Dedup.Store = store })
	r.carbon.Pickle().Kill() // so that no mark rises between them
	ts := now()
	var sending sync.WaitGroup
	for i := range 20 {
		sending.Go(func() { r.post(single("a", ts-int64(i), float64(i))) })
	}
	sending.Wait()
	require.NoError(t, r.carbon.Pickle().Restore())
	r.flush()
	require.Len(t, r.carbon.Points("a"), 20)
	require.Equal(t, ts, markOf(t, store, "a"))
	require.NoError(t, store.Raise(context.Background(), []dedup.Mark{{Metric: []byte("a"), Timestamp: (ts - 60) * 1000}}))
	require.Equal(t, ts, markOf(t, store, "a"))
}

// B-18: what was late could not be sent at all, and one point ahead of time muted its metric.
func TestFluxB18LatePointsByChoice(t *testing.T) {
	store := &dedup.Memory{}
	r := newRig(t, func(c *flux.Config) { c.Dedup.Store, c.Dedup.LateDeliver = store, true })
	ts := now()
	for _, at := range []int64{ts, ts - 60} {
		code, _ := r.post(single("a", at, 1))
		require.Equal(t, 204, code)
		r.flush()
	}
	require.Len(t, r.carbon.Points("a"), 2)
	require.Equal(t, ts, markOf(t, store, "a"))

	strict := newRig(t, func(c *flux.Config) { c.Dedup.Store = store })
	require.NoError(t, store.Raise(context.Background(), []dedup.Mark{{Metric: []byte("ahead"), Timestamp: (ts + 7200) * 1000}}))
	code, _ := strict.post(single("ahead", ts, 1))
	require.Equal(t, 204, code)
	strict.flush()
	require.Len(t, strict.carbon.Points("ahead"), 1, "a mark that no input can have raised does not count")
}

// B-19: there was a connection for each chunk, or each point, and an attempt to connect for each point that came.
func TestFluxB19OneConnectionCarriesMuch(t *testing.T) {
	r := newRig(t, func(c *flux.Config) { c.Destination.Carbon.ConfirmAfter = 0 })
	for i := range 200 {
		code, _ := r.post(single(fmt.Sprint("m", i), now(), 1))
		require.Equal(t, 204, code)
	}
	require.NoError(t, r.carbon.Wait(soon(t), 200))
	require.Less(t, r.carbon.Pickle().Accepted(), 10)
}

// B-19, Carbon down: the points that come meanwhile bring no attempts to connect of their own.
func TestFluxB19AttemptsFollowTheBackoff(t *testing.T) {
	noLeaks(t)
	r := newRig(t, func(c *flux.Config) {
		c.Destination.Carbon.BackoffMin, c.Destination.Carbon.BackoffMax = time.Hour, time.Hour
	})
	carbon := r.carbon.Pickle()
	for range 5 {
		carbon.ResetAfter(0)
	}
	for i := range 300 {
		code, _ := r.post(single(fmt.Sprint("m", i), now(), 1))
		require.Equal(t, 204, code)
		if i == 0 {
			eventually(t, "the first attempt fails", func() bool { return r.server.Stats().Destinations[0].Down })
		}
	}
	require.LessOrEqual(t, carbon.Accepted(), 2)
	require.Zero(t, r.carbon.Received())
	for carbon.Pending() > 0 {
		require.Error(t, r.server.Flush(soonEnded(t)), "a flush brings one attempt")
	}
	r.flush()
	require.Equal(t, 300, r.carbon.Received())
}

// B-19, a failure in the middle: what Carbon has confirmed is not sent once more.
func TestFluxB19APartialFailureResendsItsPart(t *testing.T) {
	noLeaks(t)
	const total = 3000 // of a kilobyte each, many times what goes at once
	name := strings.Repeat("x", 1000)
	r := newRig(t, func(c *flux.Config) { c.Destination.Carbon.ConfirmBytes = 64 << 10 })
	carbon := r.carbon.Pickle()
	carbon.Kill()
	for i := range total / 100 {
		_, err := r.server.Ingest(soon(t), points(fmt.Sprint(name, i), 100, time.Now()))
		require.NoError(t, err)
	}
	for range 4 {
		carbon.ResetAfter(1 << 40) // these hold
	}
	carbon.ResetAfter(4 << 10)
	require.NoError(t, carbon.Restore())
	r.flush()
	require.Zero(t, carbon.Pending())
	for i := range total / 100 {
		require.NotEmpty(t, r.carbon.Points(fmt.Sprintf("%s%d.99", name, i)))
	}
	resent := r.account().Destinations[0].Resent
	require.Positive(t, resent)
	require.Less(t, resent, uint64(total/3))
	require.LessOrEqual(t, r.carbon.Received(), total+int(resent))
}

// countingStore counts the calls.
type countingStore struct {
	dedup.Memory
	looked, raised atomic.Int64
}

func (s *countingStore) Last(ctx context.Context, m []dedup.Mark) error {
	s.looked.Add(1)
	return s.Memory.Last(ctx, m)
}

func (s *countingStore) Raise(ctx context.Context, m []dedup.Mark) error {
	s.raised.Add(1)
	return s.Memory.Raise(ctx, m)
}

// B-20: every point cost several round trips to Redis.
func TestFluxB20TheStoreIsAskedOnceARequest(t *testing.T) {
	store := &countingStore{}
	r := newRig(t, func(c *flux.Config) { c.Dedup.Store = store })
	var names []string
	for i := range 450 {
		names = append(names, fmt.Sprint("m", i))
	}
	code, _ := r.post(array(testKey, now(), names...))
	require.Equal(t, 204, code)
	r.flush()
	require.EqualValues(t, 1, store.looked.Load())
	eventually(t, "marks are raised", func() bool { return markOf(t, store, "m449") > 0 })
	require.LessOrEqual(t, store.raised.Load(), int64(4))
}

// Redis that was down, or hung, stalled the workers although Carbon was there.
func TestFluxAStoreThatHangsDoesNotStallDelivery(t *testing.T) {
	noLeaks(t)
	store := newStalledStore(t)
	r := newRig(t, away(store, flux.AwayDeliver, 20*time.Millisecond))
	ts := now()
	r.carbon.Pickle().Pause()
	code, _ := r.post(single("before", ts, 1))
	require.Equal(t, 204, code)
	store.hang() // nothing but its caller ends a call
	r.carbon.Pickle().Resume()
	r.flush()
	for i := range 20 {
		code, _ = r.post(single(fmt.Sprint("m", i), ts, 1))
		require.Equal(t, 204, code)
		r.flush()
	}
	require.Equal(t, 21, r.carbon.Received())
	store.goOn()
	for _, metric := range []string{"before", "m0", "m19"} {
		eventually(t, "marks rise when it is back", func() bool { return markOf(t, store, metric) == ts })
	}
}

// Long names made messages that Carbon refuses.
func TestFluxLongNamesArrive(t *testing.T) {
	r := newRig(t, nil)
	ts := now()
	var names []string
	for i := range 480 {
		names = append(names, strings.Repeat(strings.Repeat("x", 200)+".", 19)+fmt.Sprint(i))
	}
	code, body := r.post(array(testKey, ts, names...))
	require.Equal(t, 204, code, body)
	r.flush()
	require.Equal(t, 480, r.carbon.Received())
	require.Zero(t, r.carbon.Invalid())
}

// Plain lines by POST are judged one by one.
func TestLinesByPost(t *testing.T) {
	r := newRig(t, nil)
	ts := now()
	lines := fmt.Sprintf("a 1 %d\n\nold 1 5\nb;z=1;y=2 2 -1\nbad\n", ts)
	code, body := r.do("POST", "/flux/lines", lines, "Key", testKey)
	require.Equal(t, 207, code)
	require.Contains(t, body, "line 3")
	require.Contains(t, body, "line 5")
	require.Contains(t, body, `"processed metrics count":2`)
	code, body = r.do("POST", "/lines?key="+prefixedKey, fmt.Sprintf("a 1 %d\n", ts))
	require.Equal(t, 204, code, body)
	code, _ = r.do("POST", "/lines", fmt.Sprintf("a 1 %d\n", ts))
	require.Equal(t, 400, code)
	r.flush()
	require.Len(t, r.carbon.Points("a"), 1)
	require.Len(t, r.carbon.Points("b;y=2;z=1"), 1)
	require.Len(t, r.carbon.Points("warehouse-1.a"), 1)
	require.Equal(t, map[string]uint64{"too_old": 1, "form": 1, "no_key": 1}, r.account().Rejected)
	var b graphite.Batch
	b.Add("a", time.Unix(ts, 0), 1)
	res, err := r.server.Ingest(soon(t), b.Points())
	require.NoError(t, err)
	require.Equal(t, 1, res.Duplicate, "one account for all inputs that are judged")
}
