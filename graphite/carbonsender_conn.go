package graphite

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"
)

var (
	errStalled   = errors.New("graphite: no TCP acknowledgement for longer than StallTimeout")
	errPeerEnded = errors.New("graphite: the peer ended the connection before it was asked to")
	errNotRead   = errors.New("graphite: the peer ended the connection without having read all of it")
)

// carbonConn is one connection to a carbon: written to, half-closed, read to its end.
type carbonConn struct {
	addr    string
	raw     *patientConn
	rw      net.Conn    // raw, or TLS over it
	base    uint64      // bytes that the kernel counted as acknowledged before the first of ours
	counted bool        // the kernel does count them
	half    atomic.Bool // we have begun to half-close

	ended    chan struct{} // closed when the peer's end, or an error, was read
	endErr   error         // io.EOF for an end
	endState kernelState   // as it was then
	endAsked bool          // we had begun to half-close by then
}

// newCarbonConn wraps a fresh connection and, with cfg, makes the TLS handshake.
func newCarbonConn(ctx context.Context, addr string, nc net.Conn, cfg *tls.Config, stall time.Duration) (*carbonConn, error) {
	k := kernelOf(nc)
	// A kernel that counts has counted the SYN by now. On one that does not, an end of file counts as it is.
	_, unix := nc.(*net.UnixConn)
	c := &carbonConn{
		addr: addr, base: k.acked, counted: k.known && (unix || k.acked > 0),
		raw:   &patientConn{Conn: nc, watch: ackWatch{limit: stall}, poll: min(time.Second, max(stall/8, time.Millisecond))},
		ended: make(chan struct{}),
	}
	c.rw = c.raw
	if cfg != nil && !unix {
		t := tls.Client(c.raw, cfg)
		if err := t.HandshakeContext(ctx); err != nil {
			nc.Close()
			return nil, fmt.Errorf("graphite: TLS with %s: %w", addr, err)
		}
		c.rw = t
	}
	go c.readToEnd()
	return c, nil
}

// readToEnd reads, and forgets, what the peer says, until it ends. Carbon says nothing.
func (c *carbonConn) readToEnd() {
	buf := make([]byte, 512)
	_, unix := c.raw.Conn.(*net.UnixConn)
	refused := false
	for {
		n, err := c.rw.Read(buf)
		refused = refused || unix && n > 0 // a unix socket has no reset: our receivers say so that they kept less than they read
		if err == nil {
			continue
		}
		if refused {
			err = errNotRead
		}
		if c.rw != net.Conn(c.raw) && isEnd(err) {
			err = c.readPastTLS(err)
		}
		c.endState, c.endAsked, c.endErr = lastState(c.raw.Conn), c.half.Load(), err
		if !c.endAsked {
			c.raw.abort(errPeerEnded)
		}
		close(c.ended)
		return
	}
}

// readPastTLS waits for the end of the connection under TLS, which comes after TLS's own: only with it is there a FIN to
// judge by. A connection that ends well ends as TLS did.
func (c *carbonConn) readPastTLS(end error) error {
	if _, err := io.Copy(io.Discard, c.raw.Conn); err != nil {
		return err
	}
	return end
}

// write writes b, however long the peer takes, until ctx ends or the connection is dead.
func (c *carbonConn) write(ctx context.Context, b []byte) error {
	select {
	case <-c.ended:
		return c.brokenBy(c.endErr)
	default:
	}
	stop := context.AfterFunc(ctx, func() { c.raw.abort(ctx.Err()) })
	defer stop()
	_, err := c.rw.Write(b)
	return err
}

// brokenBy is the error for an end that was not asked for.
func (c *carbonConn) brokenBy(err error) error {
	if isEnd(err) {
		return errPeerEnded
	}
	return err
}

// halfClose tells the peer that nothing follows.
func (c *carbonConn) halfClose(ctx context.Context) error {
	c.half.Store(true)
	select {
	case <-c.ended:
		return c.brokenBy(c.endErr)
	default:
	}
	stop := context.AfterFunc(ctx, func() { c.raw.abort(ctx.Err()) })
	defer stop()
	if t, ok := c.rw.(*tls.Conn); ok {
		cork(c.raw.Conn) // a peer that closes at TLS's end shall have our FIN with it, or its own would seem to come too soon
		if err := t.CloseWrite(); err != nil {
			return err
		}
	}
	return c.raw.Conn.(interface{ CloseWrite() error }).CloseWrite()
}

// verdict judges the peer's end, once ended is closed. assumed means that the bytes arrived as far as the kernels know,
// but that what ended the connection was not authenticated: an end without TLS's own.
func (c *carbonConn) verdict() (assumed bool, err error) {
	if !isEnd(c.endErr) || !c.endAsked {
		return false, c.brokenBy(c.endErr)
	}
	if c.counted && !c.arrived(c.endState) {
		if c.endState.err != nil {
			return false, fmt.Errorf("%w: %w", errNotRead, c.endState.err)
		}
		return false, errNotRead
	}
	return c.endErr != io.EOF, nil
}

// arrived reports whether, in state k, the peer's kernel has acknowledged everything.
func (c *carbonConn) arrived(k kernelState) bool {
	if _, unix := c.raw.Conn.(*net.UnixConn); unix {
		return k.known && !k.pending && k.err == nil
	}
	return k.known && k.proves(c.base, c.raw.written.Load())
}

// close ends the connection. What is on its way still goes out, unless it ends inside a line or frame: some peers would
// read the start of a line as a whole one.
func (c *carbonConn) close() {
	if tc, ok := c.raw.Conn.(*net.TCPConn); ok && c.raw.cut.Load() {
		_ = tc.SetLinger(0)
	}
	_ = c.raw.Close()
	<-c.ended
}

func isEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// patientConn is a connection whose Write lasts until everything is written, aborted, or the connection is dead. A peer
// that has stopped reading is waited for.
type patientConn struct {
	net.Conn
	watch   ackWatch
	poll    time.Duration
	written atomic.Uint64
	waiting atomic.Int64 // since when a write waits, Unix nanoseconds; 0 when none does
	cut     atomic.Bool  // a write ended early
	aborted atomic.Pointer[error]
}

func (c *patientConn) Write(b []byte) (n int, err error) {
	c.waiting.Store(time.Now().UnixNano())
	defer c.waiting.Store(0)
	for {
		_ = c.Conn.SetWriteDeadline(time.Now().Add(c.poll))
		if p := c.aborted.Load(); p != nil {
			err = *p
			break
		}
		var m int
		m, err = c.Conn.Write(b[n:])
		n += m
		c.written.Add(uint64(m))
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if c.watch.stalled(time.Now(), kernelOf(c.Conn)) {
			err = errStalled
			break
		}
	}
	if n < len(b) {
		c.cut.Store(true)
	}
	return n, err
}

// abort makes this and every later Write fail with err.
func (c *patientConn) abort(err error) {
	c.aborted.CompareAndSwap(nil, &err)
	_ = c.Conn.SetWriteDeadline(time.Unix(1, 0))
}

// SetDeadline and SetWriteDeadline are for package tls, which limits the writing of its last record: Write alone knows
// how long to wait.
func (c *patientConn) SetDeadline(t time.Time) error { return c.Conn.SetReadDeadline(t) }

// SetWriteDeadline does nothing.
func (c *patientConn) SetWriteDeadline(time.Time) error { return nil }
