//go:build interop

package main_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/rig"
)

// times are how often each point has arrived.
func times(sink *rig.Sink) map[string]int {
	n := map[string]int{}
	for _, p := range sink.Points() {
		n[fmt.Sprintf("%s %d", p.Name, int64(p.Timestamp))]++
	}
	return n
}

// requireOnceOrTwice wants each of the points once or twice, and nothing else.
func requireOnceOrTwice(t *testing.T, sink *rig.Sink, want points) (twice int) {
	t.Helper()
	got := times(sink)
	want.each(func(metric string, at int64, _ float64) {
		n := got[fmt.Sprintf("%s %d", metric, at)]
		require.True(t, n == 1 || n == 2, "%s %d came %d times", metric, at, n)
		twice += n - 1
		delete(got, fmt.Sprintf("%s %d", metric, at))
	})
	require.Empty(t, got, "points that nobody sent")
	return twice
}

// TestInteropGatewayCrash kills a gateway with a spool that has accepted points for a Carbon that is down. The client,
// which does not know what became of them, sends them again.
func TestInteropGatewayCrash(t *testing.T) {
	t.Parallel()
	stores := map[string]func(t *testing.T) []string{
		"memory": func(t *testing.T) []string {
			return []string{"--dedup-file", filepath.Join(t.TempDir(), "marks")}
		},
		"redis": func(t *testing.T) []string { return []string{"--dedup", rig.Redis(t).URL} },
	}
	for name, store := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sink := rig.StartSink(t, rig.SinkOptions{})
			args := append([]string{"--key", apiKey, "--spool", t.TempDir()}, store(t)...)
			gw := startServe(t, sink.Pickle, args...)
			now := time.Now().Unix()
			before := table("crash", 20, 10, now-100)
			code, answer := gw.post(t, array(t, before))
			require.Equal(t, 204, code, answer)
			gw.waitDelivered(t, 200)

			sink.Kill()
			pending := table("crash", 20, 30, now-90)
			code, answer = gw.post(t, array(t, pending))
			require.Equal(t, 204, code, answer)
			gw.Kill()
			gw.Restart()
			gw.WaitListening(gw.Line, gw.Pickle)
			for range 2 {
				code, answer = gw.post(t, array(t, pending))
				require.Equal(t, 204, code, answer)
			}
			sink.Restart()
			a := stopSpooled(t, gw.Process)
			require.Equal(t, 600, a.Recovered)

			all := points{}
			for _, pts := range []points{before, pending} {
				pts.each(all.add)
			}
			t.Logf("%d points more than once", requireOnceOrTwice(t, sink, all))
		})
	}
}

// waitDelivered waits until so many points were delivered, as the gateway itself tells it.
func (g *gateway) waitDelivered(t *testing.T, delivered int) {
	t.Helper()
	rig.WaitFor(t, patience, "delivery", func() error {
		if n := g.figure(t, "flux_destination_points_delivered_total"); n != delivered {
			return fmt.Errorf("%d delivered, not %d", n, delivered)
		}
		return nil
	})
}

// unreadAt is how many bytes the kernel holds for the process that listens at an address, of all its connections.
func unreadAt(addr string) (n uint64, err error) {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return 0, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return 0, err
	}
	sockets, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(sockets)) {
		f := strings.Fields(line)
		if len(f) < 5 || !strings.HasSuffix(f[1], fmt.Sprintf(":%04X", number)) || f[3] == "0A" { // one that listens
			continue
		}
		_, unread, _ := strings.Cut(f[4], ":")
		bytes, err := strconv.ParseUint(unread, 16, 32)
		if err != nil {
			return 0, err
		}
		n += bytes
	}
	return n, nil
}

// TestInteropGatewayCrashUnread kills a Carbon that has been sent points and has not read them, and then a gateway
// without a spool. Nothing says that the points were delivered, so that they are accepted when they come again.
func TestInteropGatewayCrashUnread(t *testing.T) {
	t.Parallel()
	server := rig.Redis(t)
	conn, err := redis.Dial("tcp", server.Addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	sink := rig.StartSink(t, rig.SinkOptions{})
	gw := startServe(t, sink.Pickle, "--key", apiKey, "--dedup", server.URL)
	now := time.Now().Unix()
	before := table("unread", 20, 10, now-100)
	code, answer := gw.post(t, array(t, before))
	require.Equal(t, 204, code, answer)
	gw.waitDelivered(t, 200)
	requireMark(t, conn, "unread.m0", mark(now-91, before["unread.m0"][now-91]))

	sink.Pause()
	lost := table("unread", 20, 30, now-90)
	code, answer = gw.post(t, array(t, lost))
	require.Equal(t, 204, code, answer)
	rig.WaitFor(t, patience, "unread bytes", func() error {
		if n, err := unreadAt(sink.Pickle); err != nil || n < 600*10 {
			return fmt.Errorf("%d bytes: %w", n, err)
		}
		return nil
	})
	sink.Kill()
	gw.Kill()
	require.Equal(t, 200, sink.Count())
	requireMark(t, conn, "unread.m0", mark(now-91, before["unread.m0"][now-91]))
	sink.Restart()
	gw.Restart()
	gw.WaitListening(gw.Line, gw.Pickle)
	code, answer = gw.post(t, array(t, lost))
	require.Equal(t, 204, code, answer)
	a := stop(t, gw.Process)
	require.Equal(t, []int{600, 600, 0, 0}, []int{a.Received, a.Delivered, a.Duplicate, a.Late})
	all := points{}
	before.each(all.add)
	lost.each(all.add)
	require.Zero(t, requireOnceOrTwice(t, sink, all))
}

// mark is a string key of Skyline's.
func mark(at int64, value float64) string {
	text := strconv.FormatFloat(value, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return fmt.Sprintf("[%d, %s]", at, text)
}
