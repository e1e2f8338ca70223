//go:build interop || soak

package main_test

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/rig"
)

const (
	flowMetrics = 50
	flowStart   = 1_700_000_000         // Unix second of the first points
	flowBurst   = 100                   // points written at a time
	flowPace    = 3 * time.Millisecond  // between two bursts
	flowUnread  = 20_000                // points that wait when a destination is killed
	flowGap     = 10 * time.Millisecond // between two looks at a sink
)

// flow is one connection that writes numbered points to a gateway's line input.
type flow struct {
	conn  *net.TCPConn
	wrote atomic.Int64
	end   chan struct{}
	done  chan error
}

func flowPoint(n int) (metric string, at int64, value float64) {
	return fmt.Sprintf("flow.m%d", n%flowMetrics), flowStart + int64(n/flowMetrics), float64(n) + 0.25
}

func startFlow(t *testing.T, gw *gateway) *flow {
	t.Helper()
	f := &flow{conn: dial(t, gw.Line), end: make(chan struct{}), done: make(chan error, 1)}
	go func() { f.done <- f.write() }()
	t.Cleanup(func() {
		f.conn.Close()
		f.halt()
		f.done <- <-f.done
	})
	return f
}

func (f *flow) halt() {
	select {
	case <-f.end:
	default:
		close(f.end)
	}
}

func (f *flow) write() error {
	pace := time.NewTicker(flowPace)
	defer pace.Stop()
	var buf []byte
	for n := 0; ; {
		select {
		case <-f.end:
			return nil
		case <-pace.C:
		}
		buf = buf[:0]
		for range flowBurst {
			metric, at, value := flowPoint(n)
			buf = append(append(buf, metric...), ' ')
			buf = append(strconv.AppendFloat(buf, value, 'f', -1, 64), ' ')
			buf = append(strconv.AppendInt(buf, at, 10), '\n')
			n++
		}
		if _, err := f.conn.Write(buf); err != nil {
			return err
		}
		f.wrote.Store(int64(n))
	}
}

// waitMore waits until so many more points were written.
func (f *flow) waitMore(t *testing.T, more int64) {
	t.Helper()
	before := f.wrote.Load()
	rig.WaitFor(t, patience, "more points written", func() error {
		if n := f.wrote.Load(); n < before+more {
			return fmt.Errorf("%d of %d", n-before, more)
		}
		return nil
	})
}

// finish ends the flow, waits until the gateway has kept it all and returns how many points there were.
func (f *flow) finish(t *testing.T) int {
	t.Helper()
	f.halt()
	err := <-f.done
	f.done <- err
	require.NoError(t, err)
	finish(t, f.conn)
	return int(f.wrote.Load())
}

// waitReads waits until a sink reads on.
func waitReads(t *testing.T, sink *rig.Sink) {
	t.Helper()
	before := sink.Count()
	rig.WaitFor(t, patience, "points read by the sink", func() error {
		if sink.Count() <= before {
			time.Sleep(flowGap)
			return errors.New("none yet")
		}
		return nil
	})
}

// serveFlow runs a gateway in front of sinks, and a flow into it.
func serveFlow(t *testing.T, protocol string, sinks ...*rig.Sink) (*gateway, *flow) {
	t.Helper()
	args := []string{"--no-auth", "--carbon-protocol", protocol}
	for _, s := range sinks[1:] {
		args = append(args, "--carbon", address(s, protocol))
	}
	gw := startServe(t, address(sinks[0], protocol), args...)
	return gw, startFlow(t, gw)
}

func address(s *rig.Sink, protocol string) string {
	return map[string]string{"pickle": s.Pickle, "line": s.Line}[protocol]
}

// requireArrived ends a flow and its gateway. Every point must have been read by one of the sinks, unchanged; on each
// connection the points must follow each other without a gap, and where there is one sink, no connection may have begun
// later than where the others ended. It returns how often a point was read once more.
func requireArrived(t *testing.T, gw *gateway, f *flow, sinks ...*rig.Sink) (twice int) {
	t.Helper()
	n := f.finish(t)
	a := stop(t, gw.Process)
	require.Equal(t, []int{n, n, n, 0}, []int{a.Received, a.Accepted, a.Delivered, sum(a.Rejected)})
	seen := make([]bool, n)
	missing, conns, lives := n, 0, 0
	for _, s := range sinks {
		last := map[[2]int]int{}
		life := 0
		for _, p := range s.Points() {
			k := int(p.Value)
			require.True(t, k >= 0 && k < n, "%v was never sent", p)
			metric, at, value := flowPoint(k)
			if p.Name != metric || p.Value != value || p.Timestamp != float64(at) {
				require.Fail(t, "changed", "%v is not %s %v %d", p, metric, value, at)
			}
			conn := [2]int{p.Life, p.Conn}
			before, known := last[conn]
			if known && k != before+1 {
				require.Fail(t, "out of order", "%v: point %d after %d", p, k, before)
			}
			if !known && len(sinks) == 1 && k > 0 && !seen[k-1] {
				require.Fail(t, "a gap", "%v: point %d, but not %d, was read before", p, k, k-1)
			}
			last[conn] = k
			if life != p.Life {
				life = p.Life
				lives++
			}
			if seen[k] {
				twice++
			} else {
				seen[k] = true
				missing--
			}
		}
		conns += len(last)
	}
	require.Zero(t, missing, "of %d points", n)
	t.Logf("%d points: all read, in %d lives on %d connections; %d read once more, %d resent", n, lives, conns, twice, a.Resent)
	return twice
}

// flowConfirmed is how long a destination must live for flux to have some points confirmed.
const flowConfirmed = 2500 * time.Millisecond

// surviveKills kills the destination again and again while it has bytes unread, every other time so early that nothing
// of that life was confirmed.
func surviveKills(t *testing.T, protocol string, kills int) {
	sink := rig.StartSink(t, rig.SinkOptions{})
	gw, f := serveFlow(t, protocol, sink)
	for i := range kills {
		if i%2 == 1 {
			<-time.After(flowConfirmed)
		}
		waitReads(t, sink)
		sink.Pause()
		f.waitMore(t, flowUnread)
		sink.Kill()
		sink.Restart()
	}
	waitReads(t, sink)
	require.Positive(t, requireArrived(t, gw, f, sink))
}

// surviveResets resets connections inside lines and frames.
func surviveResets(t *testing.T, protocol string) {
	after := []int{0, 1, 3, 4, 5, 60, 500, 4096, 5000, 64 << 10, 64<<10 + 1, 100_000, 200_000, 1 << 20}
	sink := rig.StartSink(t, rig.SinkOptions{ResetAfter: after})
	gw, f := serveFlow(t, protocol, sink)
	rig.WaitFor(t, patience, "resets", func() error {
		if n := strings.Count(sink.Output(), "reset on purpose"); n < len(after) {
			return fmt.Errorf("%d of %d", n, len(after))
		}
		return nil
	})
	waitReads(t, sink)
	require.Positive(t, requireArrived(t, gw, f, sink))
}

// surviveStop lets the destination stop reading for some time. It keeps its connection, so nothing comes twice.
func surviveStop(t *testing.T, protocol string, lasts time.Duration) {
	sink := rig.StartSink(t, rig.SinkOptions{})
	gw, f := serveFlow(t, protocol, sink)
	waitReads(t, sink)
	sink.Pause()
	<-time.After(lasts)
	sink.Continue()
	waitReads(t, sink)
	require.Zero(t, requireArrived(t, gw, f, sink))
}

// surviveLostPackets loses every packet for some time, so that TCP sends them again. The connection lives on, so nothing
// comes twice.
func surviveLostPackets(t *testing.T, protocol string, lasts time.Duration) {
	network := rig.NewNetwork(t)
	sink := rig.StartSink(t, rig.SinkOptions{Network: network})
	gw, f := serveFlow(t, protocol, sink)
	waitReads(t, sink)
	network.Drop()
	<-time.After(lasts)
	before := sink.Count()
	network.Restore()
	waitReads(t, sink)
	require.Zero(t, requireArrived(t, gw, f, sink))
	t.Logf("%d points had been read before the packets came again", before)
}

// surviveFailover kills the first of two destinations, and then waits until it is used again, so many times.
func surviveFailover(t *testing.T, protocol string, times int) {
	first, second := rig.StartSink(t, rig.SinkOptions{}), rig.StartSink(t, rig.SinkOptions{})
	gw, f := serveFlow(t, protocol, first, second)
	for range times {
		waitReads(t, first)
		first.Pause()
		f.waitMore(t, flowUnread)
		first.Kill()
		waitReads(t, second)
		first.Restart()
	}
	waitReads(t, first)
	requireArrived(t, gw, f, first, second)
}

// surviveCarbonRestarts restarts carbon-cache by SIGTERM.
func surviveCarbonRestarts(t *testing.T, protocol string, restarts int) {
	var list []outage
	for range restarts {
		list = append(list, stopped(0))
	}
	surviveOutages(t, protocol, clients(10*time.Millisecond), list...)
}
