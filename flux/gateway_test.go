package flux_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/flux"
	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
)

const (
	testKey     = "0123456789abcdef0123456789abcdef"
	prefixedKey = "fedcba9876543210fedcba9876543210"
)

// rig is a server in front of an in-process Carbon.
type rig struct {
	t      *testing.T
	server *flux.Server
	carbon *graphitetest.Server
}

func newRig(t *testing.T, change func(*flux.Config)) *rig {
	t.Helper()
	carbon := graphitetest.Run(t)
	cfg := flux.Config{
		HTTP: &flux.HTTPConfig{Keys: []flux.Key{{Secret: testKey}, {Secret: prefixedKey, Prefix: "warehouse-1"}}},
		Destination: flux.Destination{Carbon: &graphite.ClientConfig{
			Addrs: []string{carbon.PickleAddr}, ConfirmAfter: 10 * time.Millisecond, BackoffMin: 5 * time.Millisecond, BackoffMax: 20 * time.Millisecond,
		}},
	}
	if change != nil {
		change(&cfg)
	}
	s, err := flux.New(cfg)
	require.NoError(t, err)
	r := &rig{t: t, server: s, carbon: carbon}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.Close(ctx)
	})
	return r
}

// do sends a request to the handler and returns the answer.
func (r *rig) do(method, target, body string, header ...string) (int, string) {
	r.t.Helper()
	req := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	r.server.Handler().ServeHTTP(rec, req)
	return rec.Code, rec.Body.String()
}

func (r *rig) post(body string) (int, string) {
	return r.do("POST", "/flux/metric_data_post", body)
}

// flush waits until all that was accepted has arrived.
func (r *rig) flush() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	require.NoError(r.t, r.server.Flush(ctx))
}

// account checks that every point received stands in one sum, and every point accepted in another.
func (r *rig) account() flux.Stats {
	r.t.Helper()
	st := r.server.Stats()
	sum := st.Accepted + st.Duplicate + st.Late
	for _, n := range st.Rejected {
		sum += n
	}
	require.Equal(r.t, st.Received, sum, "%+v", st)
	d := st.Destinations[0]
	out := d.Delivered + uint64(d.Pending)
	for _, n := range d.GivenUp {
		out += n
	}
	require.Equal(r.t, st.Accepted, out, "%+v", st)
	return st
}

func now() int64 { return time.Now().Unix() }

func single(metric string, ts int64, value any) string {
	b, _ := json.Marshal(map[string]any{"metric": metric, "timestamp": ts, "value": value, "key": testKey})
	return string(b)
}

func TestPointsArrive(t *testing.T) {
	r := newRig(t, nil)
	ts := now()
	for _, path := range []string{"/flux", ""} {
		code, body := r.do("GET", fmt.Sprintf("%s/metric_data?metric=get%s&timestamp=%d&value=1.5&key=%s", path, strings.ReplaceAll(path, "/", "."), ts, testKey), "")
		require.Equal(t, 204, code, body)
		require.Empty(t, body)
		code, body = r.do("POST", path+"/metric_data_post", fmt.Sprintf(
			`{"key": %q, "metrics": [{"metric": "a%s", "timestamp": "%d", "value": "2.5"}, {"metric": "b%s", "timestamp": %d, "value": -3}]}`,
			testKey, strings.ReplaceAll(path, "/", "."), ts, strings.ReplaceAll(path, "/", "."), ts))
		require.Equal(t, 204, code, body)
	}
	code, body := r.post(single("single", ts, "1e3"))
	require.Equal(t, 204, code, body)
	r.flush()
	for metric, value := range map[string]float64{"get": 1.5, "get.flux": 1.5, "a": 2.5, "a.flux": 2.5, "b": -3, "single": 1000} {
		require.Equal(t, []graphitetest.Sample{{Timestamp: float64(ts), Value: value}}, r.carbon.Points(metric), metric)
	}
	require.EqualValues(t, 7, r.account().Accepted)
}

func TestKeyTravels(t *testing.T) {
	r := newRig(t, nil)
	body := fmt.Sprintf(`{"metric": "a.b", "timestamp": %d, "value": 1}`, now())
	for what, header := range map[string][]string{
		"key header": {"key", prefixedKey},
		"bearer":     {"Authorization", "Bearer " + prefixedKey},
	} {
		code, answer := r.do("POST", "/flux/metric_data_post", body, header...)
		require.Equal(t, 204, code, what+answer)
	}
	code, answer := r.do("POST", "/flux/metric_data_post", single("c", now(), 1), "key", "wrong-wrong-wrong-wrong")
	require.Equal(t, 401, code, "the header comes before the body: "+answer)
	r.flush()
	require.Len(t, r.carbon.Points("warehouse-1.a.b"), 1)
	require.Equal(t, 1, r.carbon.Received())
}

func TestPrefixIsAWall(t *testing.T) {
	r := newRig(t, nil)
	ts := now()
	code, body := r.do("GET", fmt.Sprintf("/flux/metric_data?key=%s&metric=x&timestamp=%d&value=1", prefixedKey, ts), "")
	require.Equal(t, 204, code, body)
	code, body = r.post(fmt.Sprintf(`{"key": %q, "metrics": [{"metric": "warehouse-1.in", "timestamp": %[2]d, "value": 1}, {"metric": "warehouse-1x.out", "timestamp": %[2]d, "value": 1}, {"metric": "z.z", "timestamp": %[2]d, "value": 1}]}`, prefixedKey, ts))
	require.Equal(t, 204, code, body)
	r.flush()
	for _, m := range []string{"warehouse-1.x", "warehouse-1.in", "warehouse-1.warehouse-1x.out", "warehouse-1.z.z"} {
		require.Len(t, r.carbon.Points(m), 1, m)
	}
}

func TestBadRequests(t *testing.T) {
	ts := now()
	f := func(name string, code int, message, method, target, body string, header ...string) {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			gotCode, got := r.do(method, target, body, header...)
			require.Equal(t, code, gotCode, got)
			var a struct {
				Code    int
				Message string
			}
			require.NoError(t, json.Unmarshal([]byte(got), &a), got)
			require.Equal(t, code, a.Code)
			require.Contains(t, a.Message, message)
			require.NotContains(t, got, testKey)
			require.Zero(t, r.account().Accepted)
			code, got := r.post(single("alive", ts, 1))
			require.Equal(t, 204, code, got)
		})
	}
	get := func(q string) string { return "/flux/metric_data?" + q }
	const post = "/flux/metric_data_post"
	old, ahead := ts-4000, ts+120
	f("GET without a key", 400, "no key passed", "GET", get(fmt.Sprintf("metric=a&timestamp=%d&value=1", ts)), "")
	f("GET with a wrong key", 401, "invalid key", "GET", get(fmt.Sprintf("metric=a&timestamp=%d&value=1&key=abc", ts)), "")
	f("GET without a metric", 400, "metric", "GET", get(fmt.Sprintf("timestamp=%d&value=1&key=%s", ts, testKey)), "")
	f("GET with a bad name", 400, "invalid metric", "GET", get(fmt.Sprintf("metric=a%%0ab&timestamp=%d&value=1&key=%s", ts, testKey)), "")
	f("GET with an unknown parameter", 400, "Invalid parameter received - x", "GET", get("x=1&key="+testKey), "")
	f("POST without a key", 400, "no key passed", "POST", post, fmt.Sprintf(`{"metric":"a","timestamp":%d,"value":1}`, ts))
	f("POST with a wrong key", 401, "invalid key", "POST", post, strings.ReplaceAll(single("a", ts, 1), testKey, strings.Repeat("x", 32)))
	f("POST with a null key", 401, "invalid key", "POST", post, fmt.Sprintf(`{"metric":"a","timestamp":%d,"value":1,"key":null}`, ts))
	f("a key longer than keys are", 401, "invalid key", "POST", post, strings.ReplaceAll(single("a", ts, 1), testKey, strings.Repeat("x", 4000)))
	f("POST without a metric", 400, "no metric data passed", "POST", post, fmt.Sprintf(`{"timestamp":%d,"value":1,"key":%q}`, ts, testKey))
	f("bad name", 400, "invalid metric", "POST", post, single("a/../b", ts, 1))
	f("bad timestamp", 400, "invalid timestamp", "POST", post, strings.ReplaceAll(single("a", 7777, 1), "7777", `"soon"`))
	f("too old", 400, "too old", "POST", post, single("a", old, 1))
	f("too new", 400, "in the future", "POST", post, single("a", ahead, 1))
	f("value abc", 400, "invalid value", "POST", post, single("a", ts, "abc"))
	f("value NaN", 400, "invalid value", "POST", post, single("a", ts, "NaN"))
	f("value Inf", 400, "invalid value", "POST", post, single("a", ts, "Inf"))
	f("value true", 400, "invalid value", "POST", post, single("a", ts, true))
	f("bare NaN", 400, "invalid json", "POST", post, strings.ReplaceAll(single("a", ts, 7777), "7777", "NaN"))
	f("empty body", 400, "", "POST", post, "")
	f("an array", 400, "", "POST", post, "[1]")
	f("broken JSON", 400, "invalid json", "POST", post, `{"metric": "a`)
	f("one bad item among good ones", 400, "too old", "POST", post, fmt.Sprintf(
		`{"key":%q,"metrics":[{"metric":"a","timestamp":%[2]d,"value":1},{"metric":"b","timestamp":%[3]d,"value":1},{"metric":"c","timestamp":%[2]d,"value":1}]}`, testKey, ts, old))
	f("more than a body may have", 413, "more than 8388608 bytes", "POST", post, strings.Repeat("x", flux.DefaultMaxBody+1))
	f("not gzip", 400, "invalid gzip data", "POST", post, "plain", "Content-Encoding", "gzip")
	f("unknown encoding", 415, "zstd", "POST", post, "x", "Content-Encoding", "zstd")
	f("wrong method", 405, "takes GET", "POST", "/flux/metric_data", "")
	f("wrong method", 405, "takes POST", "GET", post, "")
	f("no such path", 404, "no such path", "GET", "/flux/metrics_data", "")
}

func TestRefusedArrayIsCounted(t *testing.T) {
	r := newRig(t, nil)
	code, body := r.post(fmt.Sprintf(
		`{"key":%q,"metrics":[{"metric":"a","timestamp":%[2]d,"value":1},{"metric":"b","timestamp":%[2]d,"value":"x"},{"metric":"c","timestamp":%[2]d,"value":1}]}`, testKey, now()))
	require.Equal(t, 400, code, body)
	require.Contains(t, body, "item 1")
	require.Equal(t, map[string]uint64{"value": 1, "sibling": 2}, r.account().Rejected)
	code, _ = r.post(strings.ReplaceAll(single("a", now(), 1), testKey, strings.Repeat("x", 32)))
	require.Equal(t, 401, code)
	require.EqualValues(t, 1, r.account().Rejected["key"])
}

func TestGzipBodies(t *testing.T) {
	r := newRig(t, nil)
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, err := io.WriteString(w, single("zipped", now(), 1))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	code, body := r.do("POST", "/flux/metric_data_post", z.String(), "Content-Encoding", "gzip")
	require.Equal(t, 204, code, body)
	z.Reset()
	w.Reset(&z)
	_, err = w.Write(make([]byte, 16<<20))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.Less(t, z.Len(), 1<<20)
	code, body = r.do("POST", "/flux/metric_data_post", z.String(), "Content-Encoding", "gzip")
	require.Equal(t, 413, code, body)
}

func TestAgeWindowCanBeTurnedOff(t *testing.T) {
	r := newRig(t, func(c *flux.Config) {
		c.HTTP.Keys = []flux.Key{{Secret: flux.ExampleKey}}
		c.HTTP.AllowExampleKey = true
		c.HTTP.MaxAge = -1
	})
	code, body := r.post(`{"metric":"vista.nodes.skyline-1.cpu.user","timestamp":"1478021700","value":"1.0","key":"` + flux.ExampleKey + `"}`)
	require.Equal(t, 204, code, body)
	r.flush()
	require.Equal(t, []graphitetest.Sample{{Timestamp: 1478021700, Value: 1}}, r.carbon.Points("vista.nodes.skyline-1.cpu.user"))
}

func TestNoAuthAndNoGet(t *testing.T) {
	r := newRig(t, func(c *flux.Config) { c.HTTP = &flux.HTTPConfig{NoAuth: true, NoGet: true} })
	code, body := r.post(fmt.Sprintf(`{"metric":"a","timestamp":%d,"value":1}`, now()))
	require.Equal(t, 204, code, body)
	code, body = r.do("GET", fmt.Sprintf("/flux/metric_data?metric=a&timestamp=%d&value=1", now()), "")
	require.Equal(t, 403, code)
	require.Contains(t, body, "POST")
}

func TestStatusTestAndKeyCheck(t *testing.T) {
	r := newRig(t, nil)
	code, body := r.do("GET", "/flux/metric_data?status=true", "")
	require.Equal(t, 200, code)
	require.JSONEq(t, `{"status": "ok"}`, body)
	code, body = r.do("POST", "/flux/metric_data_post", single("a", now(), 1), "X-Test-Only", "1")
	require.Equal(t, 200, code)
	require.Contains(t, body, `"ingest_count":1`)
	code, body = r.post(`{"validate_key": true, "key": "` + testKey + `"}`)
	require.Equal(t, 200, code)
	require.Contains(t, body, "key valid")
	code, _ = r.post(`{"validate_key": true, "key": "x"}`)
	require.Equal(t, 401, code)
	require.Zero(t, r.account().Accepted)
}

func TestRepeatedPointIsDeliveredOnce(t *testing.T) {
	r := newRig(t, nil)
	ts := now()
	for range 3 {
		code, _ := r.post(single("a", ts, 1))
		require.Equal(t, 204, code)
	}
	r.flush()
	code, _ := r.post(single("a", ts, 1))
	require.Equal(t, 204, code, "a duplicate of a delivered point")
	code, _ = r.post(single("a", ts-10, 1))
	require.Equal(t, 204, code, "a late point")
	code, _ = r.post(single("a", ts+1, 2))
	require.Equal(t, 204, code)
	r.flush()
	require.Len(t, r.carbon.Points("a"), 2)
	st := r.account()
	require.EqualValues(t, 3, st.Duplicate)
	require.EqualValues(t, 1, st.Late)
	code, body := r.post(fmt.Sprintf(`{"metric":"a","timestamp":%d,"value":1,"fill":"true","key":%q}`, ts-90000, testKey))
	require.Equal(t, 204, code, body)
	r.flush()
	require.Len(t, r.carbon.Points("a"), 3, "a fill is neither judged nor held to the window")
}

func TestMarksFollowDelivery(t *testing.T) {
	r := newRig(t, nil)
	r.carbon.Pickle().Kill()
	ts := now()
	code, _ := r.post(single("a", ts, 1))
	require.Equal(t, 204, code)
	code, _ = r.post(single("a", ts-5, 2))
	require.Equal(t, 204, code, "older than a pending point is not late: nothing was delivered")
	require.EqualValues(t, 0, r.account().Late)
	require.NoError(t, r.carbon.Pickle().Restore())
	r.flush()
	require.Len(t, r.carbon.Points("a"), 2)
}

func TestFullQueueAnswers503(t *testing.T) {
	r := newRig(t, func(c *flux.Config) {
		c.HTTP.RoomWait = 20 * time.Millisecond
		c.Destination.Carbon.MemoryMax = 64 << 10
		c.Destination.Carbon.Addrs = []string{"127.0.0.1:1"} // nobody listens there
	})
	metrics := func(from int) string {
		var items []string
		for i := range 200 {
			items = append(items, fmt.Sprintf(`{"metric":"m%d","timestamp":%d,"value":1}`, from+i, now()))
		}
		return fmt.Sprintf(`{"key":%q,"metrics":[%s]}`, testKey, strings.Join(items, ","))
	}
	kept, from := 0, 0
	for {
		req := httptest.NewRequest("POST", "/flux/metric_data_post", strings.NewReader(metrics(from)))
		rec := httptest.NewRecorder()
		r.server.Handler().ServeHTTP(rec, req)
		if rec.Code == http.StatusServiceUnavailable {
			require.Equal(t, "1", rec.Header().Get("Retry-After"))
			break
		}
		require.Equal(t, 204, rec.Code)
		kept += 200
		from += 200
		require.Less(t, kept, 100_000)
	}
	st := r.account()
	require.EqualValues(t, kept, st.Accepted)
	require.EqualValues(t, 200, st.Rejected["full"])
	require.EqualValues(t, kept, st.Destinations[0].Pending)
	code, body := r.post(metrics(from))
	require.Equal(t, 503, code, "what was refused was never accepted, so that it is no duplicate: "+body)
}

func TestMoreThanTheQueueCanHold(t *testing.T) {
	r := newRig(t, func(c *flux.Config) { c.Destination.Carbon.MemoryMax = 64 << 10 })
	var items []string
	for i := range 5000 {
		items = append(items, fmt.Sprintf(`{"metric":"m%d","timestamp":%d,"value":1}`, i, now()))
	}
	code, body := r.post(fmt.Sprintf(`{"key":%q,"metrics":[%s]}`, testKey, strings.Join(items, ",")))
	require.Equal(t, 413, code, body)
	require.EqualValues(t, 5000, r.account().Rejected["too_big"])
}

// TestLargeTelegrafBatch is what telegraf sends by default, with eleven fields a metric, and lines of that number.
func TestLargeTelegrafBatch(t *testing.T) {
	r := newRig(t, nil)
	var batch, lines strings.Builder
	ts := now()
	for i := range 1000 {
		fmt.Fprintf(&batch, `,{"fields":{`)
		for k := range 11 {
			fmt.Fprintf(&batch, `"f%d":%d,`, k, k)
			fmt.Fprintf(&lines, "lines.h%d.f%d 1 %d\n", i, k, ts)
		}
		fmt.Fprintf(&batch, `"s":"text"},"name":"m","tags":{"host":"h%d"},"timestamp":%d}`, i, ts)
	}
	code, answer := r.do("POST", "/flux/metric_data_post", `{"metrics":[`+batch.String()[1:]+`]}`, "Key", testKey, "Telegraf", "true")
	require.Equal(t, 204, code, answer)
	code, answer = r.do("POST", "/flux/lines", lines.String(), "Key", testKey)
	require.Equal(t, 204, code, answer)
	st := r.account()
	require.EqualValues(t, 22_000, st.Accepted)
	require.Equal(t, map[string]uint64{"non_numeric": 1000}, st.Rejected)
	code, answer = r.do("POST", "/flux/lines", "a 1 "+fmt.Sprint(ts)+"\n"+strings.Repeat("a\n", 300_000), "Key", testKey)
	require.Equal(t, 413, code, answer)
	require.Contains(t, answer, "bytes of memory, send fewer")
}

// TestLinesInRuns sends more lines at once than a small queue takes, in an order that no run may keep.
func TestLinesInRuns(t *testing.T) {
	noLeaks(t)
	r := newRig(t, func(c *flux.Config) { c.Destination.Carbon.MemoryMax, c.HTTP.RoomWait = 128<<10, 20*time.Second })
	var lines strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&lines, "a 1 %d\n", now()-int64(i))
	}
	code, answer := r.do("POST", "/flux/lines", lines.String(), "Key", testKey)
	require.Equal(t, 204, code, answer)
	r.flush()
	st := r.account()
	require.EqualValues(t, 3000, st.Accepted+st.Duplicate, "now is another second now and then")
	require.Zero(t, st.Late)

	r = newRig(t, func(c *flux.Config) {
		c.Destination, c.HTTP.RoomWait = toCarbon(nowhere, smallQueue), time.Millisecond
		c.HTTP.Keys = []flux.Key{{Secret: testKey, Rate: 5000}}
	})
	long := strings.ReplaceAll(lines.String(), "a 1", strings.Repeat("long.", 20)+"name 1")
	code, answer = r.do("POST", "/flux/lines", long, "Key", testKey)
	require.Equal(t, 503, code)
	require.Contains(t, answer, "points of this request were kept, send all of it again")
	st = r.account()
	require.Positive(t, st.Accepted)
	require.EqualValues(t, 3000, st.Accepted+st.Rejected["full"]+st.Duplicate)
}

// hangingStore fails as one over a connection that hangs does.
type hangingStore struct{ dedup.Store }

func (hangingStore) Last(context.Context, []dedup.Mark) error {
	return fmt.Errorf("%w: %w", dedup.ErrUnavailable, os.ErrDeadlineExceeded)
}

func TestAStoreThatHangsIsNoSlowBody(t *testing.T) {
	r := newRig(t, func(c *flux.Config) {
		c.Dedup.Store, c.Dedup.Away = hangingStore{&dedup.Memory{}}, flux.AwayRefuse
	})
	req := httptest.NewRequest("POST", "/flux/metric_data_post", strings.NewReader(single("a", now(), 1)))
	rec := httptest.NewRecorder()
	r.server.Handler().ServeHTTP(rec, req)
	require.Equal(t, 503, rec.Code, rec.Body.String())
	require.Equal(t, "1", rec.Header().Get("Retry-After"))
	require.Contains(t, rec.Body.String(), "the dedup store does not answer")
}

// TestAskedInTheQuery has a POST's query say what its body cannot, or does not.
func TestAskedInTheQuery(t *testing.T) {
	r := newRig(t, func(c *flux.Config) {
		c.HTTP.Keys = []flux.Key{{Secret: testKey}, {Secret: prefixedKey, Rights: flux.RightIngest}}
	})
	ts := now()
	old := fmt.Sprintf("a 1 %d\n", ts-90_000)
	f := func(want int, text, query, body string) {
		t.Helper()
		path := "/flux/lines"
		if strings.HasPrefix(body, "{") {
			path = "/flux/metric_data_post"
		}
		code, answer := r.do("POST", path+"?key="+testKey+"&"+query, body)
		require.Equal(t, want, code, answer)
		require.Contains(t, answer, text)
	}
	for _, body := range []string{fmt.Sprintf("a 1 %d\n", ts), fmt.Sprintf(`{"metric":"a","timestamp":%d,"value":1}`, ts)} {
		for _, query := range []string{"test=true", "test=1", "test", "validate_key=true", "status=true"} {
			f(200, "", query, body)
		}
		f(200, `"ingest_count":1`, "test=true", body)
		f(200, `"ingest_count":1`, "test=true&x=%zz", body)
		f(400, `invalid fill - \"1\" - true or false`, "fill=1", body)
	}
	for _, path := range []string{"/flux/metric_data_post", "/flux/lines"} { // whatever the body
		for _, body := range []string{"", "{}", "{", "\x00"} {
			code, answer := r.do("POST", path+"?status=true", body)
			require.Equal(t, 200, code, answer)
			require.JSONEq(t, `{"status": "ok"}`, answer)
			code, answer = r.do("POST", path+"?validate_key=true&key="+testKey, body)
			require.Equal(t, 200, code, answer)
			code, answer = r.do("POST", path+"?validate_key=true&key="+strings.Repeat("f", len(testKey)), body)
			require.Equal(t, 401, code, answer)
		}
	}
	require.Zero(t, r.account().Received)
	f(207, "too old", "", old)
	f(204, "", "fill=true", old)
	f(204, "", "fill=true", fmt.Sprintf(`{"metrics":[{"metric":"b","timestamp":%d,"value":1}]}`, ts-90_000))
	f(204, "", "fill=false&test=false", fmt.Sprintf("c 1 %d\n", ts))
	code, answer := r.do("POST", "/flux/lines?fill=true&key="+prefixedKey, old)
	require.Equal(t, 403, code, answer)
	require.EqualValues(t, 3, r.account().Accepted)
	code, answer = r.do("POST", "/flux/metric_data_post", strings.Replace(single("d", ts, 1), "{", `{"test":"false",`, 1))
	require.Equal(t, 200, code, "as the original: "+answer)
	require.EqualValues(t, 3, r.account().Accepted)
}

// TestTestMode answers in the form that today's Flux has.
func TestTestMode(t *testing.T) {
	r := newRig(t, nil)
	ts := now()
	const message = "metric ingestion test, no metrics were ingested only counts are reported"
	f := func(want, method, path, body string) {
		t.Helper()
		code, answer := r.do(method, path, body)
		require.Equal(t, 200, code, answer)
		require.JSONEq(t, want, answer)
	}
	f(`{"namespace":"None","message":"`+message+`","ingest_count":2,"drop_count":0,"metrics":"['a.b', 'c']","dropped":"[]"}`,
		"POST", "/flux/metric_data_post?test=true", array(testKey, ts, "a.b", "c"))
	f(`{"namespace":"warehouse-1","message":"`+message+`","ingest_count":1,"drop_count":0,"metrics":"['a']","dropped":"[]"}`,
		"POST", "/flux/metric_data_post", strings.Replace(array(prefixedKey, ts, "a"), "{", `{"test":true,`, 1))
	f(`{"namespace":"warehouse-1","message":"`+message+`","ingest_count":1,"drop_count":0,"metrics":"['warehouse-1.a']","dropped":"[]"}`,
		"GET", fmt.Sprintf("/flux/metric_data?test=true&metric=a&timestamp=%d&value=1&key=%s", ts, prefixedKey), "")
	f(`{"namespace":"None","message":"`+message+`","ingest_count":0,"drop_count":1,"metrics":"[]","dropped":"['invalid line - \"it\\'s\" - not a name, a value and a timestamp - line 1']"}`,
		"POST", "/flux/lines?test=true&key="+testKey, "it's\n")
	require.Zero(t, r.account().Received)
}

func TestPathsAndMethods(t *testing.T) {
	r := newRig(t, nil)
	for _, path := range []string{"//flux/metric_data_post", "/flux//metric_data_post", "/./metric_data_post", "/x/../flux/metric_data_post"} {
		code, answer := r.do("POST", path, single("a"+strings.ReplaceAll(path, "/", "_"), now(), 1))
		require.Equal(t, 204, code, path+answer)
	}
	for _, path := range []string{"/metric_data_post", "/flux/metric%5Fdata_post"} {
		code, answer := r.do("POST", path, single("a"+strings.NewReplacer("/", "_", "%", "_").Replace(path), now(), 1))
		require.Equal(t, 204, code, path+answer)
	}
	code, _ := r.do("POST", "/flux%2Fmetric_data_post", single("a", now(), 1))
	require.Equal(t, 404, code, "an escaped slash is part of an element")
	req := httptest.NewRequest("GET", "/flux/metric_data_post", nil)
	r.server.Handler().ServeHTTP(httptest.NewRecorder(), req)
	require.Equal(t, "/flux/metric_data_post", req.Pattern, "as behind a mux")
	code, answer := r.do("POST", "/flux//metric_data_post/", single("a", now(), 1))
	require.Equal(t, 404, code)
	require.Contains(t, answer, "no such path")
	for _, path := range []string{"/healthz", "/flux/readyz", "/metrics"} {
		req := httptest.NewRequest("POST", path, nil)
		rec := httptest.NewRecorder()
		r.server.Handler().ServeHTTP(rec, req)
		require.Equal(t, 405, rec.Code, path)
		require.Equal(t, "GET, HEAD", rec.Header().Get("Allow"))
		require.Contains(t, rec.Body.String(), "takes GET")
		code, _ = r.do("HEAD", path, "")
		require.Equal(t, 200, code)
	}
}

// TestAllLeftOut warns when nothing of a request was good.
func TestAllLeftOut(t *testing.T) {
	f := func(level, lines string) {
		t.Helper()
		var mu sync.Mutex
		var log bytes.Buffer
		r := newRig(t, func(c *flux.Config) { c.Logger = slog.New(slog.NewTextHandler(lockedWriter{&mu, &log}, nil)) })
		code, _ := r.do("POST", "/flux/lines", lines, "Key", testKey)
		require.Equal(t, 207, code)
		mu.Lock()
		defer mu.Unlock()
		require.Contains(t, log.String(), "level="+level+` msg="points of a request were left out"`)
	}
	f("WARN", "bad\nworse\n")
	f("INFO", fmt.Sprintf("bad\na 1 %d\n", now()))
}
