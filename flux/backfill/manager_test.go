package backfill

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/resample"
)

func TestConfigIsChecked(t *testing.T) {
	for says, cfg := range map[string]Config{
		"Sink is missing":  {},
		"needs Config.Loc": {Sink: &sink{}, Verify: true},
		"Config.Workers":   {Sink: &sink{}, Workers: -1},
		"Config.GiveUp":    {Sink: &sink{}, GiveUp: -1},
		"Config.Aggregate": {Sink: &sink{}, Aggregate: 99},
		"Config.Dir":       {Sink: &sink{}, Dir: "/dev/null/x"},
	} {
		_, err := New(cfg)
		require.ErrorContains(t, err, says)
	}
}

func TestManagerIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.MaxJobs, r.cfg.KeepJobs, r.cfg.KeepFor, r.cfg.Dir = 3, 2, time.Hour, t.TempDir()
		hold := make(chan struct{})
		r.source.fault = func(int, *http.Request) (*http.Response, error) {
			<-hold
			return nil, nil
		}
		r.start()
		var ids []string
		for i := range 3 {
			ids = append(ids, r.submit(request(fmt.Sprintf("m%d", i), "from=-1h")).ID)
		}
		_, _, err := r.m.Submit(t.Context(), request("m3", "from=-1h"))
		require.ErrorIs(t, err, ErrFull)
		_, joined, err := r.m.Submit(t.Context(), request("m1", "from=-1h"))
		require.NoError(t, err)
		require.True(t, joined)
		synctest.Wait()
		states := map[State]int{}
		for _, s := range r.m.List() {
			states[s.State]++
		}
		require.Equal(t, map[State]int{Running: 1, Queued: 2}, states, "its origin has not answered yet")
		ended := make(chan State, len(ids))
		for _, id := range ids { // before any ends, since only two are kept then
			go func() {
				s, _ := r.m.Wait(context.Background(), id)
				ended <- s.State
			}()
		}
		synctest.Wait()
		close(hold)
		for range ids {
			require.Equal(t, Done, <-ended)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		last := r.submit(request("m4", "from=-1h"))
		require.Equal(t, Done, r.wait(last.ID).State)
		synctest.Wait()
		require.Len(t, r.m.List(), 2, "jobs that ended are bounded")
		_, ok := r.m.Get(last.ID)
		require.True(t, ok)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		require.Empty(t, r.m.List(), "and are forgotten in time")
		names, err := filepath.Glob(filepath.Join(r.cfg.Dir, "*"+jobSuffix))
		require.NoError(t, err)
		require.Empty(t, names)
		_, err = r.m.Wait(t.Context(), "x")
		require.ErrorIs(t, err, ErrNoJob)
		r.close()
		_, _, err = r.m.Submit(t.Context(), request("m5", "from=-1h"))
		require.ErrorIs(t, err, ErrClosed)
		require.ErrorIs(t, r.m.Close(t.Context()), ErrClosed)
	})
}

// Many cancel one job that has never run, at once.
func TestCancelAtOnce(t *testing.T) {
	r := newRig(t)
	r.cfg.Dir, r.cfg.Workers = t.TempDir(), 1
	r.source.fault = func(_ int, q *http.Request) (*http.Response, error) {
		<-q.Context().Done()
		return nil, q.Context().Err()
	}
	r.start()
	defer r.close()
	r.submit(request("runs", "from=-1h"))
	for i := range 20 {
		queued := r.submit(request(fmt.Sprintf("m%d", i), "from=-1h"))
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() { _ = r.m.Cancel(queued.ID) })
		}
		all.Wait()
		require.Equal(t, Cancelled, r.wait(queued.ID).State)
	}
}

func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.Dir, r.cfg.Workers = t.TempDir(), 1
		r.source.fault = func(n int, q *http.Request) (*http.Response, error) {
			if n == 0 {
				return respond(500, ""), nil
			}
			<-q.Context().Done()
			return nil, q.Context().Err()
		}
		r.start()
		defer r.close()
		waits, runs, queued := r.submit(request("a", "from=-1h")), r.submit(request("b", "from=-1h")), r.submit(request("c", "from=-1h"))
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		for _, c := range []struct {
			s    Status
			want State
		}{{waits, Waiting}, {runs, Running}, {queued, Queued}} {
			s, _ := r.m.Get(c.s.ID)
			require.Equal(t, c.want, s.State)
		}
		require.ErrorIs(t, r.m.Cancel("x"), ErrNoJob)
		for _, s := range []Status{queued, runs, waits} {
			require.NoError(t, r.m.Cancel(s.ID))
			require.Equal(t, Cancelled, r.wait(s.ID).State)
			require.NoError(t, r.m.Cancel(s.ID), "a job that has ended stays as it is")
		}
		again, joined, err := r.m.Submit(t.Context(), request("a", "from=-1h"))
		require.NoError(t, err)
		require.False(t, joined)
		require.NotEqual(t, waits.ID, again.ID)
	})
}

func TestJobsOutliveTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.Dir = t.TempDir()
		log := &bytes.Buffer{}
		r.source.samples = every(began-3600_000, began, 60_000)
		r.source.fault = func(n int, _ *http.Request) (*http.Response, error) {
			if n == 0 {
				return respond(502, ""), nil
			}
			return nil, nil
		}
		r.start()
		require.True(t, r.m.Durable())
		_, err := New(r.cfg)
		require.ErrorIs(t, err, ErrLocked)
		s := r.submit(request("a", "from=-1h"))
		require.Empty(t, s.Warning)
		synctest.Wait()
		r.close()
		_, err = r.m.Wait(t.Context(), s.ID)
		require.ErrorIs(t, err, ErrClosed)

		for name, content := range map[string]string{"bad": "12345678\n{}\n", "cut": "", "temp.job": "x"} {
			require.NoError(t, os.WriteFile(filepath.Join(r.cfg.Dir, name+map[string]string{"temp.job": tempSuffix}[name]+map[bool]string{true: jobSuffix}[name != "temp.job"]), []byte(content), 0o600))
		}
		r.cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
		time.Sleep(24 * time.Hour) // what was asked for stays what it was
		r.start()
		defer r.close()
		require.Equal(t, Done, r.wait(s.ID).State)
		require.Equal(t, means(r.source.samples, began-3600_000, began), r.sink.last("a"))
		synctest.Wait() // the last job's end is logged
		require.Equal(t, 2, bytes.Count(log.Bytes(), []byte("passed over")))
		require.NoFileExists(t, filepath.Join(r.cfg.Dir, "temp.job"+tempSuffix))
		asked := r.source.requests()
		require.Len(t, asked, 2)
		require.Contains(t, asked[1], fmt.Sprintf("from=%d&", (began-3600_000)/1000-1), "all at once: no part of it is better than another any more")
		require.Contains(t, asked[1], fmt.Sprintf("until=%d", began/1000))
	})
}

func TestWithoutDirTheAnswerWarns(t *testing.T) {
	r := newRig(t).start()
	defer r.close()
	require.Contains(t, r.submit(request("a", "from=-1h")).Warning, "memory")
	require.False(t, r.m.Durable())
}

func TestWhatIsMissing(t *testing.T) {
	for name, c := range map[string]struct {
		mark  int64
		since string
		last  int64 // of the local Graphite
		want  int64
	}{
		"nothing is known": {mark: dedup.None, last: none, want: began - 3600_000},
		"the mark":         {mark: began - 1200_000 + 5000, last: began - 600_000, want: began - 1200_000},
		"local":            {mark: dedup.None, last: began - 600_000, want: began - 600_000},
		"since":            {mark: began - 60_000, since: "-30min", last: none, want: began - 1800_000},
		"since in seconds": {mark: dedup.None, since: fmt.Sprint(began/1000 - 900), last: began, want: began - 900_000},
		"since in text":    {mark: dedup.None, since: "1999-12-31T23:50:00Z", last: began, want: began - 600_000},
		"mark of tomorrow": {mark: began + 86400_000, last: began - 600_000, want: began - 600_000},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				marks, seen := &dedup.Memory{}, &local{known: true, sink: r.sink, full: map[int64]struct{}{}}
				if c.mark != dedup.None {
					require.NoError(t, marks.Raise(t.Context(), []dedup.Mark{{Metric: []byte("a"), Timestamp: c.mark}}))
				}
				if c.last != none {
					seen.full[c.last] = struct{}{}
				}
				r.cfg.Marks, r.cfg.Local, r.cfg.Future = marks, seen, time.Minute
				r.source.samples = every(began-3600_000, began, 10_000)
				r.start()
				defer r.close()
				req := request("a", "from=-1h")
				req.Since = c.since
				s := r.wait(r.submit(req).ID)
				require.Equal(t, Done, s.State, s.Error)
				require.Equal(t, means(r.source.samples, c.want, began), r.sink.last("a"))
			})
		})
	}
	r := newRig(t).start()
	defer r.close()
	for _, since := range []string{"midnight", "1.5h", "x"} {
		req := request("a", "from=-1h")
		req.Since = since
		_, _, err := r.m.Submit(limit(t), req)
		require.ErrorContains(t, err, since)
	}
	req := request("a", "from=-1h")
	req.MissingRender = true
	_, _, err := r.m.Submit(limit(t), req)
	require.ErrorContains(t, err, "no local Graphite")
}

// Live points may have raised a mark, or somebody may say from when on history is missing, before Carbon has created the
// metric.
func TestMetricWithAMarkIsCreatedFirst(t *testing.T) {
	for _, since := range []string{"", "-2hours"} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			marks, seen := &dedup.Memory{}, &local{blind: true, sink: r.sink}
			require.NoError(t, marks.Raise(t.Context(), []dedup.Mark{{Metric: []byte("a"), Timestamp: began - 3600_000}}))
			r.cfg.Marks, r.cfg.Local = marks, seen
			r.source.samples = every(began-7200_000, began, 60_000)
			r.start()
			defer r.close()
			req := request("a", "from=-2hours")
			req.Since = since
			id := r.submit(req).ID
			time.Sleep(30 * time.Second)
			synctest.Wait()
			require.Len(t, r.sink.last("a"), 1, "one point, and nothing before it is seen")
			seen.mu.Lock()
			seen.blind = false
			seen.mu.Unlock()
			s := r.wait(id)
			require.Equal(t, Done, s.State, s.Error)
			from := began - int64(3600_000)
			if since != "" {
				from = began - 7200_000
			}
			require.Equal(t, means(r.source.samples, from, began), r.sink.last("a"))
			require.Equal(t, from, s.Since.UnixMilli())
			require.Len(t, seen.lasts, 1)
		})
	}
}

func TestStoreOfMarksThatIsAway(t *testing.T) {
	r := newRig(t)
	r.cfg.Marks = awayStore{}
	r.start()
	defer r.close()
	_, _, err := r.m.Submit(limit(t), request("a", "from=-1h"))
	require.ErrorIs(t, err, dedup.ErrUnavailable)
	require.Empty(t, r.m.List())
}

type awayStore struct{}

func (awayStore) Last(context.Context, []dedup.Mark) error  { return dedup.ErrUnavailable }
func (awayStore) Raise(context.Context, []dedup.Mark) error { return dedup.ErrUnavailable }

func TestMissingRender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		seen := &local{known: true, full: map[int64]struct{}{}}
		marks := &dedup.Memory{}
		require.NoError(t, marks.Raise(t.Context(), []dedup.Mark{{Metric: []byte("a"), Timestamp: began}}))
		r.cfg.Local, r.cfg.Marks = seen, marks
		r.source.samples = every(began-86400_000, began, 20_000)
		want := means(r.source.samples, began-86400_000, began)
		for at := range want {
			if at/minute%3 != 0 {
				seen.full[at] = struct{}{}
				delete(want, at)
			}
		}
		r.start()
		defer r.close()
		req := request("a", "from=-24hours")
		req.MissingRender = true
		s := r.wait(r.submit(req).ID)
		require.Equal(t, want, r.sink.last("a"))
		require.EqualValues(t, 960, s.SkippedFull)
		require.EqualValues(t, 480, s.Sent)
	})
}

// Finite samples whose sum is not finite make no point, no mark, and no file that cannot be written.
func TestMinutesThatOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		marks := &dedup.Memory{}
		r.cfg.Dir, r.cfg.Marks, r.cfg.Local = t.TempDir(), marks, &local{sink: r.sink}
		r.source.samples = every(began-3600_000, began-60_000, 30_000)
		want := means(r.source.samples, began-3600_000, began)
		for _, at := range []int64{began - 1800_000, began - 60_000} {
			delete(want, at)
			r.source.samples = append(r.source.samples, sample{at + 1000, math.MaxFloat64}, sample{at + 2000, math.MaxFloat64})
		}
		slices.SortFunc(r.source.samples, func(a, b sample) int { return compare(a.ms, b.ms) })
		r.start()
		defer r.close()
		s := r.wait(r.submit(request("a", "from=-1h")).ID)
		require.Equal(t, Done, s.State, s.Error)
		require.Equal(t, want, r.sink.last("a"))
		require.EqualValues(t, 2, s.Overflows)
		require.Equal(t, want[began-120_000], s.Value)
		_, err := json.Marshal(r.m.List())
		require.NoError(t, err)
	})
}

// The next process may know no local Graphite any more.
func TestLocalThatIsGoneAtTheNextStart(t *testing.T) {
	for _, fill := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.cfg.Dir, r.cfg.Local, r.cfg.GiveUp = t.TempDir(), &local{fault: func() error { return errors.New("down") }}, time.Hour
			r.source.samples = every(began-3600_000, began, 60_000)
			r.start()
			req := request("a", "from=-1h")
			req.MissingRender = fill
			id := r.submit(req).ID
			synctest.Wait()
			r.close()
			r.cfg.Local = nil
			r.start()
			defer r.close()
			s := r.wait(id)
			if fill {
				require.Equal(t, Failed, s.State)
				require.Contains(t, s.Error, "Config.Local")
				return
			}
			require.Equal(t, Done, s.State)
			require.Equal(t, means(r.source.samples, began-3600_000, began), r.sink.last("a"))
		})
	}
}

func TestVerifyReadsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		seen := &local{known: true, sink: r.sink, full: map[int64]struct{}{began - 3600_000: {}}, blind: true}
		marks := &dedup.Memory{}
		r.cfg.Local, r.cfg.Marks, r.cfg.Verify, r.cfg.CreateWait = seen, marks, true, 5*time.Minute
		r.source.samples = every(began-3600_000, began, 60_000)
		r.start()
		defer r.close()
		id := r.submit(request("a", "from=-1h")).ID
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		m := []dedup.Mark{{Metric: []byte("a")}}
		require.NoError(t, marks.Last(t.Context(), m))
		require.EqualValues(t, dedup.None, m[0].Timestamp, "what is not read back is not confirmed")
		s, _ := r.m.Get(id)
		require.Contains(t, s.Error, "could not be read back with its values within 5m0s")
		seen.mu.Lock()
		seen.blind = false
		seen.mu.Unlock()
		require.Equal(t, Done, r.wait(id).State)
		require.NoError(t, marks.Last(t.Context(), m))
		require.Equal(t, began-60_000, m[0].Timestamp)
	})
}

// What is there already is not what was sent: a Carbon that drops everything is found out. Live points may be there
// instead, and coarse archives keep averages.
func TestVerifyReadsBackValues(t *testing.T) {
	for name, c := range map[string]struct {
		coarse, live bool
		want         State
	}{"others": {want: Failed}, "coarse": {coarse: true, want: Done}, "live": {live: true, want: Done}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				seen := &local{known: true, sink: r.sink, full: map[int64]struct{}{}, blind: true, coarse: c.coarse}
				for at := began - 3600_000; at < began; at += 60_000 {
					seen.full[at] = struct{}{}
				}
				r.cfg.Local, r.cfg.Verify, r.cfg.GiveUp, r.cfg.Live = seen, true, time.Hour, &Live{}
				r.source.samples = every(began-3600_000, began, 60_000)
				if c.live {
					r.sink.wrote = func(pts []graphite.Point) error {
						r.cfg.Live.Note(pts)
						return nil
					}
				}
				r.start()
				defer r.close()
				req := request("a", "from=-1h")
				req.Since = "-1h"
				s := r.wait(r.submit(req).ID)
				require.Equal(t, c.want, s.State, s.Error)
				if c.want == Failed {
					require.Contains(t, s.Error, "could not be read back with its values within 15m0s")
					require.Zero(t, s.Sent)
				}
			})
		})
	}
}

func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.Rate = 100
		r.source.samples = every(began-86400_000, began, 60_000)
		r.start()
		defer r.close()
		a, b := r.submit(request("a", "from=-24hours")), r.submit(request("b", "from=-24hours"))
		first, second := r.wait(a.ID), r.wait(b.ID)
		took := max(first.Finished.UnixMilli(), second.Finished.UnixMilli()) - began
		require.EqualValues(t, (2*1440-440)*1000/100, took, "all jobs together, and the last chunk goes when those before it are through")
	})
}

func TestSinkThatGoesAwayAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.source.samples = every(began-30*86400_000, began, 60_000)
		back := began + 3600_000
		r.sink.fault = func(n int) error {
			if n > 10 && time.Now().UnixMilli() < back {
				return errors.New("carbon is away")
			}
			return nil
		}
		r.start()
		defer r.close()
		s := r.wait(r.submit(request("a", "from=-30days&until=-1d", "from=-1d")).ID)
		require.Equal(t, Done, s.State)
		require.Equal(t, means(r.source.samples, began-30*86400_000, began), r.sink.last("a"))
		require.Less(t, r.sink.calls, 30*1440/500+80)
	})
}

// Slices that overlap give each time once, that of the finer one.
func TestOverlappingSlices(t *testing.T) {
	got := merge(samplesOf(1, 1, 2, 1, 3, 1, 5, 1), samplesOf(2, 2, 4, 2, 5, 2, 5, 3))
	require.Equal(t, samplesOf(1, 1, 2, 2, 3, 1, 4, 2, 5, 2, 5, 3), got)
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.source.samples = every(began-86400_000, began, 30_000)
		r.start()
		defer r.close()
		s := r.wait(r.submit(request("a", "from=-24h", "from=-6h", "from=-12h&until=-1h", "from=-24h")).ID)
		require.Equal(t, 3, s.Slices)
		require.Equal(t, means(r.source.samples, began-86400_000, began), r.sink.last("a"))
		require.EqualValues(t, 1440, s.Sent)
	})
}

func TestPrometheusAsSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(31 * time.Second)
		r := newRig(t)
		r.source.samples = every(began-2*86400_000+250, began+31_000, 15_000)
		r.start()
		defer r.close()
		s := r.wait(r.submit(&Request{HostType: Prometheus, Metric: "a", Series: `up{job="a"}`, URLs: []string{
			"http://source:8080/api/v1/query?query=up[1d]",
			fmt.Sprintf("http://source:8080/api/v1/query_range?query=up&step=15&start=%d&end=%d", began/1000-2*86400+7, began/1000-86400),
		}}).ID)
		require.Equal(t, Done, s.State, s.Error)
		require.Equal(t, means(r.source.samples, began-2*86400_000, began), r.sink.last("a"))
	})
}

func TestManyJobsAtOnce(t *testing.T) {
	noLeaks(t)
	r := newRig(t)
	r.cfg.Dir, r.cfg.Workers = t.TempDir(), 8
	now := time.Now().UnixMilli()
	r.source.samples = every(now-3600_000, now, 60_000)
	finished := atomic.Int32{}
	r.cfg.Finished = func(Status) { finished.Add(1) }
	r.start()
	var ids [40]string
	for i := range ids {
		ids[i] = r.submit(request(fmt.Sprintf("m%d", i), "from=-1h")).ID
		r.m.List()
	}
	for _, id := range ids {
		require.Equal(t, Done, r.wait(id).State)
	}
	r.close()
	require.EqualValues(t, 40, finished.Load())
}

func samplesOf(pairs ...int64) []resample.Sample {
	var out []resample.Sample
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, resample.Sample{Timestamp: pairs[i], Value: float64(pairs[i+1])})
	}
	return out
}
