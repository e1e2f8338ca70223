//go:build interop || soak

package graphite_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/internal/rig"
)

// supply sends numbered points until it is ended.
type supply struct {
	*watched
	end chan struct{}
	one sync.WaitGroup
	n   int // after the end: how many
}

func startSupply(t *testing.T, cfg graphite.ClientConfig) *supply {
	t.Helper()
	s := &supply{watched: newWatched(t, cfg), end: make(chan struct{})}
	s.one.Go(func() {
		pace := time.NewTicker(5 * time.Millisecond)
		defer pace.Stop()
		for {
			select {
			case <-s.end:
				return
			case <-pace.C:
			}
			var b graphite.Batch
			for range 50 {
				b.Add(fmt.Sprintf("servers.web.%d", s.n%100), time.Unix(1700000000, 0), float64(s.n))
				s.n++
			}
			if err := s.Send(limit(t), b.Points()); err != nil {
				t.Error(err)
				return
			}
		}
	})
	t.Cleanup(s.halt)
	return s
}

func (s *supply) halt() {
	select {
	case <-s.end:
	default:
		close(s.end)
	}
	s.one.Wait()
}

// arrived ends the supply and requires that the sinks have read every point, in order on each connection.
func (s *supply) arrived(sinks ...*rig.Sink) {
	s.t.Helper()
	s.halt()
	s.flush()
	seen, missing, twice := make([]bool, s.n), s.n, 0
	for _, sink := range sinks {
		last := map[int]int{}
		for _, p := range sink.Points() {
			k := int(p.Value)
			if before, known := last[p.Conn]; known && k != before+1 {
				require.Fail(s.t, "out of order", "%v: point %d after %d", p, k, before)
			}
			last[p.Conn] = k
			require.Equal(s.t, fmt.Sprintf("servers.web.%d", k%100), p.Name)
			if seen[k] {
				twice++
			} else {
				seen[k] = true
				missing--
			}
		}
	}
	require.Zero(s.t, missing)
	st := s.Stats()
	require.Equal(s.t, []uint64{uint64(s.n), uint64(s.n), 0}, []uint64{st.Accepted, st.Delivered, st.Assumed})
	require.Zero(s.t, st.PendingPoints)
	s.t.Logf("%d points: all read; %d read once more, %d resent, on %d connections, %d of them confirmed",
		s.n, twice, st.Resent, st.Connects, st.Confirmations)
}

func sinkAddr(s *rig.Sink, p graphite.Protocol) string {
	return map[graphite.Protocol]string{graphite.Pickle: s.Pickle, graphite.Line: s.Line}[p]
}

// surviveStall loses every packet for longer than StallTimeout: the client gives the connection up and, once packets
// get through again, makes a new one.
func surviveStall(t *testing.T, p graphite.Protocol, stall time.Duration) {
	network := rig.NewNetwork(t)
	sink := rig.StartSink(t, rig.SinkOptions{Network: network})
	s := startSupply(t, graphite.ClientConfig{
		Addrs: []string{sinkAddr(sink, p)}, Protocol: p, StallTimeout: stall,
		ConfirmAfter: 300 * time.Millisecond, DialTimeout: 500 * time.Millisecond, BackoffMax: 200 * time.Millisecond,
	})
	comesTrue(t, "delivery", func() bool { return s.Stats().Delivered > 0 && s.Stats().Connected })
	network.Drop()
	rig.WaitFor(t, 2*stall+time.Minute, "end of the connection", func() error {
		if e := s.Stats().LastError; e == "" {
			return fmt.Errorf("connected, %d pending", s.Stats().PendingPoints)
		}
		return nil
	})
	before := s.Stats()
	require.True(t, before.Down)
	network.Restore()
	comesTrue(t, "delivery again", func() bool { return s.Stats().Delivered > before.Delivered })
	s.arrived(sink)
	require.Greater(t, s.Stats().Connects, before.Connects)
}

// surviveStallByFailover loses every packet for good, so that the other address is used.
func surviveStallByFailover(t *testing.T, p graphite.Protocol, stall time.Duration) {
	network := rig.NewNetwork(t)
	first, second := rig.StartSink(t, rig.SinkOptions{Network: network}), rig.StartSink(t, rig.SinkOptions{})
	s := startSupply(t, graphite.ClientConfig{
		Addrs: []string{sinkAddr(first, p), sinkAddr(second, p)}, Protocol: p, StallTimeout: stall,
		ConfirmAfter: 300 * time.Millisecond, DialTimeout: 500 * time.Millisecond, BackoffMax: 5 * time.Second,
	})
	comesTrue(t, "delivery", func() bool { return s.Stats().Delivered > 0 && s.Stats().Connected })
	require.Equal(t, sinkAddr(first, p), s.Stats().Address)
	network.Drop()
	before := s.Stats().Delivered
	rig.WaitFor(t, 2*stall+time.Minute, "delivery elsewhere", func() error {
		st := s.Stats()
		if st.Address != sinkAddr(second, p) || st.Delivered <= before+1000 {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	s.arrived(first, second)
}
