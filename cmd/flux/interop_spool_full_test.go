//go:build interop || soak

package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/rig"
)

const (
	fullDisk    = 6 << 20
	fullBallast = 2 << 20 // which is more than waits to be committed
	fullMargin  = 1 << 20
	fullBound   = 1 << 20                // of the spool, where the disk is large enough
	fullLasts   = 500 * time.Millisecond // without a byte taken
	fullWithin  = 3 * time.Minute        // on a busy machine
)

// surviveFullDisk fills the disk of a spool, or the spool to its bound, again and again: by space that comes back, by a
// kill, and by the destination's return.
func surviveFullDisk(t *testing.T, small bool, times int) {
	dir := t.TempDir()
	args := []string{"--spool-max", fmt.Sprint(fullBound)}
	if small {
		dir, args = rig.SmallDisk(t, fullDisk), nil
	}
	flux, h, in := startSpooled(t, false, filepath.Join(dir, "spool"), args...)
	flux.WaitListening(in.all()...)
	s := in.senders()
	t.Cleanup(s.abandon)
	for range times {
		ballast := filepath.Join(dir, "ballast")
		if small {
			waitRoom(t, dir)
			require.NoError(t, os.WriteFile(ballast, make([]byte, fullBallast), 0o600))
		}
		h.down()
		if small {
			s.fill(t)
			full := s.progress()
			require.NoError(t, os.Remove(ballast))
			s.waitAnswered(t, full, 0, 1) // what connections hold takes most of the space
		}
		s.fill(t)
		s.kill(flux, true)
		flux.Restart() // on a full disk
		flux.WaitListening(in.all()...)
		s.fill(t)
		full := s.progress()
		h.up()
		s.waitAnswered(t, full, 10, 20)
	}
	require.NoError(t, s.halt())
	lost := requireSpooled(t, flux, h, s)
	require.LessOrEqual(t, lost.bytes, s.window(), "what was read and found no room")
}

// waitRoom waits until what was delivered has left room on the disk for the ballast, and a margin.
func waitRoom(t *testing.T, dir string) {
	t.Helper()
	rig.WaitFor(t, fullWithin, "room on the disk", func() error {
		var st syscall.Statfs_t
		if err := syscall.Statfs(dir, &st); err != nil {
			return err
		}
		if free := int64(st.Bavail) * int64(st.Bsize); free < fullBallast+fullMargin {
			return fmt.Errorf("%d bytes", free)
		}
		return nil
	})
}

// fill sends as fast as can be until every client is refused or pushed back, and for some time longer.
func (s *senders) fill(t *testing.T) {
	t.Helper()
	s.hurry.Store(true)
	defer s.hurry.Store(false)
	refused := make([]int64, len(s.posters))
	for i, p := range s.posters {
		refused[i] = p.refused.Load()
	}
	rig.WaitFor(t, fullWithin, "posts refused", func() error {
		for i, p := range s.posters {
			if p.refused.Load() == refused[i] {
				return fmt.Errorf("none of client %d", i)
			}
		}
		return nil
	})
	wrote := int64(-1)
	rig.WaitFor(t, fullWithin, "connections that are pushed back", func() error {
		before := wrote
		<-time.After(fullLasts)
		if wrote = s.wrote(); wrote > before {
			return fmt.Errorf("%d bytes taken", wrote)
		}
		return nil
	})
}

// wrote is how many bytes the connections have taken.
func (s *senders) wrote() (n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.wires {
		n += w.taken.Load()
	}
	return n
}

// progress is how far the senders have come.
type progress struct {
	posts  []int64       // answered, of each client
	wrote  int64         // bytes that connections have taken
	unread map[*wire]int // bytes that connections have taken and flux has not read
}

func (s *senders) progress() progress {
	now := progress{wrote: s.wrote(), unread: map[*wire]int{}}
	for _, p := range s.posters {
		now.posts = append(now.posts, p.answered.Load()/int64(p.batch))
	}
	for _, w := range s.open() {
		if n, err := rig.Unread(w.conn); err == nil { // else it has ended
			now.unread[w] = n
		}
	}
	return now
}

// read reports whether flux has read from a connection since. A connection from which some was read need not take more
// at once: the kernel waits until a third of what it holds has gone.
func (now progress) read(since progress) bool {
	for w, n := range now.unread {
		if before, ok := since.unread[w]; ok && n < before {
			return true
		}
	}
	return now.wrote > since.wrote
}

// waitAnswered waits until so many posts were answered since, of each client and of all together, and connections were
// read.
func (s *senders) waitAnswered(t *testing.T, since progress, each, together int64) {
	t.Helper()
	rig.WaitFor(t, fullWithin, "progress", func() error {
		now, all := s.progress(), int64(0)
		for i, n := range now.posts {
			n -= since.posts[i]
			all += n
			if n < each {
				return fmt.Errorf("%d posts of client %d answered", n, i)
			}
		}
		if all < together || !now.read(since) {
			return fmt.Errorf("%d posts answered, %d bytes taken", all, now.wrote-since.wrote)
		}
		return nil
	})
}
