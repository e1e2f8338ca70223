package backfill

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// whisper answers a render API as Graphite with whisper files does: from the finest archive that covers from.
type whisper struct {
	now      int64 // seconds
	archives []struct{ step, keep int64 }
	value    func(step, at int64) bool // whether a slot has a value
	status   int
	asked    int
}

func (w *whisper) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	w.asked++
	if w.status != 0 {
		http.Error(out, "down", w.status)
		return
	}
	if user, password, ok := r.BasicAuth(); !ok || user != "u" || password != "p" || r.Header.Get("X-Org") != "1" {
		http.Error(out, "who?", http.StatusUnauthorized)
		return
	}
	from, _ := strconv.ParseInt(r.FormValue("from"), 10, 64)
	until, _ := strconv.ParseInt(r.FormValue("until"), 10, 64)
	if r.FormValue("target") != "a" {
		fmt.Fprint(out, "[]")
		return
	}
	a := w.archives[len(w.archives)-1]
	for i := len(w.archives) - 1; i >= 0; i-- {
		if w.now-from <= w.archives[i].keep {
			a = w.archives[i]
		}
	}
	if until < w.now-a.keep {
		fmt.Fprint(out, "[]") // as if there were no such metric
		return
	}
	from = max(from, w.now-a.keep)
	points := [][2]any{}
	for at := from - from%a.step + a.step; at <= min(until, w.now); at += a.step {
		var v any
		if w.value(a.step, at) {
			v = 1.5
		}
		points = append(points, [2]any{v, at})
	}
	body, _ := json.Marshal([]any{map[string]any{"target": "a", "datapoints": points}})
	_, _ = out.Write(body)
}

func TestRenderSlots(t *testing.T) {
	noLeaks(t)
	now := began/1000 + 17
	w := &whisper{now: now, archives: []struct{ step, keep int64 }{{60, 86400}, {600, 7 * 86400}}}
	w.value = func(step, at int64) bool { return step == 60 && at/60%2 == 0 || step == 600 && at/600%2 == 0 }
	srv := httptest.NewServer(w)
	defer srv.Close()
	r := &Render{BaseURL: srv.URL, User: "u", Password: "p", Header: http.Header{"x-org": {"1"}}, HTTPClient: srv.Client(), Now: func() time.Time { return time.Unix(now, 0) }}
	var times []int64
	for at := began - 9*86400_000; at < began; at += minute {
		times = append(times, at)
	}
	got, err := r.Slots(limit(t), "a", times)
	require.NoError(t, err)
	require.Len(t, got, len(times))
	for i, at := range times {
		sec, want := at/1000, Null
		switch age := now - sec; {
		case age >= 7*86400:
			want = Outside
		case age <= 86400 && sec/60%2 == 0, age > 86400 && sec/600%2 == 0:
			want = Filled
		}
		if age := now - sec; age > 7*86400-1200 && age < 7*86400+1200 || age > 86400-120 && age < 86400+120 {
			continue // the ends of the archives
		}
		require.Equal(t, want, got[i].State, time.Unix(sec, 0).UTC())
		if want == Filled {
			require.Equal(t, Slot{Filled, 1.5, now-sec <= 86400}, got[i], time.Unix(sec, 0).UTC())
		}
	}
	require.Less(t, w.asked, 2*(24+9)+5)

	got, err = r.Slots(limit(t), "b", times[:2])
	require.NoError(t, err)
	require.Equal(t, []Slot{{}, {}}, got)
	for back, exact := range map[int64]bool{3600: true, 2 * 86400: false} { // one time alone, too
		got, err = r.Slots(limit(t), "a", []int64{began - back*1000})
		require.NoError(t, err)
		require.Equal(t, []Slot{{Filled, 1.5, exact}}, got, back)
	}
	got, err = r.Slots(limit(t), "a", nil)
	require.NoError(t, err)
	require.Empty(t, got)
}

func TestRenderLast(t *testing.T) {
	noLeaks(t)
	now := began / 1000
	newest := now - 30*3600
	w := &whisper{now: now + 7200, archives: []struct{ step, keep int64 }{{60, 100 * 86400}}}
	w.value = func(_, at int64) bool { return at == newest || at > now }
	srv := httptest.NewServer(w)
	defer srv.Close()
	r := &Render{BaseURL: srv.URL + "/", User: "u", Password: "p", Header: http.Header{"X-Org": {"1"}}, HTTPClient: srv.Client()}
	ms, ok, err := r.Last(limit(t), "a", time.Unix(now, 0), nil)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, newest*1000, ms, "what came after the moment does not count")
	require.Equal(t, 4, w.asked, "50 minutes, 6 hours, 24 hours, 7 days")
	ms, ok, err = r.Last(limit(t), "a", time.Unix(now, 0), func() []int64 { return []int64{newest*1000 - minute, newest * 1000, newest*1000 + minute} })
	require.NoError(t, err)
	require.False(t, ok, "what live points hold does not count: %d", ms)
	require.Equal(t, 10, w.asked)
	ms, _, err = r.Last(limit(t), "a", time.Unix(now, 0), func() []int64 { return []int64{newest*1000 - minute, newest*1000 + minute} })
	require.NoError(t, err)
	require.Equal(t, newest*1000, ms)
	before := w.asked
	_, ok, err = r.Last(limit(t), "a", time.Unix(now, 0), func() []int64 {
		if w.asked < before+4 {
			return nil
		}
		return []int64{newest * 1000} // of a point that came while the fourth question was under way
	})
	require.NoError(t, err)
	require.False(t, ok)
	w.asked = 4
	_, ok, err = r.Last(limit(t), "b", time.Unix(now, 0), nil)
	require.NoError(t, err)
	require.False(t, ok)
	require.Equal(t, 10, w.asked)
	w.status = 503
	_, _, err = r.Last(limit(t), "a", time.Unix(now, 0), nil)
	require.ErrorContains(t, err, "503")
	_, err = r.Slots(limit(t), "a", []int64{began})
	require.ErrorContains(t, err, "503")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, _, err = r.Last(ctx, "a", time.Unix(now, 0), nil)
	require.ErrorIs(t, err, context.Canceled)
	_, _, err = (&Render{}).Last(limit(t), "a", time.Unix(now, 0), nil)
	require.ErrorContains(t, err, "BaseURL")
}

// In a coarse archive a live point's slot begins before its minute.
func TestRenderLastInACoarseArchive(t *testing.T) {
	noLeaks(t)
	now := began / 1000
	older, newest := now-40*3600, now-30*3600 // both on the grid
	w := &whisper{now: now, archives: []struct{ step, keep int64 }{{60, 86400}, {600, 90 * 86400}}}
	w.value = func(step, at int64) bool { return step == 600 && (at == newest || at == older) }
	srv := httptest.NewServer(w)
	defer srv.Close()
	r := &Render{BaseURL: srv.URL, User: "u", Password: "p", Header: http.Header{"X-Org": {"1"}}, HTTPClient: srv.Client()}
	for live, want := range map[int64]int64{newest - 60: newest, newest: older, newest + 540: older, newest + 600: newest} {
		ms, ok, err := r.Last(limit(t), "a", time.Unix(now, 0), func() []int64 { return []int64{live * 1000} })
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, want*1000, ms, live-newest)
	}
}

// privateClient is one whose connections end with the test.
func privateClient(t testing.TB) *http.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}
