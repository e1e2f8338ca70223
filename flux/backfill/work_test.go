package backfill

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A source that accepts and never answers keeps nobody from the jobs of another.
func TestSourceThatHangsStarvesNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.Workers = 4
		r.cfg.Origins = append(r.cfg.Origins, origin(t, "http://hung:80"))
		r.source.samples = every(ago(time.Hour), began, 60_000)
		r.source.fault = func(_ int, q *http.Request) (*http.Response, error) {
			if q.URL.Hostname() == "hung" {
				<-q.Context().Done()
				return nil, q.Context().Err()
			}
			return nil, nil
		}
		r.start()
		defer r.close()
		hang := func(i int) *Request {
			return &Request{HostType: Graphite, Metric: fmt.Sprintf("hung%d", i), URLs: []string{"http://hung/render?from=-1h&target=x"}}
		}
		for i := range 12 {
			r.submit(hang(i))
		}
		for i := range 3 {
			s := r.wait(r.submit(request(fmt.Sprintf("well%d", i), "from=-1h")).ID)
			require.Equal(t, Done, s.State, s.Error)
			require.Zero(t, time.Since(s.Accepted), "at once")
			time.Sleep(10 * time.Minute)
		}
		for _, s := range r.m.List() {
			if strings.HasPrefix(s.Metric, "hung") {
				require.NotZero(t, s.Errors, "each of them has had its turn")
			}
		}
	})
}

// Nor do several of them together, each with more jobs than there are workers; and once they answer each has its share.
func TestSourcesThatHangStarveNoOther(t *testing.T) {
	for name, c := range map[string]struct {
		workers int
		first   time.Duration // what the first job of another waits for
	}{
		"four workers": {4, 0},
		"two workers":  {2, time.Minute}, // each origin may have the last one once
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.cfg.Workers = c.workers
				ctx, answer := context.WithCancel(t.Context())
				r.source.samples = every(ago(time.Hour), began, 60_000)
				r.source.fault = func(_ int, q *http.Request) (*http.Response, error) {
					if q.URL.Hostname() == "source" || ctx.Err() != nil {
						return nil, nil
					}
					<-q.Context().Done()
					return nil, q.Context().Err()
				}
				var ids []string
				for o := range 3 {
					r.cfg.Origins = append(r.cfg.Origins, origin(t, fmt.Sprintf("http://hung%d:80", o)))
				}
				r.start()
				defer r.close()
				for i := range 36 {
					ids = append(ids, r.submit(&Request{
						HostType: Graphite, Metric: fmt.Sprintf("hung%d", i),
						URLs: []string{fmt.Sprintf("http://hung%d/render?from=-1h&target=x", i/12)},
					}).ID)
				}
				synctest.Wait()
				for i := range 10 { // at each moment of an attempt
					s := r.wait(r.submit(request(fmt.Sprintf("well%d", i), "from=-1h")).ID)
					require.Equal(t, Done, s.State, s.Error)
					if i > 0 {
						c.first = 0
					}
					require.Equal(t, c.first, time.Since(s.Accepted))
					time.Sleep(7 * time.Minute / 4)
				}
				time.Sleep(time.Hour)
				for _, id := range ids {
					s, _ := r.m.Get(id)
					require.NotZero(t, s.Errors, "each of them has had its turn")
				}
				answer()
				for _, id := range ids {
					require.Equal(t, Done, r.wait(id).State)
				}
			})
		})
	}
}

// An origin has one worker before it has answered and after a failure, and PerHost otherwise.
func TestWorkersOfAnOrigin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.Workers, r.cfg.Fetch.PerHost = 4, 3
		r.source.samples = every(ago(time.Hour), began, 60_000)
		next := make(chan *http.Response)
		r.source.fault = func(_ int, q *http.Request) (*http.Response, error) {
			select {
			case a := <-next:
				return a, nil
			case <-q.Context().Done():
				return nil, q.Context().Err()
			}
		}
		r.start()
		defer r.close()
		for i := range 8 { // each of two requests
			r.submit(request(fmt.Sprint(i), "from=-1h&until=-30min", "from=-30min"))
		}
		running := func() (n int) {
			synctest.Wait()
			for _, s := range r.m.List() {
				if s.State == Running {
					n++
				}
			}
			return n
		}
		require.Equal(t, 1, running(), "it was never asked")
		next <- nil
		require.Equal(t, 3, running(), "it has answered")
		next <- respond(500, "")
		require.Equal(t, 2, running(), "it fails: nothing is taken up beside what runs")
		next <- respond(500, "")
		next <- respond(503, "")
		require.Equal(t, 1, running())
		next <- respond(429, "")
		require.Equal(t, 1, running())
		next <- nil
		require.Equal(t, 3, running(), "it answers again")
	})
}

// Nor do metrics that wait to be created, or to be read back.
func TestJobThatWaitsToBeSeenLeavesItsWorker(t *testing.T) {
	for name, verify := range map[string]bool{"created": false, "read back": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.cfg.Workers, r.cfg.Verify = 2, verify
				seen := &shy{local: local{sink: r.sink, known: verify}, shows: "well"}
				r.cfg.Local = seen
				if verify {
					seen.full = map[int64]struct{}{ago(2 * time.Hour): {}}
				}
				r.source.samples = every(ago(time.Hour), began, 60_000)
				r.start()
				defer r.close()
				var ids []string
				for i := range 8 {
					ids = append(ids, r.submit(request(fmt.Sprintf("new%d", i), "from=-1h")).ID)
				}
				well := r.wait(r.submit(request("well", "from=-1h")).ID)
				require.Equal(t, Done, well.State, well.Error)
				require.Less(t, time.Since(well.Accepted), time.Second)
				synctest.Wait()
				for _, id := range ids {
					s, _ := r.m.Get(id)
					require.Equal(t, Waiting, s.State)
					require.NotZero(t, s.RetryAt)
					require.Empty(t, s.Error)
				}
				time.Sleep(5 * time.Minute)
				fetches := len(r.source.requests())
				seen.mu.Lock()
				seen.shows = ""
				seen.mu.Unlock()
				for _, id := range ids {
					s := r.wait(id)
					require.Equal(t, Done, s.State, s.Error)
					require.Zero(t, s.Errors)
					require.Empty(t, s.Note)
					require.EqualValues(t, 60, s.Sent)
					require.Zero(t, s.Resent)
					require.Less(t, s.Finished.Sub(s.Accepted), 5*time.Minute+2*pollMax)
					require.Equal(t, means(r.source.samples, ago(time.Hour), began), r.sink.last(s.Metric))
				}
				require.Len(t, r.source.requests(), fetches, "nothing is fetched twice")
			})
		})
	}
}

// shy is a local Graphite that shows one metric alone, or all where none is named.
type shy struct {
	local
	shows string
}

func (s *shy) Slots(ctx context.Context, metric string, times []int64) ([]Slot, error) {
	s.mu.Lock()
	hidden := s.shows != "" && s.shows != metric
	s.mu.Unlock()
	if hidden {
		return make([]Slot, len(times)), nil
	}
	return s.local.Slots(ctx, metric, times)
}

// A job that waits to be seen can be cancelled, and closing keeps it.
func TestJobThatWaitsToBeSeenEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.Dir = t.TempDir()
		seen := &shy{local: local{sink: r.sink}, shows: "nobody"}
		r.cfg.Local = seen
		r.source.samples = every(ago(time.Hour), began, 60_000)
		r.start()
		defer func() { r.close() }()
		a, b := r.submit(request("a", "from=-1h")).ID, r.submit(request("b", "from=-1h")).ID
		time.Sleep(time.Minute + 2*time.Second)
		require.NoError(t, r.m.Cancel(a))
		require.Equal(t, Cancelled, r.wait(a).State)
		r.close()
		seen.shows = ""
		r.start()
		require.Equal(t, Done, r.wait(b).State)
		require.Equal(t, means(r.source.samples, ago(time.Hour), began), r.sink.last("b"))
	})
}
