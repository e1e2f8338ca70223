package graphite_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite"
)

// patience bounds every wait for something that must happen.
const patience = 20 * time.Second

// eventually waits until ok holds.
func eventually(t *testing.T, ok func() bool, what string, args ...any) {
	t.Helper()
	require.Eventually(t, ok, patience, time.Millisecond, append([]any{what}, args...)...)
}

// noLeaks fails the test if a goroutine of this package is left at its end.
func noLeaks(t *testing.T) {
	t.Helper()
	left := func() string {
		buf := make([]byte, 1<<20)
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "fluxkit/graphite.") && !strings.Contains(g, "testing.tRunner") {
				return g
			}
		}
		return ""
	}
	t.Cleanup(func() {
		deadline := time.Now().Add(patience)
		for left() != "" {
			if time.Now().After(deadline) {
				t.Errorf("a goroutine is left:\n%s", left())
				return
			}
			runtime.Gosched()
		}
	})
}

// streamReceiver is what LineReceiver and PickleReceiver have in common.
type streamReceiver interface {
	Serve(context.Context, net.Listener, graphite.Handler) error
	Stats() graphite.ReceiverStats
}

// running is a receiver that serves.
type running struct {
	t        *testing.T
	addr     net.Addr
	stop     context.CancelFunc
	returned chan error
}

func start(t *testing.T, r streamReceiver, l net.Listener, h graphite.Handler) *running {
	t.Helper()
	noLeaks(t)
	ctx, cancel := context.WithCancel(t.Context())
	s := &running{t: t, addr: l.Addr(), stop: cancel, returned: make(chan error, 1)}
	go func() { s.returned <- r.Serve(ctx, l, h) }()
	t.Cleanup(func() {
		cancel()
		s.wait()
	})
	return s
}

// wait waits until Serve has returned nil.
func (s *running) wait() {
	s.t.Helper()
	select {
	case err := <-s.returned:
		require.NoError(s.t, err)
		s.returned <- nil
	case <-time.After(patience):
		require.FailNow(s.t, "Serve does not return")
	}
}

func (s *running) dial() *peer {
	s.t.Helper()
	c, err := net.Dial(s.addr.Network(), s.addr.String())
	require.NoError(s.t, err)
	s.t.Cleanup(func() { c.Close() })
	return &peer{s.t, c}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return l
}

// peer is a sender.
type peer struct {
	t *testing.T
	net.Conn
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	_, err := p.Write(b)
	require.NoError(p.t, err)
}

func (p *peer) closeWrite() {
	p.t.Helper()
	require.NoError(p.t, p.Conn.(interface{ CloseWrite() error }).CloseWrite())
}

// end reads until the receiver ends the connection and tells how: nil is an end of file.
func (p *peer) end() error {
	p.t.Helper()
	require.NoError(p.t, p.SetReadDeadline(time.Now().Add(patience)))
	n, err := io.Copy(io.Discard, p.Conn)
	require.Zero(p.t, n)
	require.NotErrorIs(p.t, err, context.DeadlineExceeded)
	return err
}

// confirmed half-closes and expects the receiver's end of file.
func (p *peer) confirmed() {
	p.t.Helper()
	p.closeWrite()
	require.NoError(p.t, p.end())
}

// keeper is a handler that keeps points. It can be told to block or to fail.
type keeper struct {
	mu      sync.Mutex
	pts     []textPoint
	calls   int
	err     error
	entered chan struct{} // if set, told of each call
	gate    chan struct{} // if set, a call waits until it can receive, or for its context
}

func (k *keeper) handle(ctx context.Context, pts []graphite.Point) error {
	if k.entered != nil {
		k.entered <- struct{}{}
	}
	if k.gate != nil {
		select {
		case <-k.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls++
	if k.err != nil {
		return k.err
	}
	k.pts = append(k.pts, textPoints(pts)...)
	return nil
}

func (k *keeper) points() []textPoint {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]textPoint(nil), k.pts...)
}

func gated() *keeper {
	return &keeper{entered: make(chan struct{}, 1000), gate: make(chan struct{})}
}

// syncBuffer is a log that a test reads.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func testLog() (*syncBuffer, *slog.Logger) {
	var b syncBuffer
	return &b, slog.New(slog.NewTextHandler(&b, nil))
}

// wrapped hides what a connection is, as a wrapper around it would.
type wrapped struct{ net.Listener }

func (w wrapped) Accept() (net.Conn, error) {
	c, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return struct{ net.Conn }{c}, nil
}

func TestLineReceiver(t *testing.T) {
	for _, wrap := range []bool{false, true} {
		l := listen(t)
		if wrap {
			l = wrapped{l}
		}
		var r graphite.LineReceiver
		var k keeper
		s := start(t, &r, l, k.handle)
		c := s.dial()
		c.write([]byte("a 1 2\nb 3"))
		eventually(t, func() bool { return len(k.points()) == 1 }, "the first point")
		c.write([]byte(" 4\r\nbad\n\n\nd nan 1\ne 5 6"))
		c.confirmed()
		require.Equal(t, []textPoint{{"a", 2000, 1}, {"b", 4000, 3}, {"e", 6000, 5}}, k.points())
		s.stop()
		s.wait()
		require.Equal(t, graphite.ReceiverStats{
			Points: 3, Bytes: 32, Connections: 1,
			Rejected: map[graphite.Reason]uint64{graphite.ReasonMalformed: 1, graphite.ReasonNaN: 1},
		}, r.Stats())
	}
}

// What carbon made of the oracle's bytes, through the receivers.
func TestReceiverOracle(t *testing.T) {
	clock := func() time.Time { return oracleNow }
	f := func(strict bool, differences map[string]difference) {
		want := func(c oracleCase, input []byte) []textPoint {
			if d, ok := differences[string(input)]; ok {
				return d.points
			}
			return c.want(t)
		}
		r := graphite.LineReceiver{Strict: strict, Now: clock}
		var k keeper
		s := start(t, &r, listen(t), k.handle)
		for _, c := range readOracle(t, "carbon-line-tcp.json") {
			input := c.bytes(t)
			k.pts = nil
			p := s.dial()
			p.write(input)
			p.confirmed()
			require.Equal(t, want(c, input), k.points(), "%s (strict %v)", c.Name, strict)
		}
		u := graphite.UDPReceiver{Strict: strict, Now: clock}
		var d keeper
		us, addr := startUDP(t, &u, d.handle)
		sender, err := net.Dial("udp", addr.String())
		require.NoError(t, err)
		defer sender.Close()
		for i, c := range readOracle(t, "carbon-line-udp.json") {
			input := c.bytes(t)
			d.mu.Lock()
			d.pts = nil
			d.mu.Unlock()
			_, err := sender.Write(input)
			require.NoError(t, err)
			_, err = sender.Write([]byte("end 1 2"))
			require.NoError(t, err)
			eventually(t, func() bool { return u.Stats().Datagrams == uint64(2*i+2) && len(d.points()) > 0 }, c.Name)
			end := textPoint{"end", 2000, 1}
			require.Equal(t, append(want(c, input), end), d.points(), "%s (strict %v)", c.Name, strict)
		}
		us()
	}
	f(false, defaultDifferences())
	f(true, strictDifferences())
}

// A half-close is answered only once the handler has kept what was read.
func TestHalfCloseWaitsForHandler(t *testing.T) {
	for name, start := range starters() {
		t.Run(name, func(t *testing.T) {
			k := gated()
			s, _, message := start(t, k.handle)
			c := s.dial()
			c.write(message)
			c.closeWrite()
			end := make(chan error, 1)
			go func() { end <- c.end() }()
			<-k.entered
			select {
			case err := <-end:
				require.FailNow(t, "answered before the points were kept", "%v", err)
			default:
			}
			close(k.gate)
			require.NoError(t, <-end)
			require.Len(t, k.points(), 2)
		})
	}
}

// starters start each stream receiver with a message of two points for it, of about a thousand bytes.
func starters() map[string]func(*testing.T, graphite.Handler) (*running, streamReceiver, []byte) {
	a, b := strings.Repeat("a", 500), strings.Repeat("b", 500)
	lines := []byte(a + " 1 2\n" + b + " 3 4\n")
	return map[string]func(*testing.T, graphite.Handler) (*running, streamReceiver, []byte){
		"line": func(t *testing.T, h graphite.Handler) (*running, streamReceiver, []byte) {
			r := &graphite.LineReceiver{}
			return start(t, r, listen(t), h), r, lines
		},
		"line, wrapped": func(t *testing.T, h graphite.Handler) (*running, streamReceiver, []byte) {
			r := &graphite.LineReceiver{}
			return start(t, r, wrapped{listen(t)}, h), r, lines
		},
		"pickle": func(t *testing.T, h graphite.Handler) (*running, streamReceiver, []byte) {
			r := &graphite.PickleReceiver{}
			return start(t, r, listen(t), h), r, frame(t, item(a, 2, 1), item(b, 4, 3))
		},
	}
}

// A handler that does not keep the points costs the sender its connection, by a reset and not by an end of file.
func TestHandlerErrorResets(t *testing.T) {
	for name, start := range starters() {
		t.Run(name, func(t *testing.T) {
			k := gated()
			k.err = errors.New("no room")
			s, r, message := start(t, k.handle)
			if strings.Contains(name, "wrapped") {
				return // a wrapper hides the way to reset
			}
			c := s.dial()
			c.write(message)
			c.closeWrite()
			close(k.gate)
			require.ErrorIs(t, c.end(), syscall.ECONNRESET)
			eventually(t, func() bool { return r.Stats().Open == 0 }, "the connection is closed")
			require.Zero(t, r.Stats().Points)
			require.EqualValues(t, 2, r.Stats().Unkept)
		})
	}
}

// A unix socket has no reset: the byte before the end of file is the sign that points were not kept.
func TestHandlerErrorUnix(t *testing.T) {
	l, err := graphite.Endpoint{Network: "unix", Address: filepath.Join(t.TempDir(), "s")}.Listen(t.Context())
	require.NoError(t, err)
	var r graphite.LineReceiver
	k := gated()
	k.err = errors.New("no room")
	s := start(t, &r, l, k.handle)
	c := s.dial()
	c.write([]byte("a 1 2\n"))
	c.closeWrite()
	<-k.entered
	close(k.gate)
	said, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, "!", string(said))
}

// A handler that blocks stops the reading: the sender cannot write more than the kernel's buffers hold, and nothing is
// lost.
func TestBlockedHandlerPushesBack(t *testing.T) {
	for name, start := range starters() {
		t.Run(name, func(t *testing.T) {
			k := gated()
			k.entered = make(chan struct{}, 1<<20)
			s, _, message := start(t, func(ctx context.Context, pts []graphite.Point) error {
				return k.handle(ctx, pts[:1])
			})
			c := s.dial()
			require.NoError(t, c.Conn.(*net.TCPConn).SetWriteBuffer(64<<10))
			load := bytes.Repeat(message, 24<<20/len(message))
			written := make(chan error, 1)
			go func() {
				_, err := c.Write(load)
				written <- err
			}()
			<-k.entered
			select {
			case <-written:
				require.FailNow(t, "the sender was not held back")
			case <-k.entered:
				require.FailNow(t, "the handler was called while it was busy")
			case <-time.After(50 * time.Millisecond):
			}
			close(k.gate)
			require.NoError(t, <-written)
			c.confirmed()
		})
	}
}

// What a disconnect cuts short is counted, and logged with the peer and the bytes. The rest is kept.
func TestCutLine(t *testing.T) {
	logged, log := testLog()
	r := graphite.LineReceiver{Logger: log}
	var k keeper
	s := start(t, &r, listen(t), k.handle)
	c := s.dial()
	c.write([]byte("a 1 2\nb 3 170000"))
	eventually(t, func() bool { return len(k.points()) == 1 }, "the first point")
	require.NoError(t, c.Conn.(*net.TCPConn).SetLinger(0))
	peer := c.LocalAddr().String()
	c.Close()
	eventually(t, func() bool { return r.Stats().Rejected[graphite.ReasonCut] == 1 }, "the cut")
	eventually(t, func() bool { return r.Stats().Open == 0 }, "the connection is closed")
	require.Contains(t, logged.String(), "peer="+peer+" bytes=10")
	require.Equal(t, []textPoint{{"a", 2000, 1}}, k.points())
}

// When Serve ends in the middle of a line, the sender must not take its end for a confirmation.
func TestStopCutsLine(t *testing.T) {
	var r graphite.LineReceiver
	var k keeper
	s := start(t, &r, listen(t), k.handle)
	c := s.dial()
	c.write([]byte("a 1 2\nb 3 170000"))
	eventually(t, func() bool { return r.Stats().Bytes == 16 }, "all is read")
	s.stop()
	require.ErrorIs(t, c.end(), syscall.ECONNRESET)
	s.wait()
	require.Equal(t, map[graphite.Reason]uint64{graphite.ReasonCut: 1}, r.Stats().Rejected)
	require.Len(t, k.points(), 1)
}

// What has arrived when Serve is told to end is read and handed on, and idle connections end in order.
func TestStopFinishesWhatArrived(t *testing.T) {
	for name, start := range starters() {
		t.Run(name, func(t *testing.T) {
			k := gated()
			s, r, message := start(t, k.handle)
			idle := s.dial()
			c := s.dial()
			c.write(message)
			<-k.entered
			n := 2
			if !strings.Contains(name, "wrapped") { // a wrapper hides the way to end the input
				c.write(bytes.Repeat(message, 20)) // no more than has room on its way
				n = 42
			}
			s.stop()
			require.NoError(t, idle.end())
			close(k.gate)
			require.NoError(t, c.end())
			s.wait()
			require.Len(t, k.points(), n)
			require.EqualValues(t, n, r.Stats().Points)
			require.Zero(t, r.Stats().Open)
			_, err := net.Dial("tcp", s.addr.String())
			require.ErrorIs(t, err, syscall.ECONNREFUSED)
		})
	}
}

// A handler that does not return is given the drain timeout, and then the end of its context.
func TestDrainTimeout(t *testing.T) {
	k := gated()
	r := graphite.LineReceiver{DrainTimeout: 20 * time.Millisecond}
	s := start(t, &r, listen(t), k.handle)
	c := s.dial()
	c.write([]byte("a 1 2\n"))
	<-k.entered
	s.stop()
	require.ErrorIs(t, c.end(), syscall.ECONNRESET)
	s.wait()
	require.EqualValues(t, 1, r.Stats().Unkept)
}

// The connection over the limit waits in the backlog until another one ends.
func TestMaxConns(t *testing.T) {
	r := graphite.LineReceiver{MaxConns: 2}
	var k keeper
	s := start(t, &r, listen(t), k.handle)
	first, second, third := s.dial(), s.dial(), s.dial()
	third.write([]byte("c 1 2\n"))
	first.write([]byte("a 1 2\n"))
	second.write([]byte("b 1 2\n"))
	eventually(t, func() bool { return len(k.points()) == 2 }, "the two that were accepted")
	require.EqualValues(t, 2, r.Stats().Connections)
	first.confirmed()
	third.confirmed()
	require.Len(t, k.points(), 3)
	require.EqualValues(t, 3, r.Stats().Connections)
}

// Many silent and half-silent connections do not keep a busy one waiting, though more of them are there than reads may
// be in work at once, and the end is clean.
func TestManyConnections(t *testing.T) {
	var r graphite.LineReceiver
	var k keeper
	s := start(t, &r, listen(t), k.handle)
	for i := range 300 {
		c := s.dial()
		if i%2 == 0 {
			c.write([]byte("half.a.line 1"))
		}
	}
	eventually(t, func() bool { return r.Stats().Bytes == 150*13 }, "what the silent ones sent")
	var wg sync.WaitGroup
	for i := range 50 {
		c := s.dial()
		wg.Go(func() {
			for j := range 100 {
				fmt.Fprintf(c, "busy.%d 1 %d\n", i, j)
			}
			c.confirmed()
		})
	}
	wg.Wait()
	require.Len(t, k.points(), 5000)
	eventually(t, func() bool { return r.Stats().Open == 300 }, "the busy ones are closed")
	s.stop()
	s.wait()
	require.EqualValues(t, 150, r.Stats().Rejected[graphite.ReasonCut])
}

// A thousand connections with more to say than the handler takes: what the receiver holds is bounded, and nothing is
// lost once the handler goes on.
func TestManyBusyConnections(t *testing.T) {
	const conns, size = 1000, 128 << 10
	line := []byte("servers.web.cpu.user 0.25 1700000000\n")
	load := bytes.Repeat(line, size/len(line))
	var before, during runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var r graphite.LineReceiver
	gate := make(chan struct{})
	s := start(t, &r, listen(t), func(context.Context, []graphite.Point) error {
		<-gate
		return nil
	})
	var peers []*peer
	for range conns {
		c := s.dial()
		c.write(load)
		peers = append(peers, c)
	}
	eventually(t, func() bool { return r.Stats().Open == conns }, "all are accepted")
	runtime.GC()
	runtime.ReadMemStats(&during)
	require.Less(t, int64(during.HeapAlloc)-int64(before.HeapAlloc), int64(48<<20))
	close(gate)
	for _, c := range peers {
		c.confirmed()
	}
	require.EqualValues(t, conns*(size/len(line)), r.Stats().Points)
}

// One receiver, two listeners; the end of one listener is an error of its own Serve alone.
func TestListenerFails(t *testing.T) {
	var r graphite.LineReceiver
	var k keeper
	good := start(t, &r, listen(t), k.handle)
	l := listen(t)
	failed := make(chan error, 1)
	go func() { failed <- r.Serve(t.Context(), l, k.handle) }()
	l.Close()
	require.ErrorIs(t, <-failed, net.ErrClosed)
	c := good.dial()
	c.write([]byte("a 1 2"))
	c.confirmed()
	require.Len(t, k.points(), 1)
}

// flaky fails to accept a few times.
type flaky struct {
	net.Listener
	left int
}

func (f *flaky) Accept() (net.Conn, error) {
	if f.left > 0 {
		f.left--
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return f.Listener.Accept()
}

func TestAcceptRetries(t *testing.T) {
	logged, log := testLog()
	r := graphite.LineReceiver{Logger: log}
	var k keeper
	s := start(t, &r, &flaky{listen(t), 3}, k.handle)
	c := s.dial()
	c.write([]byte("a 1 2"))
	c.confirmed()
	require.Equal(t, 3, strings.Count(logged.String(), "cannot accept"))
}

// Rejections are logged once a second a reason, by the receiver's clock; OnReject hears of each.
func TestRejectLog(t *testing.T) {
	logged, log := testLog()
	var mu sync.Mutex
	now, heard := time.Unix(1700000000, 0), 0
	r := graphite.LineReceiver{
		Logger: log,
		Now: func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return now
		},
		OnReject: func(rej graphite.Rejection) {
			require.NotEmpty(t, rej.Peer)
			heard++
		},
	}
	var k keeper
	s := start(t, &r, listen(t), k.handle)
	send := func() {
		c := s.dial()
		c.write([]byte("bad\nworse\na nan 1\n"))
		c.confirmed()
	}
	send()
	send()
	require.Equal(t, 2, strings.Count(logged.String(), "msg=rejected"))
	mu.Lock()
	now = now.Add(time.Second)
	mu.Unlock()
	send()
	require.Equal(t, 4, strings.Count(logged.String(), "msg=rejected"))
	require.Contains(t, logged.String(), "suppressed=3")
	require.Equal(t, 9, heard)
}

// Lines at the limit, over it, and a stream that never ends one.
func TestLineReceiverLimit(t *testing.T) {
	var r graphite.LineReceiver
	var k keeper
	s := start(t, &r, listen(t), k.handle)
	c := s.dial()
	for _, size := range []int{16384, 16385, 16384, 300_000} {
		c.write([]byte(strings.Repeat("n", size-4) + " 1 2\n"))
	}
	c.write([]byte("end 1 2"))
	c.confirmed()
	require.Len(t, k.points(), 3)
	require.EqualValues(t, 2, r.Stats().Rejected[graphite.ReasonTooLong])
}

func ExampleLineReceiver() {
	ctx, stop := context.WithCancel(context.Background())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	var r graphite.LineReceiver
	done := make(chan error)
	go func() {
		done <- r.Serve(ctx, l, func(_ context.Context, pts []graphite.Point) error {
			for _, p := range pts {
				fmt.Println(string(p.Name), p.Value)
			}
			return nil
		})
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(c, "servers.web.load 0.5 %d\n", time.Now().Unix())
	_ = c.(*net.TCPConn).CloseWrite()
	_, _ = io.Copy(io.Discard, c) // the end of file says that the point is kept
	c.Close()
	stop()
	fmt.Println(<-done, r.Stats().Points)
	// Output:
	// servers.web.load 0.5
	// <nil> 1
}
