//go:build interop

package main_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/rig"
)

const (
	crowdFast   = 800
	crowdSilent = 200 // a quarter each: silent, slow, stuck inside a line, stuck inside a large frame
	crowdEach   = 100 // points of a fast one
	crowdMemory = 150 << 20
)

// TestInteropWireCrowd has 1,000 connections at once, 200 of which never finish.
func TestInteropWireCrowd(t *testing.T) {
	t.Parallel()
	sink := rig.StartSink(t, rig.SinkOptions{})
	gw := startServe(t, sink.Line, "--no-auth", "--carbon-protocol", "line", "--drain-timeout", "20s")
	stopSlow := make(chan struct{})
	var slow sync.WaitGroup
	defer slow.Wait()
	defer close(stopSlow)
	for i := range crowdSilent {
		switch i % 4 {
		case 0:
			dial(t, []string{gw.Line, gw.Pickle}[i/4%2])
		case 1:
			conn := dial(t, gw.Line)
			slow.Go(func() { trickle(conn, stopSlow) })
		case 2:
			_, err := io.WriteString(dial(t, gw.Line), "crowd.stuck 1 17000")
			require.NoError(t, err)
		case 3:
			_, err := io.WriteString(dial(t, gw.Pickle), "\x00\x10\x00\x00"+strings.Repeat("(", 600<<10))
			require.NoError(t, err)
		}
	}
	errs := make(chan error, crowdFast)
	var conns []*net.TCPConn
	for range crowdFast {
		conns = append(conns, dial(t, gw.Line))
	}
	for i, conn := range conns {
		go func() { errs <- sendFast(conn, i) }()
	}
	for range crowdFast {
		require.NoError(t, <-errs)
	}
	rig.WaitFor(t, patience, "points of the fast", func() error {
		if n := sink.Count(); n < crowdFast*crowdEach {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	peak := peakMemory(t, gw.PID())
	t.Logf("peak memory %d MiB", peak>>20)
	require.Less(t, peak, crowdMemory)

	begin := time.Now()
	require.Zero(t, gw.Stop(), gw.Output())
	t.Logf("stopped within %v", time.Since(begin).Round(time.Millisecond))
	a := requireAccount(t, gw.Process)
	require.GreaterOrEqual(t, a.Accepted, crowdFast*crowdEach)
	require.Zero(t, a.Pending)
	require.Zero(t, sum(a.GivenUp))
	require.GreaterOrEqual(t, sum(a.Rejected), crowdSilent/2, "lines and frames that were cut")
}

// sendFast sends points and waits until they are kept.
func sendFast(conn *net.TCPConn, i int) error {
	var b strings.Builder
	for n := range crowdEach {
		fmt.Fprintf(&b, "crowd.m%d %d %d\n", i, n, wireFirst+n)
	}
	if _, err := io.WriteString(conn, b.String()); err != nil {
		return err
	}
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, conn)
	return err
}

// trickle sends a byte at a time.
func trickle(conn net.Conn, stop <-chan struct{}) {
	turn := time.NewTicker(50 * time.Millisecond)
	defer turn.Stop()
	for text := ""; ; text = text[1:] {
		if text == "" {
			text = "crowd.slow 1 1700000000\n"
		}
		select {
		case <-stop:
			return
		case <-turn.C:
		}
		if _, err := io.WriteString(conn, text[:1]); err != nil {
			return
		}
	}
}
