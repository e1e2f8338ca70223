//go:build interop || soak

package flux_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/flux"
	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/internal/deadletter"
)

const (
	soakHeap     = 96 << 20 // that may be in use after a collection, doubles and load included
	soakGrowth   = 24 << 20 // from the first third of a run to the last one, the ledgers' included
	soakRoutines = 100      // that a run may have
	soakDrain    = 10 * time.Minute
)

// soakServer is a server that runs until the test ends.
func soakServer(t *testing.T, cfg flux.Config) *flux.Server {
	t.Helper()
	cfg.Line = &flux.CarbonInput{Listen: "127.0.0.1:0"}
	s := newServer(t, cfg)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	return s
}

func lineTo(addr string) flux.Destination {
	return flux.Destination{Required: true, Carbon: &graphite.ClientConfig{Addrs: []string{addr}, Protocol: graphite.Line}}
}

func ingestTo(url string) flux.Destination {
	return flux.Destination{Required: true, Blueflood: &blueflood.EndpointConfig{URL: url, Tenant: "own", Interval: 200 * time.Millisecond}}
}

// surviveTrouble has a Blueflood and a Carbon, both required and both in trouble, behind a server with a spool: the
// one about as often as pace says. In the end every point must be accounted for.
func surviveTrouble(t *testing.T, rate int, lasts, pace time.Duration) {
	noLeaks(t)
	b, c := newSoakBlueflood(t), newSoakSink(t)
	to := ingestTo(b.url())
	to.Blueflood.Timeout, to.Blueflood.BackoffMax = 2*time.Second, time.Second
	also := lineTo(c.addr)
	also.Carbon.BackoffMax = time.Second
	dir := t.TempDir()
	letters := filepath.Join(dir, "letters")
	s := soakServer(t, flux.Config{
		Destination: to, Also: []flux.Destination{also}, Dedup: flux.DedupConfig{Off: true},
		SpoolDir: filepath.Join(dir, "spool"), DeadLetter: letters, DeadLetterMax: 4 << 30,
	})
	l := startSoakLoad(t, s, rate, lasts, true)

	end := make(chan struct{})
	var making sync.WaitGroup
	dead, stopped := 0, 0
	making.Go(func() { b.trouble(t, end, pace) })
	making.Go(func() { dead, stopped = c.trouble(t, end) })
	w := watchMemory(t, s, lasts)
	close(end)
	sent := l.finish(t)
	making.Wait()
	backlog := s.Stats()

	begun := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), soakDrain)
	defer cancel()
	require.NoError(t, s.Flush(ctx))
	st := balanced(t, s)
	drained := time.Since(begun)
	require.NoError(t, s.Close(ctx))
	requireAccounted(t, st, sent, b, c, l, letters)
	w.require(t)

	reached := float64(sent) / lasts.Seconds()
	t.Logf("%d points in %v, %.0f/s of %d/s; %v; then %d and %d were pending, delivered within %v", sent, lasts, reached, rate, w,
		backlog.Destinations[0].Pending, backlog.Destinations[1].Pending, drained.Round(time.Millisecond))
	t.Logf("Blueflood: delivered %d, given up %v, resent %d; faults %v", st.Destinations[0].Delivered, st.Destinations[0].GivenUp, st.Destinations[0].Resent, b.made)
	t.Logf("Carbon: delivered %d, resent %d; died %d times, stopped %d times", st.Destinations[1].Delivered, st.Destinations[1].Resent, dead, stopped)
}

// requireAccounted compares the server's account with what was sent, what arrived, and what is on record as given up.
func requireAccounted(t *testing.T, st flux.Stats, sent int64, b *soakBlueflood, c *soakSink, l *soakLoad, letters string) {
	t.Helper()
	require.Equal(t, []uint64{uint64(sent), uint64(sent)}, []uint64{st.Received, st.Accepted})
	require.NoError(t, b.wrong)
	require.NoError(t, c.wrong)
	toBlueflood, toCarbon := st.Destinations[0], st.Destinations[1]
	for _, d := range st.Destinations {
		require.EqualValues(t, sent, d.Accepted, d.Name)
		require.Zero(t, d.Pending, d.Name)
		require.Empty(t, d.Dropped, d.Name)
	}

	require.Empty(t, toCarbon.GivenUp)
	require.EqualValues(t, sent, toCarbon.Delivered)
	distinct, _ := c.count()
	require.Equal(t, sent, distinct, "Carbon has them all, and no other")

	recorded := map[string]uint64{}
	gone := newLedger()
	_, err := deadletter.Read(letters, func(e deadletter.Entry) error {
		recorded[e.Reason]++
		gone.add(e.Value)
		require.Equal(t, "blueflood", e.Destination)
		return nil
	})
	if !os.IsNotExist(err) {
		require.NoError(t, err)
	}
	require.Equal(t, toBlueflood.GivenUp, recorded)
	lost, records := gone.count()
	require.Equal(t, lost, records, "none is recorded twice")
	require.EqualValues(t, sent, toBlueflood.Delivered+uint64(lost))
	stored := int64(0)
	for n := range sent {
		has, given := b.has(n), gone.has(n)
		if has {
			stored++
		}
		switch {
		case l.tooOld(n):
			require.True(t, given && !has, "point %d is too old for Blueflood", n)
		case !has && !given:
			require.Fail(t, "lost", "point %d was neither stored nor given up", n)
		}
	}
	distinct, _ = b.count()
	require.Equal(t, stored, distinct, "nothing else was stored")
	require.GreaterOrEqual(t, stored, int64(toBlueflood.Delivered))
}

// memory is what a process used, time after time.
type memory struct {
	heap, rss []uint64
	routines  int
}

// watchMemory watches for so long.
func watchMemory(t *testing.T, s *flux.Server, lasts time.Duration) *memory {
	t.Helper()
	m := &memory{}
	every := max(lasts/60, time.Second)
	for until := time.Now().Add(lasts); time.Now().Before(until); {
		<-time.After(min(every, time.Until(until)))
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		m.heap, m.rss = append(m.heap, stats.HeapAlloc), append(m.rss, residentMemory(t))
		m.routines = max(m.routines, runtime.NumGoroutine())
		if len(m.heap)%10 == 0 {
			st := s.Stats()
			t.Logf("%d accepted, %d and %d pending, heap %d MiB", st.Accepted, st.Destinations[0].Pending, st.Destinations[1].Pending, stats.HeapAlloc>>20)
		}
	}
	return m
}

// require wants flat memory and few goroutines.
func (m *memory) require(t *testing.T) {
	t.Helper()
	third := max(len(m.heap)/3, 1)
	first, last := slices.Max(m.heap[:third]), slices.Max(m.heap[len(m.heap)-third:])
	require.Less(t, slices.Max(m.heap), uint64(soakHeap))
	require.Less(t, last, first+soakGrowth)
	require.Less(t, m.routines, soakRoutines)
}

func (m *memory) String() string {
	third := max(len(m.heap)/3, 1)
	return fmt.Sprintf("heap after a collection at most %d MiB in the first third, %d MiB in the last; resident %d MiB with load and doubles; %d goroutines",
		slices.Max(m.heap[:third])>>20, slices.Max(m.heap[len(m.heap)-third:])>>20, slices.Max(m.rss)>>20, m.routines)
}

// residentMemory is what the process has in memory, in bytes.
func residentMemory(t *testing.T) uint64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	var kib uint64
	_, err = fmt.Sscan(rest, &kib)
	require.NoError(t, err)
	return kib << 10
}
