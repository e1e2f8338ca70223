package flux

import (
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestLateConn has deadlines that move while calls are under way and while none is: a call ends when the last one set is
// due, and not before. A pipe stands in for the network, so that the time is not a real one.
func TestLateConn(t *testing.T) {
	f := func(name string, test func(t *testing.T, c *lateConn, peer net.Conn)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				below, peer := net.Pipe()
				defer peer.Close()
				defer below.Close()
				test(t, newLateConn(below), peer)
			})
		})
	}
	one := make([]byte, 1)
	endsAfter := func(t *testing.T, want time.Duration, call func([]byte) (int, error)) {
		began := time.Now()
		n, err := call(one)
		require.Zero(t, n)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		var timeout net.Error
		require.ErrorAs(t, err, &timeout)
		require.True(t, timeout.Timeout())
		require.Equal(t, want, time.Since(began))
	}
	// in moves the deadline of a call that is under way.
	in := func(set func(time.Time) error, wait, until time.Duration) *sync.WaitGroup {
		var moving sync.WaitGroup
		moving.Go(func() {
			time.Sleep(wait)
			_ = set(time.Now().Add(until))
		})
		return &moving
	}
	long := time.Unix(1, 0)

	f("near, far, and at once", func(t *testing.T, c *lateConn, _ net.Conn) {
		for _, d := range []time.Duration{time.Second, 3 * armedFor, armedFor, 0, time.Hour, time.Millisecond} {
			require.NoError(t, c.SetDeadline(time.Now().Add(d)))
			endsAfter(t, d, c.Read)
			endsAfter(t, 0, c.Write)
			require.NoError(t, c.SetWriteDeadline(time.Now().Add(d)))
			endsAfter(t, d, c.Write)
		}
	})
	f("in the past", func(t *testing.T, c *lateConn, peer net.Conn) {
		require.NoError(t, c.SetReadDeadline(long))
		endsAfter(t, 0, c.Read)
		require.NoError(t, c.SetReadDeadline(time.Time{}))
		var writing sync.WaitGroup
		writing.Go(func() { _, _ = peer.Write([]byte("x")) })
		n, err := c.Read(one)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		writing.Wait()
	})
	f("put off, brought forward, and taken away meanwhile", func(t *testing.T, c *lateConn, peer net.Conn) {
		require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Second)))
		moving := in(c.SetReadDeadline, 900*time.Millisecond, time.Minute)
		endsAfter(t, 900*time.Millisecond+time.Minute, c.Read)
		moving.Wait()

		require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Hour)))
		moving = in(c.SetReadDeadline, time.Minute, time.Second)
		endsAfter(t, time.Minute+time.Second, c.Read)
		moving.Wait()

		require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Second)))
		moving.Go(func() {
			time.Sleep(100 * time.Millisecond)
			_ = c.SetReadDeadline(time.Time{})
			time.Sleep(time.Hour)
			_, _ = peer.Write([]byte("x"))
		})
		began := time.Now()
		_, err := c.Read(one)
		require.NoError(t, err)
		require.Equal(t, time.Hour+100*time.Millisecond, time.Since(began))
		moving.Wait()
	})
	f("a call that is ended from outside, as net/http does", func(t *testing.T, c *lateConn, peer net.Conn) {
		for range 3 {
			require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
			var ending sync.WaitGroup
			ending.Go(func() {
				synctest.Wait()
				_ = c.SetReadDeadline(long)
			})
			endsAfter(t, 0, c.Read)
			ending.Wait()
			require.NoError(t, c.SetReadDeadline(time.Time{}))
			require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
			endsAfter(t, time.Minute, c.Read)
		}
	})
	f("a write in parts", func(t *testing.T, c *lateConn, peer net.Conn) {
		require.NoError(t, c.SetWriteDeadline(time.Now().Add(time.Second)))
		moving := in(c.SetWriteDeadline, time.Millisecond, time.Minute)
		moving.Go(func() {
			for range 3 {
				_, _ = peer.Read(one)
				time.Sleep(2 * time.Second)
			}
		})
		began := time.Now()
		n, err := c.Write([]byte("abcd"))
		require.Equal(t, 3, n)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, time.Minute+time.Millisecond, time.Since(began))
		moving.Wait()
	})
	f("closed", func(t *testing.T, c *lateConn, _ net.Conn) {
		require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
		require.NoError(t, c.Close())
		_, err := c.Read(one)
		require.Error(t, err)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
		_, err = c.Write(one)
		require.Error(t, err)
	})
}
