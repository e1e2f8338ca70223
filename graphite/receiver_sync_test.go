package graphite_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
)

// syncing starts each stream receiver with a Sync, and gives a message of two points for it.
func syncing(t *testing.T, test func(t *testing.T, run func(l net.Listener, h graphite.Handler, sync func(context.Context) error) *running, message []byte)) {
	t.Run("line", func(t *testing.T) {
		test(t, func(l net.Listener, h graphite.Handler, sync func(context.Context) error) *running {
			return start(t, &graphite.LineReceiver{Sync: sync}, l, h)
		}, []byte("a 1 2\nb 3 4\n"))
	})
	t.Run("pickle", func(t *testing.T) {
		test(t, func(l net.Listener, h graphite.Handler, sync func(context.Context) error) *running {
			return start(t, &graphite.PickleReceiver{Sync: sync}, l, h)
		}, frame(t, item("a", 2, 1), item("b", 4, 3)))
	})
}

// TestHalfCloseWaitsForSync: the handler has taken everything, but it is not kept yet.
func TestHalfCloseWaitsForSync(t *testing.T) {
	syncing(t, func(t *testing.T, run func(net.Listener, graphite.Handler, func(context.Context) error) *running, message []byte) {
		var k keeper
		entered, gate := make(chan int), make(chan error)
		s := run(listen(t), k.handle, func(context.Context) error { entered <- len(k.points()); return <-gate })

		empty := s.dial()
		empty.confirmed() // it brought nothing, so there is nothing to wait for

		c := s.dial()
		c.write(message)
		c.closeWrite()
		end := make(chan error, 1)
		go func() { end <- c.end() }()
		require.Equal(t, 2, <-entered, "the handler had all of it before")
		select {
		case err := <-end:
			require.FailNow(t, "answered before the points were kept", "%v", err)
		default:
		}
		gate <- nil
		require.NoError(t, <-end)

		c = s.dial()
		c.write(message)
		c.closeWrite()
		<-entered
		gate <- errors.New("disk full")
		require.ErrorIs(t, c.end(), syscall.ECONNRESET)
		require.Len(t, k.points(), 4)
	})
}

func TestSyncErrorUnix(t *testing.T) {
	syncing(t, func(t *testing.T, run func(net.Listener, graphite.Handler, func(context.Context) error) *running, message []byte) {
		l, err := net.Listen("unix", filepath.Join(t.TempDir(), "sock"))
		require.NoError(t, err)
		var k keeper
		s := run(l, k.handle, func(context.Context) error { return errors.New("disk full") })
		c := s.dial()
		c.write(message)
		c.closeWrite()
		require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
		b := make([]byte, 2)
		n, _ := c.Read(b)
		require.Equal(t, "!", string(b[:n]))
	})
}

// TestStopSyncs stops a receiver whose peer has not half-closed.
func TestStopSyncs(t *testing.T) {
	syncing(t, func(t *testing.T, run func(net.Listener, graphite.Handler, func(context.Context) error) *running, message []byte) {
		var k keeper
		var synced atomic.Int32
		s := run(listen(t), k.handle, func(ctx context.Context) error { synced.Add(1); return ctx.Err() })
		c := s.dial()
		c.write(message)
		eventually(t, func() bool { return len(k.points()) == 2 }, "they are taken")
		s.stop()
		require.NoError(t, c.end())
		s.wait()
		require.EqualValues(t, 1, synced.Load())
	})
}

// TestChainKeepsWhatItConfirms sends through a receiver into a client with a spool: what the sender's client calls delivered
// is on the disk of the second one.
func TestChainKeepsWhatItConfirms(t *testing.T) {
	both(t, func(t *testing.T, p graphite.Protocol, s *graphitetest.Server, st *graphitetest.Stream, addr string) {
		st.Refuse()
		dir := t.TempDir()
		relay := newWatched(t, graphite.ClientConfig{Addrs: []string{addr}, Protocol: p, SpoolDir: dir})
		handle := func(ctx context.Context, pts []graphite.Point) error { return relay.SendAsync(ctx, pts, nil) }
		var in *running
		if p == graphite.Line {
			in = start(t, &graphite.LineReceiver{Sync: relay.Sync}, listen(t), handle)
		} else {
			in = start(t, &graphite.PickleReceiver{Sync: relay.Sync}, listen(t), handle)
		}
		sender := newWatched(t, graphite.ClientConfig{Addrs: []string{in.addr.String()}, Protocol: p})
		sender.send(0, 5000)
		sender.flush()
		require.EqualValues(t, 5000, sender.Stats().Delivered)
		require.Equal(t, 5000, pendingIn(t, snapshot(t, dir)))
		require.NoError(t, st.Restore())
		relay.flush()
		relay.whole(s, 5000)
		require.NoError(t, sender.Close(limit(t)))
		require.NoError(t, relay.Close(limit(t)))
	})
}
