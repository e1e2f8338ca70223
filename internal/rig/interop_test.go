//go:build interop

package rig_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/rig"
)

const patience = 30 * time.Second

func TestInteropCarbonAndGraphite(t *testing.T) {
	carbon := rig.CarbonCache(t, rig.CarbonOptions{CountItself: true})
	graphite := rig.GraphiteWeb(t, carbon)
	now := time.Now().Unix()

	send(t, carbon.Line, fmt.Sprintf("rig.line 0.1 %d\nrig.line -2.5e17 %d\n", now-3, now-1))
	send(t, carbon.Pickle, pickled("rig.pickle", float64(now-2), 1.5))
	sendUDP(t, carbon.UDP, fmt.Sprintf("rig.udp 7 %d\n", now-2))

	requireValues(t, graphite, "rig.line", now, map[int64]float64{now - 3: 0.1, now - 1: -2.5e17})
	requireValues(t, graphite, "rig.pickle", now, map[int64]float64{now - 2: 1.5})
	requireValues(t, graphite, "rig.udp", now, map[int64]float64{now - 2: 7})

	require.Nil(t, graphite.Render(t, "rig.absent", now-60, now))
	var names []string
	for _, s := range graphite.RenderMany(t, []string{"rig.*"}, now-60, now) {
		names = append(names, s.Target)
		require.Len(t, s.Samples, 60, "one slot a second")
	}
	require.ElementsMatch(t, []string{"rig.line", "rig.pickle", "rig.udp"}, names)

	// A point that comes twice is one value in whisper, and two in the count.
	require.Equal(t, 4, graphite.Received(t))
	send(t, carbon.Line, fmt.Sprintf("rig.line 0.1 %d\n", now-3))
	require.Equal(t, 5, graphite.Received(t))
}

func TestInteropCarbonKeepsOldPoints(t *testing.T) {
	carbon := rig.CarbonCache(t, rig.CarbonOptions{Retentions: "60s:30y"})
	graphite := rig.GraphiteWeb(t, carbon)
	const at = 1478021700
	send(t, carbon.Line, fmt.Sprintf("rig.old 1 %d\n", at))
	requireValues(t, graphite, "rig.old", at, map[int64]float64{at: 1})
}

func TestInteropCarbonPausedRestartedKilled(t *testing.T) {
	carbon := rig.CarbonCache(t, rig.CarbonOptions{})
	graphite := rig.GraphiteWeb(t, carbon)
	now := time.Now().Unix()

	// A paused carbon takes bytes and reads none of them.
	carbon.Pause()
	send(t, carbon.Line, fmt.Sprintf("rig.a 1 %d\n", now-1))
	conn, err := net.Dial("tcp", carbon.Query)
	require.NoError(t, err)
	defer conn.Close()
	carbon.Continue()
	requireValues(t, graphite, "rig.a", now, map[int64]float64{now - 1: 1})

	// Stopped or killed, it comes back on the same ports and files.
	pid := carbon.PID()
	carbon.Restart()
	require.NotEqual(t, pid, carbon.PID())
	send(t, carbon.Line, fmt.Sprintf("rig.b 2 %d\n", now-1))
	requireValues(t, graphite, "rig.b", now, map[int64]float64{now - 1: 2})

	carbon.Kill()
	_, err = net.Dial("tcp", carbon.Line)
	require.Error(t, err)
	carbon.Restart()
	send(t, carbon.Pickle, pickled("rig.c", float64(now-1), 3))
	requireValues(t, graphite, "rig.a", now, map[int64]float64{now - 1: 1})
	requireValues(t, graphite, "rig.c", now, map[int64]float64{now - 1: 3})
}

func TestInteropCarbonFlushesAtStop(t *testing.T) {
	carbon := rig.CarbonCache(t, rig.CarbonOptions{FlushAtStop: true})
	graphite := rig.GraphiteWeb(t, carbon)
	now := time.Now().Unix()
	conn, err := net.Dial("tcp", carbon.Line)
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "rig.last 1 %d\n", now-1)
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	_, err = conn.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err, "carbon has read everything")
	carbon.Restart()
	requireValues(t, graphite, "rig.last", now, map[int64]float64{now - 1: 1})
}

func TestInteropCarbonRelaySendsPickleAndLine(t *testing.T) {
	for _, protocol := range []string{"pickle", "line"} {
		t.Run(protocol, func(t *testing.T) {
			carbon := rig.CarbonCache(t, rig.CarbonOptions{})
			graphite := rig.GraphiteWeb(t, carbon)
			destination := map[string]string{"pickle": carbon.Pickle, "line": carbon.Line}[protocol]
			relay := rig.CarbonRelay(t, rig.RelayOptions{Destinations: []string{destination}, Protocol: protocol})
			now := time.Now().Unix()
			send(t, relay.Line, fmt.Sprintf("rig.line 4.25 %d\n", now-1))
			send(t, relay.Pickle, pickled("rig.pickle", float64(now-1), 5))
			requireValues(t, graphite, "rig.line", now, map[int64]float64{now - 1: 4.25})
			requireValues(t, graphite, "rig.pickle", now, map[int64]float64{now - 1: 5})
		})
	}
}

func TestInteropCarbonRelayWaitsForItsDestinations(t *testing.T) {
	early, late := listen(t), rig.FreeAddr(t)
	relay := rig.CarbonRelay(t, rig.RelayOptions{Destinations: []string{early.Addr().String(), late}, Protocol: "line"})
	send(t, relay.Line, "rig.both 1 1478021700\n")
	require.Equal(t, "rig.both 1 1478021700", firstLine(t, early))
	l, err := net.Listen("tcp", late)
	require.NoError(t, err)
	defer l.Close()
	require.Equal(t, "rig.both 1 1478021700", firstLine(t, l))
}

func TestInteropCarbonCRelayForwards(t *testing.T) {
	a, b := listen(t), listen(t)
	relay := rig.CarbonCRelay(t, a.Addr().String(), b.Addr().String())
	send(t, relay.Line, "rig.c.relay 0.5 1478021700\n")
	require.Equal(t, "rig.c.relay 0.5 1478021700", firstLine(t, a))
	require.Equal(t, "rig.c.relay 0.5 1478021700", firstLine(t, b))
}

func TestInteropRedisAnswersOnBoth(t *testing.T) {
	server := rig.Redis(t)
	for network, addr := range map[string]string{"tcp": server.Addr, "unix": server.Socket} {
		require.Equal(t, "+PONG", redis(t, network, addr, "PING"))
	}
	require.Equal(t, "+OK", redis(t, "unix", server.Socket, "SET a 1"))
	require.Equal(t, ":1", redis(t, "tcp", server.Addr, "EXISTS a"))
	server.Kill()
	server.Restart()
	require.Equal(t, ":0", redis(t, "unix", server.Socket, "EXISTS a"), "nothing is persisted")
}

func TestInteropRedisWithPassword(t *testing.T) {
	server := rig.Redis(t, "--requirepass", "secret")
	require.Equal(t, "-NOAUTH Authentication required.", redis(t, "tcp", server.Addr, "EXISTS a"))
	require.Equal(t, "+OK", redis(t, "tcp", server.Addr, "AUTH secret"))
}

func TestInteropFluxIsBuiltOnce(t *testing.T) {
	path := rig.BuildFlux(t)
	require.Equal(t, path, rig.BuildFlux(t))
	flux := rig.StartFlux(t, "--help")
	require.Equal(t, 0, flux.Wait(patience), flux.Output())
	require.Contains(t, flux.Output(), "serve")
}

// requireValues waits until the series around the expected points has exactly
// them.
func requireValues(t *testing.T, g *rig.Graphite, target string, until int64, want map[int64]float64) {
	t.Helper()
	rig.WaitFor(t, patience, target, func() error {
		got := map[int64]float64{}
		for _, s := range g.Render(t, target, until-600, until) {
			if !s.Null {
				got[s.Timestamp] = s.Value
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("rendered %v, want %v", got, want)
		}
		return nil
	})
}

func send(t *testing.T, addr, data string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, data)
	require.NoError(t, err)
}

func sendUDP(t *testing.T, addr, data string) {
	t.Helper()
	conn, err := net.Dial("udp", addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, data)
	require.NoError(t, err)
}

// pickled is a frame with the pickle, protocol 2, of [(name, (ts, value))].
func pickled(name string, ts, value float64) string {
	p := []byte("\x80\x02](X")
	p = binary.LittleEndian.AppendUint32(p, uint32(len(name)))
	p = append(p, name...)
	p = append(p, 'G')
	p = binary.BigEndian.AppendUint64(p, math.Float64bits(ts))
	p = append(p, 'G')
	p = binary.BigEndian.AppendUint64(p, math.Float64bits(value))
	p = append(p, "\x86\x86e."...)
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(p)))) + string(p)
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

// firstLine accepts connections until one brings a line.
func firstLine(t *testing.T, l net.Listener) string {
	t.Helper()
	deadline := time.Now().Add(patience)
	require.NoError(t, l.(*net.TCPListener).SetDeadline(deadline))
	for {
		conn, err := l.Accept()
		require.NoError(t, err)
		require.NoError(t, conn.SetDeadline(deadline))
		line, err := bufio.NewReader(conn).ReadString('\n')
		conn.Close()
		if err == nil {
			return strings.TrimRight(line, "\r\n") // carbon-relay ends lines with CR LF
		}
	}
}

// redis sends one inline command and returns the first line of the answer.
func redis(t *testing.T, network, addr, command string) string {
	t.Helper()
	conn, err := net.Dial(network, addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, command+"\r\n")
	require.NoError(t, err)
	line, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSuffix(line, "\r\n")
}
