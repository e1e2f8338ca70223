//go:build interop || soak

package flux_test

import (
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux"
)

const (
	freshAge = 5 * time.Second // of the newest point
	freshFor = 3 * time.Second // that it must stay so
)

// surviveAbsence has both destinations away for so long. The newest point must soon be fresh again at each of them.
func surviveAbsence(t *testing.T, rate int, away, within time.Duration) {
	noLeaks(t)
	b, c := newSoakBlueflood(t), newSoakSink(t)
	s := soakServer(t, flux.Config{
		Destination: ingestTo(b.url()), Also: []flux.Destination{lineTo(c.addr)},
		Dedup: flux.DedupConfig{Off: true}, SpoolDir: t.TempDir(),
	})
	b.die()
	c.die()
	l := startSoakLoad(t, s, rate, away+within, false)
	<-time.After(away)
	waiting := s.Stats().Destinations[0]
	b.rise(t)
	c.rise(t)
	back := time.Now()
	ages := map[string]func() time.Duration{}
	for name, g := range map[string]*ledger{"Blueflood": b.ledger, "Carbon": c.ledger} {
		ages[name] = func() time.Duration {
			if n := g.last(); n != soakNothing {
				return l.age(n)
			}
			return time.Hour
		}
	}
	fresh := waitFresh(t, ages, back, within)
	sent := l.finish(t)
	require.NoError(t, s.Flush(soon(t)))
	st := balanced(t, s)
	for i, g := range []*ledger{b.ledger, c.ledger} {
		distinct, _ := g.count()
		require.Equal(t, sent, distinct)
		require.EqualValues(t, sent, st.Destinations[i].Delivered)
	}
	t.Logf("away for %v at %d/s: %d points of %d MiB waited, the oldest for %v; fresh after %v", away, rate,
		waiting.Pending, waiting.Bytes>>20, waiting.Oldest.Round(time.Second), fresh)
}

// waitFresh waits until the newest points are fresh for some time, and returns after how long they were.
func waitFresh(t *testing.T, ages map[string]func() time.Duration, back time.Time, within time.Duration) map[string]time.Duration {
	t.Helper()
	fresh := map[string]time.Duration{}
	since := time.Now()
	for time.Since(since) < freshFor || len(fresh) < len(ages) {
		<-time.After(50 * time.Millisecond)
		for name, age := range ages {
			switch a := age(); {
			case a > freshAge:
				delete(fresh, name)
				since = time.Now()
				require.Less(t, time.Since(back), within, "the newest point of %s was sent %v ago", name, a)
			case fresh[name] == 0:
				fresh[name] = time.Since(back).Round(time.Millisecond)
			}
		}
	}
	return fresh
}

// delays collects how long points took, a point of each burst.
type delays struct {
	mu   sync.Mutex
	list []time.Duration
}

// watch notes the delay of every so manieth new point of a ledger.
func (d *delays) watch(g *ledger, l *soakLoad, every int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seen = func(n int64) {
		if n%every != 0 {
			return
		}
		age := l.age(n)
		d.mu.Lock()
		d.list = append(d.list, age)
		d.mu.Unlock()
	}
}

// next returns half and 99 in a hundred of the delays within a time.
func (d *delays) next(lasts time.Duration) (p50, p99 time.Duration) {
	d.mu.Lock()
	d.list = d.list[:0]
	d.mu.Unlock()
	<-time.After(lasts)
	d.mu.Lock()
	defer d.mu.Unlock()
	slices.Sort(d.list)
	n := len(d.list)
	if n == 0 {
		return time.Hour, time.Hour
	}
	return d.list[n/2], d.list[n*99/100]
}

const (
	delayTimes = 3           // that a delay may grow by, on a machine
	delaySlack = time.Second // that has other things to do
)

// surviveDeadNeighbour has two destinations, of which one is away and then hung. The delay of the other does not change.
func surviveDeadNeighbour(t *testing.T, rate int, lasts time.Duration, spool bool) {
	noLeaks(t)
	first, other := newSoakSink(t), newSoakSink(t)
	to := lineTo(other.addr)
	to.Required = false // a full queue drops the oldest
	to.Carbon.MemoryMax, to.Carbon.SpoolMax = 1<<20, 16<<20
	cfg := flux.Config{Destination: lineTo(first.addr), Also: []flux.Destination{to}, Dedup: flux.DedupConfig{Off: true}}
	if spool {
		cfg.SpoolDir = filepath.Join(t.TempDir(), "spool")
	}
	s := soakServer(t, cfg)
	l := startSoakLoad(t, s, rate, 3*lasts, false)
	var d delays
	d.watch(first.ledger, l, 97)
	<-time.After(lasts / 10)
	p50, p99 := d.next(lasts)
	other.stop()
	<-time.After(lasts / 10)
	hung50, hung99 := d.next(lasts)
	other.proceed()
	other.die()
	<-time.After(lasts / 10)
	dead50, dead99 := d.next(lasts)
	sent := l.finish(t)
	require.NoError(t, s.Flush(soon(t)))
	st := balanced(t, s)
	distinct, _ := first.count()
	require.Equal(t, sent, distinct)
	require.EqualValues(t, sent, st.Destinations[0].Delivered)
	if !spool || lasts > time.Minute/2 {
		require.Positive(t, st.Destinations[1].Dropped["full"])
	}
	t.Logf("delay of half the points and of 99 in 100: %v and %v; with the other destination hung %v and %v, away %v and %v", p50, p99, hung50, hung99, dead50, dead99)
	require.Less(t, hung99, delayTimes*p99+delaySlack)
	require.Less(t, dead99, delayTimes*p99+delaySlack)
}

func withAndWithoutSpool(t *testing.T, rate int, lasts time.Duration) {
	for name, spool := range map[string]bool{"in memory": false, "with a spool": true} {
		t.Run(name, func(t *testing.T) { surviveDeadNeighbour(t, rate, lasts, spool) })
	}
}
