package graphite

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"time"
)

// LineReceiver takes carbon's line protocol from streams: TCP, unix sockets, TLS. The zero value is ready to use; one
// receiver may serve several listeners, whose counters are then added up. Set the fields before the first Serve.
type LineReceiver struct {
	// MaxConns is how many connections are served at once on a listener; 0 means DefaultMaxConns. Those beyond wait in
	// the listener's backlog.
	MaxConns int
	// MaxLine is the longest line in bytes without its newline; 0 means DefaultMaxLine. A longer one is dropped.
	MaxLine int
	// AllowInf keeps infinite values.
	AllowInf bool
	// Strict hands on the points that carbon hands on; see LineParser.
	Strict bool
	// DrainTimeout is how long Serve waits for the handler when it stops; 0 means DefaultDrainTimeout, below 0 means
	// not at all.
	DrainTimeout time.Duration
	// Sync, if set, is called before a connection that brought points is closed in order. It returns nil once all that the
	// handler has taken is kept. With it the handler need not wait for a disk: Client.SendAsync and Client.Sync are made
	// for the two. A sender that half-closes and waits for the end of file then still knows that all of its points are
	// kept. Of other connections two things may be lost when the process is killed: what SendAsync had taken and not
	// committed, of the last 50 ms while the disk keeps up, and never more than 1 MiB of all connections together; and
	// what each connection had read and the handler not taken, 64 KiB and the start of a line at most.
	//
	// After an error the connection is reset, as after one of the handler. Calls for different connections run at once;
	// ctx is that of the handler.
	Sync func(ctx context.Context) error
	// Now is the clock for the timestamp -1; nil means time.Now.
	Now func() time.Time
	// Logger is told of rejected lines, once a second a reason, of lines cut short, and of connections that fail; nil
	// is silent.
	Logger *slog.Logger
	// OnReject, if set, is called for each rejected line, from the goroutine of its connection. It delays that
	// connection, and its Text is a view.
	OnReject func(Rejection)

	state receiverState
	pool  workPool[readWork]
}

// readWork is what the work on one read needs.
type readWork struct {
	buf  []byte // for the start of a line from the last read, and what this one brings
	rows []Point
}

// Serve accepts connections on l and hands the points of each read to h, one call a read; calls for different
// connections run at once. While h blocks, its connection is not read, and in time the sender cannot write.
//
// When a sender half-closes, Serve closes too, but only after h has kept everything that was read and Sync, if set, has
// returned. If one of them returns an error, or a line was cut short by the receiver's own end, the connection is reset
// instead, and so it is when the process is killed. A unix socket has no reset; there a byte, "!", comes before the end of
// file, which a sender must then not take for a confirmation, but a kill looks like an end in order.
//
// When ctx ends, Serve accepts no more, reads what has arrived, hands it on, closes the connections and returns nil.
// What h has not taken by then within DrainTimeout it will not get: the context that h gets ends, and h must return.
// Serve returns an error only if the listener fails. It closes l.
func (r *LineReceiver) Serve(ctx context.Context, l net.Listener, h Handler) error {
	r.pool.init(func() *readWork {
		return &readWork{buf: make([]byte, readSize+(&LineParser{MaxLine: r.MaxLine}).limit())}
	})
	rep := &reporter{state: &r.state, now: orClock(r.Now), log: orSilent(r.Logger), onReject: r.OnReject}
	s := &streamServer{
		maxConns: max(1, or(r.MaxConns, DefaultMaxConns)),
		drain:    or(r.DrainTimeout, DefaultDrainTimeout),
		log:      rep.log,
		state:    &r.state,
		sync:     r.Sync,
		serveConn: func(ctx context.Context, c *conn) error {
			lc := lineConn{conn: c, ctx: ctx, pool: &r.pool, rep: rep, handler: h}
			lc.parser = LineParser{
				MaxLine: r.MaxLine, AllowInf: r.AllowInf, Strict: r.Strict, Now: r.Now, OnReject: lc.reject,
			}
			return lc.serve()
		},
	}
	return s.serve(ctx, l)
}

// Stats returns the counters.
func (r *LineReceiver) Stats() ReceiverStats { return r.state.stats() }

// lineConn serves one connection of lines.
type lineConn struct {
	*conn
	ctx     context.Context
	pool    *workPool[readWork]
	rep     *reporter
	handler Handler
	parser  LineParser
	carry   []byte    // the start of a line, from the last read
	work    *readWork // in use, if not nil
}

func (c *lineConn) reject(rej Rejection) {
	rej.Peer = c.peer
	c.rep.reject(rej)
}

// serve reads until the end. It returns nil if all that was read is kept or accounted for.
func (c *lineConn) serve() error {
	take, release := c.take, c.release // made once, so that a read allocates nothing
	defer release()
	for {
		n, err := c.wait(take, release)
		if n > 0 {
			if herr := c.lines(n); herr != nil {
				return herr
			}
		}
		release()
		if err != nil {
			return c.end(err)
		}
	}
}

// take gets a buffer for a read, with the start of the line that is under way in front.
func (c *lineConn) take() ([]byte, error) {
	w, err := c.pool.get(c.ctx)
	if err != nil {
		return nil, err
	}
	c.work = w
	n := copy(w.buf, c.carry)
	return w.buf[n : n+readSize], nil
}

func (c *lineConn) release() {
	if c.work != nil {
		c.pool.put(c.work)
		c.work = nil
	}
}

// lines hands on the lines of a read of n bytes.
func (c *lineConn) lines(n int) error {
	buf := c.work.buf[:len(c.carry)+n]
	c.parser.Rows = c.work.rows
	used := c.parser.Parse(buf)
	c.carry = append(c.carry[:0], buf[used:]...)
	err := c.hand(c.ctx, c.rep.state, c.handler, c.parser.Rows)
	c.work.rows, c.parser.Rows = c.parser.Rows[:0], nil
	return err
}

// end deals with the line that was under way when reading ended with err.
func (c *lineConn) end(err error) error {
	if errors.Is(err, io.EOF) && !c.draining.Load() {
		c.parser.ParseLast(c.carry)
		return c.hand(c.ctx, c.rep.state, c.handler, c.parser.Rows)
	}
	if len(c.carry) > 0 {
		c.reject(Rejection{Reason: ReasonCut, Text: c.carry, Bytes: len(c.carry), Err: err})
		return err
	}
	if errors.Is(err, io.EOF) && !c.spent() {
		return nil
	}
	return err
}
