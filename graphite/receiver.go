package graphite

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"
)

// Defaults of the receivers.
const (
	// DefaultMaxConns is how many connections a stream receiver serves at once on one listener.
	DefaultMaxConns = 4096
	// DefaultDrainTimeout is how long a receiver that stops gives the handler for what was read.
	DefaultDrainTimeout = 30 * time.Second
)

// ReceiverStats are the counters of a receiver since it was made.
type ReceiverStats struct {
	// Points is how many points handlers have kept, Unkept how many they returned an error for.
	Points, Unkept uint64
	// Bytes is how much was read.
	Bytes uint64
	// Connections is how many were accepted, Open how many of them are open now.
	Connections uint64
	Open        int64
	// Datagrams is how many were read, and KernelDrops how many the kernel dropped for want of room in the socket's
	// buffer, as of the last datagram read; it is known on Linux only.
	Datagrams, KernelDrops uint64
	// Rejected is how many things were rejected, by reason; reasons that did not occur are absent.
	Rejected map[Reason]uint64
}

// receiverState is what the receivers have in common: counters, and the reporting of rejections.
type receiverState struct {
	points, unkept, bytes, conns, datagrams, drops atomic.Uint64

	open     atomic.Int64
	rejected [reasons]atomic.Uint64
	logged   [reasons]rejectLog
}

// rejectLog lets one rejection a second a reason through to the log.
type rejectLog struct {
	next       atomic.Int64 // the time of the next line, Unix milliseconds
	suppressed atomic.Uint64
}

func (s *receiverState) stats() ReceiverStats {
	st := ReceiverStats{
		Points:      s.points.Load(),
		Unkept:      s.unkept.Load(),
		Bytes:       s.bytes.Load(),
		Connections: s.conns.Load(),
		Open:        s.open.Load(),
		Datagrams:   s.datagrams.Load(),
		KernelDrops: s.drops.Load(),
		Rejected:    map[Reason]uint64{},
	}
	for r := range s.rejected {
		if n := s.rejected[r].Load(); n > 0 {
			st.Rejected[Reason(r)] = n
		}
	}
	return st
}

// reporter reports the rejections of one Serve.
type reporter struct {
	state    *receiverState
	now      func() time.Time
	log      *slog.Logger
	onReject func(Rejection)
}

// reject counts a rejection, tells OnReject, and logs it unless its reason was logged within the last second. What a
// disconnect cut short is always logged.
func (r *reporter) reject(rej Rejection) {
	r.state.rejected[rej.Reason].Add(1)
	if r.onReject != nil {
		r.onReject(rej)
	}
	if rej.Reason == ReasonCut {
		r.log.Warn("cut short", "peer", rej.Peer, "bytes", rej.Bytes, "text", string(shorten(rej.Text)), "err", rej.Err)
		return
	}
	l := &r.state.logged[rej.Reason]
	now, next := r.now().UnixMilli(), l.next.Load()
	if next > now && next <= now+1000 || !l.next.CompareAndSwap(next, now+1000) {
		l.suppressed.Add(1)
		return
	}
	r.log.Warn("rejected", "reason", rej.Reason.String(), "peer", rej.Peer, "bytes", rej.Bytes, "text",
		string(shorten(rej.Text)), "err", rej.Err, "suppressed", l.suppressed.Swap(0))
}

// hand gives points to the handler and counts them.
func (s *receiverState) hand(ctx context.Context, h Handler, pts []Point) error {
	if len(pts) == 0 {
		return nil
	}
	n := uint64(len(pts))
	if err := h(ctx, pts); err != nil {
		s.unkept.Add(n)
		return &unkeptError{err}
	}
	s.points.Add(n)
	return nil
}

// hand gives points to the handler and remembers that the connection brought some.
func (c *conn) hand(ctx context.Context, s *receiverState, h Handler, pts []Point) error {
	c.handed = c.handed || len(pts) > 0
	return s.hand(ctx, h, pts)
}

// unkeptError is a handler's error: points that were read are not kept.
type unkeptError struct{ err error }

func (e *unkeptError) Error() string { return "graphite: points were not kept: " + e.err.Error() }
func (e *unkeptError) Unwrap() error { return e.err }

func orClock(now func() time.Time) func() time.Time {
	if now == nil {
		return time.Now
	}
	return now
}

func orSilent(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l
}

// or returns v, or the default for a value that was left at zero. A negative duration means none.
func or[T int | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return max(v, 0)
}

// withDrain returns a context that goes on for timeout after ctx ended. The returned function ends it at once; it must
// be called.
func withDrain(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	drained, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-drained.Done():
			return
		case <-ctx.Done():
		}
		t := time.NewTimer(timeout)
		defer t.Stop()
		select {
		case <-drained.Done():
		case <-t.C:
			cancel(errDrained)
		}
	}()
	return drained, func() {
		cancel(nil)
		<-done
	}
}

var errDrained = errors.New("graphite: the receiver's drain timeout is over")
