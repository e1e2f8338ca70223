package backfill

import (
	"context"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/graphite"
)

// killer ends a manager at a moment: nothing that happens in it afterwards reaches disk, sink or marks.
type killer struct {
	t      testing.TB
	mu     sync.Mutex
	dir    string // of the manager
	after  int    // moments until it dies; below 0 it lives
	copied string // what was on disk then
	dead   chan struct{}
}

// moment is one at which a process may be killed.
func (k *killer) moment(ctx context.Context) error {
	k.mu.Lock()
	if k.after--; k.after == 0 {
		k.copied = k.t.TempDir()
		names, err := filepath.Glob(filepath.Join(k.dir, "*.*"))
		assert.NoError(k.t, err)
		for _, name := range names {
			content, err := os.ReadFile(name)
			assert.NoError(k.t, err)
			assert.NoError(k.t, os.WriteFile(filepath.Join(k.copied, filepath.Base(name)), content, 0o600))
		}
		close(k.dead)
	}
	gone := k.after <= 0 && k.dead != nil
	k.mu.Unlock()
	if gone {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

// mortal is a sink and a store of marks around which a manager may die.
type mortal struct {
	*sink
	*dedup.Memory
	k    *killer
	most int64 // highest mark that may be raised: what the sink has
}

func (m *mortal) Send(ctx context.Context, pts []graphite.Point) error {
	if err := m.k.moment(ctx); err != nil {
		return err
	}
	if rand.IntN(10) == 0 { // a part of it arrives, unconfirmed
		_ = m.sink.Send(ctx, pts[:rand.IntN(len(pts)+1)])
		if err := m.k.moment(ctx); err != nil {
			return err
		}
	}
	if err := m.sink.Send(ctx, pts); err != nil {
		return err
	}
	m.most = max(m.most, pts[len(pts)-1].Timestamp+minute-1)
	return m.k.moment(ctx)
}

func (m *mortal) Raise(ctx context.Context, marks []dedup.Mark) error {
	if err := m.k.moment(ctx); err != nil {
		return err
	}
	for _, mark := range marks {
		assert.LessOrEqual(m.k.t, mark.Timestamp, m.most, "a mark rises above what is confirmed")
	}
	if err := m.Memory.Raise(ctx, marks); err != nil {
		return err
	}
	return m.k.moment(ctx)
}

func TestKilledFiftyTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		k := &killer{t: t}
		world := &mortal{sink: r.sink, Memory: &dedup.Memory{}, k: k}
		r.cfg.Sink, r.cfg.Marks, r.cfg.Dir = world, world, t.TempDir()
		r.source.samples = every(began-20*86400_000, began, 60_000)
		r.source.fault = func(_ int, q *http.Request) (*http.Response, error) { return nil, k.moment(q.Context()) }
		queries := []string{"from=-20days&until=-7days", "from=-7days&until=-24hours", "from=-24hours&until=-6hours", "from=-6hours"}

		kills := 0
		for ; ; kills++ {
			k.mu.Lock()
			k.dir, k.dead = r.cfg.Dir, make(chan struct{})
			k.after = 1 + rand.IntN(10)
			if kills >= 50 {
				k.after, k.dead = -1, nil
			}
			dead := k.dead
			k.mu.Unlock()
			r.start()
			if kills == 0 {
				r.submit(request("a", queries...))
			}
			list := r.m.List()
			require.Len(t, list, 1)
			if kills >= 50 {
				s := r.wait(list[0].ID)
				require.Equal(t, Done, s.State, s.Error)
				r.close()
				break
			}
			select {
			case <-dead:
			case <-ended(r.m, list[0].ID):
			}
			r.close()
			if s := r.m.List()[0]; s.State.Ended() {
				break
			}
			r.cfg.Dir = k.copied
		}
		require.Equal(t, 50, kills)
		require.Equal(t, means(r.source.samples, began-20*86400_000, began), r.sink.last("a"), "no minute is missing, none is wrong")
		m := []dedup.Mark{{Metric: []byte("a")}}
		require.NoError(t, world.Last(t.Context(), m))
		require.Equal(t, began-60_000, m[0].Timestamp)
		t.Logf("%d kills, %d points sent for %d", kills, len(r.sink.points), 20*1440)
	})
}

// A process that is killed without warning leaves a job that goes on where its last confirmed chunk ended.
func TestResumesWhereTheLastConfirmedChunkEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.Dir = t.TempDir()
		r.source.samples = every(began-5*86400_000, began, 60_000)
		var killed string
		r.sink.wrote = func([]graphite.Point) error {
			if r.sink.calls == 9 {
				killed = copyDir(t, r.cfg.Dir)
				r.m.stop()
			}
			return nil
		}
		r.start()
		id := r.submit(request("a", "from=-5days")).ID
		synctest.Wait()
		r.close()
		r.cfg.Dir = killed
		r.start()
		defer r.close()
		s := r.wait(id)
		require.Equal(t, Done, s.State)
		require.EqualValues(t, 5*1440, s.Sent, "each minute is confirmed once")
		require.EqualValues(t, chunkPoints, s.Resent, "and one chunk was sent again")
		require.Len(t, r.sink.points, 5*1440+chunkPoints)
		require.Equal(t, means(r.source.samples, began-5*86400_000, began), r.sink.last("a"))
	})
}

// ended is closed at a job's end, or when its manager is closed.
func ended(m *Manager, id string) <-chan struct{} {
	c := make(chan struct{})
	go func() {
		defer close(c)
		_, _ = m.Wait(context.Background(), id)
	}()
	return c
}
