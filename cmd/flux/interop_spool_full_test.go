//go:build interop || soak

package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/rig"
)

const (
	fullDisk    = 6 << 20
	fullBallast = 2 << 20
	fullBound   = 1 << 20                // of the spool, where the disk is large enough
	fullLasts   = 500 * time.Millisecond // without a byte taken
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
	t.Cleanup(func() { _ = s.halt() })
	for range times {
		h.down()
		if small {
			ballast := filepath.Join(dir, "ballast")
			_ = os.WriteFile(ballast, make([]byte, fullBallast), 0o600) // as much as there is room for
			s.fill(t)
			require.NoError(t, os.Remove(ballast))
			s.waitAnswered(t, 0, 1) // what connections hold takes most of the space
		}
		s.fill(t)
		s.kill(flux, true)
		flux.Restart() // on a full disk
		flux.WaitListening(in.all()...)
		s.fill(t)
		h.up()
		s.waitAnswered(t, 10, 20)
	}
	require.NoError(t, s.halt())
	lost := requireSpooled(t, flux, h, s)
	require.Less(t, lost.bytes, int64(killBytes+killReads)) // what was read and found no room
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
	rig.WaitFor(t, patience, "posts refused", func() error {
		for i, p := range s.posters {
			if p.refused.Load() == refused[i] {
				return fmt.Errorf("none of client %d", i)
			}
		}
		return nil
	})
	wrote := int64(-1)
	rig.WaitFor(t, patience, "connections that are pushed back", func() error {
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

// waitAnswered waits until so many posts were answered, of each client or of all together, and connections take more.
func (s *senders) waitAnswered(t *testing.T, each, together int64) {
	t.Helper()
	posts := func() (n []int64) {
		for _, p := range s.posters {
			n = append(n, p.answered.Load()/int64(p.batch))
		}
		return n
	}
	before, wrote := posts(), s.wrote()
	rig.WaitFor(t, patience, "progress", func() error {
		all := int64(0)
		for i, n := range posts() {
			n -= before[i]
			all += n
			if n < each {
				return fmt.Errorf("%d posts of client %d answered", n, i)
			}
		}
		if all < together || s.wrote() == wrote {
			return fmt.Errorf("%d posts answered, %d bytes taken", all, s.wrote()-wrote)
		}
		return nil
	})
}
