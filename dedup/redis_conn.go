package dedup

import (
	"bufio"
	"context"
	"net"

	"github.com/gomodule/redigo/redis"
)

// redisConn is a connection and the generation it belongs to.
type redisConn struct {
	redis.Conn
	generation int
	reused     bool
}

// with runs f on a connection. When a connection that had been idle turns out
// to be broken, the others are dropped too and f runs once more on a new one:
// f must bear being repeated.
func (r *Redis) with(f func(redis.Conn) error) error {
	c, err := r.conn()
	if err != nil {
		return err
	}
	err = f(c)
	if c.Err() != nil && c.reused && r.ctx.Err() == nil {
		r.put(c)
		if c, err = r.conn(); err != nil {
			return err
		}
		err = f(c)
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
	r.dials.Add(1)
	return &redisConn{Conn: c, generation: generation}, nil
}

// put takes a connection back. One that broke takes every idle one with it.
func (r *Redis) put(c *redisConn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.Err() != nil && c.generation == r.broken {
		r.broken++
		r.dropIdle()
	}
	if c.Err() != nil || c.generation != r.broken || r.ctx.Err() != nil {
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

func (r *Redis) dial() (redis.Conn, error) {
	ctx, cancel := context.WithTimeout(r.ctx, r.opts.DialTimeout)
	defer cancel()
	o := &r.opts
	return redis.DialContext(ctx, r.target.network, r.target.addr,
		redis.DialContextFunc(dialBuffered),
		redis.DialTLSHandshakeTimeout(o.DialTimeout),
		redis.DialReadTimeout(o.Timeout),
		redis.DialWriteTimeout(o.Timeout),
		redis.DialUseTLS(r.target.tls),
		redis.DialTLSConfig(o.TLS),
		redis.DialUsername(r.target.user),
		redis.DialPassword(r.target.password),
		redis.DialDatabase(r.target.db),
	)
}

// bufferedConn saves system calls under redigo, whose own buffers hold 4 KiB:
// what is written leaves when it fills the buffer or before the next read.
type bufferedConn struct {
	net.Conn
	r *bufio.Reader
	w *bufio.Writer
}

func dialBuffered(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &bufferedConn{c, bufio.NewReaderSize(c, 32<<10), bufio.NewWriterSize(c, 32<<10)}, nil
}

func (c *bufferedConn) Write(p []byte) (int, error) { return c.w.Write(p) }

func (c *bufferedConn) Read(p []byte) (int, error) {
	if err := c.w.Flush(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
