//go:build interop

package dedup_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/internal/rig"
)

func TestInteropRedis(t *testing.T) {
	srv := rig.Redis(t)
	for url, opts := range map[string]dedup.RedisOptions{
		srv.URL + "/1":          {},
		srv.URL + "/2":          {SkylineHash: true, TTL: time.Hour},
		srv.SocketURL + "?db=3": {},
		srv.SocketURL + "?db=4": {TTL: time.Minute},
		srv.URL:                 {Conns: 1},
	} {
		s := openRedis(t, url, opts)
		testStore(t, s)
		testEditor(t, s)
	}
}

// What Redis holds, asked by another client.
func TestInteropRedisEncodings(t *testing.T) {
	srv := rig.Redis(t)
	c, err := redis.DialURL(srv.URL)
	require.NoError(t, err)
	defer c.Close()
	s := openRedis(t, srv.URL, dedup.RedisOptions{TTL: time.Hour})
	ask := func(args ...any) string {
		t.Helper()
		text, err := redis.String(c.Do(args[0].(string), args[1:]...))
		require.NoError(t, err)
		return text
	}
	raise(t, s, mark("vista.nodes.skyline-1.cpu.user", 1478021700000, 1))
	require.Equal(t, "[1478021700, 1.0]", ask("GET", "flux.last.vista.nodes.skyline-1.cpu.user"))
	ttl, err := redis.Int(c.Do("TTL", "flux.last.vista.nodes.skyline-1.cpu.user"))
	require.NoError(t, err)
	require.Greater(t, ttl, 0)
	require.LessOrEqual(t, ttl, 3600)
	n, err := redis.Int(c.Do("EXISTS", skylineHash))
	require.NoError(t, err)
	require.Zero(t, n)

	_, err = c.Do("HSET", skylineHash, "h", "{'timestamp': 1478021760, 'value': None}")
	require.NoError(t, err)
	require.EqualValues(t, 1478021760000, last(t, s, "h"))
	raise(t, s, mark("h", 1478021759000, 1), mark("new", 1478021700500, 1e-7))
	require.Equal(t, "{'timestamp': 1478021760, 'value': None}", ask("HGET", skylineHash, "h"))
	require.Equal(t, "{'timestamp': 1478021700.5, 'value': 1e-07}", ask("HGET", skylineHash, "new"))
	raise(t, s, mark("h", 1478021761000, 1e16))
	require.Equal(t, "{'timestamp': 1478021761, 'value': 1e+16}", ask("HGET", skylineHash, "h"))
	require.Equal(t, "[1478021761, 1e+16]", ask("GET", "flux.last.h"))

	for text, stored := range dedup.StoredTexts() {
		_, err = c.Do("SET", "flux.last.m", text)
		require.NoError(t, err)
		require.Equal(t, stored, last(t, s, "m"), "%q", text)
		_, _ = c.Do("HDEL", skylineHash, "m")
		raise(t, s, mark("m", -10_000, 1))
		if stored == dedup.None {
			stored = -10_000
		}
		require.Equal(t, stored, last(t, s, "m"), "%q", text)
		require.NoError(t, s.Remove(t.Context(), []byte("m")))
	}
}

func TestInteropRedisLargeBatch(t *testing.T) {
	srv := rig.Redis(t)
	s := openRedis(t, srv.URL, dedup.RedisOptions{SkylineHash: true})
	var m []dedup.Mark
	for i := range 10_000 {
		m = append(m, mark(fmt.Sprintf("servers.web-%05d.%s", i, strings.Repeat("x", i%200)), int64(i+1)*1000, float64(i)))
	}
	raise(t, s, m...)
	back := make([]dedup.Mark, len(m))
	for i := range m {
		back[i].Metric = m[i].Metric
	}
	require.NoError(t, s.Last(t.Context(), back))
	require.Equal(t, m, back)
	require.EqualValues(t, 4, s.Stats().RoundTrips, "the script had to be sent, and the hash was new")
	require.NoError(t, s.Last(t.Context(), back))
	raise(t, s, m...)
	require.EqualValues(t, 6, s.Stats().RoundTrips)
}

func TestInteropTwoGateways(t *testing.T) {
	srv := rig.Redis(t)
	a, b := openRedis(t, srv.URL, dedup.RedisOptions{}), openRedis(t, srv.SocketURL, dedup.RedisOptions{})
	twice := twoGateways(t, a, b, 60)
	t.Logf("accepted twice, from the race window: %d", twice)
}

func TestInteropTwoFilters(t *testing.T) {
	for name, opts := range map[string]dedup.RedisOptions{"plain": {}, "hash": {SkylineHash: true}} {
		t.Run(name, func(t *testing.T) {
			srv := rig.Redis(t)
			open := func(url string) *dedup.Redis { return openRedis(t, url, opts) }
			fl := newFleet(t, open(srv.URL), open(srv.SocketURL), open(srv.URL), 200, 100)
			t.Logf("accepted by both, from the race window: %d of 20000", fl.run(func() {}))
		})
	}
}

// The server keeps its marks, dies in the middle and comes back.
func TestInteropTwoFiltersRedisKilled(t *testing.T) {
	srv := rig.Redis(t, "--appendonly", "yes")
	open := func(url string) *dedup.Redis { return openRedis(t, url, dedup.RedisOptions{}) }
	fl := newFleet(t, open(srv.URL), open(srv.SocketURL), open(srv.URL), 200, 100)
	twice := fl.run(func() {
		srv.Kill()
		srv.Restart()
	})
	t.Logf("accepted by both, from the race window: %d of 20000", twice)
}

// Marks as Skyline leaves them, judged by.
func TestInteropSkylineMarks(t *testing.T) {
	const now = 1478021700
	list := func(ts int64) string { return fmt.Sprintf("[%d, 1.0]", ts) }
	dict := func(ts int64) string { return fmt.Sprintf("{'timestamp': %d, 'value': 1.0}", ts) }
	srv := rig.Redis(t)
	c, err := redis.DialURL(srv.URL)
	require.NoError(t, err)
	defer c.Close()
	s := openRedis(t, srv.URL, dedup.RedisOptions{})
	f := &dedup.Filter{Store: s, Future: time.Minute, Now: func() time.Time { return time.Unix(now, 0) }}
	_, err = c.Do("HSET", skylineHash, "other", dict(now))
	require.NoError(t, err)
	for name, k := range map[string]struct {
		list, dict string
		want       string // of the points 120 s and 60 s ago, and now
	}{
		"string":                  {list(now - 60), "", "late,duplicate,new"},
		"hash":                    {"", dict(now - 60), "late,duplicate,new"},
		"string later":            {list(now - 60), dict(now - 120), "late,duplicate,new"},
		"hash later":              {list(now - 120), dict(now - 60), "late,duplicate,new"},
		"null source":             {fmt.Sprintf("[%d, None]", now-60), "", "late,duplicate,new"},
		"stale":                   {list(now - 90*86400), dict(now - 90*86400), "new,new,new"},
		"hours ahead":             {list(now + 3*3600), "", "new,new,new"},
		"hours ahead, in hash":    {"", dict(now + 3*3600), "new,new,new"},
		"a minute ahead":          {list(now + 60), "", "late,late,late"},
		"NaN":                     {fmt.Sprintf("[%d, nan]", now), fmt.Sprintf("{'timestamp': %d, 'value': nan}", now), "new,new,new"},
		"NaN, and a good one":     {fmt.Sprintf("[%d, nan]", now), dict(now - 60), "late,duplicate,new"},
		"milliseconds by mistake": {list(now * 1000), "", "new,new,new"},
		"none":                    {"", "", "new,new,new"},
	} {
		if k.list != "" {
			_, err := c.Do("SET", "flux.last."+name, k.list)
			require.NoError(t, err)
		}
		if k.dict != "" {
			_, err := c.Do("HSET", skylineHash, name, k.dict)
			require.NoError(t, err)
		}
		pts := []dedup.Mark{mark(name, (now-120)*1000, 1), mark(name, (now-60)*1000, 1), mark(name, now*1000, 2.5)}
		require.Equal(t, k.want, judge(t, f, pts...), name)
		before := last(t, s, name)
		f.Kept(pts)
		require.NoError(t, f.Done(t.Context(), pts))
		require.GreaterOrEqual(t, last(t, s, name), before, "marks never fall")
		if before <= now*1000 {
			for _, get := range [][]any{{"GET", "flux.last." + name}, {"HGET", skylineHash, name}} {
				text, err := redis.String(c.Do(get[0].(string), get[1:]...))
				require.NoError(t, err, name)
				require.Equal(t, "1478021700 2.5", pythonReads(t, text), name)
			}
		}
	}
}

// pythonReads returns what Skyline's reader makes of a text.
func pythonReads(t *testing.T, text string) string {
	t.Helper()
	const script = `import ast, sys
v = ast.literal_eval(sys.argv[1])
v = list(v.values()) if isinstance(v, dict) else v
print(int(v[0]), float(v[1]), end="")`
	out, err := exec.Command(rig.Tool(t, "/usr/bin/python3", "python3"), "-c", script, text).CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}

// The server dies and comes back, empty.
func TestInteropRedisRestart(t *testing.T) {
	srv := rig.Redis(t)
	s := openRedis(t, srv.URL, dedup.RedisOptions{})
	f := &dedup.Filter{Store: s}
	require.Equal(t, "new", judge(t, f, at(1000)...))
	f.Kept(at(1000))
	srv.Kill()
	err := f.Judge(t.Context(), at(2000), make([]dedup.Verdict, 1))
	require.ErrorIs(t, err, dedup.ErrUnavailable)
	require.ErrorIs(t, f.Done(t.Context(), at(1000)), dedup.ErrUnavailable)
	srv.Restart()
	require.Equal(t, "duplicate,late,new", judge(t, f, at(1000, 500, 2000)...))
	require.NoError(t, f.Retry(t.Context()))
	require.EqualValues(t, 1000, last(t, s, "m"))
}

// A server that is stopped but keeps its sockets.
func TestInteropRedisHangs(t *testing.T) {
	srv := rig.Redis(t)
	raise(t, openRedis(t, srv.URL, dedup.RedisOptions{}), mark("m", 1000, 1))
	quick := openRedis(t, srv.URL, dedup.RedisOptions{Timeout: 50 * time.Millisecond})
	patient := openRedis(t, srv.URL, dedup.RedisOptions{Timeout: time.Minute})
	srv.Pause()
	require.Eventually(t, func() bool { // a signal may take its time
		return errors.Is(quick.Last(context.Background(), at(0)), dedup.ErrUnavailable)
	}, time.Minute, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, patient.Last(ctx, at(0)), context.DeadlineExceeded)
	srv.Continue()
	require.EqualValues(t, 1000, last(t, patient, "m"))
	require.Eventually(t, func() bool {
		m := at(0)
		return quick.Last(context.Background(), m) == nil && m[0].Timestamp == 1000
	}, time.Minute, 10*time.Millisecond)
}

func TestInteropRedisPassword(t *testing.T) {
	srv := rig.Redis(t, "--requirepass", "s3cret/&")
	s := openRedis(t, "redis://:s3cret%2F%26@"+srv.Addr+"/5", dedup.RedisOptions{})
	raise(t, s, mark("m", 1000, 1))
	s = openRedis(t, srv.SocketURL, dedup.RedisOptions{Password: "s3cret/&"})
	raise(t, s, mark("m", 1000, 1))
	s = openRedis(t, srv.SocketURL, dedup.RedisOptions{})
	require.ErrorIs(t, s.Raise(t.Context(), at(1)), dedup.ErrUnavailable)
}
