package flux

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/internal/deadletter"
	"github.com/fluxmetrics/fluxkit/internal/queue"
)

// slowClient takes points after a while.
type slowClient struct {
	client
	after time.Duration
	err   error
	taken int
}

func (c *slowClient) sendAsync(ctx context.Context, pts []graphite.Point, _ []byte) error {
	if c.after > 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", c.err, ctx.Err())
		case <-time.After(c.after):
		}
	}
	c.taken += len(pts)
	return nil
}

func TestASlowDiskIsWaitedFor(t *testing.T) {
	busy := fmt.Errorf("%w: %w", ErrFull, queue.ErrBusy)
	f := func(name string, after time.Duration, err error, patient bool, test func(t *testing.T, c *slowClient, o *outlet, offer func() time.Duration)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &slowClient{after: after, err: err}
				o := &outlet{name: "spare", client: c, log: slog.New(slog.DiscardHandler), now: time.Now}
				test(t, c, o, func() time.Duration {
					start := time.Now()
					o.offer(make([]graphite.Point, 10), patient)
					return time.Since(start)
				})
			})
		})
	}
	f("a disk that is slow for a moment", 100*time.Millisecond, busy, true, func(t *testing.T, c *slowClient, o *outlet, offer func() time.Duration) {
		for range 5 {
			require.Equal(t, c.after, offer())
		}
		require.Equal(t, 50, c.taken)
		require.Empty(t, o.dropped)
	})
	f("a disk that hangs", time.Hour, busy, true, func(t *testing.T, c *slowClient, o *outlet, offer func() time.Duration) {
		require.Equal(t, slowDisk, offer())
		for range 10 {
			require.Zero(t, offer(), "nobody waits for it for a second")
			time.Sleep(slowAgain / 10)
		}
		require.Equal(t, slowDisk, offer())
		require.Equal(t, map[string]uint64{"spool_slow": 120}, o.dropped)
		c.after = 0
		require.Zero(t, offer(), "it is tried all the same")
		require.Equal(t, 10, c.taken)
	})
	f("a point that can wait for nothing", 0, busy, false, func(t *testing.T, c *slowClient, o *outlet, offer func() time.Duration) {
		c.after = time.Millisecond
		require.Zero(t, offer())
		require.Equal(t, map[string]uint64{"spool_slow": 10}, o.dropped)
	})
	f("a disk that fails", time.Millisecond, fmt.Errorf("%w: %w", ErrSpool, queue.ErrDisk), true, func(t *testing.T, c *slowClient, o *outlet, offer func() time.Duration) {
		require.Zero(t, offer())
		require.Equal(t, map[string]uint64{"spool": 10}, o.dropped)
	})
	f("a bound that is reached", time.Millisecond, ErrFull, true, func(t *testing.T, c *slowClient, o *outlet, offer func() time.Duration) {
		require.Zero(t, offer())
		require.Equal(t, map[string]uint64{"full": 10}, o.dropped)
	})
}

// TestLettersAreWrittenOnce has first the record and then the embedder refuse what is given up.
func TestLettersAreWrittenOnce(t *testing.T) {
	const points = 2*lettersAtOnce + 500
	errFull, errUser := errors.New("disk full"), errors.New("embedder")
	var written []string
	var calls, told, settled int
	r := reports{
		givenUp: func(entries []deadletter.Entry) error {
			if calls++; calls == 2 {
				return errFull
			}
			for _, e := range entries {
				require.Equal(t, "why", e.Reason)
				written = append(written, string(e.Name))
			}
			return nil
		},
		failed: func(pts []graphite.Point, _ []byte) { settled += len(pts) },
	}
	user := func() error {
		if told++; told < 3 {
			return errUser
		}
		return nil
	}
	var pts []graphite.Point
	var ms []blueflood.Metric
	for i := range points {
		name := fmt.Appendf(nil, "m%d", i)
		pts = append(pts, graphite.Point{Name: name})
		ms = append(ms, blueflood.Metric{Name: name})
	}
	f := func(name string, failed func(n int) error) {
		t.Run(name, func(t *testing.T) {
			calls, told, settled, written = 0, 0, 0, nil
			require.ErrorIs(t, failed(points), errFull)
			require.Len(t, written, lettersAtOnce)
			for range 2 {
				require.ErrorIs(t, failed(points), errUser)
				require.Len(t, written, points)
				require.Zero(t, settled, "what the embedder has not taken stays")
			}
			require.NoError(t, failed(points))
			require.Len(t, written, points, "each once")
			for i := range written {
				require.Equal(t, string(pts[i].Name), written[i])
			}
			require.Equal(t, points, settled)
			require.NoError(t, failed(7), "others")
			require.Len(t, written, points+7)
		})
	}
	why := make([]graphite.Failure, points)
	lost := make([]blueflood.Failure, points)
	for i := range why {
		why[i].Reason, lost[i].Reason = "why", "why"
	}
	tags := make([]byte, points)
	carbon := carbonFailed(func([]graphite.Point, []byte, []graphite.Failure) error { return user() }, r)
	f("carbon", func(n int) error { return carbon(pts[:n], tags[:n], why[:n]) })
	bf := bluefloodFailed(func([]blueflood.Metric, []blueflood.Failure) error { return user() }, "t", r)
	f("blueflood", func(n int) error { return bf(ms[:n], lost[:n]) })
}
