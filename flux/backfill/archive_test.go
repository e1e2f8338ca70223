package backfill

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// archives have a source answer as Graphite with whisper files does: from the finest archive that reaches back to from,
// by its own clock, which shows skew more than ours. The samples are those of the finest.
type archives struct {
	t    testing.TB
	skew time.Duration
	list []retention // fine to coarse
	keep map[int64]float64
}

type retention struct {
	step, reach time.Duration
}

const day = 24 * time.Hour

// archived gives the rig's source archives.
func (r *rig) archived(list ...retention) *archives {
	a := &archives{t: r.t, list: list, keep: map[int64]float64{}}
	for _, s := range r.source.samples {
		a.keep[s.ms] = s.value
	}
	r.source.fault = func(_ int, q *http.Request) (*http.Response, error) { return a.answer(q), nil }
	return a
}

func (a *archives) answer(r *http.Request) *http.Response {
	q := r.URL.Query()
	from, err1 := strconv.ParseInt(q.Get("from"), 10, 64)
	until, err2 := strconv.ParseInt(q.Get("until"), 10, 64)
	if err1 != nil || err2 != nil {
		a.t.Errorf("the times are not absolute: %v", q)
	}
	now := time.Now().Add(a.skew).Unix()
	chosen := a.list[len(a.list)-1]
	for i := len(a.list) - 1; i >= 0; i-- {
		if time.Duration(now-from)*time.Second <= a.list[i].reach {
			chosen = a.list[i]
		}
	}
	step := int64(chosen.step.Seconds())
	from, until = max(from, now-int64(chosen.reach.Seconds())), min(until, now)
	points := [][2]any{}
	for at := from - from%step + step; at < until-until%step+step; at += step {
		if v := a.mean(at*1000, (at+step)*1000); math.IsNaN(v) {
			points = append(points, [2]any{nil, at})
		} else {
			points = append(points, [2]any{v, at})
		}
	}
	body, _ := json.Marshal([]any{map[string]any{"target": "x", "datapoints": points}})
	return respond(200, string(body))
}

// mean is the value of a slot.
func (a *archives) mean(from, until int64) float64 {
	sum, n := 0.0, 0.0
	for at := from; at < until; at += a.list[0].step.Milliseconds() {
		if v, ok := a.keep[at]; ok {
			sum, n = sum+v, n+1
		}
	}
	return sum / n
}

// want are the values of the slots of a width, from the first that does not begin before from to the last before until.
func (a *archives) want(from, until int64, step time.Duration) map[int64]float64 {
	out := map[int64]float64{}
	width := step.Milliseconds()
	for at := floorTo(from+width-1, width); at < until; at += width {
		if v := a.mean(at, at+width); !math.IsNaN(v) {
			out[at] = v
		}
	}
	return out
}

// between is the part of points from from to before until.
func between(points map[int64]float64, from, until int64) map[int64]float64 {
	out := map[int64]float64{}
	for at, v := range points {
		if at >= from && at < until {
			out[at] = v
		}
	}
	return out
}

// ago is so long before the tests begin, in milliseconds.
func ago(d time.Duration) int64 { return began - d.Milliseconds() }

// What is asked for back to where an archive ends comes from that archive, whenever in a minute, by whatever clock.
func TestOldestSliceComesFromItsArchive(t *testing.T) {
	for _, skew := range []time.Duration{-time.Minute, 0, time.Minute} {
		for _, after := range []time.Duration{0, 29500 * time.Millisecond, 59 * time.Second} {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.source.samples = every(ago(3*day), began+minute, 60_000)
				a := r.archived(retention{time.Minute, day}, retention{10 * time.Minute, 90 * day})
				a.skew = skew
				r.start()
				defer r.close()
				time.Sleep(after)
				s := r.wait(r.submit(request("a", "from=-24hours")).ID)
				require.Equal(t, Done, s.State, s.Error)
				require.EqualValues(t, 60_000, s.ResolutionMS)
				fine := ago(day) + 4*minute
				require.Equal(t, a.want(fine, began, time.Minute), between(r.sink.last("a"), fine, began))
				require.Len(t, r.source.requests(), 2)
				require.Empty(t, s.Note)
			})
		}
	}
}

// Vista's slices, where each ends with an archive.
func TestVistasFourResolutions(t *testing.T) {
	ends := []retention{{time.Minute, 6 * time.Hour}, {5 * time.Minute, day}, {10 * time.Minute, 7 * day}, {time.Hour, 90 * day}}
	queries := []string{"from=-90days&until=-7days", "from=-7days&until=-24hours", "from=-24hours&until=-6hours", "from=-6hours"}
	check := func(t *testing.T, a *archives, got map[int64]float64, late time.Duration) {
		until := began
		for _, e := range ends {
			fine := ago(e.reach) + late.Milliseconds() + 4*minute
			require.Equal(t, a.want(fine, until, e.step), between(got, fine, until), e)
			until = fine - minute
			if late > 0 { // what it came from meanwhile is coarser
				continue
			}
			until = ago(e.reach)
			require.LessOrEqual(t, len(between(got, until, fine)), 4)
		}
	}
	t.Run("at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(17 * time.Second)
			r := newRig(t)
			r.source.samples = every(ago(90*day), began, 60_000)
			a := r.archived(ends...)
			r.start()
			defer r.close()
			s := r.wait(r.submit(request("a", queries...)).ID)
			require.Equal(t, Done, s.State, s.Error)
			require.Empty(t, s.Note)
			check(t, a, r.sink.last("a"), 0)
		})
	})
	t.Run("down for half an hour, and a restart", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.cfg.Dir = t.TempDir()
			r.source.samples = every(ago(90*day), began, 60_000)
			a := r.archived(ends...)
			r.source.fault = func(int, *http.Request) (*http.Response, error) { return nil, errors.New("refused") }
			r.start()
			id := r.submit(request("a", queries...)).ID
			time.Sleep(30 * time.Minute)
			r.close()
			r.source.fault = func(_ int, q *http.Request) (*http.Response, error) { return a.answer(q), nil }
			r.start()
			defer r.close()
			s := r.wait(id)
			require.Equal(t, Done, s.State, s.Error)
			check(t, a, r.sink.last("a"), 30*time.Minute)
			require.Equal(t, 3, strings.Count(s.Note, "nothing finer"), s.Note)
		})
	})
}

// A slice that fails loses no more than what the source lets go meanwhile, and the job says so.
func TestSliceThatIsLate(t *testing.T) {
	hours := []retention{{time.Minute, day}, {10 * time.Minute, 90 * day}}
	for name, c := range map[string]struct {
		archives []retention
		queries  []string
		late     time.Duration
		since    time.Duration // how far back the newest slice goes
		restart  bool
		note     bool
	}{
		"two hours":                  {archives: hours, queries: []string{"from=-24hours"}, since: day, late: 2 * time.Hour, note: true},
		"two hours, with a restart":  {archives: hours, queries: []string{"from=-24hours"}, since: day, late: 2 * time.Hour, restart: true, note: true},
		"an archive of 11 minutes":   {archives: []retention{{time.Minute, 11 * time.Minute}, {10 * time.Minute, day}}, queries: []string{"from=-2h&until=-10min", "from=-10min"}, since: 10 * time.Minute, late: 150 * time.Second, note: true},
		"two hours, absolute":        {archives: hours, queries: []string{fmt.Sprintf("from=%d", ago(day-10*time.Minute)/1000)}, since: day - 10*time.Minute, late: 2 * time.Hour, note: true},
		"five minutes, absolute":     {archives: hours, queries: []string{fmt.Sprintf("from=%d", ago(day-2*time.Hour)/1000)}, since: day - 2*time.Hour, late: 5 * time.Minute},
		"nothing finer is there":     {archives: []retention{{10 * time.Minute, 90 * day}}, queries: []string{"from=-24hours"}, since: day, late: 2 * time.Hour},
		"the archive reaches beyond": {archives: []retention{{time.Minute, 7 * day}, {10 * time.Minute, 90 * day}}, queries: []string{"from=-24hours"}, since: day, late: 2 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.cfg.Dir = t.TempDir()
				step := c.archives[0].step
				r.source.samples = every(ago(3*day), began, step.Milliseconds())
				a := r.archived(c.archives...)
				served := time.Time{}
				r.source.fault = func(_ int, q *http.Request) (*http.Response, error) {
					from, _ := strconv.ParseInt(q.URL.Query().Get("from"), 10, 64)
					if from*1000 > ago(c.since)-2*minute && time.Since(time.UnixMilli(began)) < c.late {
						return respond(500, ""), nil
					}
					if from*1000 > ago(c.since)-2*minute && served.IsZero() {
						served = time.Now()
					}
					return a.answer(q), nil
				}
				r.start()
				defer func() { r.close() }()
				id := r.submit(request("a", c.queries...)).ID
				if c.restart {
					time.Sleep(time.Hour)
					r.close()
					r.start()
				}
				s := r.wait(id)
				require.Equal(t, Done, s.State, s.Error)
				got, lateness := r.sink.last("a"), served.Sub(time.UnixMilli(began)).Milliseconds()
				require.GreaterOrEqual(t, lateness, c.late.Milliseconds())
				fine := min(began, ago(c.since)+lateness+4*minute)
				require.Equal(t, a.want(fine, began, step), between(got, fine, began))
				width := step
				if c.note {
					width = c.archives[1].step
				}
				head := ago(c.since)
				require.Subset(t, got, a.want(head, fine-5*minute, width), "what has aged comes as the source has it")
				require.Equal(t, c.note, s.Note != "", s.Note)
				if c.note {
					require.Contains(t, s.Note, fromMS(head).Format(time.RFC3339)+" to ")
					require.Regexp(t, "came with (a value each 10m0s|one value)", s.Note)
				}
			})
		})
	}
}

// Averages of a coarse archive do not fill what the finest says is null.
func TestFinerSliceCountsAlone(t *testing.T) {
	for _, queries := range [][]string{
		{"from=-2days", "from=-6hours"},
		{"from=-2days", "from=-6hours", "from=-12hours&until=-1hours"},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			for _, s := range every(ago(3*day), began, 60_000) {
				if s.ms/minute%10 != 0 {
					r.source.samples = append(r.source.samples, s)
				}
			}
			a := r.archived(retention{time.Minute, day}, retention{10 * time.Minute, 90 * day})
			r.start()
			defer r.close()
			s := r.wait(r.submit(request("a", queries...)).ID)
			require.Equal(t, Done, s.State, s.Error)
			got := r.sink.last("a")
			require.Equal(t, a.want(ago(6*time.Hour), began, time.Minute), between(got, ago(6*time.Hour), began))
			if len(queries) == 2 {
				require.Equal(t, a.want(ago(day+4*time.Hour), ago(6*time.Hour), 10*time.Minute), between(got, ago(day+4*time.Hour), ago(6*time.Hour)))
			} else {
				require.Equal(t, a.want(ago(12*time.Hour), began, time.Minute), between(got, ago(12*time.Hour), began))
			}
		})
	}
}

// A slice that is fetched in parts is not delivered beyond the beginning of the next one, which is finer.
func TestFinerSliceCountsAloneBesideParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.Fetch.MaxPoints = 1000
		r.source.samples = every(ago(10*day), began, 60_000)
		fine, coarse := r.archived(retention{time.Minute, 90 * day}), r.archived(retention{10 * time.Minute, 90 * day})
		r.source.fault = func(_ int, q *http.Request) (*http.Response, error) {
			if q.URL.Query().Has("coarse") {
				return coarse.answer(q), nil
			}
			return fine.answer(q), nil
		}
		r.start()
		defer r.close()
		s := r.wait(r.submit(request("a", "from=-9days&coarse=1", "from=-6days")).ID)
		require.Equal(t, Done, s.State, s.Error)
		require.Greater(t, s.Fetched, 6)
		require.Equal(t, fine.want(ago(6*day), began, time.Minute), between(r.sink.last("a"), ago(6*day), began))
	})
}

// What came fine at first stays so if a later slice, asked much later, comes coarse.
func TestCoarserAnswerDoesNotReplaceAFinerOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.source.samples = every(ago(3*day), began, 60_000)
		a := r.archived(retention{time.Minute, day}, retention{10 * time.Minute, 90 * day})
		r.source.fault = func(_ int, q *http.Request) (*http.Response, error) {
			from, _ := strconv.ParseInt(q.URL.Query().Get("from"), 10, 64)
			if from*1000 > ago(7*time.Hour) && time.Since(time.UnixMilli(began)) < 20*time.Hour {
				return respond(500, ""), nil
			}
			return a.answer(q), nil
		}
		r.start()
		defer r.close()
		s := r.wait(r.submit(request("a", "from=-20hours", "from=-6hours")).ID)
		require.Equal(t, Done, s.State, s.Error)
		require.Equal(t, a.want(ago(20*time.Hour), began, time.Minute), r.sink.last("a"))
	})
}

// A function whose first value is null, such as derivative, leaves no hole where a slice is cut.
func TestNoHoleWhereAFunctionsFirstValueIsNull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.source.samples = every(ago(2*day), began, 60_000)
		r.source.fault = func(_ int, q *http.Request) (*http.Response, error) {
			body := r.source.render(q.URL.Query())
			head, points, _ := strings.Cut(body, `"datapoints": [[`)
			_, rest, _ := strings.Cut(points, ",")
			return respond(200, head+`"datapoints": [[null,`+rest), nil
		}
		r.start()
		defer r.close()
		s := r.wait(r.submit(request("a", "from=-24hours&until=-6hours", "from=-6hours")).ID)
		require.Equal(t, Done, s.State, s.Error)
		require.Equal(t, means(r.source.samples, ago(day), began), r.sink.last("a"))
	})
}
