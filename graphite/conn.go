package graphite

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"
)

const (
	// readSize is how much one read may bring.
	readSize = 64 << 10
	// drainBytes bounds what a connection still reads once the receiver stops, since a sender may never pause. It is
	// more than a socket's buffer holds.
	drainBytes = 16 << 20
)

// conn is a connection of a receiver. Its Read counts bytes and ends with io.EOF when the receiver drains.
type conn struct {
	net.Conn
	peer     string
	buffered *bufio.Reader // see wait; nil until used
	raw      *rawReader    // nil where the connection has none

	count    *atomic.Uint64 // the receiver's bytes
	draining atomic.Bool
	left     int  // what may still be read while draining
	handed   bool // the handler got points
}

func newConn(nc net.Conn, count *atomic.Uint64) *conn {
	return &conn{Conn: nc, peer: peerName(nc), raw: newRawReader(nc), count: count, left: drainBytes}
}

// peerName is the address of the other end. A unix socket's client has none.
func peerName(c net.Conn) string {
	if a := c.RemoteAddr(); a != nil && a.String() != "" && a.String() != "@" {
		return a.String()
	}
	return "unix"
}

// keepalive finds dead peers within about 70 s, at carbon's pace. There is no idle timeout: carbon's senders forget a
// point before they write it, so a connection closed under them costs points.
func (c *conn) keepalive() {
	if t, ok := underlying(c.Conn).(*net.TCPConn); ok {
		_ = t.SetKeepAliveConfig(net.KeepAliveConfig{
			Enable: true, Idle: 10 * time.Second, Interval: 30 * time.Second, Count: 2,
		})
	}
}

// armed has the kernel reset the connection when the process is killed: else it would end a connection of which
// everything has been read in order, and the peer would take that for a confirmation. A unix socket has no reset.
func (c *conn) armed(armed bool) {
	if t, ok := underlying(c.Conn).(interface{ SetLinger(sec int) error }); ok {
		sec := -1 // as it is by default
		if armed {
			sec = 0
		}
		_ = t.SetLinger(sec)
	}
}

// finish closes in order.
func (c *conn) finish() {
	c.armed(false)
	c.Close()
}

func (c *conn) handshake(ctx context.Context) error {
	t, ok := c.Conn.(*tls.Conn)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	return t.HandshakeContext(ctx)
}

// startDrain ends the connection's input after what has arrived. Closing the reading half does just that: reads go on
// until the socket's buffer is empty. A connection that cannot do it is not read any more.
func (c *conn) startDrain() {
	c.draining.Store(true)
	if h, ok := underlying(c.Conn).(interface{ CloseRead() error }); ok && h.CloseRead() == nil {
		return
	}
	_ = c.SetReadDeadline(time.Unix(1, 0))
}

// abort closes so that the peer cannot take it for an end in order: with a reset, or on a unix socket, which has none,
// after a byte, which nothing else ever sends.
func (c *conn) abort() {
	nc := underlying(c.Conn)
	switch nc := nc.(type) {
	case interface{ SetLinger(sec int) error }:
		_ = nc.SetLinger(0)
	case *net.UnixConn:
		_ = nc.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = nc.Write([]byte{'!'})
	}
	nc.Close()
}

// Read reads from the connection.
func (c *conn) Read(b []byte) (int, error) {
	if c.spent() {
		return 0, io.EOF
	}
	n, err := c.Conn.Read(b)
	return c.note(n, err)
}

// spent reports whether a draining connection has read all it may.
func (c *conn) spent() bool { return c.left <= 0 && c.draining.Load() }

// note takes account of a read. While draining, its end is as good as the peer's.
func (c *conn) note(n int, err error) (int, error) {
	c.count.Add(uint64(n))
	if !c.draining.Load() {
		return n, err
	}
	c.left -= n
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

// wait waits until the peer has sent something and then reads it into the buffer that take returns. Where the system
// allows it, take is called only once there is something to read, so that a silent connection holds no buffer.
// Otherwise it holds one of 16 KiB, the size of a TLS record.
func (c *conn) wait(take func() ([]byte, error), release func()) (n int, err error) {
	if c.spent() {
		return 0, io.EOF
	}
	if c.raw != nil {
		return c.note(c.raw.read(take, release))
	}
	if c.buffered == nil {
		c.buffered = bufio.NewReaderSize(c.Conn, 16<<10)
	}
	if _, err := c.buffered.Peek(1); err != nil {
		return c.note(0, err)
	}
	b, err := take()
	if err != nil {
		return 0, err
	}
	n, err = c.buffered.Read(b[:min(len(b), c.buffered.Buffered())])
	return c.note(n, err)
}
