package backfill

import (
	"context"
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
