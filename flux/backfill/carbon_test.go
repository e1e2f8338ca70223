package backfill

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
)

// carbonRig runs a Carbon, a Sink over it, and a Manager with a source of three days.
func carbonRig(t *testing.T) (*rig, *graphitetest.Server, *Carbon, int64) {
	t.Helper()
	noLeaks(t)
	server := graphitetest.Run(t)
	carbon, err := NewCarbon(graphite.ClientConfig{
		Addrs: []string{server.PickleAddr}, BackoffMin: time.Millisecond, BackoffMax: 5 * time.Millisecond,
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = carbon.Close(ctx)
	})
	r := newRig(t)
	now := floorMinute(time.Now().UnixMilli())
	server.SetTime(time.UnixMilli(now))
	r.cfg.Sink, r.cfg.Now = carbon, func() time.Time { return time.UnixMilli(now) }
	r.source.samples = every(now-3*86400_000, now, 20_000)
	return r, server, carbon, now
}

func arrived(server *graphitetest.Server, metric string) map[int64]float64 {
	out := map[int64]float64{}
	for _, p := range server.Points(metric) {
		out[int64(p.Timestamp*1000)] = p.Value
	}
	return out
}

func TestCarbonGetsHistoryAndIsReadBack(t *testing.T) {
	r, server, carbon, now := carbonRig(t)
	r.cfg.Local = &Render{BaseURL: server.RenderURL, HTTPClient: privateClient(t), Now: r.cfg.Now}
	r.cfg.Verify = true
	r.start()
	s := r.wait(r.submit(request("a.b", "from=-3days&until=-24h", "from=-24h")).ID)
	r.close()
	require.Equal(t, Done, s.State, s.Error)
	require.Empty(t, s.Note)
	require.Equal(t, means(r.source.samples, now-3*86400_000, now), arrived(server, "a.b"))
	require.EqualValues(t, 3*1440, s.Sent)
	require.Equal(t, 3*1440+1, server.Received(), "one point went first, since the metric was new")
	require.NotZero(t, carbon.Stats())
}

func TestCarbonThatGoesAwayAndComesBack(t *testing.T) {
	r, server, _, now := carbonRig(t)
	server.Pickle().Refuse()
	r.start()
	id := r.submit(request("a", "from=-3days")).ID
	require.Eventually(t, func() bool { s, _ := r.m.Get(id); return s.Fetched == 1 }, 10*time.Second, time.Millisecond)
	s, _ := r.m.Get(id)
	require.Zero(t, s.Sent)
	server.Pickle().ResetAfter(3000)
	server.Pickle().CloseAfter(100)
	require.NoError(t, server.Pickle().Restore())
	s = r.wait(id)
	r.close()
	require.Equal(t, Done, s.State)
	require.Equal(t, means(r.source.samples, now-3*86400_000, now), arrived(server, "a"))
}

// A job whose Carbon is away says so, waits, and sends nothing twice.
func TestJobTellsThatCarbonIsAway(t *testing.T) {
	r, server, carbon, now := carbonRig(t)
	carbon.failing = 50 * time.Millisecond
	var ahead atomic.Int64 // of the clock, so that nobody waits for a backoff
	r.cfg.Now = func() time.Time { return time.UnixMilli(now + ahead.Load()) }
	r.cfg.GiveUp = time.Hour
	server.Pickle().Refuse()
	r.start()
	defer r.close()
	id := r.submit(request("a", "from=-3days")).ID
	failed := func(n int64) Status {
		var s Status
		require.Eventually(t, func() bool { s, _ = r.m.Get(id); return s.State == Waiting && s.Errors == n }, 30*time.Second, time.Millisecond)
		return s
	}
	for n := range int64(3) {
		s := failed(n + 1)
		require.Contains(t, s.Error, "nothing is delivered to Carbon: ")
		require.Contains(t, s.Error, "refused")
		require.Contains(t, s.Error, server.PickleAddr)
		require.NotZero(t, s.RetryAt)
		require.Zero(t, s.Sent)
		if n == 2 {
			require.NoError(t, server.Pickle().Restore())
		}
		ahead.Add(600_000)
		r.stir()
	}
	s := r.wait(id)
	require.Equal(t, Done, s.State, s.Error)
	require.Equal(t, means(r.source.samples, now-3*86400_000, now), arrived(server, "a"))
	require.Equal(t, 3*1440, server.Received(), "each point once")
	require.Len(t, r.source.requests(), 2, "nor is anything fetched again")
	require.Empty(t, carbon.sent)
}

func TestJobGivesUpOnCarbonThatStaysAway(t *testing.T) {
	r, server, carbon, now := carbonRig(t)
	carbon.failing = 10 * time.Millisecond
	var ahead atomic.Int64
	r.cfg.Now = func() time.Time { return time.UnixMilli(now + ahead.Load()) }
	r.cfg.GiveUp = 15 * time.Minute
	server.Pickle().Refuse()
	r.start()
	defer r.close()
	id := r.submit(request("a", "from=-1hour")).ID
	require.Eventually(t, func() bool {
		if s, _ := r.m.Get(id); s.State == Waiting {
			ahead.Add(600_000)
			r.stir()
		}
		s, _ := r.m.Get(id)
		return s.State == Failed
	}, 30*time.Second, time.Millisecond)
	s, _ := r.m.Get(id)
	require.Contains(t, s.Error, "it failed for 15m0s")
	require.Contains(t, s.Error, "refused")
}

// Nor does a Send wait for ever for a Carbon that takes everything and reads nothing.
func TestSendToCarbonThatReadsNothing(t *testing.T) {
	_, server, carbon, _ := carbonRig(t)
	carbon.failing, carbon.silent = 40*time.Millisecond, 80*time.Millisecond
	server.Pickle().Pause()
	pts := []graphite.Point{{Name: []byte("a"), Timestamp: 60_000, Value: 1}}
	require.ErrorContains(t, carbon.Send(limit(t), pts), "has confirmed nothing for 80ms")
	server.Pickle().Resume()
	carbon.silent = time.Minute
	require.NoError(t, carbon.Send(limit(t), pts))
	require.Equal(t, 1, server.Received())
	server.Pickle().Refuse()
	require.ErrorContains(t, carbon.Send(limit(t), pts), "refused")
	pts[0].Value = 2
	require.ErrorContains(t, carbon.Send(limit(t), pts), "refused")
	require.NoError(t, server.Pickle().Restore())
	require.NoError(t, carbon.Send(limit(t), pts))
	require.Equal(t, 3, server.Received(), "another chunk is sent")
	require.Equal(t, map[int64]float64{60_000: 2}, arrived(server, "a"))
}

func TestCarbonSinkTellsOfPointsThatWereGivenUp(t *testing.T) {
	_, _, carbon, _ := carbonRig(t)
	err := carbon.Send(limit(t), []graphite.Point{{Name: []byte("bad name"), Timestamp: 60_000, Value: 1}})
	require.ErrorContains(t, err, "name_space")
	require.NoError(t, carbon.Send(limit(t), []graphite.Point{{Name: []byte("good"), Timestamp: 60_000, Value: 1}}))
	require.NoError(t, carbon.Send(limit(t), nil))
	require.NoError(t, carbon.Close(limit(t)))
	require.NoError(t, carbon.Close(limit(t)))
	require.ErrorIs(t, carbon.Send(limit(t), []graphite.Point{{Name: []byte("good"), Timestamp: 60_000, Value: 1}}), graphite.ErrClosed)
}
