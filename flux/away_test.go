package flux_test

import (
	"context"
	"errors"
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

// stalledStore is a store that can hang, as a server does that was stopped: calls end when it goes on, when the test
// lets one of them run into its timeout, or when their caller gives up.
type stalledStore struct {
	dedup.Memory
	timeout chan struct{} // has one call run into its timeout
	on      atomic.Pointer[chan struct{}]
	looked  atomic.Int64 // calls of Last while it hung
}

func newStalledStore(t *testing.T) *stalledStore {
	s := &stalledStore{timeout: make(chan struct{})}
	t.Cleanup(s.goOn)
	return s
}

func (s *stalledStore) hang() {
	on := make(chan struct{})
	s.on.Store(&on)
}

func (s *stalledStore) goOn() {
	if on := s.on.Swap(nil); on != nil {
		close(*on)
	}
}

func (s *stalledStore) wait(ctx context.Context, calls *atomic.Int64) error {
	on := s.on.Load()
	if on == nil {
		return nil
	}
	if calls != nil {
		calls.Add(1)
	}
	select {
	case <-*on:
		return nil
	case <-s.timeout:
		return fmt.Errorf("%w: %w", dedup.ErrUnavailable, os.ErrDeadlineExceeded)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *stalledStore) Last(ctx context.Context, m []dedup.Mark) error {
	if err := s.wait(ctx, &s.looked); err != nil {
		return err
	}
	return s.Memory.Last(ctx, m)
}

func (s *stalledStore) Raise(ctx context.Context, m []dedup.Mark) error {
	if err := s.wait(ctx, nil); err != nil {
		return err
	}
	return s.Memory.Raise(ctx, m)
}

// start posts a body, and returns how to wait for the answer.
func (r *rig) start(body string) (answer func() (int, string)) {
	type reply struct {
		code int
		body string
	}
	replies := make(chan reply, 1)
	go func() {
		code, body := r.post(body)
		replies <- reply{code, body}
	}()
	return func() (int, string) {
		r.t.Helper()
		select {
		case got := <-replies:
			return got.code, got.body
		case <-time.After(patience):
			require.Fail(r.t, "no answer")
			return 0, ""
		}
	}
}

// TestStoreThatHangs has one request find out. The others are answered without asking: one more question would hang.
func TestStoreThatHangs(t *testing.T) {
	for mode, want := range map[flux.Away]int{flux.AwayDeliver: 204, flux.AwayRefuse: 503} {
		t.Run(mode.String(), func(t *testing.T) {
			noLeaks(t)
			store := newStalledStore(t)
			r := newRig(t, away(store, mode, time.Hour))
			ts := now()
			store.hang()
			first := r.start(single("first", ts, 1))
			store.timeout <- struct{}{}
			code, body := first()
			require.Equal(t, want, code, body)
			for i := range 20 {
				code, body = r.start(single(fmt.Sprint("m", i), ts, 1))()
				require.Equal(t, want, code, body)
				_, err := r.server.TryIngest(points(fmt.Sprint("p", i), 1, time.Now()))
				require.Equal(t, mode == flux.AwayRefuse, errors.Is(err, flux.ErrStore), err)
			}
			require.LessOrEqual(t, store.looked.Load(), int64(2), "one request, and one in the background")
			require.True(t, r.server.Stats().StoreDown)
			r.flush()
			store.goOn()
			eventually(t, "the store is found to be back", func() bool { return !r.server.Stats().StoreDown })
			code, body = r.post(single("first", ts, 1))
			require.Equal(t, 204, code, body)
			r.flush()
			eventually(t, "marks rise", func() bool { return markOf(t, store, "first") == ts })
			before := r.server.Stats().Duplicate
			code, _ = r.post(single("first", ts, 1))
			require.Equal(t, 204, code)
			require.Equal(t, before+1, r.account().Duplicate)
		})
	}
}

// TestHeldWhileTheStoreHangs has a request run out of time, and another one be answered when the store goes on.
func TestHeldWhileTheStoreHangs(t *testing.T) {
	noLeaks(t)
	store := newStalledStore(t)
	r := newRig(t, away(store, flux.AwayHold, 100*time.Millisecond))
	store.hang()
	held := r.start(single("a", now(), 1))
	store.timeout <- struct{}{}
	code, body := held()
	require.Equal(t, 503, code, body)
	require.Contains(t, body, "dedup store")
	_, err := r.server.TryIngest(points("b", 1, time.Now()))
	require.ErrorIs(t, err, flux.ErrStore)
	require.Zero(t, r.account().Accepted)

	patient := newStalledStore(t)
	r = newRig(t, away(patient, flux.AwayHold, time.Hour))
	patient.hang()
	held = r.start(single("a", now(), 1))
	patient.timeout <- struct{}{}
	other := r.start(single("b", now(), 1))
	eventually(t, "it is asked in the background", func() bool { return patient.looked.Load() >= 2 })
	patient.goOn()
	for _, answer := range []func() (int, string){held, other} {
		code, body = answer()
		require.Equal(t, 204, code, body)
	}
	require.Zero(t, r.server.Stats().Unjudged)
}

// TestCallersLeaveBeforeTheStoreFails: whoever waits leaves before the store runs into its timeout, and it is found out.
func TestCallersLeaveBeforeTheStoreFails(t *testing.T) {
	noLeaks(t)
	store := newStalledStore(t)
	r := newRig(t, away(store, flux.AwayDeliver, time.Hour))
	store.hang()
	ctx, cancel := context.WithCancel(soon(t))
	go func() {
		for store.looked.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	_, err := r.server.Ingest(ctx, points("a", 1, time.Now()))
	require.ErrorIs(t, err, context.Canceled)
	store.timeout <- struct{}{}
	eventually(t, "the store is known to be away", func() bool { return r.server.Stats().StoreDown })
	code, body := r.start(single("b", now(), 1))()
	require.Equal(t, 204, code, body)
}

func TestUnjudgedPointsAreCounted(t *testing.T) {
	noLeaks(t)
	store := &awayStore{}
	r := newRig(t, away(store, flux.AwayDeliver, patience))
	figures := func() (out string) {
		_, page := r.do("GET", "/metrics", "")
		for line := range strings.Lines(page) {
			if strings.HasPrefix(line, "flux_dedup_store_up ") || strings.HasPrefix(line, "flux_points_unjudged_total ") {
				out += line
			}
		}
		return out
	}
	require.Equal(t, "flux_dedup_store_up 1\nflux_points_unjudged_total 0\n", figures())
	ts := now()
	store.away.Store(true)
	r.carbon.Pickle().Pause()
	for range 2 {
		code, _ := r.post(array(testKey, ts, "a", "b", "c"))
		require.Equal(t, 204, code)
	}
	st := r.account()
	require.EqualValues(t, 3, st.Unjudged, "the others were pending, which takes no store to tell")
	require.EqualValues(t, 3, st.Duplicate)
	require.True(t, st.StoreDown)
	require.Equal(t, "flux_dedup_store_up 0\nflux_points_unjudged_total 3\n", figures())
	store.away.Store(false)
	r.carbon.Pickle().Resume()
	eventually(t, "it is back", func() bool { return strings.Contains(figures(), "flux_dedup_store_up 1\n") })
	code, _ := r.post(single("d", ts, 1))
	require.Equal(t, 204, code)
	require.EqualValues(t, 3, r.server.Stats().Unjudged)
}

// readOnlyStore answers, and takes no marks.
type readOnlyStore struct {
	dedup.Memory
	writable atomic.Bool
}

func (s *readOnlyStore) Raise(ctx context.Context, m []dedup.Mark) error {
	if !s.writable.Load() {
		return fmt.Errorf("%w: READONLY", dedup.ErrUnavailable)
	}
	return s.Memory.Raise(ctx, m)
}

func TestStoreThatTakesNoMarks(t *testing.T) {
	noLeaks(t)
	store := &readOnlyStore{}
	r := newRig(t, away(store, flux.AwayRefuse, patience))
	ts := now()
	code, _ := r.post(single("a", ts, 1))
	require.Equal(t, 204, code)
	eventually(t, "it is told", func() bool { return r.server.Stats().StoreDown })
	for range 2 {
		code, _ = r.post(array(testKey, ts, "a", "b"))
		require.Equal(t, 204, code, "it can be asked")
		r.flush()
	}
	require.EqualValues(t, 3, r.account().Duplicate, "marks that are due count")
	store.writable.Store(true)
	eventually(t, "marks rise", func() bool { return markOf(t, store, "b") == ts })
	eventually(t, "it is told", func() bool { return !r.server.Stats().StoreDown })
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
