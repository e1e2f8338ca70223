package graphite_test

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite"
)

// startUDP starts r; the function returned stops it.
func startUDP(t *testing.T, r *graphite.UDPReceiver, h graphite.Handler) (stop func(), addr net.Addr) {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	return servePacket(t, r, c, h), c.LocalAddr()
}

func servePacket(t *testing.T, r *graphite.UDPReceiver, c net.PacketConn, h graphite.Handler) (stop func()) {
	t.Helper()
	noLeaks(t)
	ctx, cancel := context.WithCancel(t.Context())
	returned := make(chan error, 1)
	go func() { returned <- r.Serve(ctx, c, h) }()
	stop = func() {
		t.Helper()
		cancel()
		select {
		case err := <-returned:
			require.NoError(t, err)
			returned <- nil
		case <-time.After(patience):
			require.FailNow(t, "Serve does not return")
		}
	}
	t.Cleanup(stop)
	return stop
}

func TestUDPReceiver(t *testing.T) {
	var peers []string
	r := graphite.UDPReceiver{OnReject: func(rej graphite.Rejection) { peers = append(peers, rej.Peer) }}
	var k keeper
	stop, addr := startUDP(t, &r, k.handle)
	c, err := net.Dial("udp", addr.String())
	require.NoError(t, err)
	defer c.Close()
	for _, d := range []string{"a 1 2\nb 3 4", "bad\nc 5 6\r\n", "d 7 ", strings.Repeat("x", 60_000)} {
		_, err := c.Write([]byte(d))
		require.NoError(t, err)
	}
	eventually(t, func() bool { return r.Stats().Datagrams == 4 && r.Stats().Points == 3 }, "all datagrams")
	stop()
	require.Equal(t, []textPoint{{"a", 2000, 1}, {"b", 4000, 3}, {"c", 6000, 5}}, k.points())
	st := r.Stats()
	require.Equal(t, map[graphite.Reason]uint64{graphite.ReasonMalformed: 2, graphite.ReasonTooLong: 1}, st.Rejected)
	require.EqualValues(t, 60_000+11+11+4, st.Bytes)
	for _, p := range peers {
		require.Equal(t, c.LocalAddr().String(), p)
	}
}

// Points that the handler does not keep are counted and logged; the socket goes on.
func TestUDPHandlerError(t *testing.T) {
	logged, log := testLog()
	r := graphite.UDPReceiver{Logger: log}
	k := keeper{err: fmt.Errorf("no room")}
	_, addr := startUDP(t, &r, k.handle)
	c, err := net.Dial("udp", addr.String())
	require.NoError(t, err)
	defer c.Close()
	for range 2 {
		_, err = c.Write([]byte("a 1 2\nb 1 2"))
		require.NoError(t, err)
	}
	eventually(t, func() bool { return r.Stats().Unkept == 4 }, "both")
	eventually(t, func() bool { return strings.Count(logged.String(), "datagram lost") == 2 }, "the log")
}

// The handler in work when Serve ends may finish.
func TestUDPStop(t *testing.T) {
	k := gated()
	var r graphite.UDPReceiver
	ctx, cancel := context.WithCancel(t.Context())
	noLeaks(t)
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	returned := make(chan error, 1)
	go func() { returned <- r.Serve(ctx, conn, k.handle) }()
	c, err := net.Dial("udp", conn.LocalAddr().String())
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Write([]byte("a 1 2"))
	require.NoError(t, err)
	<-k.entered
	cancel()
	select {
	case <-returned:
		require.FailNow(t, "Serve returned while its handler was busy")
	default:
	}
	close(k.gate)
	require.NoError(t, <-returned)
	require.Len(t, k.points(), 1)
}

// The kernel's drops are counted: every datagram sent is either read or dropped.
func TestUDPKernelDrops(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // only Linux tells
	}
	k := gated()
	r := graphite.UDPReceiver{ReadBuffer: 4096}
	_, addr := startUDP(t, &r, k.handle)
	c, err := net.Dial("udp", addr.String())
	require.NoError(t, err)
	defer c.Close()
	line := []byte(strings.Repeat("n", 500) + " 1 2")
	const sent = 200
	for range sent {
		_, err := c.Write(line)
		require.NoError(t, err)
	}
	close(k.gate)
	var extra uint64
	eventually(t, func() bool { // the count comes with the next datagram
		if st := r.Stats(); st.Datagrams+st.KernelDrops == sent+extra && st.KernelDrops > 0 {
			return true
		}
		if r.Stats().Datagrams > 0 && extra < 1000 {
			extra++
			_, err = c.Write([]byte("a 1 2"))
		}
		return false
	}, "the drops")
	require.NoError(t, err)
}

func TestUnixDatagrams(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	c, err := net.ListenPacket("unixgram", path)
	require.NoError(t, err)
	var r graphite.UDPReceiver
	var k keeper
	servePacket(t, &r, c, k.handle)
	p, err := net.Dial("unixgram", path)
	require.NoError(t, err)
	defer p.Close()
	_, err = p.Write([]byte("a 1 2"))
	require.NoError(t, err)
	eventually(t, func() bool { return len(k.points()) == 1 }, "the point")
}

// In strict mode a datagram is cut where carbon cuts it.
func TestUDPStrictCut(t *testing.T) {
	r := graphite.UDPReceiver{Strict: true}
	var k keeper
	_, addr := startUDP(t, &r, k.handle)
	c, err := net.Dial("udp", addr.String())
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Write([]byte(strings.Repeat("n", 8192-4) + " 1 234\nb 1 2"))
	require.NoError(t, err)
	eventually(t, func() bool { return len(k.points()) == 1 }, "the point")
	require.EqualValues(t, 2000, k.points()[0].Time)
	require.EqualValues(t, 8192, r.Stats().Bytes)
}

func ExampleUDPReceiver() {
	ctx, stop := context.WithCancel(context.Background())
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	var r graphite.UDPReceiver
	done, got := make(chan error), make(chan string, 1)
	go func() {
		done <- r.Serve(ctx, c, func(_ context.Context, pts []graphite.Point) error {
			got <- string(pts[0].Name)
			return nil
		})
	}()
	sender, err := net.Dial("udp", c.LocalAddr().String())
	if err != nil {
		panic(err)
	}
	fmt.Fprint(sender, "servers.web.load 0.5 1700000000")
	fmt.Println(<-got)
	sender.Close()
	stop()
	fmt.Println(<-done)
	// Output:
	// servers.web.load
	// <nil>
}
