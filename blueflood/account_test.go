package blueflood_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/blueflood/bluefloodtest"
)

// TestAccountAddsUp has a server that fails in every way at random, senders that compete, points among which some are bad,
// and a Failed that fails at times. Each point is reported once, and what is reported as delivered is in the server.
func TestAccountAddsUp(t *testing.T) {
	t.Run("memory", func(t *testing.T) { accountAddsUp(t, "") })
	t.Run("directory", func(t *testing.T) { accountAddsUp(t, t.TempDir()) })
}

func accountAddsUp(t *testing.T, dir string) {
	noLeaks(t)
	s := bluefloodtest.Run(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	faults := []bluefloodtest.Reply{
		{}, {}, {}, {}, {Status: 207}, {Status: 400}, {Status: 400, Message: "Cannot parse content"},
		{Status: 404}, {Status: 413}, {Status: 417}, {Status: 429}, {Status: 500, Message: "Failed parsing content"},
		{Status: 503, Store: true}, {Reset: true}, {Reset: true, Store: true}, {Status: 302}, bluefloodtest.PersistFailed(),
	}
	for range 400 {
		s.Queue(faults[rnd.IntN(len(faults))])
	}
	cfg := blueflood.EndpointConfig{
		URL: s.IngestURL(), Limit: 3000, Interval: time.Millisecond, MemoryMax: 64 << 10, SpoolMax: 128 << 10, SpoolDir: dir,
	}
	cfg.Failed = func([]blueflood.Metric, []blueflood.Failure) error {
		if rnd.IntN(4) == 0 {
			return errors.New("no room on record")
		}
		return nil
	}
	e, a := start(t, cfg)
	const senders, batches, size = 4, 50, 25
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			for j := range batches {
				var ms []blueflood.Metric
				for k := range size {
					m := point(fmt.Sprintf("s%d.b%d.p%d", i, j, k), float64(k))
					switch {
					case k == 7:
						m.Value = inf
					case k == 11:
						m.Timestamp = 5
					}
					ms = append(ms, m)
				}
				if err := e.Send(within(t), ms); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, e.Flush(within(t)))
	st := e.Stats()
	require.EqualValues(t, senders*batches*size, st.Accepted)
	require.Zero(t, st.PendingPoints)
	rejected := uint64(0)
	for _, n := range st.Rejected {
		rejected += n
	}
	require.Equal(t, st.Accepted, st.Delivered+rejected)
	balanced(t, st)
	require.Len(t, a.delivered, int(st.Delivered))
	require.Len(t, a.failed, int(rejected))
	for name := range a.delivered {
		require.NotContains(t, a.failed, name)
		require.Len(t, s.Points("ten", name), 1, name)
	}
	require.GreaterOrEqual(t, st.Rejected["bad_value"], uint64(senders*batches))
	require.GreaterOrEqual(t, st.Rejected["too_old"], uint64(1))
	require.LessOrEqual(t, st.Rejected["refused"], uint64(60), "single points that met a fault alone")
	require.Equal(t, 1, s.MaxInFlight())
	require.NoError(t, e.Close(within(t)))
}
