package flux_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux"
)

// clock is what a test sets.
type clock struct{ ns atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.ns.Store(time.Now().Truncate(time.Second).UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.ns.Load()) }
func (c *clock) advance(d time.Duration) { c.ns.Add(int64(d)) }

// array is a body of points of the metrics named, at ts.
func array(key string, ts int64, metrics ...string) string {
	var items []string
	for _, m := range metrics {
		items = append(items, fmt.Sprintf(`{"metric":%q,"timestamp":%d,"value":1}`, m, ts))
	}
	return fmt.Sprintf(`{"key":%q,"metrics":[%s]}`, key, strings.Join(items, ","))
}

func with(key, body string) string { return strings.ReplaceAll(body, testKey, key) }

func TestRights(t *testing.T) {
	noLeaks(t)
	const only, both, none, fills = "ingest-only-ingest", "both-both-both-both", "populate-populate", "fill-only-fill-only"
	r := newRig(t, func(c *flux.Config) {
		c.HTTP.Keys = []flux.Key{{Secret: only, Rights: flux.RightIngest}, {Secret: both}, {Secret: none, Rights: flux.RightPopulate}, {Secret: fills, Rights: flux.RightFill}}
	})
	ts := now()
	fill := strings.Replace(single("a", ts-90000, 1), "{", `{"fill":true,`, 1)
	f := func(key, body string, want int, text string) {
		t.Helper()
		code, answer := r.post(with(key, body))
		require.Equal(t, want, code, answer)
		require.Contains(t, answer, text)
	}
	f(only, single("a", ts, 1), 204, "")
	f(only, fill, 403, "may not fill")
	f(both, fill, 204, "")
	f(none, single("a", ts, 1), 403, "may not send points")
	f(fills, fill, 204, "")
	f(fills, single("a", ts, 1), 403, "may only fill")
	f(none, `{"validate_key":true,"key":"`+testKey+`"}`, 200, "key valid")
	require.Equal(t, map[string]uint64{"right": 3}, r.account().Rejected)
}

func TestRightsAsText(t *testing.T) {
	r, err := flux.ParseRights("ingest, populate")
	require.NoError(t, err)
	require.Equal(t, flux.RightIngest|flux.RightPopulate, r)
	require.Equal(t, "ingest,populate", r.String())
	_, err = flux.ParseRights("ingest,delete")
	require.ErrorContains(t, err, `"delete" is no right`)
}

// TestRate has a key that may send ten points a second.
func TestRate(t *testing.T) {
	noLeaks(t)
	at := newClock()
	r := newRig(t, func(c *flux.Config) {
		c.Now = at.now
		c.HTTP.Keys = []flux.Key{{Secret: testKey, Rate: 10}, {Secret: prefixedKey, Rate: 0.0000001}}
	})
	send := func(key string, names ...string) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		r.server.Handler().ServeHTTP(rec, httptest.NewRequest("POST", "/flux/metric_data_post", strings.NewReader(array(key, at.now().Unix(), names...))))
		return rec
	}
	names := func(n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprint("m", i))
		}
		return out
	}
	require.Equal(t, 204, send(testKey, names(6)...).Code)
	require.Equal(t, 204, send(testKey, names(25)...).Code, "a request may be larger than what is left")
	rec := send(testKey, "x")
	require.Equal(t, 429, rec.Code)
	require.Equal(t, "3", rec.Header().Get("Retry-After"), "21 points over")
	require.Contains(t, rec.Body.String(), "10 points a second")
	code, body := r.do("POST", "/flux/metric_data_post", single("x", at.now().Unix(), 1), "X-Test-Only", "1")
	require.Equal(t, 200, code, "a test costs nothing: "+body)
	code, body = r.post(`{"validate_key":true,"key":"` + testKey + `"}`)
	require.Equal(t, 200, code, body)
	require.NoError(t, r.server.SetKeys([]flux.Key{{Secret: testKey, Rate: 10}}))
	require.Equal(t, 429, send(testKey, "x").Code, "new keys are no new start")
	at.advance(2 * time.Second)
	require.Equal(t, 429, send(testKey, "x").Code)
	at.advance(200 * time.Millisecond)
	require.Equal(t, 204, send(testKey, "x").Code)
	at.advance(time.Hour)
	require.Equal(t, 204, send(testKey, names(10)...).Code)
	require.Equal(t, 429, send(testKey, "x").Code, "an hour's silence saves up no more than a second")
	require.Equal(t, map[string]uint64{"rate": 4}, r.account().Rejected)

	require.NoError(t, r.server.SetKeys([]flux.Key{{Secret: prefixedKey, Rate: 0.0000001}}))
	require.Equal(t, 204, send(prefixedKey, names(5000)...).Code)
	rec = send(prefixedKey, "x")
	require.Equal(t, 429, rec.Code)
	require.Equal(t, "86400", rec.Header().Get("Retry-After"))
	require.Equal(t, 401, send(testKey, "x").Code, "a key that was taken away")
}

// TestRateCountsWhatWasKept has points that find no room: they use up nothing.
func TestRateCountsWhatWasKept(t *testing.T) {
	noLeaks(t)
	at := newClock()
	r := newRig(t, func(c *flux.Config) {
		c.Now = at.now
		c.HTTP.Keys = []flux.Key{{Secret: testKey, Rate: 1000}}
		c.HTTP.RoomWait = time.Millisecond
		c.Destination = toCarbon(nowhere, smallQueue)
	})
	var names []string
	for i := range 5000 {
		names = append(names, fmt.Sprint("m", i))
	}
	for range 3 {
		code, answer := r.post(array(testKey, at.now().Unix(), names...))
		require.Equal(t, 413, code, "not 429: "+answer)
	}
	for i := 0; ; i++ {
		code, answer := r.post(array(testKey, at.now().Unix()+int64(i%50), names[:300]...))
		if code == 503 {
			break
		}
		require.Equal(t, 204, code, answer)
		at.advance(300 * time.Millisecond)
		require.Less(t, i, 100)
	}
	for range 10 {
		code, answer := r.post(array(testKey, at.now().Unix()+60, names[:300]...))
		require.Equal(t, 503, code, "not 429: "+answer)
	}
	r.account()
}

func TestLimitsOfAKey(t *testing.T) {
	noLeaks(t)
	r := newRig(t, func(c *flux.Config) {
		c.HTTP.Keys = []flux.Key{{Secret: testKey, MaxPoints: 2}, {Secret: prefixedKey, MaxBody: 200}}
	})
	ts := now()
	code, body := r.post(array(testKey, ts, "a", "b"))
	require.Equal(t, 204, code, body)
	code, body = r.post(array(testKey, ts, "a", "b", "c"))
	require.Equal(t, 413, code)
	require.Contains(t, body, "3 points, and this key may send 2")
	long := strings.Repeat("x", 200)
	code, body = r.post(array(prefixedKey, ts, long))
	require.Equal(t, 413, code)
	require.Contains(t, body, "this key may send 200")
	code, body = r.do("GET", fmt.Sprintf("/flux/metric_data?metric=a&timestamp=%d&value=1&key=%s", ts, prefixedKey), "")
	require.Equal(t, 204, code, "the body of an earlier request is not this one's: "+body)
	require.Equal(t, map[string]uint64{"limit": 4}, r.account().Rejected)
}

func TestQuota(t *testing.T) {
	noLeaks(t)
	r := newRig(t, func(c *flux.Config) {
		c.HTTP.Keys = []flux.Key{{Secret: testKey}, {Secret: prefixedKey, Prefix: "w", MaxMetrics: 2}}
		c.HTTP.KeyMaxMetrics = 3
	})
	ts := now()
	code, body := r.post(array(testKey, ts, "a", "b", "c"))
	require.Equal(t, 204, code, body)
	code, body = r.post(single("d", ts, 1))
	require.Equal(t, 400, code)
	require.JSONEq(t, `{"code":400,"error":"over quota - this account is allowed 3 metrics and an additional metric was posted that has been rejected","rejected metric":"d"}`, body)
	code, body = r.post(single("a", ts+1, 1))
	require.Equal(t, 204, code, body)

	code, body = r.post(array(prefixedKey, ts, "a", "w.b", "c", "d", "c"))
	require.Equal(t, 207, code)
	require.JSONEq(t, `{"code":207,
		"data":[{"metric":"a","status":204},{"metric":"b","status":204},{"metric":"c","status":400},{"metric":"d","status":400},{"metric":"c","status":400}],
		"error":"over quota - this account is allowed 2 metrics and an additional 2 new metrics were posted that have been rejected",
		"message":"2 metrics were processed and 3 metrics were rejected",
		"rejected metrics":["c","d"],"rejected metrics count":3,"processed metrics":["a","b"],"processed metrics count":2,
		"submitted metrics count":5,"defined skipped_metrics count":0}`, body)
	code, _ = r.post(array(prefixedKey, ts, "e"))
	require.Equal(t, 400, code, "one point in an array")
	code, body = r.do("POST", "/flux/lines?key="+prefixedKey, fmt.Sprintf("w.a 2 %d\nf 1 %[1]d\nbad\n", ts+1))
	require.Equal(t, 207, code, body)
	var answer struct {
		Data      []struct{ Reason string }
		Submitted int `json:"submitted metrics count"`
		Processed int `json:"processed metrics count"`
		Rejected  int `json:"rejected metrics count"`
	}
	require.NoError(t, json.Unmarshal([]byte(body), &answer))
	require.Equal(t, [3]int{3, 1, 2}, [3]int{answer.Submitted, answer.Processed, answer.Rejected})
	require.Contains(t, answer.Data[2].Reason, "line 3")
	require.NoError(t, r.server.SetKeys([]flux.Key{{Secret: prefixedKey, Prefix: "w", MaxMetrics: 3}}))
	code, _ = r.post(array(prefixedKey, ts+2, "a", "b", "new"))
	require.Equal(t, 204, code)
	code, _ = r.post(array(prefixedKey, ts+3, "newer"))
	require.Equal(t, 400, code, "what was used counts on")
	require.Equal(t, map[string]uint64{"quota": 7, "form": 1}, r.account().Rejected)
	r.flush()
	require.Len(t, r.carbon.Points("w.new"), 1)
	require.Empty(t, r.carbon.Points("w.c"))
}

// TestQuotaOfManyAtOnce has many requests, by GET and POST, use one key's names.
func TestQuotaOfManyAtOnce(t *testing.T) {
	noLeaks(t)
	r := newRig(t, func(c *flux.Config) {
		c.HTTP.Keys = []flux.Key{{Secret: prefixedKey, Prefix: "w", MaxMetrics: 50}}
	})
	ts := now()
	var kept, refused atomic.Int64
	var sending sync.WaitGroup
	for c := range 8 {
		sending.Go(func() {
			for i := range 100 {
				name := fmt.Sprint("m", (i+c*13)%100)
				method, target, body := "GET", fmt.Sprintf("/flux/metric_data?metric=%s&timestamp=%d&value=1&key=%s", name, ts, prefixedKey), ""
				if i%2 == 0 {
					method, target, body = "POST", "/flux/metric_data_post", with(prefixedKey, single("w."+name, ts, 1))
				}
				switch code, answer := r.do(method, target, body); code {
				case 204:
					kept.Add(1)
				case 400:
					refused.Add(1)
					if !strings.Contains(answer, `"error":"over quota - this account is allowed 50 metrics`) {
						panic(answer)
					}
				default:
					panic(answer)
				}
			}
		})
	}
	sending.Wait()
	require.EqualValues(t, 800, kept.Load()+refused.Load())
	st := r.account()
	require.EqualValues(t, 50, st.Accepted)
	require.EqualValues(t, kept.Load(), st.Accepted+st.Duplicate)
	require.Equal(t, map[string]uint64{"quota": uint64(refused.Load())}, st.Rejected)
}

// TestAccountOfWhatIsRefusedInParts has points left out, over the quota and without room in one request.
func TestAccountOfWhatIsRefusedInParts(t *testing.T) {
	noLeaks(t)
	r := newRig(t, func(c *flux.Config) {
		c.HTTP.RoomWait = 5 * time.Millisecond
		c.HTTP.KeyMaxMetrics = 300
		c.Destination = toCarbon(nowhere, smallQueue)
	})
	var lines strings.Builder
	for i := range 400 {
		fmt.Fprintf(&lines, "%s.%d 1 %d\n", strings.Repeat("x", 20), i, now())
	}
	lines.WriteString("bad\nworse\n")
	received := uint64(0)
	for code := 207; code == 207; received += 402 {
		code, _ = r.do("POST", "/flux/lines?key="+testKey, lines.String())
		require.Less(t, received, uint64(100_000))
		st := r.account()
		if st.Rejected["full"] > 0 {
			require.Equal(t, 503, code)
			break
		}
		lines.Reset()
		for i := range 402 {
			fmt.Fprintf(&lines, "%s.%d 1 %d\n", strings.Repeat("x", 20), i, now()-int64(received)-1)
		}
	}
	st := r.account()
	require.Zero(t, st.Received%402)
	require.Positive(t, st.Rejected["quota"])
	require.EqualValues(t, 2, st.Rejected["form"])
	require.Positive(t, st.Rejected["full"])
}

func TestBasicAuth(t *testing.T) {
	noLeaks(t)
	users := func(c *flux.Config) { c.HTTP.BasicAuth = map[string]string{"user": "pass:word", "other": "x"} }
	basic := func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
	r := newRig(t, users)
	ts := now()
	f := func(r *rig, want int, path, authorization string) {
		t.Helper()
		header := []string{"Authorization", authorization}
		if authorization == "" {
			header = nil
		}
		body := single("a", ts, 1)
		if path != "/flux/metric_data_post" {
			body = fmt.Sprintf("a 1 %d\n", ts)
		}
		code, answer := r.do("POST", path, body, header...)
		require.Equal(t, want, code, answer)
		require.NotContains(t, answer, "pass:word")
	}
	for _, path := range []string{"/flux/metric_data_post", "/flux/lines?key=" + testKey} {
		f(r, 204, path, basic("user:pass:word"))
		f(r, 204, path, basic("other:x"))
		f(r, 204, path, "Bearer "+testKey)
		f(r, 204, path, "bearer "+testKey)
		f(r, 401, path, "Bearer "+strings.Repeat("x", 32))
		for _, wrong := range []string{"", basic("user:x"), basic("other:pass:word"), basic("user"), basic(":"), "Basic ?", "Bearer", testKey} {
			f(r, 401, path, wrong)
		}
	}
	for _, path := range []string{"/flux/metric_data?status=true", "/flux/trace?metric=a&key=" + testKey} {
		code, _ := r.do("GET", path, "")
		require.Equal(t, 401, code, path)
		code, _ = r.do("GET", path, "", "Authorization", "Bearer x")
		require.Equal(t, 401, code, "a bearer of no key is nobody: "+path)
	}
	code, _ := r.do("GET", "/readyz", "")
	require.Equal(t, 200, code)

	r = newRig(t, func(c *flux.Config) { users(c); c.HTTP.Keys, c.HTTP.NoAuth = nil, true })
	f(r, 401, "/flux/metric_data_post", "Bearer "+testKey)
	f(r, 401, "/flux/metric_data_post", "")
	f(r, 204, "/flux/metric_data_post", basic("user:pass:word"))

	for user, password := range map[string]string{"a:b": "x", "": "x", "a": ""} {
		_, err := flux.New(flux.Config{Destination: toCarbon(nowhere), HTTP: &flux.HTTPConfig{NoAuth: true, BasicAuth: map[string]string{user: password}}})
		require.ErrorIs(t, err, flux.ErrConfig)
	}
}

// TestManyKeys replaces ten thousand keys while they are used.
func TestManyKeys(t *testing.T) {
	noLeaks(t)
	keys := func(n int) (out []flux.Key) {
		for i := range n {
			out = append(out, flux.Key{Secret: fmt.Sprintf("key-number-%08d", i), Prefix: fmt.Sprint("tenant-", i), Rate: 1e6, MaxMetrics: 3})
		}
		return out
	}
	r := newRig(t, func(c *flux.Config) { c.HTTP.Keys = keys(10_000) })
	var sending sync.WaitGroup
	ts := now()
	for c := range 4 {
		sending.Go(func() {
			for i := range 100 {
				code, body := r.post(with(fmt.Sprintf("key-number-%08d", i*7+c), single("a", ts, 1)))
				if code != 204 {
					panic(body)
				}
			}
		})
	}
	for range 20 {
		require.NoError(t, r.server.SetKeys(keys(10_000)))
	}
	sending.Wait()
	r.flush()
	require.Len(t, r.carbon.Points("tenant-7.a"), 1)
	require.ErrorIs(t, r.server.SetKeys(nil), flux.ErrNoKey)
	require.ErrorIs(t, r.server.SetKeys([]flux.Key{{Secret: "short"}}), flux.ErrConfig)
	code, _ := r.post(with("key-number-00000001", single("a", ts, 1)))
	require.Equal(t, 204, code, "after an error the keys are those before it")
	r.account()
	s := newServer(t, flux.Config{Destination: toCarbon(nowhere)})
	require.ErrorIs(t, s.SetKeys(keys(1)), flux.ErrConfig)
}

// TestSecretsStaySecret looks for keys and passwords in answers, in logs and in what prints a key.
func TestSecretsStaySecret(t *testing.T) {
	noLeaks(t)
	const wrong, password = "wrongwrongwrongwrongwrong", "pass-word-pass"
	var mu sync.Mutex
	var log bytes.Buffer
	r := newRig(t, func(c *flux.Config) {
		c.HTTP.BasicAuth = map[string]string{"user": password}
		c.Logger = slog.New(slog.NewTextHandler(lockedWriter{&mu, &log}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	basic := base64.StdEncoding.EncodeToString([]byte("user:" + password))
	for _, body := range []string{
		single("a", now(), 1), single("a", 5, 1), with(wrong, single("a", now(), 1)), `{"key":"` + testKey, `{"key":"` + wrong + `","key":1}`,
		array(testKey, 5, "a"), array(wrong, now(), "b"), `{"key":"` + testKey + `","metrics":5}`, "a 1 5\n" + testKey,
	} {
		for _, path := range []string{"metric_data_post", "lines?key=" + testKey, "lines?key=" + wrong, "metric_data?key=" + testKey, "trace?key=" + wrong} {
			for _, auth := range []string{"Basic " + basic, "Bearer " + testKey, "Bearer " + wrong, wrong} {
				_, answer := r.do("POST", "/flux/"+path, body, "Authorization", auth, "Telegraf", "x")
				_, got := r.do("GET", "/flux/"+path, "", "Authorization", auth)
				for _, secret := range []string{testKey, wrong, password, basic} {
					if strings.HasPrefix(path, "lines") && strings.Contains(body, secret) {
						continue // it is told what is wrong with the line that it sent
					}
					require.NotContains(t, answer+got, secret, path)
				}
			}
		}
	}
	require.NoError(t, r.server.Close(context.Background()))
	mu.Lock()
	defer mu.Unlock()
	require.Contains(t, log.String(), "left out")
	for _, secret := range []string{testKey, wrong, password, basic} {
		require.NotContains(t, log.String(), secret)
	}
	k := flux.Key{Secret: testKey, Prefix: "w"}
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", k)
	require.Contains(t, log.String(), "prefix")
	require.NotContains(t, fmt.Sprintf("%v %+v %#v %s", k, k, k, k)+log.String(), testKey)
	require.Equal(t, `key of prefix "w" with rights ingest,fill`, k.String())
}

type lockedWriter struct {
	mu *sync.Mutex
	w  *bytes.Buffer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.w.Write(p)
}
