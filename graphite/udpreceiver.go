package graphite

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxDatagram is more than UDP can carry.
	maxDatagram = 64 << 10
	// strictDatagram is where carbon cuts a datagram.
	strictDatagram = 8192
)

// UDPReceiver takes carbon's line protocol from datagrams. The zero value is ready to use. Set the fields before the
// first Serve.
type UDPReceiver struct {
	// MaxLine is the longest line in bytes; 0 means DefaultMaxLine. A longer one is dropped. Strict has no limit.
	MaxLine int
	// AllowInf keeps infinite values.
	AllowInf bool
	// Strict hands on the points that carbon hands on, and cuts a datagram at 8192 bytes as carbon does; see
	// LineParser.
	Strict bool
	// ReadBuffer, if above 0, is the size in bytes asked for the socket's buffer. What does not fit while the handler
	// is busy is dropped by the kernel; see ReceiverStats.KernelDrops.
	ReadBuffer int
	// DrainTimeout is how long Serve waits for the handler when it stops; 0 means DefaultDrainTimeout, below 0 means
	// not at all.
	DrainTimeout time.Duration
	// Now is the clock for the timestamp -1; nil means time.Now.
	Now func() time.Time
	// Logger is told of rejected lines, once a second a reason, and of points that were not kept; nil is silent.
	Logger *slog.Logger
	// OnReject, if set, is called for each rejected line. It delays the socket, and its Text is a view.
	OnReject func(Rejection)

	state receiverState
}

// Serve reads datagrams from c and hands the points of each to h, one at a time. While h blocks, datagrams wait in the
// socket's buffer, and the kernel drops what does not fit. Nobody can be told that points were not kept: an error from
// h is counted and logged, and Serve goes on.
//
// When ctx ends, Serve finishes the datagram in hand and returns nil; the context that h gets ends DrainTimeout later.
// Serve returns an error only if the socket fails. It closes c.
func (r *UDPReceiver) Serve(ctx context.Context, c net.PacketConn, h Handler) error {
	rep := &reporter{state: &r.state, now: orClock(r.Now), log: orSilent(r.Logger), onReject: r.OnReject}
	reading, stop := context.WithCancel(ctx)
	defer stop()
	work, finish := withDrain(reading, or(r.DrainTimeout, DefaultDrainTimeout))
	defer finish()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() {
		<-reading.Done()
		c.Close()
	})
	s, err := newDatagramSocket(c, r.ReadBuffer)
	if err != nil {
		return fmt.Errorf("graphite: receive on %s: %w", c.LocalAddr(), err)
	}
	err = r.receive(work, s, rep, h)
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("graphite: receive on %s: %w", c.LocalAddr(), err)
}

// Stats returns the counters.
func (r *UDPReceiver) Stats() ReceiverStats { return r.state.stats() }

// receive works on datagrams until the socket fails or is closed.
func (r *UDPReceiver) receive(ctx context.Context, s *datagramSocket, rep *reporter, h Handler) error {
	var peer netip.AddrPort
	p := LineParser{MaxLine: r.MaxLine, AllowInf: r.AllowInf, Strict: r.Strict, Now: r.Now}
	p.OnReject = func(rej Rejection) {
		if peer.IsValid() {
			rej.Peer = peer.String()
		}
		rep.reject(rej)
	}
	size := maxDatagram
	if r.Strict {
		size = strictDatagram
	}
	buf, dropped := make([]byte, size), uint64(0)
	for {
		n, from, err := s.read(buf)
		if err != nil {
			return err
		}
		peer = from
		r.state.datagrams.Add(1)
		r.state.bytes.Add(uint64(n))
		if s.dropped > dropped {
			r.state.drops.Add(s.dropped - dropped)
			dropped = s.dropped
		}
		p.ParseDatagram(buf[:n])
		if err := r.state.hand(ctx, h, p.Rows); err != nil {
			rep.log.Warn("datagram lost: points were not kept", "peer", peer.String(), "points", len(p.Rows), "err", err)
		}
	}
}
