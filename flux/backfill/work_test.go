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
