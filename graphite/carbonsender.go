package graphite

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fluxmetrics/fluxkit/internal/deliver"
	"github.com/fluxmetrics/fluxkit/internal/record"
)

// carbonSender is the deliver.Sender for Carbon. It writes to one connection at a time; Confirm ends that, and the next
// Send makes the next, so that points arrive in order.
type carbonSender struct {
	cfg   *ClientConfig
	log   *slog.Logger
	enc   encoder
	peers []*peer
	dial  net.Dialer

	conn   *carbonConn // nil between a Confirm and the next Send
	peer   *peer       // that conn leads to
	points uint64      // on conn, not confirmed
	past   *history
	out    []byte

	stats senderStats
}

// peer is one of the addresses.
type peer struct {
	addr     string
	answered bool      // it has answered a half-close
	assumed  bool      // it was said in the log that it does not
	fails    int       // in a row
	retryAt  time.Time // until then it is tried after the others
}

// senderStats is what others may look at while the sender works.
type senderStats struct {
	mu        sync.Mutex
	conn      *carbonConn
	addr      string
	since     time.Time // since when a confirmation is waited for; zero when none is
	connects  atomic.Uint64
	confirmed atomic.Uint64
	assumed   atomic.Uint64
	repeated  atomic.Uint64
}

func newCarbonSender(cfg *ClientConfig) *carbonSender {
	s := &carbonSender{cfg: cfg, log: cfg.Logger, enc: encoder{protocol: cfg.Protocol}, past: newHistory(cfg)}
	idle := min(15*time.Second, max(cfg.StallTimeout/4, time.Second))
	s.dial.KeepAliveConfig = net.KeepAliveConfig{Enable: true, Idle: idle, Interval: idle, Count: 9}
	s.dial.SetMultipathTCP(false) // whose sockets answer for their subflows, not for the bytes
	for _, addr := range cfg.Addrs {
		s.peers = append(s.peers, &peer{addr: addr})
	}
	return s
}

// Send writes the whole batch, in frames or lines.
func (s *carbonSender) Send(ctx context.Context, b record.Batch) (deliver.Result, error) {
	err := s.writeAll(ctx, b)
	if err != nil {
		err = s.named(err)
		s.past.fail(time.Now())
		var res deliver.Result
		if s.conn != nil {
			res.Taken = s.enc.index() // as far as was written, perhaps
		}
		s.drop(ctx.Err() == nil)
		return res, err
	}
	s.past.add(b)
	slices.SortFunc(s.enc.rejected, func(a, b deliver.Rejected) int { return cmp.Compare(a.Index, b.Index) })
	s.points += uint64(b.Len() - len(s.enc.rejected))
	return deliver.Result{Taken: b.Len(), Rejected: s.enc.rejected}, nil
}

// writeAll writes the points of b that can be sent; those that cannot are in s.enc.rejected.
func (s *carbonSender) writeAll(ctx context.Context, b record.Batch) error {
	s.enc.begin(b)
	for s.enc.more() {
		s.out = s.enc.appendChunk(s.out[:0])
		if len(s.out) == 0 {
			continue
		}
		if s.conn == nil {
			if err := s.connect(ctx); err != nil {
				return err
			}
			err := s.repeat(ctx)
			s.enc.begin(b)
			if err != nil {
				return err
			}
			continue
		}
		if err := s.conn.write(ctx, s.out); err != nil {
			return err
		}
	}
	return nil
}

// repeat sends what ResendOnReconnect asks for, on a fresh connection and before anything else.
func (s *carbonSender) repeat(ctx context.Context) error {
	n := 0
	for _, c := range s.past.due() {
		s.enc.begin(record.Concat(c.points, c.n))
		if s.cfg.MaxReplayAge > 0 {
			s.enc.oldest = time.Now().Add(-s.cfg.MaxReplayAge).UnixMilli()
		}
		for s.enc.more() {
			if s.out = s.enc.appendChunk(s.out[:0]); len(s.out) > 0 {
				if err := s.conn.write(ctx, s.out); err != nil {
					return err
				}
			}
		}
		n += s.enc.written
	}
	if n > 0 {
		s.stats.repeated.Add(uint64(n))
		s.log.Info("carbon is back: what it had confirmed shortly before is sent once more", "address", s.peer.addr, "points", n)
	}
	return nil
}

// Confirm half-closes the connection and waits until the peer ends it.
func (s *carbonSender) Confirm(ctx context.Context) error {
	if s.conn == nil {
		return nil
	}
	assumed, err := s.confirm(ctx)
	if err != nil {
		err = s.named(err)
		s.past.fail(time.Now())
		s.drop(ctx.Err() == nil)
		return err
	}
	if assumed {
		s.stats.assumed.Add(s.points)
	} else {
		s.peer.answered = true
	}
	s.stats.confirmed.Add(1)
	s.past.confirm(time.Now())
	s.peer.fails, s.peer.retryAt = 0, time.Time{}
	s.drop(false)
	return nil
}

func (s *carbonSender) confirm(ctx context.Context) (assumed bool, err error) {
	s.setWaiting(time.Now())
	defer s.setWaiting(time.Time{})
	if err := s.conn.halfClose(ctx); err != nil {
		return false, err
	}
	w := confirmWait{sender: s, watch: ackWatch{limit: s.cfg.StallTimeout}, begin: time.Now()}
	tick := time.NewTicker(min(time.Second, max(time.Millisecond, min(s.cfg.StallTimeout, s.cfg.AssumeAfter, s.cfg.SlowAfter)/8)))
	defer tick.Stop()
	for {
		select {
		case <-s.conn.ended:
			return s.conn.verdict()
		case <-ctx.Done():
			return false, ctx.Err()
		case now := <-tick.C:
			if done, err := w.look(now, kernelOf(s.conn.raw.Conn)); done || err != nil {
				return done, err
			}
		}
	}
}

// confirmWait is the wait for a peer that has not answered a half-close yet.
type confirmWait struct {
	sender  *carbonSender
	watch   ackWatch
	begin   time.Time
	arrived time.Time // when the peer's kernel was first seen to have everything
	slow    bool
}

// look decides whether to wait on. done means that the bytes are assumed to have been read.
func (w *confirmWait) look(now time.Time, k kernelState) (done bool, err error) {
	s := w.sender
	if w.watch.stalled(now, k) {
		return false, errStalled
	}
	if !w.slow && now.Sub(w.begin) >= s.cfg.SlowAfter {
		w.slow = true
		s.log.Warn("carbon is slow to read what it was sent", "address", s.peer.addr, "waited", now.Sub(w.begin).Round(time.Millisecond))
	}
	if w.arrived.IsZero() && (!s.conn.counted || s.conn.arrived(k)) {
		w.arrived = now
	}
	if s.peer.answered || w.arrived.IsZero() || now.Sub(w.arrived) < s.cfg.AssumeAfter {
		return false, nil
	}
	if !s.peer.assumed {
		s.peer.assumed = true
		s.log.Warn("carbon has never answered a half-close: what its kernel acknowledged counts as delivered from now on",
			"address", s.peer.addr, "after", s.cfg.AssumeAfter)
	}
	return true, nil
}

// drop ends the connection. failed says that it was the peer's fault, or the network's.
func (s *carbonSender) drop(failed bool) {
	if s.conn == nil {
		return
	}
	s.conn.close()
	if failed {
		s.failed(s.peer)
	}
	s.conn, s.peer, s.points = nil, nil, 0
	s.stats.mu.Lock()
	s.stats.conn = nil
	s.stats.mu.Unlock()
}

// Close ends the connection, if there is one, without a confirmation.
func (s *carbonSender) Close() error {
	s.drop(false)
	return nil
}

// costly is how many times as long as a failed attempt to connect took its peer is left alone while others answer.
const costly = 20

// connect connects to the first peer that answers. Peers that failed a short while ago come last.
func (s *carbonSender) connect(ctx context.Context) error {
	var errs []error
	for _, p := range s.inOrder() {
		begun := time.Now()
		c, err := s.connectTo(ctx, p)
		if err == nil {
			s.use(c, p)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.past.fail(time.Now())
		s.failed(p)
		// One that lets connecting take long is tried the more seldom: meanwhile nothing is delivered.
		if rest := time.Now().Add(costly * time.Since(begun)); rest.After(p.retryAt) {
			p.retryAt = rest
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// inOrder returns the peers in order of preference, save that those which failed a short while ago come last.
func (s *carbonSender) inOrder() []*peer {
	now := time.Now()
	var ready, resting []*peer
	for _, p := range s.peers {
		if now.Before(p.retryAt) {
			resting = append(resting, p)
		} else {
			ready = append(ready, p)
		}
	}
	return append(ready, resting...)
}

func (s *carbonSender) failed(p *peer) {
	if len(s.peers) == 1 {
		return // the worker waits before it tries again
	}
	rest := s.cfg.BackoffMax
	if d := s.cfg.BackoffMin << min(p.fails, 20); d > 0 && d < rest {
		rest = d
	}
	p.fails++
	p.retryAt = time.Now().Add(rest)
}

func (s *carbonSender) use(c *carbonConn, p *peer) {
	s.conn, s.peer = c, p
	s.stats.connects.Add(1)
	s.stats.mu.Lock()
	defer s.stats.mu.Unlock()
	if s.stats.addr != p.addr {
		s.log.Info("connected to carbon", "address", p.addr)
	}
	s.stats.conn, s.stats.addr = c, p.addr
}

func (s *carbonSender) connectTo(ctx context.Context, p *peer) (*carbonConn, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.DialTimeout)
	defer cancel()
	network, addr := "tcp", p.addr
	if path, ok := strings.CutPrefix(p.addr, "unix:"); ok {
		network, addr = "unix", path
	}
	nc, err := s.dial.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return newCarbonConn(ctx, p.addr, nc, s.tlsFor(addr), s.cfg.StallTimeout)
}

// named adds the address of the connection to its error.
func (s *carbonSender) named(err error) error {
	if s.peer == nil {
		return err
	}
	return fmt.Errorf("%w (%s)", err, s.peer.addr)
}

// tlsFor is the TLS configuration for an address, nil for none.
func (s *carbonSender) tlsFor(addr string) *tls.Config {
	if s.cfg.TLS == nil {
		return nil
	}
	cfg := s.cfg.TLS.Clone()
	if host, _, err := net.SplitHostPort(addr); err == nil && cfg.ServerName == "" {
		cfg.ServerName = host
	}
	return cfg
}

func (s *carbonSender) setWaiting(t time.Time) {
	s.stats.mu.Lock()
	defer s.stats.mu.Unlock()
	s.stats.since = t
}
