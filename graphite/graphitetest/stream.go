package graphitetest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// Stream is one of a Server's two stream listeners. Its methods make it misbehave as a carbon, or what stands before
// it, does in the field; they may be called at any time.
type Stream struct {
	srv  *Server
	name string
	addr string
	read func(*bufio.Reader) error // parses until its error, io.EOF at the end

	mu       sync.Mutex
	change   sync.Cond // of paused and closed
	listener net.Listener
	conns    map[*conn]bool
	next     []fault // for the connections to come, one each
	paused   bool
	silent   bool
	closed   bool
	accepted int
}

// fault ends a connection after so many bytes.
type fault struct {
	after int64
	reset bool
}

var errFault = errors.New("graphitetest: fault")

func (s *Server) newStream(name, addr string, read func(*bufio.Reader) error) (*Stream, error) {
	st := &Stream{srv: s, name: name, addr: orFree(addr), read: read, conns: map[*conn]bool{}}
	st.change.L = &st.mu
	return st, st.Restore()
}

// Refuse stops listening: new connections are refused until Restore. Open ones stay.
func (st *Stream) Refuse() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.listener != nil {
		_ = st.listener.Close()
		st.listener = nil
	}
}

// Restore listens again, on the same port. It does nothing while the Stream listens.
func (st *Stream) Restore() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.listener != nil || st.closed {
		return nil
	}
	l, err := net.Listen("tcp", st.addr)
	if err != nil {
		return fmt.Errorf("%s: %w", st.name, err)
	}
	st.listener, st.addr = l, l.Addr().String()
	st.srv.wg.Go(func() { st.accept(l) })
	return nil
}

// Reset breaks every open connection with a TCP reset. What was not read is lost.
func (st *Stream) Reset() {
	for _, c := range st.open() {
		c.abort()
	}
}

// Kill is what the end of the process does: it stops listening and resets every connection.
func (st *Stream) Kill() {
	st.Refuse()
	st.Reset()
}

// Pause stops reading, on open connections and on new ones, which are still accepted. When it returns, no byte leaves
// the kernel's buffers any more until Resume.
func (st *Stream) Pause() {
	st.mu.Lock()
	st.paused = true
	st.mu.Unlock()
	for _, c := range st.open() {
		_ = c.raw.SetReadDeadline(time.Unix(1, 0)) // wakes a blocked read, which then finds the pause
		c.settle()
	}
}

// Resume undoes Pause.
func (st *Stream) Resume() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.paused = false
	st.change.Broadcast()
}

// ResetAfter makes the next connection break with a TCP reset once it read n bytes. Called again it adds the same for
// the connection after that.
func (st *Stream) ResetAfter(n int64) { st.addFault(fault{after: n, reset: true}) }

// CloseAfter makes the next connection close once it read n bytes, in the middle of a line or frame if they end there.
// Called again it adds the same for the connection after that.
func (st *Stream) CloseAfter(n int64) { st.addFault(fault{after: n}) }

// Silent, when on, makes connections read to their end but never close their own side: the half-close of the sender
// stays unanswered. Turned off, it closes those that were left open.
func (st *Stream) Silent(on bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.silent = on
	st.change.Broadcast()
}

// Open is the number of connections that are open now, Accepted of those that ever were.
func (st *Stream) Open() int { return len(st.open()) }

// Accepted is the number of connections accepted so far.
func (st *Stream) Accepted() int {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.accepted
}

// Pending is the number of faults that wait for a connection.
func (st *Stream) Pending() int {
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.next)
}

func (st *Stream) addFault(f fault) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.next = append(st.next, f)
}

func (st *Stream) open() []*conn {
	st.mu.Lock()
	defer st.mu.Unlock()
	return slices.Collect(func(yield func(*conn) bool) {
		for c := range st.conns {
			if !yield(c) {
				return
			}
		}
	})
}

func (st *Stream) close() {
	st.mu.Lock()
	st.closed = true
	st.change.Broadcast()
	st.mu.Unlock()
	st.Kill()
}

func (st *Stream) accept(l net.Listener) {
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		c := &conn{st: st, raw: nc.(*net.TCPConn), left: -1}
		if n := st.srv.opt.ReadBuffer; n > 0 {
			_ = c.raw.SetReadBuffer(n)
		}
		if st.enter(c, l) {
			st.srv.wg.Go(c.serve)
		} else {
			c.abort()
		}
	}
}

// enter makes c one of the open connections, unless its listener was stopped in the meantime.
func (st *Stream) enter(c *conn, l net.Listener) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed || st.listener != l {
		return false
	}
	st.conns[c] = true
	st.accepted++
	if len(st.next) > 0 {
		c.left, c.reset = st.next[0].after, st.next[0].reset
		st.next = st.next[1:]
	}
	return true
}

// conn is one connection.
type conn struct {
	st      *Stream
	raw     *net.TCPConn
	left    int64 // bytes to read until the fault; -1 for none
	reset   bool
	reading sync.Mutex // held while a read may take bytes from the kernel
}

func (c *conn) serve() {
	var r io.Reader = c
	shut := c.raw.Close
	if cfg := c.st.srv.opt.TLS; cfg != nil {
		t := tls.Server(tlsConn{c.raw, c}, cfg)
		r, shut = t, t.Close
	}
	err := c.st.read(bufio.NewReaderSize(r, 64<<10))
	if errors.Is(err, io.EOF) {
		c.waitSilent()
	}
	if errors.Is(err, errFault) && c.reset {
		c.abort()
	}
	_ = shut()
	_ = c.raw.Close()
	c.st.mu.Lock()
	defer c.st.mu.Unlock()
	delete(c.st.conns, c)
}

// Read reads from the connection as the faults allow.
func (c *conn) Read(b []byte) (int, error) {
	if c.left == 0 {
		return 0, errFault
	}
	if c.left > 0 {
		b = b[:min(int64(len(b)), c.left)]
	}
	for {
		if !c.waitResume() {
			return 0, net.ErrClosed
		}
		n, err := c.readOnce(b)
		if n == 0 && isTimeout(err) {
			continue
		}
		if c.left > 0 {
			c.left -= int64(n)
		}
		return n, err
	}
}

// readOnce reads unless a pause began. Its timeouts are Pause's knocks.
func (c *conn) readOnce(b []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	c.st.mu.Lock()
	if c.st.paused {
		c.st.mu.Unlock()
		return 0, nil
	}
	_ = c.raw.SetReadDeadline(time.Time{})
	c.st.mu.Unlock()
	return c.raw.Read(b)
}

// settle waits for a read that is under way.
func (c *conn) settle() {
	c.reading.Lock()
	defer c.reading.Unlock()
}

func isTimeout(err error) bool {
	var ne net.Error
	return err == nil || errors.As(err, &ne) && ne.Timeout()
}

// waitResume returns once the stream is not paused; false means that the server closes.
func (c *conn) waitResume() bool {
	c.st.mu.Lock()
	defer c.st.mu.Unlock()
	for c.st.paused && !c.st.closed && c.st.conns[c] {
		c.st.change.Wait()
	}
	return !c.st.closed && c.st.conns[c]
}

// waitSilent holds a connection that was read to its end open while the stream is silent.
func (c *conn) waitSilent() {
	c.st.mu.Lock()
	defer c.st.mu.Unlock()
	for c.st.silent && !c.st.closed && c.st.conns[c] {
		c.st.change.Wait()
	}
}

// abort resets the connection.
func (c *conn) abort() {
	_ = c.raw.SetLinger(0)
	_ = c.raw.Close()
	c.st.mu.Lock()
	defer c.st.mu.Unlock()
	delete(c.st.conns, c)
	c.st.change.Broadcast()
}

// tlsConn lets TLS read through the faults.
type tlsConn struct {
	*net.TCPConn
	c *conn
}

func (t tlsConn) Read(b []byte) (int, error) { return t.c.Read(b) }
