//go:build interop || soak

package main_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/queue"
	"github.com/fluxmetrics/fluxkit/internal/rig"
)

const (
	killWindow = 50 * time.Millisecond  // within which what was read is committed
	killSlack  = time.Second            // of a busy machine
	killTurn   = 100 * time.Millisecond // between two changes of the weather

	killRead   = 64 << 10 // of each connection, besides the start of a point or frame
	recordHead = 18       // what a point takes in a record besides its name
)

// surviveFluxKills kills flux again and again while points come in. What was answered must arrive, what was not sent must
// not, and of a connection only the end may be missing.
func surviveFluxKills(t *testing.T, forward bool, w weather, rounds int) {
	flux, h, in := startSpooled(t, forward, t.TempDir())
	w.begin(h)
	s := in.senders()
	t.Cleanup(s.abandon)
	for round := range rounds {
		s.hurry.Store(round%5 == 4)
		if round%4 > 0 {
			flux.WaitListening(in.all()...)
		}
		for left := time.Duration(5+rand.IntN(600)) * time.Millisecond; left > 0; left -= killTurn {
			<-time.After(min(left, killTurn))
			w.turn(h)
		}
		s.kill(flux, round%2 == 0)
		if round == rounds-1 {
			w.end(h) // the last life finds it well
		}
		flux.Restart()
	}
	s.hurry.Store(false)
	flux.WaitListening(in.all()...)
	require.NoError(t, s.halt())
	lost := requireSpooled(t, flux, h, s)
	require.LessOrEqual(t, lost.bytes, s.window())
	require.Less(t, lost.age, killWindow+killSlack)
}

// window is how many bytes that flux has read from connections a kill may cost: as many as make up the records that wait
// to be committed, and of each connection what flux has read and found no room for.
func (s *senders) window() int64 {
	swell, longest := 1.0, 0 // of a point on the wire against a record's; of a line or frame
	for _, w := range s.wires {
		last := len(w.ends) / spoolMetrics * spoolMetrics // of the longest values, with the shortest name
		metric, _, _ := w.point(last)
		size, points := len(w.line(nil, last)), 1
		if w.protocol == "pickle" {
			size, points = len(w.frame(nil, last)), spoolFrame
		}
		swell = max(swell, float64(size)/float64(points*(len(metric)+recordHead)))
		longest = max(longest, size)
	}
	return int64(swell*queue.DefaultCommitBytes) + connectionsAtOnce*int64(killRead+longest)
}

// kill kills flux. With measure it has it stand still before, to see what it had read of each connection.
func (s *senders) kill(flux *rig.Process, measure bool) {
	at := time.Now()
	if measure {
		flux.Pause()
		s.still(func(open []*wire) {
			for _, w := range open {
				w.look()
				w.killed = at
			}
			flux.Kill()
		})
		return
	}
	flux.Kill()
	s.still(func(open []*wire) {
		for _, w := range open {
			w.killed = at
		}
	})
}

// requireSpooled stops flux, which must deliver everything, and compares what has arrived with what was sent. It
// returns what kills cost.
func requireSpooled(t *testing.T, flux *rig.Process, h harbour, s *senders) loss {
	t.Helper()
	a := stopSpooled(t, flux)
	require.Zero(t, sum(a.GivenUp)+sum(a.Dropped))
	got := map[int]map[int]int{} // how often each point of each stream came
	total, twice := 0, 0
	h.arrived(func(metric string, at, value float64) {
		id, n := 0, int(value)
		_, err := fmt.Sscanf(metric, "spool.s%d.", &id)
		require.NoError(t, err, metric)
		wantMetric, wantAt, wantValue := stream{id, s.start}.point(n)
		if metric != wantMetric || at != float64(wantAt) || value != wantValue {
			require.Fail(t, "changed", "%s %v %v", metric, value, at)
		}
		if got[id] == nil {
			got[id] = map[int]int{}
		}
		if got[id][n]++; got[id][n] > 1 {
			twice++
		} else {
			total++
		}
	})
	answered, refused := 0, 0
	for _, p := range s.posters {
		n := int(p.answered.Load())
		require.Positive(t, n)
		requireFirst(t, got[p.id], n, n+p.batch, "points posted")
		delete(got, p.id)
		answered += n
		refused += int(p.refused.Load())
	}
	var lost loss
	for _, w := range s.wires {
		lost.add(t, w, got[w.id])
		delete(got, w.id)
	}
	require.Empty(t, got, "points that nobody sent")
	t.Logf("%d points, %d more than once; %d posted and answered, %d requests refused; %s; %d may be", total, twice, answered, refused, lost.String(), s.window())
	return lost
}

// requireFirst wants the first points of a stream, at least and at most so many, without a gap. It returns how many.
func requireFirst(t *testing.T, got map[int]int, least, most int, what string) int {
	t.Helper()
	for n := range got {
		if n < 0 || n >= most {
			require.Fail(t, "never sent", "%s: point %d of %d", what, n, most)
		}
		if n > 0 && got[n-1] == 0 {
			require.Fail(t, "a gap", "%s: point %d arrived, and %d did not", what, n, n-1)
		}
	}
	require.GreaterOrEqual(t, len(got), least, what)
	return len(got)
}

// loss is the end of connections that a kill cost.
type loss struct {
	kept, cut int           // connections that were answered, and others
	unread    int           // bytes, that kernels held
	bytes     int64         // that had been read, most of all connections of a kill
	age       time.Duration // before a kill at which they had been read, the longest
	kills     map[time.Time]int64
	points    int
}

// add checks one connection.
func (l *loss) add(t *testing.T, w *wire, got map[int]int) {
	t.Helper()
	least := 0
	if w.kept {
		least = len(w.ends)
	}
	what := fmt.Sprintf("%s of connection %d", w.protocol, w.id)
	n := requireFirst(t, got, least, len(w.ends), what)
	if w.kept {
		l.kept++
		return
	}
	l.cut++
	l.points += len(w.ends) - n
	if n == len(w.ends) || w.killed.IsZero() {
		require.False(t, n < len(w.ends) && w.killed.IsZero(), "%s: %d of %d, and nobody was killed", what, n, len(w.ends))
		return
	}
	before, next := int64(0), w.ends[n] // of the bytes of the point that is missing first
	if n > 0 {
		before = w.ends[n-1]
	}
	for _, s := range w.samples {
		if s.read >= next && !s.at.After(w.killed) {
			l.age = max(l.age, w.killed.Sub(s.at))
		}
	}
	if len(w.samples) == 0 {
		return
	}
	last := w.samples[len(w.samples)-1]
	l.unread += int(w.written - last.read)
	if last.read > before {
		if l.kills == nil {
			l.kills = map[time.Time]int64{}
		}
		l.kills[w.killed] += last.read - before
		l.bytes = max(l.bytes, l.kills[w.killed])
	}
}

func (l *loss) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d connections answered, %d others of which %d points are missing: %d bytes unread by the kernel's account, ",
		l.kept, l.cut, l.points, l.unread)
	fmt.Fprintf(&b, "at most %v before a kill had been read, at most %d bytes of one", l.age.Round(time.Millisecond), l.bytes)
	return b.String()
}

// withWeathers kills flux serve and flux forward so many times in each weather.
func withWeathers(t *testing.T, rounds int) {
	for _, command := range []string{"serve", "forward"} {
		for _, w := range weathers {
			t.Run(fmt.Sprintf("%s %s", command, w), func(t *testing.T) {
				t.Parallel()
				surviveFluxKills(t, command == "forward", w, rounds)
			})
		}
	}
}
