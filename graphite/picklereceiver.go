package graphite

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/fluxmetrics/fluxkit/pickle"
)

// PickleReceiver takes carbon's pickle protocol from streams: TCP, unix sockets, TLS. The zero value is ready to use;
// one receiver may serve several listeners, whose counters are then added up. Set the fields before the first Serve.
type PickleReceiver struct {
	// MaxConns is how many connections are served at once on a listener; 0 means DefaultMaxConns. Those beyond wait in
	// the listener's backlog.
	MaxConns int
	// MaxFrame is the longest message in bytes; 0 means pickle.DefaultMaxFrame, carbon's 1 MiB. A longer one ends the
	// connection, since nothing tells where the next one starts.
	MaxFrame int
	// Limits bounds what one message may cost; the zero value has the defaults of package pickle. Its Body is raised
	// to MaxFrame.
	Limits pickle.Limits
	// MultiPoint accepts items of several points, as go-carbon sends them.
	MultiPoint bool
	// AllowInf keeps infinite values.
	AllowInf bool
	// Strict hands on the points that carbon hands on: infinite values are kept, names are not checked, and a message
	// that cannot be read to its end gives none. Names that were pickled as bytes are kept, which carbon on Python 3
	// does not do.
	Strict bool
	// DrainTimeout is how long Serve waits for the handler when it stops; 0 means DefaultDrainTimeout, below 0 means
	// not at all.
	DrainTimeout time.Duration
	// Sync, if set, is called before a connection that brought points is closed in order; see LineReceiver.Sync. What a
	// connection has read and not handed over is 64 KiB at most, or a message that is longer, with its four bytes of length.
	Sync func(ctx context.Context) error
	// Now is the clock for the timestamp -1; nil means time.Now.
	Now func() time.Time
	// Logger is told of rejected items and messages, once a second a reason, of frames cut short, and of connections
	// that fail; nil is silent.
	Logger *slog.Logger
	// OnReject, if set, is called for each rejected item, message or frame, from the goroutine of its connection. It
	// delays that connection, and its Text is a view.
	OnReject func(Rejection)

	state receiverState
	pool  workPool[pickleWork]
}

// pickleWork is what the work on one message needs.
type pickleWork struct {
	decoder pickle.Decoder
	rows    []Point
}

// Serve accepts connections on l and hands the points of each message to h, one call a message. Points are judged as
// those of lines are: a timestamp whose whole part is -1 is now, fractions are kept to the millisecond, and what a
// LineReceiver rejects is rejected here. A bad item harms none of its siblings, and a bad message no other message;
// what could be read of it is handed on.
//
// For h, Sync, half-closing senders, the end of ctx and errors it is as LineReceiver.Serve.
func (r *PickleReceiver) Serve(ctx context.Context, l net.Listener, h Handler) error {
	limits := r.Limits
	limits.Body = max(limits.Body, r.MaxFrame)
	r.pool.init(func() *pickleWork {
		return &pickleWork{decoder: pickle.Decoder{Limits: limits, MultiPoint: r.MultiPoint}}
	})
	rep := &reporter{state: &r.state, now: orClock(r.Now), log: orSilent(r.Logger), onReject: r.OnReject}
	s := &streamServer{
		maxConns: max(1, or(r.MaxConns, DefaultMaxConns)),
		drain:    or(r.DrainTimeout, DefaultDrainTimeout),
		log:      rep.log,
		state:    &r.state,
		sync:     r.Sync,
		serveConn: func(ctx context.Context, c *conn) error {
			pc := pickleConn{conn: c, ctx: ctx, r: r, rep: rep, handler: h, frames: pickle.NewFrameReader(c, r.MaxFrame)}
			return pc.serve()
		},
	}
	return s.serve(ctx, l)
}

// Stats returns the counters.
func (r *PickleReceiver) Stats() ReceiverStats { return r.state.stats() }

// pickleConn serves one connection of pickles.
type pickleConn struct {
	*conn
	ctx     context.Context
	r       *PickleReceiver
	rep     *reporter
	handler Handler
	frames  *pickle.FrameReader

	work     *pickleWork
	now      int64 // this message's now, once asked for
	nowKnown bool
}

func (c *pickleConn) reject(rej Rejection) {
	rej.Peer = c.peer
	c.rep.reject(rej)
}

// serve reads until the end. It returns nil if all that was read is kept or accounted for.
func (c *pickleConn) serve() error {
	emit, itemError := c.emit, c.itemError // made once, so that a message allocates nothing
	for {
		body, err := c.frames.Next()
		if err != nil {
			return c.end(err)
		}
		if c.work, err = c.r.pool.get(c.ctx); err != nil {
			return &unkeptError{err}
		}
		c.work.decoder.OnItemError = itemError
		err = c.message(body, emit)
		c.release()
		if err != nil {
			return err
		}
	}
}

// keepRows is how many points' memory is kept from one message to the next.
const keepRows = 16 << 10

func (c *pickleConn) release() {
	c.work.decoder.OnItemError = nil
	if cap(c.work.rows) > keepRows {
		c.work.rows = nil
	}
	c.r.pool.put(c.work)
	c.work = nil
}

// message hands on the points of one message.
func (c *pickleConn) message(body []byte, emit func(pickle.Datapoint)) error {
	c.nowKnown = false
	c.work.rows = c.work.rows[:0]
	if err := c.work.decoder.Decode(body, emit); err != nil {
		c.reject(Rejection{Reason: ReasonMessage, Bytes: len(body), Err: err})
		if c.r.Strict {
			return nil
		}
	}
	return c.hand(c.ctx, c.rep.state, c.handler, c.work.rows)
}

// emit judges one datapoint.
func (c *pickleConn) emit(dp pickle.Datapoint) {
	var reason Reason
	if !c.r.Strict {
		reason = checkNameBytes(dp.Name)
	}
	var ms int64
	if reason == 0 {
		ms, reason = judge(dp.Timestamp, dp.Value, c.nowMilli, c.r.AllowInf || c.r.Strict)
	}
	if reason != 0 {
		c.reject(Rejection{Reason: reason, Text: dp.Name, Bytes: len(dp.Name)})
		return
	}
	c.work.rows = append(c.work.rows, Point{Name: dp.Name, Timestamp: ms, Value: dp.Value})
}

func (c *pickleConn) nowMilli() int64 {
	if !c.nowKnown {
		c.now, c.nowKnown = c.rep.now().UnixMilli(), true
	}
	return c.now
}

func (c *pickleConn) itemError(e pickle.ItemError) {
	reason := ReasonItem
	if e.Reason == pickle.BadTimestamp || e.Reason == pickle.BadValue {
		reason = ReasonNumber
	}
	c.reject(Rejection{Reason: reason, Err: e})
}

// end accounts for the frame that was under way when reading ended with err.
func (c *pickleConn) end(err error) error {
	var lost *pickle.FrameError
	switch {
	case errors.As(err, &lost) && !errors.Is(err, io.ErrUnexpectedEOF):
		c.reject(Rejection{Reason: ReasonFrame, Bytes: lost.Pending, Err: err})
	case lost != nil:
		c.reject(Rejection{Reason: ReasonCut, Bytes: lost.Pending, Err: err})
	case errors.Is(err, io.EOF) && !c.spent():
		return nil
	case c.frames.Buffered() > 0:
		c.reject(Rejection{Reason: ReasonCut, Bytes: c.frames.Buffered(), Err: err})
	}
	return err
}
