package dedup

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"time"

	"github.com/gomodule/redigo/redis"
)

// redisConn is a connection and the generation it belongs to.
type redisConn struct {
	redis.Conn
	wire       *wire
	generation int
	reused     bool
	stop       func() bool // of watching for the store's Close
}

// broken returns why the connection is of no use any more, or nil.
func (c *redisConn) broken() error {
	if c.wire.err != nil {
		return c.wire.err
	}
	return c.Err()
}

// Close closes the connection.
func (c *redisConn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// lost is the error of a call that found no connection or lost it: another call
// would fare no better now.
type lost struct{ error }

func (e lost) Unwrap() error { return e.error }

// with runs f on a connection. When a connection that had been idle turns out
// to have been closed, the others are dropped too and f runs once more on a new
// one: f must bear being repeated.
func (r *Redis) with(f func(*redisConn) error) error {
	c, err := r.conn()
	if err != nil {
		return lost{err}
	}
	err = f(c)
	if c.broken() != nil && c.reused && !errors.Is(err, os.ErrDeadlineExceeded) && r.ctx.Err() == nil {
		r.put(c)
		if c, err = r.conn(); err != nil {
			return lost{err}
		}
		err = f(c)
	}
	if err != nil && c.broken() != nil {
		err = lost{err}
	}
	r.put(c)
	return err
}

// conn returns an idle connection or makes one.
func (r *Redis) conn() (*redisConn, error) {
	if r.ctx.Err() != nil {
		return nil, errClosed
	}
	r.mu.Lock()
	generation := r.broken
	if k := len(r.idle); k > 0 {
		c := r.idle[k-1]
		r.idle = r.idle[:k-1]
		r.mu.Unlock()
		c.reused = true
		return c, nil
	}
	r.mu.Unlock()
	c, err := r.dial()
	if err != nil {
		return nil, err
	}
	c.generation = generation
	r.dials.Add(1)
	return c, nil
}

// put takes a connection back. One that broke takes every idle one with it.
func (r *Redis) put(c *redisConn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	broken := c.broken() != nil
	if broken && c.generation == r.broken {
		r.broken++
		r.dropIdle()
	}
	if broken || c.generation != r.broken || r.ctx.Err() != nil {
		_ = c.Close()
		return
	}
	r.idle = append(r.idle, c)
}

func (r *Redis) dropIdle() {
	for _, c := range r.idle {
		_ = c.Close()
	}
	r.idle = nil
}

// dial connects, logs in and chooses the database, in DialTimeout altogether.
func (r *Redis) dial() (*redisConn, error) {
	ctx, cancel := context.WithTimeout(r.ctx, r.opts.DialTimeout)
	defer cancel()
	var c redisConn
	var err error
	c.Conn, err = redis.DialContext(ctx, r.target.network, r.target.addr,
		redis.DialContextFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := r.connect(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			end, _ := ctx.Deadline()
			c.wire = &wire{Conn: conn, r: bufio.NewReaderSize(conn, wireBuffer), timeout: r.opts.Timeout, end: end}
			c.stop = context.AfterFunc(r.ctx, func() { _ = plain(conn).Close() })
			return c.wire, nil
		}),
		redis.DialReadTimeout(r.opts.Timeout),
		redis.DialWriteTimeout(r.opts.Timeout),
		redis.DialUsername(r.target.user),
		redis.DialPassword(r.target.password),
		redis.DialDatabase(r.target.db),
	)
	if err != nil {
		if c.stop != nil {
			c.stop()
		}
		return nil, err
	}
	c.wire.end = time.Time{}
	return &c, nil
}

// connect makes the connection, with its TLS handshake.
func (r *Redis) connect(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil || !r.target.tls {
		return conn, err
	}
	cfg := r.opts.TLS.Clone()
	if cfg == nil {
		cfg = &tls.Config{}
	}
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(addr)
	}
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return secure, nil
}

// plain returns the connection beneath TLS, which closes without a farewell.
func plain(c net.Conn) net.Conn {
	if secure, ok := c.(*tls.Conn); ok {
		return secure.NetConn()
	}
	return c
}
