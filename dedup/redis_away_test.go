package dedup_test

import (
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/dedup"
)

func TestRedisAway(t *testing.T) {
	srv, s := miniStore(t, dedup.RedisOptions{})
	raise(t, s, mark("m", 1000, 1))
	last(t, s, "m")
	addr := srv.Addr()
	srv.Close()
	require.ErrorIs(t, s.Last(t.Context(), []dedup.Mark{mark("m", 0, 0)}), dedup.ErrUnavailable)
	require.ErrorIs(t, s.Raise(t.Context(), []dedup.Mark{mark("m", 0, 0)}), dedup.ErrUnavailable)
	require.NoError(t, srv.StartAddr(addr))
	require.EqualValues(t, 1000, last(t, s, "m"))
	srv.SetError("LOADING Redis is loading the dataset in memory")
	require.ErrorIs(t, s.Last(t.Context(), []dedup.Mark{mark("m", 0, 0)}), dedup.ErrUnavailable)
	require.ErrorIs(t, s.Raise(t.Context(), []dedup.Mark{mark("m", 2000, 0)}), dedup.ErrUnavailable)
	srv.SetError("")
	require.EqualValues(t, 1000, last(t, s, "m"))

	// Idle connections that died with the server do not fail a call.
	srv.Close()
	require.NoError(t, srv.StartAddr(addr))
	require.EqualValues(t, 1000, last(t, s, "m"))
	raise(t, s, mark("m", 3000, 1))
	require.EqualValues(t, 3000, last(t, s, "m"))
}

func TestRedisSilentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	s := openRedis(t, "redis://"+l.Addr().String(), dedup.RedisOptions{Timeout: 20 * time.Millisecond})
	require.ErrorIs(t, s.Last(t.Context(), []dedup.Mark{mark("m", 0, 0)}), dedup.ErrUnavailable)
}

func TestRedisNonsenseServer(t *testing.T) {
	for _, reply := range []string{"hello\r\n", "*1\r\n$1\r\nx\r\n*1\r\n$1\r\ny\r\n", ":1\r\n:1\r\n", "$-1\r\n$-1\r\n"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = c.Write([]byte(reply))
				defer c.Close()
			}
		})
		s := openRedis(t, "redis://"+l.Addr().String(), dedup.RedisOptions{})
		err = s.Last(t.Context(), []dedup.Mark{mark("a", 0, 0), mark("b", 0, 0)})
		require.ErrorIs(t, err, dedup.ErrUnavailable, reply)
		require.NoError(t, l.Close())
		wg.Wait()
	}
}

func TestRedisClose(t *testing.T) {
	srv := miniredis.RunT(t)
	s, err := dedup.NewRedis("redis://"+srv.Addr(), dedup.RedisOptions{})
	require.NoError(t, err)
	raise(t, s, mark("m", 1000, 1))
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Last(t.Context(), []dedup.Mark{mark("m", 0, 0)}), dedup.ErrUnavailable)
	require.Eventually(t, func() bool { return !strings.Contains(stacks(), "fluxkit/dedup.(") }, 10*time.Second, time.Millisecond)
}

// stacks returns the stacks of all goroutines.
func stacks() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

// deaf accepts connections, answers nothing, and closes them all at the end.
type deaf struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
	wg    sync.WaitGroup
}

func listenDeaf(t *testing.T) *deaf {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	d := &deaf{Listener: l}
	d.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d.mu.Lock()
			d.conns = append(d.conns, c)
			d.mu.Unlock()
		}
	})
	t.Cleanup(d.end)
	return d
}

func (d *deaf) end() {
	_ = d.Close()
	d.wg.Wait()
	for _, c := range d.conns {
		_ = c.Close()
	}
}

// While the server hangs, calls add up to no goroutines and connections, and all
// of them are answered as soon as it is found out.
func TestRedisCallsFailTogether(t *testing.T) {
	const callers = 300
	srv := listenDeaf(t)
	s := openRedis(t, "redis://"+srv.Addr().String(), dedup.RedisOptions{Conns: 2})
	errs := make(chan error, callers)
	call := func() { errs <- s.Last(t.Context(), []dedup.Mark{mark("m", 0, 0)}) }
	for i := range callers {
		go call()
		lookups(t, s, min(i+1, 2), max(i-1, 0))
	}
	srv.end()
	for range callers {
		require.ErrorIs(t, <-errs, dedup.ErrUnavailable)
	}
	require.LessOrEqual(t, s.Stats().Dials, uint64(2), "nobody tried again on the way")
}

// Close does not wait for a server that hangs.
func TestRedisCloseEndsWaiting(t *testing.T) {
	srv := listenDeaf(t)
	s, err := dedup.NewRedis("redis://"+srv.Addr().String(), dedup.RedisOptions{Timeout: 24 * time.Hour})
	require.NoError(t, err)
	errs := make(chan error)
	go func() { errs <- s.Last(t.Context(), []dedup.Mark{mark("m", 0, 0)}) }()
	lookups(t, s, 1, 0)
	go func() { errs <- s.Raise(t.Context(), []dedup.Mark{mark("m", 1, 0)}) }()
	require.NoError(t, s.Close())
	for range 2 {
		require.ErrorIs(t, <-errs, dedup.ErrUnavailable)
	}
}

// A login that hangs is part of connecting.
func TestRedisDialTimeoutCoversLogin(t *testing.T) {
	srv := listenDeaf(t)
	s := openRedis(t, "redis://:secret@"+srv.Addr().String()+"/3", dedup.RedisOptions{Timeout: 24 * time.Hour, DialTimeout: 20 * time.Millisecond})
	require.ErrorIs(t, s.Last(t.Context(), []dedup.Mark{mark("m", 0, 0)}), dedup.ErrUnavailable)
}

// Marks that could not be raised are kept, and raised when the server is back.
func TestRedisBackAgain(t *testing.T) {
	srv, s := miniStore(t, dedup.RedisOptions{})
	f := &dedup.Filter{Store: s}
	require.Equal(t, "new", judge(t, f, at(1000)...))
	f.Kept(at(1000))
	addr := srv.Addr()
	srv.Close()
	require.ErrorIs(t, f.Done(t.Context(), at(1000)), dedup.ErrUnavailable)
	for range 20 {
		require.ErrorIs(t, f.Retry(t.Context()), dedup.ErrUnavailable)
	}
	require.EqualValues(t, 1, f.Stats().Unraised)
	require.NoError(t, srv.StartAddr(addr))
	require.NoError(t, f.Retry(t.Context()))
	require.Zero(t, f.Stats().Unraised)
	require.EqualValues(t, 1000, last(t, s, "m"))
}
