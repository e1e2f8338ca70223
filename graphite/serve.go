package graphite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"
)

// handshakeTimeout bounds a TLS handshake: until it is done nobody can know who holds the connection.
const handshakeTimeout = 10 * time.Second

// streamServer accepts connections and gives each to serveConn on a goroutine of its own.
type streamServer struct {
	maxConns  int
	drain     time.Duration
	log       *slog.Logger
	state     *receiverState
	sync      func(ctx context.Context) error // may be nil
	serveConn func(ctx context.Context, c *conn) error

	mu       sync.Mutex
	conns    map[*conn]struct{}
	draining bool
}

// serve runs until ctx ends or the listener fails, and then lets the connections finish. It closes l. The context of
// serveConn ends a drain timeout after ctx.
func (s *streamServer) serve(ctx context.Context, l net.Listener) error {
	s.conns = map[*conn]struct{}{}
	accepting, stop := context.WithCancel(ctx)
	defer stop()
	work, finish := withDrain(accepting, s.drain)
	defer finish()

	var wg sync.WaitGroup
	wg.Go(func() {
		<-accepting.Done()
		l.Close()
		s.startDrain()
	})
	wg.Go(func() {
		<-work.Done()
		s.abortAll()
	})
	var served sync.WaitGroup
	err := s.accept(accepting, work, l, &served)
	stop()
	served.Wait()
	finish()
	wg.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// accept accepts until accepting ends or the listener fails. At the limit of connections it accepts no more, and the
// kernel's backlog holds those who come.
func (s *streamServer) accept(accepting, work context.Context, l net.Listener, served *sync.WaitGroup) error {
	slots := make(chan struct{}, s.maxConns)
	backoff := time.Duration(0)
	for {
		select {
		case slots <- struct{}{}:
		case <-accepting.Done():
			return nil
		}
		nc, err := l.Accept()
		if err != nil {
			<-slots
			if accepting.Err() != nil {
				return nil
			}
			if !acceptAgain(err) {
				return fmt.Errorf("graphite: accept on %s: %w", l.Addr(), err)
			}
			backoff = min(max(2*backoff, 5*time.Millisecond), time.Second)
			s.log.Warn("cannot accept", "listener", l.Addr().String(), "err", err, "retry", backoff)
			if !pause(accepting, backoff) {
				return nil
			}
			continue
		}
		backoff = 0
		s.state.conns.Add(1)
		s.state.open.Add(1)
		served.Go(func() {
			defer func() {
				s.state.open.Add(-1)
				<-slots
			}()
			s.run(work, newConn(nc, &s.state.bytes))
		})
	}
}

// acceptAgain reports whether an accept that failed may succeed later.
func acceptAgain(err error) bool {
	for _, e := range [...]error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// pause waits and reports whether it got to the end before ctx.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// run serves one connection and closes it: in order if everything that was read is kept, for which it asks sync, else
// with a reset, so that a peer that has sent its end of file does not take ours for a confirmation.
func (s *streamServer) run(ctx context.Context, c *conn) {
	defer s.forget(c)
	s.register(c)
	c.armed(true)
	c.keepalive()
	if err := c.handshake(ctx); err != nil {
		s.log.Info("TLS handshake failed", "peer", c.peer, "err", err)
		c.abort()
		return
	}
	err := s.serveConn(ctx, c)
	if err == nil && c.handed && s.sync != nil {
		if serr := s.sync(ctx); serr != nil {
			err = &unkeptError{serr}
		}
	}
	var unkept *unkeptError
	switch {
	case err == nil:
		c.finish()
		return
	case errors.As(err, &unkept):
		s.log.Warn("connection reset: points were not kept", "peer", c.peer, "err", unkept.err)
	default:
		s.log.Info("connection ended", "peer", c.peer, "err", err)
	}
	c.abort()
}

func (s *streamServer) register(c *conn) {
	s.mu.Lock()
	s.conns[c] = struct{}{}
	draining := s.draining
	s.mu.Unlock()
	if draining {
		c.startDrain()
	}
}

func (s *streamServer) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

func (s *streamServer) all() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		list = append(list, c)
	}
	return list
}

// startDrain makes every connection finish what has arrived.
func (s *streamServer) startDrain() {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	for _, c := range s.all() {
		c.startDrain()
	}
}

func (s *streamServer) abortAll() {
	for _, c := range s.all() {
		c.abort()
	}
}

// underlying returns the transport below TLS, or below whatever else says what it wraps.
func underlying(c net.Conn) net.Conn {
	for {
		t, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return c
		}
		c = t.NetConn()
	}
}
