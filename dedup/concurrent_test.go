package dedup_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/dedup"
)

// gateway is the least that a caller of a filter does: the loop of its
// documentation, and for each required destination a queue and a worker that
// delivers out of order.
type gateway struct {
	f      *dedup.Filter
	queues []chan []dedup.Mark

	mu       sync.Mutex
	accepted map[string]int
	verdicts [4]int
}

func newGateway(f *dedup.Filter) *gateway {
	g := &gateway{f: f, accepted: map[string]int{}}
	for range max(f.Required, 1) {
		g.queues = append(g.queues, make(chan []dedup.Mark, 64))
	}
	return g
}

// send takes a request in; false: refused, and the client has to send it again.
func (g *gateway) send(ctx context.Context, rnd *rand.Rand, pts []dedup.Mark) bool {
	for len(pts) > 0 {
		out := make([]dedup.Verdict, len(pts))
		if err := g.f.Judge(ctx, pts, out); err != nil {
			return false
		}
		var fresh, wait []dedup.Mark
		g.mu.Lock()
		for i, v := range out {
			g.verdicts[v]++
			switch v {
			case dedup.New:
				fresh = append(fresh, pts[i])
			case dedup.InFlight:
				wait = append(wait, pts[i])
			}
		}
		g.mu.Unlock()
		if rnd.IntN(10) == 0 { // the queue is full
			g.f.Release(fresh)
			return false
		}
		if len(fresh) > 0 {
			g.mu.Lock()
			for _, p := range fresh {
				g.accepted[fmt.Sprint(string(p.Metric), " ", p.Timestamp)]++
			}
			g.mu.Unlock()
			for _, q := range g.queues {
				q <- fresh // Done may come before Kept
			}
			g.f.Kept(fresh)
		}
		if err := g.f.Wait(ctx, wait); err != nil {
			return false
		}
		pts = wait
	}
	return true
}

// deliver ends the points of a queue, in an order that is not quite theirs.
func (g *gateway) deliver(ctx context.Context, queue <-chan []dedup.Mark, rnd *rand.Rand) {
	var held []dedup.Mark
	for pts := range queue {
		held = append(held, pts...)
		rnd.Shuffle(len(held), func(i, j int) { held[i], held[j] = held[j], held[i] })
		n := rnd.IntN(len(held) + 1)
		_ = g.f.Done(ctx, held[:n])
		held = held[n:]
	}
	_ = g.f.Done(ctx, held)
}

// load sends points of so many metrics, each metric's in time order, from each
// client to every gateway, until all are taken.
func load(ctx context.Context, gs []*gateway, clients, metrics, steps int) {
	var senders, workers sync.WaitGroup
	for i, g := range gs {
		for k, q := range g.queues {
			workers.Go(func() { g.deliver(ctx, q, rand.New(rand.NewPCG(uint64(k), uint64(i)))) })
		}
	}
	for c := range clients {
		senders.Go(func() {
			rnd := rand.New(rand.NewPCG(3, uint64(c)))
			for ts := range steps {
				var pts []dedup.Mark
				for _, k := range rnd.Perm(metrics) {
					pts = append(pts, mark(fmt.Sprint("m", k), int64(ts+1)*1000, 1))
				}
				for _, g := range gs {
					for !g.send(ctx, rnd, pts) {
					}
				}
			}
		})
	}
	senders.Wait()
	for _, g := range gs {
		for _, q := range g.queues {
			close(q)
		}
	}
	workers.Wait()
}

// Clients that all send the same: every point is accepted, and once.
func TestFilterConcurrent(t *testing.T) {
	for name, f := range map[string]*dedup.Filter{
		"memory":           {Store: &dedup.Memory{}},
		"other":            {Store: &slowStore{}},
		"memory, required": {Store: &dedup.Memory{}, Required: 3},
		"other, required":  {Store: &slowStore{}, Required: 2},
	} {
		t.Run(name, func(t *testing.T) {
			const clients, metrics, steps = 8, 30, 40
			g, s := newGateway(f), f.Store
			load(t.Context(), []*gateway{g}, clients, metrics, steps)
			require.NoError(t, g.f.Retry(t.Context()))
			require.Len(t, g.accepted, metrics*steps)
			for p, n := range g.accepted {
				require.Equal(t, 1, n, p)
			}
			for k := range metrics {
				require.EqualValues(t, steps*1000, last(t, s, fmt.Sprint("m", k)))
			}
			st := g.f.Stats()
			require.Zero(t, st.Reserved+st.Pending+st.Blocked+st.Unraised)
		})
	}
}

// Two gateways that share a store: every point is accepted by one at least, and
// the marks end where they should.
func TestFilterTwoGateways(t *testing.T) {
	_, s := miniStore(t, dedup.RedisOptions{})
	twoGateways(t, s, s, 10)
}

func twoGateways(t *testing.T, a, b dedup.Store, steps int) (twice int) {
	const clients, metrics = 8, 20
	gs := []*gateway{newGateway(&dedup.Filter{Store: a}), newGateway(&dedup.Filter{Store: b})}
	load(t.Context(), gs, clients, metrics, steps)
	for k := range metrics {
		for ts := range steps {
			p := fmt.Sprint("m", k, " ", (ts+1)*1000)
			n := gs[0].accepted[p] + gs[1].accepted[p]
			require.Contains(t, []int{1, 2}, n, p)
			twice += n - 1
		}
	}
	for _, g := range gs {
		require.NoError(t, g.f.Retry(t.Context()))
		st := g.f.Stats()
		require.Zero(t, st.Reserved+st.Pending+st.Blocked+st.Unraised)
	}
	for k := range metrics {
		require.EqualValues(t, steps*1000, last(t, a, fmt.Sprint("m", k)))
	}
	return twice
}
