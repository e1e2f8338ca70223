package flux_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/flux"
)

// away is a configuration whose store is the given one, and what becomes of points while it is away.
func away(store dedup.Store, mode flux.Away, wait time.Duration) func(*flux.Config) {
	return func(c *flux.Config) {
		c.Dedup = flux.DedupConfig{Store: store, Away: mode, AwayWait: wait, AllInputs: true}
		c.Line = &flux.CarbonInput{Listen: "127.0.0.1:0"}
	}
}

// ready is the code and the text of /readyz.
func (r *rig) ready() (int, string) { return r.do("GET", "/readyz", "") }

func TestAwayHold(t *testing.T) {
	noLeaks(t)
	store := &awayStore{}
	r := newRig(t, away(store, flux.AwayHold, patience))
	ts := now()
	store.away.Store(true)
	var sent sync.WaitGroup
	sent.Go(func() {
		if code, body := r.post(single("a", ts, 1)); code != 204 {
			panic(body)
		}
	})
	eventually(t, "it asks", func() bool { return store.refused.Load() >= 2 })
	require.Zero(t, r.server.Stats().Accepted)
	code, body := r.ready()
	require.Equal(t, 503, code)
	require.Contains(t, body, `"reason":"store"`)
	store.away.Store(false)
	sent.Wait()
	r.flush()
	eventually(t, "its mark is raised", func() bool { return markOf(t, store, "a") == ts })
	code, _ = r.ready()
	require.Equal(t, 200, code)
	require.EqualValues(t, 1, r.account().Accepted)
}

func TestAwayHoldEnds(t *testing.T) {
	noLeaks(t)
	for name, store := range map[string]dedup.Store{"that refuses": refusing(), "that hangs": deafStore{}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, away(store, flux.AwayHold, 20*time.Millisecond))
			code, body := r.post(array(testKey, now(), "a", "b"))
			require.Equal(t, 503, code, body)
			require.Contains(t, body, "dedup store")
			_, err := r.server.TryIngest(points("c", 1, time.Now()))
			require.ErrorIs(t, err, flux.ErrStore)
			_, err = r.server.Ingest(soonEnded(t), points("c", 1, time.Now()))
			require.ErrorIs(t, err, flux.ErrStore)
			require.Equal(t, map[string]uint64{"store": 4}, r.account().Rejected)
		})
	}
}

func refusing() dedup.Store {
	s := &awayStore{}
	s.away.Store(true)
	return s
}

// deafStore never answers.
type deafStore struct{}

func (deafStore) Last(ctx context.Context, _ []dedup.Mark) error {
	<-ctx.Done()
	return ctx.Err()
}
func (s deafStore) Raise(ctx context.Context, m []dedup.Mark) error { return s.Last(ctx, m) }

func TestAwayDeliver(t *testing.T) {
	noLeaks(t)
	store := &awayStore{}
	r := newRig(t, away(store, flux.AwayDeliver, patience))
	ts := now()
	code, _ := r.post(single("a", ts, 1))
	require.Equal(t, 204, code)
	r.flush()
	store.away.Store(true)
	code, _ = r.post(single("a", ts, 1))
	require.Equal(t, 204, code)
	code, _ = r.post(single("b", ts, 1))
	require.Equal(t, 204, code)
	r.flush()
	require.Len(t, r.carbon.Points("a"), 2, "twice: nobody could tell")
	require.Len(t, r.carbon.Points("b"), 1)
	code, _ = r.ready()
	require.Equal(t, 200, code, "points are taken")
	store.away.Store(false)
	eventually(t, "the mark that waited is raised", func() bool { return markOf(t, store, "b") == ts })
	code, _ = r.post(single("b", ts, 1))
	require.Equal(t, 204, code)
	r.flush()
	require.Len(t, r.carbon.Points("b"), 1, "the store is asked again")
	require.EqualValues(t, 1, r.account().Duplicate)
}

func TestAwayRefuse(t *testing.T) {
	noLeaks(t)
	store := &awayStore{}
	store.away.Store(true)
	r := newRig(t, away(store, flux.AwayRefuse, patience))
	r.run()
	ts := now()
	code, body := r.post(single("a", ts, 1))
	require.Equal(t, 503, code, body)
	code, _ = r.ready()
	require.Equal(t, 503, code)
	var sent sync.WaitGroup
	sent.Go(func() { r.sendAll("line", fmt.Sprintf("c 1 %d\n", ts)) })
	before := store.refused.Load()
	eventually(t, "the line input asks", func() bool { return store.refused.Load() >= before+2 })
	store.away.Store(false)
	sent.Wait()
	code, _ = r.post(single("a", ts, 1))
	require.Equal(t, 204, code)
	r.flush()
	require.Len(t, r.carbon.Points("c"), 1, "nobody else has it: it is held")
	require.Len(t, r.carbon.Points("a"), 1)
	require.Equal(t, map[string]uint64{"store": 1}, r.account().Rejected)
}

// slowStore hangs until its caller gives up or the test lets go, and counts who asks.
type slowStore struct {
	dedup.Memory
	asked atomic.Int64
	let   chan struct{}
}

func (s *slowStore) Last(ctx context.Context, m []dedup.Mark) error {
	s.asked.Add(1)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.let:
		return fmt.Errorf("hung: %w", dedup.ErrUnavailable)
	}
}

// TestOneAsksAStoreThatHangs: once it is known to be away, the others do not wait for it.
func TestOneAsksAStoreThatHangs(t *testing.T) {
	noLeaks(t)
	store := &slowStore{let: make(chan struct{}, 1)}
	r := newRig(t, away(store, flux.AwayDeliver, patience))
	ts := now()
	store.let <- struct{}{}
	code, _ := r.post(single("first", ts, 1))
	require.Equal(t, 204, code)
	var hung sync.WaitGroup
	hung.Go(func() { r.post(single("hangs", ts, 1)) })
	eventually(t, "one asks", func() bool { return store.asked.Load() == 2 })
	for i := range 10 {
		code, _ := r.post(single(fmt.Sprint("m", i), ts, 1))
		require.Equal(t, 204, code)
	}
	require.EqualValues(t, 2, store.asked.Load())
	close(store.let)
	hung.Wait()
	r.flush()
	require.Equal(t, 12, r.carbon.Received())
	r.account()
}

func TestBypass(t *testing.T) {
	noLeaks(t)
	r := newRig(t, func(c *flux.Config) { c.Dedup.Bypass = []string{"raw", "x.y"} })
	ts := now()
	for range 2 {
		code, _ := r.post(array(testKey, ts, "raw.a", "raw", "raw;t=1", "x.y.z", "rawer.a", "x.yz"))
		require.Equal(t, 204, code)
		r.flush()
	}
	for metric, want := range map[string]int{"raw.a": 2, "raw": 2, "raw;t=1": 2, "x.y.z": 2, "rawer.a": 1, "x.yz": 1} {
		require.Len(t, r.carbon.Points(metric), want, metric)
	}
	require.EqualValues(t, 2, r.account().Duplicate)
	for _, prefix := range []string{"", "a.", ".a", "a b"} {
		_, err := flux.New(flux.Config{Destination: toCarbon(nowhere), Dedup: flux.DedupConfig{Bypass: []string{prefix}}})
		require.ErrorIs(t, err, flux.ErrConfig, prefix)
	}
}

func TestReadiness(t *testing.T) {
	noLeaks(t)
	r := newRig(t, func(c *flux.Config) {
		c.HTTP.RoomWait = 10 * time.Millisecond
		c.Destination = toCarbon(nowhere, smallQueue)
		c.Also = []flux.Destination{toCarbon(nowhere, smallQueue)}
	})
	code, body := r.ready()
	require.Equal(t, 200, code)
	eventually(t, "Carbon is seen to be down", func() bool {
		_, _ = r.post(single("a", now(), 1))
		code, body = r.ready()
		require.Equal(t, 200, code, "its queue takes points")
		return strings.Contains(body, `"name":"carbon","required":true,"up":false`)
	})
	for i := 0; ; i++ {
		require.Less(t, i, 10_000)
		if code, _ := r.post(array(testKey, now(), fmt.Sprint("m", i), strings.Repeat("x", 50)+fmt.Sprint(i))); code == 503 {
			break
		}
	}
	before := r.account()
	for i := 0; ; i++ { // what is left is less than a point of that size, and may yet be enough for a small one
		require.Less(t, i, 10_000)
		if code, _ := r.post(single(fmt.Sprint(i), now(), 1)); code == 503 {
			break
		}
	}
	code, body = r.ready()
	require.Equal(t, 503, code)
	require.Contains(t, body, `"reason":"full"`)
	require.NotContains(t, body, nowhere)
	require.ErrorIs(t, r.server.Ready(ended()), flux.ErrFull)
	after := r.account()
	require.Equal(t, before.Destinations[0].Dropped, after.Destinations[0].Dropped)
	require.EqualValues(t, after.Accepted, after.Destinations[0].Pending)
	code, _ = r.do("GET", "/healthz", "")
	require.Equal(t, 200, code)
	_ = r.server.Close(ended())
	code, body = r.ready()
	require.Equal(t, 503, code)
	require.Contains(t, body, `"reason":"closed"`)
}

// TestReadinessOfABrokenSpool takes the spool's directory away.
func TestReadinessOfABrokenSpool(t *testing.T) {
	noLeaks(t)
	dir := t.TempDir()
	r := newRig(t, func(c *flux.Config) { c.SpoolDir, c.HTTP.RoomWait = dir, 20*time.Millisecond })
	code, _ := r.ready()
	require.Equal(t, 200, code)
	breakSpool(t, dir)
	code, _ = r.post(single("a", now(), 1))
	require.Equal(t, 503, code)
	code, body := r.ready()
	require.Equal(t, 503, code)
	require.Contains(t, body, `"reason":"spool"`)
	mendSpool(t, dir)
	eventually(t, "the disk is back", func() bool { code, _ := r.ready(); return code == 200 })
	code, _ = r.post(single("b", now(), 1))
	require.Equal(t, 204, code)
}

// TestReadinessStandsInLine has callers wait for room, of whom none may be passed over.
func TestReadinessStandsInLine(t *testing.T) {
	noLeaks(t)
	r := newRig(t, func(c *flux.Config) {
		c.HTTP.RoomWait = patience
		c.Destination.Carbon.MemoryMax = 64 << 10
	})
	r.carbon.Pickle().Kill()
	for i := 0; ; i++ {
		if _, err := r.server.TryIngest(points(fmt.Sprint("m", i), 100, time.Now())); err != nil {
			break
		}
	}
	var waiting sync.WaitGroup
	for i := range 8 {
		waiting.Go(func() {
			if i%2 == 0 {
				if err := r.server.Ready(context.Background()); err != nil {
					panic(err)
				}
				return
			}
			if code, body := r.post(single(fmt.Sprint("w", i), now(), 1)); code != http.StatusNoContent {
				panic(body)
			}
		})
	}
	require.NoError(t, r.carbon.Pickle().Restore())
	waiting.Wait()
	r.flush()
	for i := 1; i < 8; i += 2 {
		require.Len(t, r.carbon.Points(fmt.Sprint("w", i)), 1)
	}
	r.account()
}

// breakSpool takes the directory of a spool away, and mendSpool gives it back.
func breakSpool(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "carbon")))
}

func mendSpool(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "carbon"), 0o750))
}
