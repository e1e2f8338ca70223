package backfill

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite"
)

// copyDir is what a process that is killed leaves.
func copyDir(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	names, err := filepath.Glob(filepath.Join(dir, "*.*"))
	assert.NoError(t, err)
	for _, name := range names {
		content, err := os.ReadFile(name)
		assert.NoError(t, err)
		assert.NoError(t, os.WriteFile(filepath.Join(to, filepath.Base(name)), content, 0o600))
	}
	return to
}

// accept is a live point on its way to the same Carbon: delivered, and noted.
func (r *rig) accept(metric string, ms int64, value float64) {
	pts := []graphite.Point{{Name: []byte(metric), Timestamp: ms, Value: value}}
	r.sink.write(pts)
	r.cfg.Live.Note(pts)
}

// A live point that comes after the job was saved last is known to the process that goes on with the job.
func TestLivePointsOutliveTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.Live, r.cfg.Dir = &Live{}, t.TempDir()
		r.source.samples = every(began-3600_000, began, 10_000)
		down := true
		r.source.fault = func(int, *http.Request) (*http.Response, error) {
			if down {
				return respond(503, ""), nil
			}
			return nil, nil
		}
		r.start()
		id := r.submit(request("a", "from=-1hours")).ID
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		s, _ := r.m.Get(id)
		require.Equal(t, Waiting, s.State)
		r.accept("a", began-30*60_000, -1)
		killed := copyDir(t, r.cfg.Dir)
		r.close()

		down = false
		r.cfg.Live, r.cfg.Dir = &Live{}, killed
		r.start()
		s = r.wait(id)
		r.close()
		want := means(r.source.samples, began-3600_000, began)
		want[began-30*60_000] = -1
		require.Equal(t, want, r.sink.last("a"))
		require.EqualValues(t, 1, s.SkippedLive)
		names, err := filepath.Glob(filepath.Join(killed, "*"+trailSuffix))
		require.NoError(t, err)
		require.Empty(t, names, "a job that has ended has no trail")
	})
}

// A late live point that reaches the local Graphite before it is asked does not make older history look as if it were
// there.
func TestLateLivePointHidesNoHistory(t *testing.T) {
	for _, withSince := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.cfg.Live = &Live{}
			down := true
			seen := &local{known: true, sink: r.sink, full: map[int64]struct{}{began - 2*3600_000: {}}, fault: func() error {
				if down {
					return errors.New("down")
				}
				return nil
			}}
			r.cfg.Local = seen
			r.source.samples = every(began-3*3600_000, began, 60_000)
			r.start()
			defer r.close()
			req := request("a", "from=-3hours")
			if withSince {
				req.Since = "-150min"
			}
			id := r.submit(req).ID
			time.Sleep(time.Minute)
			synctest.Wait()
			late := began - 600_000
			seen.mu.Lock()
			seen.full[late] = struct{}{}
			down = false
			seen.mu.Unlock()
			r.accept("a", late, -1)
			s := r.wait(id)
			require.Equal(t, Done, s.State)
			since := began - 2*3600_000
			if withSince {
				since = began - 150*60_000
			}
			require.Equal(t, since, s.Since.UnixMilli())
			want := means(r.source.samples, since, began)
			want[late] = -1
			require.Equal(t, want, r.sink.last("a"))
		})
	}
}

// A live point that comes while a chunk with its minute is on its way has the last word, whichever of the two arrives
// last, and whether or not the process ends in between.
func TestLivePointDuringAChunk(t *testing.T) {
	for name, c := range map[string]struct {
		late    bool // noted when the chunk is through
		fails   bool // the chunk is not confirmed
		killed  bool // the process ends before it is
		created bool // it is the one point that creates the metric
	}{
		"confirmed": {}, "noted late": {late: true}, "not confirmed": {fails: true}, "killed": {killed: true}, "first point": {created: true},
		"killed at the first point": {created: true, killed: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.cfg.Live, r.cfg.Dir = &Live{}, t.TempDir()
				at := began - 15*3600_000
				if c.created {
					r.cfg.Local = &local{sink: r.sink}
					at = began - 60_000
				}
				r.source.samples = every(began-20*3600_000, began, 60_000)
				killed, done := "", false
				r.sink.wrote = func(pts []graphite.Point) error { // before it is confirmed
					if done || pts[0].Timestamp > at || pts[len(pts)-1].Timestamp < at {
						return nil
					}
					done = true
					live := []graphite.Point{{Name: []byte("a"), Timestamp: at, Value: -1}, {Name: []byte("a"), Timestamp: at + 7000, Value: math.NaN()}, {Name: []byte("a"), Timestamp: at, Value: -2}}
					r.sink.write([]graphite.Point{live[0], live[2]})
					r.sink.write(pts) // and the chunk is what Carbon reads last
					if c.late {
						time.AfterFunc(time.Nanosecond, func() { r.cfg.Live.Note(live) })
						return nil
					}
					r.cfg.Live.Note(live)
					if c.killed {
						killed = copyDir(t, r.cfg.Dir)
						r.m.stop()
					}
					if c.fails || c.killed {
						return errors.New("carbon is away")
					}
					return nil
				}
				r.cfg.Rate = 100
				r.start()
				id := r.submit(request("a", "from=-20hours&until=-10hours", "from=-10hours")).ID
				if c.killed {
					time.Sleep(time.Minute)
					synctest.Wait()
					r.close()
					r.cfg.Live, r.cfg.Dir = &Live{}, killed
					r.start()
				}
				s := r.wait(id)
				r.close()
				require.Equal(t, Done, s.State, s.Error)
				want := means(r.source.samples, began-20*3600_000, began)
				want[at] = -2
				require.Equal(t, want, r.sink.last("a"))
				require.EqualValues(t, 2, s.Restored)
				if !c.created {
					require.Equal(t, c.fails || c.killed, s.Resent > 0)
				}
			})
		})
	}
}

// A job that ends with a chunk on its way gives live points of its minutes the last word, too.
func TestLivePointDuringTheChunkOfAJobThatDoesNotEndWell(t *testing.T) {
	for _, fails := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.cfg.Live, r.cfg.GiveUp = &Live{}, time.Minute
			r.source.samples = every(began-20*3600_000, began, 60_000)
			at := began - 20*3600_000
			r.sink.wrote = func(pts []graphite.Point) error {
				if len(pts) == 1 {
					return nil
				}
				if pts[0].Timestamp == at {
					r.accept("a", at, -1)
					r.sink.write(pts)
				}
				if !fails {
					assert.NoError(t, r.m.Cancel(r.m.List()[0].ID))
				}
				return errors.New("carbon is away")
			}
			r.start()
			defer r.close()
			s := r.wait(r.submit(request("a", "from=-20hours")).ID)
			require.Equal(t, map[bool]State{false: Cancelled, true: Failed}[fails], s.State)
			require.Zero(t, s.Sent)
			require.Equal(t, -1.0, r.sink.last("a")[at])
			require.Positive(t, s.Restored)
		})
	}
}

// Live traffic goes on all the while, the process is killed again and again, and no live value is touched.
func TestLivePointsWhileKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		k := &killer{t: t}
		r.cfg.Dir = t.TempDir()
		r.source.samples = every(began-10*86400_000, began, 60_000)
		want := means(r.source.samples, began-10*86400_000, began)
		var mu sync.Mutex
		random := rand.New(rand.NewPCG(1, 2))
		traffic := func() { // what comes is for minutes before, in, and after what the job has sent
			mu.Lock()
			defer mu.Unlock()
			if r.cfg.Live.watched.Load() == 0 {
				return
			}
			for range random.IntN(4) {
				at, value := began-(1+random.Int64N(10*1440))*60_000, -1-random.Float64()
				want[at] = value
				r.accept("a", at, value)
			}
		}
		r.sink.wrote = func(pts []graphite.Point) error {
			traffic()
			if rand.IntN(2) == 0 {
				r.sink.write(pts) // Carbon reads it after the live points
			}
			return nil
		}
		r.source.fault = func(_ int, q *http.Request) (*http.Response, error) { return nil, k.moment(q.Context()) }
		r.cfg.Sink = sinkFunc(func(ctx context.Context, pts []graphite.Point) error {
			if err := k.moment(ctx); err != nil {
				return err
			}
			if err := r.sink.Send(ctx, pts); err != nil {
				return err
			}
			return k.moment(ctx)
		})
		for kills := 0; ; kills++ {
			k.mu.Lock()
			k.dir, k.dead, k.after = r.cfg.Dir, make(chan struct{}), 1+rand.IntN(8)
			if kills >= 30 {
				k.after, k.dead = -1, nil
			}
			dead := k.dead
			k.mu.Unlock()
			r.cfg.Live = &Live{}
			r.start()
			if kills == 0 {
				r.submit(request("a", "from=-10days&until=-1days", "from=-1days"))
			}
			job := r.m.List()[0]
			if kills >= 30 {
				s := r.wait(job.ID)
				r.close()
				require.Equal(t, Done, s.State, s.Error)
				t.Logf("%d kills: %d sent, of them %d again; %d live minutes left out, %d live points restored", kills, s.Sent, s.Resent, s.SkippedLive, s.Restored)
				break
			}
			select {
			case <-dead:
			case <-ended(r.m, job.ID):
			}
			r.close()
			if s := r.m.List()[0]; s.State.Ended() {
				break
			}
			r.cfg.Dir = k.copied
		}
		require.Equal(t, want, r.sink.last("a"))
	})
}

type sinkFunc func(context.Context, []graphite.Point) error

func (f sinkFunc) Send(ctx context.Context, pts []graphite.Point) error { return f(ctx, pts) }

// What a spool gives back before the jobs are taken up is noted for them all the same.
func TestLiveLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		require.NoError(t, (&Live{}).Load(filepath.Join(t.TempDir(), "missing")))
		require.Error(t, (&Live{}).Load("/dev/null"))
		r.cfg.Live, r.cfg.Dir = &Live{}, t.TempDir()
		r.source.samples = every(began-3600_000, began, 60_000)
		r.source.fault = func(int, *http.Request) (*http.Response, error) { return respond(503, ""), nil }
		r.start()
		id := r.submit(request("a", "from=-1hours")).ID
		synctest.Wait()
		r.close()
		for range 2 { // a process that ends before it takes up the jobs, and the next
			r.cfg.Live = &Live{}
			require.NoError(t, r.cfg.Live.Load(r.cfg.Dir))
		}
		r.accept("a", began-600_000, -1)
		r.cfg.Live.Note([]graphite.Point{{Name: []byte("b"), Timestamp: began}})
		r.source.fault = nil
		r.start()
		s := r.wait(id)
		r.close()
		require.EqualValues(t, 1, s.SkippedLive)
		want := means(r.source.samples, began-3600_000, began)
		want[began-600_000] = -1
		require.Equal(t, want, r.sink.last("a"))
		require.Zero(t, r.cfg.Live.watched.Load())
	})
}

func TestLiveIsBounded(t *testing.T) {
	l := &Live{}
	l.watch("a", newLiveMetric("1", nil))
	pts := make([]graphite.Point, 1000)
	for i := range 300 {
		for k := range pts {
			pts[k] = graphite.Point{Name: []byte("a"), Timestamp: int64(i*1000+k) * minute}
		}
		l.Note(pts)
	}
	m := l.metrics["a"]
	require.LessOrEqual(t, len(m.known()), maxLiveMinutes)
	require.True(t, m.add(299_999*minute))
	minutes := m.forgotten()
	require.EqualValues(t, 300_000-len(m.known()), minutes)
	require.Zero(t, testing.AllocsPerRun(100, func() { l.Note(pts[:1]) }))

	// Points that are to be sent once more are bounded, too, and those that went while others were sent are not missed.
	free, again, err := m.claim([]bin{{at: 0}, {at: 300_000 * minute}}, 0)
	require.NoError(t, err)
	require.Len(t, free, 2)
	require.Zero(t, again)
	for i := range maxLivePoints {
		m.note(livePoint{int64(i), 1})
	}
	kept, dropped := m.kept(10)
	require.Equal(t, livePoint{0, 1}, kept[0])
	require.Zero(t, dropped)
	minutes = m.forgotten() // one minute more came
	m.note(livePoint{5, 2})
	require.EqualValues(t, maxLivePoints/10, m.forgotten()-minutes)
	require.NoError(t, m.restored(10, dropped))
	kept, _ = m.kept(maxLivePoints)
	require.Equal(t, livePoint{maxLivePoints / 10, 1}, kept[0])
	require.Equal(t, livePoint{5, 2}, kept[len(kept)-1])
	require.NoError(t, m.restored(3, 0), "they had gone already")
	again2, _ := m.kept(1)
	require.Equal(t, kept[:1], again2)

	l.forget("a")
	require.Zero(t, testing.AllocsPerRun(100, func() { l.Note(pts) }))
	var nobody *Live
	nobody.Note(pts)
}

func TestManyLateLivePoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.Live, r.cfg.Dir = &Live{}, t.TempDir()
		r.source.samples = every(began-24*3600_000, began, 60_000)
		want := means(r.source.samples, began-24*3600_000, began)
		done := false
		r.sink.wrote = func(pts []graphite.Point) error {
			if !done && pts[0].Timestamp > began-12*3600_000 {
				done = true
				for at := range want {
					if at%(3*minute) == 0 {
						want[at] = -float64(at)
						r.accept("a", at, want[at])
					}
				}
				r.sink.write(pts)
			}
			return nil
		}
		r.start()
		defer r.close()
		s := r.wait(r.submit(request("a", "from=-24hours")).ID)
		require.Equal(t, want, r.sink.last("a"), fmt.Sprintf("%+v", s))
		require.Positive(t, s.Restored)
	})
}
