package graphite_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
)

// resender is a client of carbon that confirms quickly.
func resender(t *testing.T, carbon *graphitetest.Server, change func(*graphite.ClientConfig)) *graphite.Client {
	t.Helper()
	cfg := graphite.ClientConfig{
		Addrs: []string{carbon.PickleAddr}, ConfirmAfter: 5 * time.Millisecond,
		BackoffMin: time.Millisecond, BackoffMax: 5 * time.Millisecond,
	}
	change(&cfg)
	c, err := graphite.NewClient(cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		require.NoError(t, c.Close(ctx))
	})
	return c
}

func sendOne(t *testing.T, c *graphite.Client, name string, at time.Time) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var b graphite.Batch
	b.Add(name, at, 1)
	require.NoError(t, c.Send(ctx, b.Points()))
	require.NoError(t, c.Flush(ctx))
}

// outage kills carbon, lets the client notice by a point that it cannot deliver, and brings carbon back.
func outage(t *testing.T, carbon *graphitetest.Server, c *graphite.Client, name string) {
	t.Helper()
	carbon.Pickle().Kill()
	var b graphite.Batch
	b.Add(name, time.Now(), 1)
	require.NoError(t, c.Send(context.Background(), b.Points()))
	require.Eventually(t, func() bool { return c.Stats().LastError != "" }, 20*time.Second, time.Millisecond)
	require.NoError(t, carbon.Pickle().Restore())
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	require.NoError(t, c.Flush(ctx))
}

func TestClientSendsOnceMoreAfterAnOutage(t *testing.T) {
	carbon := graphitetest.Run(t)
	c := resender(t, carbon, func(cfg *graphite.ClientConfig) { cfg.ResendOnReconnect = time.Hour })
	sendOne(t, c, "before", time.Now())
	sendOne(t, c, "before", time.Now())
	outage(t, carbon, c, "during")
	require.Len(t, carbon.Points("before"), 4, "what was confirmed before is sent once more")
	require.Len(t, carbon.Points("during"), 1)
	sendOne(t, c, "after", time.Now())
	require.Len(t, carbon.Points("before"), 4, "once")
	st := c.Stats()
	require.EqualValues(t, 4, st.Delivered)
	require.EqualValues(t, 2, st.Resent)
}

// TestClientSendsOnceMoreAfterEachOutage kills carbon twice: what it read again after the first time it loses again.
func TestClientSendsOnceMoreAfterEachOutage(t *testing.T) {
	carbon := graphitetest.Run(t)
	c := resender(t, carbon, func(cfg *graphite.ClientConfig) { cfg.ResendOnReconnect = time.Hour })
	sendOne(t, c, "before", time.Now())
	outage(t, carbon, c, "first")
	outage(t, carbon, c, "second")
	require.Len(t, carbon.Points("before"), 3)
	require.Len(t, carbon.Points("first"), 2)
	require.Len(t, carbon.Points("second"), 1)
}

// TestClientSendsOnceMoreToAnother has the first address refuse, between two connections, and the second take over.
func TestClientSendsOnceMoreToAnother(t *testing.T) {
	first, second := graphitetest.Run(t), graphitetest.Run(t)
	c := resender(t, first, func(cfg *graphite.ClientConfig) {
		cfg.ResendOnReconnect = time.Hour
		cfg.Addrs = append(cfg.Addrs, second.PickleAddr)
	})
	sendOne(t, c, "before", time.Now())
	first.Pickle().Kill()
	sendOne(t, c, "after", time.Now())
	require.Len(t, second.Points("before"), 1)
	require.Len(t, second.Points("after"), 1)
}

func TestClientSendsNothingOnceMoreUnlessAsked(t *testing.T) {
	carbon := graphitetest.Run(t)
	c := resender(t, carbon, func(*graphite.ClientConfig) {})
	sendOne(t, c, "before", time.Now())
	outage(t, carbon, c, "during")
	require.Len(t, carbon.Points("before"), 1)
}

func TestClientSendsOnceMoreOnlyTheSpanAndWhatIsYoung(t *testing.T) {
	carbon := graphitetest.Run(t)
	c := resender(t, carbon, func(cfg *graphite.ClientConfig) {
		cfg.ResendOnReconnect, cfg.MaxReplayAge = time.Hour, time.Minute
	})
	sendOne(t, c, "young", time.Now())
	sendOne(t, c, "old", time.Now().Add(-time.Hour))
	outage(t, carbon, c, "during")
	require.Len(t, carbon.Points("young"), 2)
	require.Len(t, carbon.Points("old"), 1, "too old to be replayed")
	require.EqualValues(t, 1, c.Stats().Resent)

	brief := resender(t, carbon, func(cfg *graphite.ClientConfig) { cfg.ResendOnReconnect = time.Nanosecond })
	sendOne(t, brief, "long.ago", time.Now())
	outage(t, carbon, brief, "during.brief")
	require.Len(t, carbon.Points("long.ago"), 1)
}

func TestClientKeepsNoMoreForResendingThanItMay(t *testing.T) {
	carbon := graphitetest.Run(t)
	c := resender(t, carbon, func(cfg *graphite.ClientConfig) {
		cfg.ResendOnReconnect, cfg.MemoryMax = time.Hour, 64<<10
	})
	ctx := context.Background()
	const each, rounds = 200, 40
	for range rounds {
		var b graphite.Batch
		for range each {
			b.Add("servers.web-0001.cpu.0.user", time.Now(), 1)
		}
		require.NoError(t, c.Send(ctx, b.Points()))
		require.NoError(t, c.Flush(ctx))
	}
	outage(t, carbon, c, "during")
	again := carbon.Received() - each*rounds - 1
	require.Positive(t, again)
	require.Less(t, again*40, 64<<10)
}

func TestClientConfigOfReplay(t *testing.T) {
	_, err := graphite.NewClient(graphite.ClientConfig{Addrs: []string{"127.0.0.1:1"}, MaxReplayAge: -1})
	require.ErrorContains(t, err, "MaxReplayAge")
}
