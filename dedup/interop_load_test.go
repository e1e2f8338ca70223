//go:build interop || soak

package dedup_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/dedup"
)

// fleet is two gateways on one Redis, and clients that send every point to both.
// Each metric belongs to one client, who sends its points in time order.
type fleet struct {
	t       *testing.T
	gs      []*gateway
	probe   dedup.Store // the same Redis, to look what it holds
	metrics int
	steps   int
	sent    atomic.Int64  // points that both have taken
	covered atomic.Int64  // points sent when the store's mark had reached them
	third   chan struct{} // closed when a third of all is sent

	mu    sync.Mutex
	wrong []string
}

const fleetClients = 8

func newFleet(t *testing.T, a, b, probe dedup.Store, metrics, steps int) *fleet {
	return &fleet{
		t: t, probe: probe, metrics: metrics, steps: steps, third: make(chan struct{}),
		gs: []*gateway{newGateway(&dedup.Filter{Store: a}), newGateway(&dedup.Filter{Store: b, Required: 2})},
	}
}

// run sends everything, calls disturb when a third is sent, and returns how many
// points both gateways have accepted.
func (fl *fleet) run(disturb func()) (twice int) {
	ctx, cancel := context.WithCancel(fl.t.Context())
	defer cancel()
	var senders, workers, watchers sync.WaitGroup
	for i, g := range fl.gs {
		for k, q := range g.queues {
			workers.Go(func() { g.deliver(ctx, q, rand.New(rand.NewPCG(uint64(i), uint64(k)))) })
		}
	}
	watching, unwatch := context.WithCancel(ctx)
	watchers.Go(func() { fl.watch(watching) })
	for c := range fleetClients {
		senders.Go(func() { fl.client(ctx, c) })
	}
	<-fl.third
	disturb()
	senders.Wait()
	for _, g := range fl.gs {
		for _, q := range g.queues {
			close(q)
		}
	}
	workers.Wait()
	for _, g := range fl.gs {
		for g.f.Stats().Unraised > 0 {
			require.NoError(fl.t, g.f.Retry(ctx))
		}
	}
	unwatch()
	watchers.Wait()
	require.Empty(fl.t, fl.wrong)
	require.NotZero(fl.t, fl.covered.Load())
	return fl.check()
}

// client sends the points of its metrics, in batches of any size, to one gateway
// and some batches later to the other.
func (fl *fleet) client(ctx context.Context, c int) {
	rnd := rand.New(rand.NewPCG(5, uint64(c)))
	next := map[int]int{} // by metric: the step to send
	var open []int
	for k := c; k < fl.metrics; k += fleetClients {
		open = append(open, k)
	}
	first, second := fl.gs[c%2], fl.gs[1-c%2]
	var later [][]dedup.Mark
	for len(open) > 0 || len(later) > 0 {
		var pts []dedup.Mark
		for range 1 + rnd.IntN(450) {
			if len(open) == 0 {
				break
			}
			i := rnd.IntN(len(open))
			k := open[i]
			next[k]++
			pts = append(pts, mark(fmt.Sprint("m", k), int64(next[k])*1000, 1))
			if next[k] == fl.steps {
				open[i] = open[len(open)-1]
				open = open[:len(open)-1]
			}
		}
		if len(pts) > 0 {
			fl.send(ctx, rnd, first, pts)
			later = append(later, pts)
		}
		if len(open) > 0 && len(later) < 4 {
			continue
		}
		fl.send(ctx, rnd, second, later[0])
		all, k := int64(fl.metrics*fl.steps), int64(len(later[0]))
		if n := fl.sent.Add(k); n >= all/3 && n-k < all/3 {
			close(fl.third)
		}
		later = later[1:]
	}
}

// send sends until all points are taken. One that the store's marks covered
// before must not be accepted.
func (fl *fleet) send(ctx context.Context, rnd *rand.Rand, g *gateway, pts []dedup.Mark) {
	marks := append([]dedup.Mark(nil), pts...)
	known := fl.probe.Last(ctx, marks) == nil
	for !g.send(ctx, rnd, pts) {
		if ctx.Err() != nil {
			return
		}
		time.Sleep(time.Millisecond) // the store may be away
	}
	if !known {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, p := range pts {
		if marks[i].Timestamp < p.Timestamp {
			continue
		}
		fl.covered.Add(1)
		if g.accepted[fmt.Sprint(string(p.Metric), " ", p.Timestamp)] > 0 {
			fl.complain("%s at %d accepted beneath the mark %d", p.Metric, p.Timestamp, marks[i].Timestamp)
		}
	}
}

// watch looks that no mark falls.
func (fl *fleet) watch(ctx context.Context) {
	seen := make([]int64, fl.metrics)
	m := make([]dedup.Mark, fl.metrics)
	for i := range m {
		m[i].Metric = fmt.Append(nil, "m", i)
		seen[i] = dedup.None
	}
	for ctx.Err() == nil {
		if fl.probe.Last(ctx, m) != nil {
			time.Sleep(time.Millisecond)
			continue
		}
		for i := range m {
			if m[i].Timestamp < seen[i] {
				fl.complain("the mark of %s fell from %d to %d", m[i].Metric, seen[i], m[i].Timestamp)
			}
			seen[i] = m[i].Timestamp
		}
	}
}

func (fl *fleet) complain(format string, args ...any) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if len(fl.wrong) < 20 {
		fl.wrong = append(fl.wrong, fmt.Sprintf(format, args...))
	}
}

// check looks at the end of it all.
func (fl *fleet) check() (twice int) {
	for k := range fl.metrics {
		name := fmt.Sprint("m", k)
		for ts := 1; ts <= fl.steps; ts++ {
			p := fmt.Sprint(name, " ", ts*1000)
			a, b := fl.gs[0].accepted[p], fl.gs[1].accepted[p]
			require.LessOrEqual(fl.t, max(a, b), 1, p)
			require.Positive(fl.t, a+b, p)
			twice += a + b - 1
		}
		require.EqualValues(fl.t, fl.steps*1000, last(fl.t, fl.probe, name))
	}
	for _, g := range fl.gs {
		st := g.f.Stats()
		require.Zero(fl.t, st.Reserved+st.Pending+st.Blocked+st.Unraised)
	}
	return twice
}
