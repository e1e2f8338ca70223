//go:build interop || soak

package flux_test

import (
	"bufio"
	"bytes"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// soakSink is a Carbon that takes lines into a ledger. It can die, and stop reading.
type soakSink struct {
	*ledger
	addr string

	mu      sync.Mutex
	ln      net.Listener
	conns   map[*net.TCPConn]bool
	stopped chan struct{} // closed when it reads on; nil while it reads
	working sync.WaitGroup
}

func newSoakSink(t *testing.T) *soakSink {
	t.Helper()
	s := &soakSink{ledger: newLedger(), addr: "127.0.0.1:0", conns: map[*net.TCPConn]bool{}}
	s.rise(t)
	t.Cleanup(func() {
		s.die()
		s.proceed()
		s.working.Wait()
	})
	return s
}

// rise listens, at the same address each time.
func (s *soakSink) rise(t testing.TB) {
	t.Helper()
	ln, err := net.Listen("tcp", s.addr)
	require.NoError(t, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ln, s.addr = ln, ln.Addr().String()
	s.working.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns[c.(*net.TCPConn)] = true
			s.mu.Unlock()
			s.working.Go(func() { s.serve(c.(*net.TCPConn)) })
		}
	})
}

// die breaks all connections.
func (s *soakSink) die() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ln.Close()
	for c := range s.conns {
		_ = c.SetLinger(0)
		c.Close()
	}
	clear(s.conns)
}

// stop reads nothing more until proceed.
func (s *soakSink) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped == nil {
		s.stopped = make(chan struct{})
	}
}

func (s *soakSink) proceed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped != nil {
		close(s.stopped)
		s.stopped = nil
	}
}

func (s *soakSink) serve(c *net.TCPConn) {
	defer c.Close()
	r := bufio.NewReaderSize(c, 64<<10)
	for {
		s.mu.Lock()
		stopped := s.stopped
		s.mu.Unlock()
		if stopped != nil {
			<-stopped
		}
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		s.take(line)
	}
}

func (s *soakSink) take(line []byte) {
	f := bytes.Fields(line)
	if len(f) != 3 {
		return
	}
	if v, err := strconv.ParseFloat(string(f[1]), 64); err == nil {
		s.add(v)
	}
}

// soakTrouble lets a sink die and stop at random, until end. The sink is well again then.
func (s *soakSink) trouble(t testing.TB, end <-chan struct{}) (dead, stopped int) {
	for {
		if !idle(end, 500, 4000) {
			return dead, stopped
		}
		if rand.IntN(2) == 0 {
			dead++
			s.die()
			idle(end, 50, 2000)
			s.rise(t)
			continue
		}
		stopped++
		s.stop()
		idle(end, 50, 3000)
		s.proceed()
	}
}

// idle waits for so many milliseconds, at least and at most. It is false when end has come.
func idle(end <-chan struct{}, least, most int) bool {
	t := time.NewTimer(time.Duration(least+rand.IntN(most-least)) * time.Millisecond)
	defer t.Stop()
	select {
	case <-end:
		return false
	case <-t.C:
		return true
	}
}
