package dedup_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/gomodule/redigo/redis"
	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/dedup"
)

const skylineHash = "flux.last.metric_data"

// openRedis returns a store that waits for long, if not told otherwise: a busy
// machine is no server that hangs.
func openRedis(t testing.TB, url string, opts dedup.RedisOptions) *dedup.Redis {
	t.Helper()
	if opts.Timeout == 0 {
		opts.Timeout, opts.DialTimeout = time.Minute, time.Minute
	}
	s, err := dedup.NewRedis(url, opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func miniStore(t testing.TB, opts dedup.RedisOptions) (*miniredis.Miniredis, *dedup.Redis) {
	t.Helper()
	srv := miniredis.RunT(t)
	return srv, openRedis(t, "redis://"+srv.Addr(), opts)
}

func get(t testing.TB, srv *miniredis.Miniredis, metric string) string {
	t.Helper()
	v, err := srv.Get("flux.last." + metric)
	require.NoError(t, err)
	return v
}

func TestRedis(t *testing.T) {
	_, s := miniStore(t, dedup.RedisOptions{})
	testStore(t, s)
	_, s = miniStore(t, dedup.RedisOptions{SkylineHash: true, TTL: time.Hour})
	testStore(t, s)
}

func TestRedisWritesAsSkyline(t *testing.T) {
	srv, s := miniStore(t, dedup.RedisOptions{})
	raise(t, s, mark("a.b", 1478021700000, 1), mark("frac", 1478021700250, 1e16), mark("nan", 1478021700000, math.NaN()), mark("inf", 1478021700000, math.Inf(-1)))
	require.Equal(t, "[1478021700, 1.0]", get(t, srv, "a.b"))
	require.Equal(t, "[1478021700.25, 1e+16]", get(t, srv, "frac"))
	require.Equal(t, "[1478021700, None]", get(t, srv, "nan"))
	require.Equal(t, "[1478021700, None]", get(t, srv, "inf"))
	require.Zero(t, srv.TTL("flux.last.a.b"))
	require.False(t, srv.Exists(skylineHash), "the hash is written only where it exists")
	require.EqualValues(t, 1478021700000, last(t, s, "nan"))

	srv.HSet(skylineHash, "other", "{'timestamp': 5, 'value': 1.0}")
	raise(t, s, mark("a.b", 1478021760000, -0.1))
	require.Equal(t, "[1478021760, -0.1]", get(t, srv, "a.b"))
	require.Equal(t, "{'timestamp': 1478021760, 'value': -0.1}", srv.HGet(skylineHash, "a.b"))
	raise(t, s, mark("nan", 1478021760000, math.NaN()))
	require.Equal(t, "{'timestamp': 1478021760, 'value': None}", srv.HGet(skylineHash, "nan"))
}

func TestRedisHashAndTTLByOption(t *testing.T) {
	srv, s := miniStore(t, dedup.RedisOptions{SkylineHash: true, TTL: time.Hour})
	srv.SetTime(time.UnixMilli(1478021701234))
	raise(t, s, mark("a", 1478021700000, 1))
	require.Equal(t, "{'timestamp': 1478021700, 'value': 1.0}", srv.HGet(skylineHash, "a"))
	require.Equal(t, time.Hour, srv.TTL("flux.last.a"))
	srv.FastForward(2 * time.Hour)
	require.False(t, srv.Exists("flux.last.a"))
	require.EqualValues(t, 1478021700000, last(t, s, "a"), "the hash remains")
}

func TestRedisReadsWhatSkylineWrote(t *testing.T) {
	const list, dict = "[%d, 1.0]", "{'timestamp': %d, 'value': 2.0}"
	for _, c := range []struct {
		name, list, dict string
		want             int64
		value            float64
	}{
		{"string", fmt.Sprintf(list, 100), "", 100_000, 1},
		{"hash", "", fmt.Sprintf(dict, 100), 100_000, 2},
		{"string later", fmt.Sprintf(list, 200), fmt.Sprintf(dict, 100), 200_000, 1},
		{"hash later", fmt.Sprintf(list, 100), fmt.Sprintf(dict, 200), 200_000, 2},
		{"null source", "[100, None]", "{'timestamp': 100, 'value': None}", 100_000, math.NaN()},
		{"NaN in the hash", fmt.Sprintf(list, 100), "{'timestamp': 200, 'value': nan}", 100_000, 1},
		{"NaN in the string", "[200, nan]", fmt.Sprintf(dict, 100), 100_000, 2},
		{"garbage", "what", "ever", dedup.None, math.NaN()},
		{"hours ahead", "[1478036100, 1.0]", "", 1478036100_000, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv, s := miniStore(t, dedup.RedisOptions{})
			if c.list != "" {
				require.NoError(t, srv.Set("flux.last.m", c.list))
			}
			if c.dict != "" {
				srv.HSet(skylineHash, "m", c.dict)
			}
			m := []dedup.Mark{mark("m", 1, 1)}
			require.NoError(t, s.Last(t.Context(), m))
			require.Equal(t, c.want, m[0].Timestamp)
			if math.IsNaN(c.value) {
				require.True(t, math.IsNaN(m[0].Value))
			} else {
				require.Equal(t, c.value, m[0].Value)
			}
			if c.want == dedup.None {
				return
			}
			raise(t, s, mark("m", c.want-1000, 5)) // does not lower
			require.Equal(t, c.want, last(t, s, "m"))
			raise(t, s, mark("m", c.want+1000, 5))
			require.Equal(t, c.want+1000, last(t, s, "m"))
		})
	}
}

func TestRedisWrongTypes(t *testing.T) {
	srv, s := miniStore(t, dedup.RedisOptions{SkylineHash: true})
	require.NoError(t, srv.Set(skylineHash, "a string"))
	_, err := srv.SAdd("flux.last.set", "x")
	require.NoError(t, err)
	raise(t, s, mark("m", 1000, 1), mark("set", 2000, 1))
	require.EqualValues(t, 1000, last(t, s, "m"))
	require.EqualValues(t, 2000, last(t, s, "set"))
	require.NoError(t, s.Remove(t.Context(), []byte("m")))
	require.EqualValues(t, dedup.None, last(t, s, "m"))
}

func TestRedisManyMetricsInOneRoundTrip(t *testing.T) {
	srv, s := miniStore(t, dedup.RedisOptions{})
	var m []dedup.Mark
	for i := range 1777 { // four runs of the script
		m = append(m, mark(fmt.Sprintf("m.%d", i), int64(i+1)*1000, float64(i)))
	}
	raise(t, s, m...)
	require.EqualValues(t, 2, s.Stats().RoundTrips, "the script had to be sent")
	raise(t, s, m...)
	require.EqualValues(t, 3, s.Stats().RoundTrips)
	require.Equal(t, "[1777, 1776.0]", get(t, srv, "m.1776"))
	back := make([]dedup.Mark, len(m))
	for i := range m {
		back[i].Metric = m[i].Metric
	}
	require.NoError(t, s.Last(t.Context(), back))
	require.Equal(t, m, back)
	require.EqualValues(t, 4, s.Stats().RoundTrips)
}

func TestRedisScriptFlushed(t *testing.T) {
	srv, s := miniStore(t, dedup.RedisOptions{})
	raise(t, s, mark("m", 1000, 1))
	c, err := redis.Dial("tcp", srv.Addr())
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Do("SCRIPT", "FLUSH")
	require.NoError(t, err)
	raise(t, s, mark("m", 2000, 1))
	require.EqualValues(t, 2000, last(t, s, "m"))
}

// The script must read a stored mark as Last does, or a mark could fall, or one
// that nobody can read could stay.
func TestRedisScriptReadsLikeLast(t *testing.T) {
	srv, s := miniStore(t, dedup.RedisOptions{})
	for text, stored := range dedup.StoredTexts() {
		require.NoError(t, srv.Set("flux.last.m", text))
		require.Equal(t, stored, last(t, s, "m"), "%q", text)
		low := int64(-10_000) // below each of them
		raise(t, s, mark("m", low, 1))
		if stored == dedup.None {
			stored = low
		}
		require.Equal(t, stored, last(t, s, "m"), "%q", text)
		raise(t, s, mark("m", 2e12, 1))
		require.EqualValues(t, 2e12, last(t, s, "m"), "%q", text)
	}
}

func TestRedisTwoGatewaysRace(t *testing.T) {
	srv := miniredis.RunT(t)
	stores := []*dedup.Redis{
		openRedis(t, "redis://"+srv.Addr(), dedup.RedisOptions{}),
		openRedis(t, "redis://"+srv.Addr(), dedup.RedisOptions{SkylineHash: true}),
	}
	const metrics, rounds = 20, 60
	var wg sync.WaitGroup
	for g, s := range stores {
		wg.Go(func() {
			for i := range rounds {
				var m []dedup.Mark
				for k := range metrics {
					ts := int64((i*7919+k*31+g*13)%rounds) * 1000
					m = append(m, mark(fmt.Sprint(k), ts, float64(ts)))
				}
				if err := s.Raise(t.Context(), m); err != nil {
					t.Error(err)
				}
				want := append([]dedup.Mark(nil), m...)
				if err := s.Last(t.Context(), m); err != nil {
					t.Error(err)
				}
				for k := range m {
					if m[k].Timestamp < want[k].Timestamp {
						t.Errorf("mark %d after raising to %d", m[k].Timestamp, want[k].Timestamp)
					}
				}
			}
		})
	}
	wg.Wait()
}

// stall makes the server answer nobody until the function that it returns is
// called.
func stall(t *testing.T, srv *miniredis.Miniredis) (resume func()) {
	srv.Lock()
	resume = sync.OnceFunc(srv.Unlock)
	t.Cleanup(resume)
	return resume
}

// lookups waits until so many round trips are under way and calls wait.
func lookups(t *testing.T, s *dedup.Redis, running, waiting int) {
	t.Helper()
	require.Eventually(t, func() bool {
		r, w := dedup.Lookups(s)
		return r == running && w == waiting
	}, time.Minute, time.Millisecond)
}

func TestRedisCallsShareRoundTrips(t *testing.T) {
	srv, s := miniStore(t, dedup.RedisOptions{Conns: 1})
	raise(t, s, mark("m0", 1000, 1))
	before := s.Stats().RoundTrips
	resume := stall(t, srv)
	var wg sync.WaitGroup
	call := func(i int) {
		m := []dedup.Mark{mark(fmt.Sprint("m", i), 0, 0)}
		if err := s.Last(t.Context(), m); err != nil {
			t.Error(err)
		}
		if i == 0 != (m[0].Timestamp == 1000) {
			t.Error("wrong answer")
		}
	}
	wg.Go(func() { call(0) })
	lookups(t, s, 1, 0)
	for i := range 49 {
		wg.Go(func() { call(i + 1) })
	}
	lookups(t, s, 1, 49)
	resume()
	wg.Wait()
	require.EqualValues(t, 2, s.Stats().RoundTrips-before)
}

func TestRedisCallerLeaves(t *testing.T) {
	srv, s := miniStore(t, dedup.RedisOptions{Conns: 1})
	raise(t, s, mark("m", 1000, 1))
	resume := stall(t, srv)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	errs := make(chan error, 2)
	for waiting := range 2 {
		go func() { errs <- s.Last(ctx, []dedup.Mark{mark("m", 0, 0)}) }()
		lookups(t, s, 1, waiting)
	}
	cancel()
	for range 2 {
		err := <-errs
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, dedup.ErrUnavailable)
	}
	resume()
	require.EqualValues(t, 1000, last(t, s, "m"))
	require.ErrorIs(t, s.Last(ctx, []dedup.Mark{mark("m", 0, 0)}), context.Canceled)
}

func TestRedisURL(t *testing.T) {
	srv := miniredis.RunT(t)
	srv.RequireUserAuth("flux", "s3cr&t/")
	addr := srv.Addr()
	t.Run("user, password and database", func(t *testing.T) {
		s := openRedis(t, "redis://flux:s3cr%26t%2F@"+addr+"/3", dedup.RedisOptions{})
		raise(t, s, mark("m", 1000, 1))
		v, err := srv.DB(3).Get("flux.last.m")
		require.NoError(t, err)
		require.Equal(t, "[1, 1.0]", v)
	})
	t.Run("password by option", func(t *testing.T) {
		s := openRedis(t, "redis://flux:wrong@"+addr, dedup.RedisOptions{Password: "s3cr&t/"})
		raise(t, s, mark("m", 1000, 1))
	})
	t.Run("wrong password", func(t *testing.T) {
		s := openRedis(t, "redis://flux:wrongword@"+addr, dedup.RedisOptions{})
		err := s.Raise(t.Context(), []dedup.Mark{mark("m", 1000, 1)})
		require.ErrorIs(t, err, dedup.ErrUnavailable)
		require.NotContains(t, err.Error(), "wrongword")
	})
	for _, url := range []string{
		"", "localhost:6379", "http://h", "redis://", "redis:///1", "redis://h/x", "redis://h/-1", "redis://h/1/2",
		"redis://h?db=1", "redis://h:port", "unix://host/path", "unix://", "unix:///p?db=x", "unix:///p?a=b",
		"unix:///p?db=1&db=2", "unix:p", "redis://:hunter2#@h", "redis://u:hunter2%zz@h", "redis://:hun ter2@h:6379x",
		"redis://user@h",
	} {
		_, err := dedup.NewRedis(url, dedup.RedisOptions{})
		require.Error(t, err, url)
		require.True(t, strings.HasPrefix(err.Error(), "dedup: redis"), err.Error())
		require.NotContains(t, err.Error(), "hunter2")
		require.NotContains(t, err.Error(), "ter2@")
	}
	_, err := dedup.NewRedis("redis://h", dedup.RedisOptions{TTL: time.Millisecond})
	require.ErrorContains(t, err, "TTL 1ms")
}

func TestRedisUnixSocket(t *testing.T) {
	srv := miniredis.RunT(t)
	path := t.TempDir() + "/redis.sock"
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d, err := net.Dial("tcp", srv.Addr())
			if err != nil {
				t.Error(err)
				return
			}
			wg.Go(func() { pipe(c, d) })
			wg.Go(func() { pipe(d, c) })
		}
	})
	s := openRedis(t, "unix://"+path+"?db=2", dedup.RedisOptions{})
	raise(t, s, mark("m", 1000, 1))
	require.EqualValues(t, 1000, last(t, s, "m"))
	require.True(t, srv.DB(2).Exists("flux.last.m"))
	require.NoError(t, s.Close())
	require.NoError(t, l.Close())
	wg.Wait()
}

// pipe copies until an end, and closes both sides.
func pipe(to, from net.Conn) {
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			_, _ = to.Write(buf[:n])
		}
		if err != nil {
			_ = to.Close()
			_ = from.Close()
			return
		}
	}
}

func TestRedisTLS(t *testing.T) {
	cert, pool := selfSigned(t)
	srv := miniredis.NewMiniRedis()
	require.NoError(t, srv.StartTLS(&tls.Config{Certificates: []tls.Certificate{cert}}))
	t.Cleanup(srv.Close)
	s := openRedis(t, "rediss://"+srv.Addr(), dedup.RedisOptions{TLS: &tls.Config{RootCAs: pool}})
	raise(t, s, mark("m", 1000, 1))
	require.EqualValues(t, 1000, last(t, s, "m"))
	s = openRedis(t, "rediss://"+srv.Addr(), dedup.RedisOptions{})
	err := s.Last(t.Context(), []dedup.Mark{mark("m", 0, 0)})
	require.ErrorIs(t, err, dedup.ErrUnavailable)
	var unknown *tls.CertificateVerificationError
	require.True(t, errors.As(err, &unknown), err)
}
