package backfill

import (
	"bytes"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite"
)

// trailRig is a directory with one job that waits, and what it knows.
func trailRig(t testing.TB) (*store, *liveMetric, record) {
	t.Helper()
	s := &store{dir: t.TempDir()}
	r := record{Status: Status{ID: "1", Metric: "a", State: Running}, URLs: []slice{{URL: "http://source/render"}}}
	require.NoError(t, s.save(&r))
	m := s.live("1")
	require.NoError(t, m.trail.create())
	return s, m, r
}

// read reads the directory's job as another process does.
func (s *store) read(t testing.TB, log *bytes.Buffer) kept {
	t.Helper()
	jobs, err := s.load(slog.New(slog.NewTextHandler(log, nil)))
	require.NoError(t, err)
	require.Len(t, jobs, 1, log)
	return jobs[0]
}

func TestTrailTellsWhatWasKnown(t *testing.T) {
	s, m, r := trailRig(t)
	m.note(livePoint{5*minute + 7, 1})
	_, _, err := m.claim([]bin{{at: 4 * minute}, {at: 5 * minute}, {at: 6 * minute}}, 0)
	require.NoError(t, err)
	m.note(livePoint{4*minute + 1, math.Pi})
	m.note(livePoint{4*minute + 2, math.Inf(1)})
	m.note(livePoint{6*minute + 3, -math.MaxFloat64})
	m.note(livePoint{9 * minute, 4})
	require.NoError(t, m.restored(1, 0))
	free, err := m.claimFirst(9 * minute)
	require.NoError(t, err)
	require.False(t, free)
	free, err = m.claimFirst(10 * minute)
	require.NoError(t, err)
	require.True(t, free)
	m.note(livePoint{10*minute + 4, 5})
	r.Seq, r.Done, r.Sent = 3, 7*minute, 2
	require.NoError(t, m.trail.progress(r))
	r.Seq, r.Done = 2, 6*minute
	require.NoError(t, m.trail.progress(r), "an older one does not count")

	check := func(damage string) {
		t.Helper()
		var log bytes.Buffer
		k := s.read(t, &log)
		require.Equal(t, []int64{4 * minute, 5 * minute, 6 * minute, 9 * minute, 10 * minute}, k.live.known())
		require.Equal(t, 7*minute, k.live.until)
		require.Equal(t, 10*minute, k.live.first)
		require.Equal(t, []livePoint{{6*minute + 3, -math.MaxFloat64}, {10*minute + 4, 5}}, k.live.points)
		require.EqualValues(t, []int64{3, 7 * minute, 2}, []int64{k.Seq, k.Done, k.Sent})
		require.Len(t, k.URLs, 1)
		require.Contains(t, log.String(), damage)
		if damage == "" {
			require.Empty(t, log.String())
		}
	}
	check("")

	// Lines that a loss of power has damaged are passed over, and the next one stands on a line of its own.
	f, err := os.OpenFile(m.trail.path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString("\x00\x00\x00\n12345678 m 60000\n" + strings.TrimSuffix(string(sealed(nil, minuteLine, "%d", 3*minute)), "0\n"))
	require.NoError(t, err)
	require.NoError(t, f.Close())
	check("lines=3")
	again := s.read(t, &bytes.Buffer{}).live
	again.note(livePoint{12 * minute, 1})
	require.Contains(t, s.read(t, &bytes.Buffer{}).live.known(), 12*minute)

	// Written anew it tells the same.
	r.Seq, r.Done = 4, 7*minute
	require.NoError(t, m.rewrite(r, s))
	r.Seq = 3
	require.Equal(t, int64(4), s.read(t, &bytes.Buffer{}).Seq)
	before, err := os.ReadFile(m.trail.path)
	require.NoError(t, err)
	require.Equal(t, int64(len(before)), m.trail.size)
	k := s.read(t, &bytes.Buffer{})
	require.Equal(t, m.known(), k.live.known())
	require.Equal(t, m.points, k.live.points)
	require.Equal(t, m.until, k.live.until)
	require.Equal(t, m.first, k.live.first)

	require.NoError(t, m.trail.remove())
	require.NoError(t, m.trail.remove())
	m.note(livePoint{20 * minute, 1})
	require.NoFileExists(t, m.trail.path, "a job that has ended keeps nothing")
}

func TestTrailIsBounded(t *testing.T) {
	s, m, r := trailRig(t)
	_, _, err := m.claim([]bin{{at: 0}, {at: 1000 * minute}}, 0)
	require.NoError(t, err)
	m.trail.size = minCompact
	require.False(t, m.trail.untidy())
	m.note(livePoint{1, 1})
	require.True(t, m.trail.untidy())
	m.trail.size = maxTrail - 10
	m.note(livePoint{2, 2})
	require.ErrorContains(t, m.trail.add(minuteLine, "%d", 0), "bytes")
	m.note(livePoint{3, 3})
	require.Len(t, s.read(t, &bytes.Buffer{}).live.points, 1)
	require.NoError(t, m.rewrite(r, s))
	require.False(t, m.trail.untidy())
	require.Len(t, s.read(t, &bytes.Buffer{}).live.points, 3, "it is whole again")
	require.NoError(t, m.trail.add(minuteLine, "%d", 0))
}

// A trail that cannot be written has the job wait: nothing is sent of which nobody would know.
func TestTrailThatCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.Live, r.cfg.Dir = &Live{}, t.TempDir()
		r.source.samples = every(began-24*3600_000, began, 60_000)
		var held string
		r.sink.wrote = func(pts []graphite.Point) error {
			if held == "" { // what is noted now cannot be written
				names, _ := filepath.Glob(filepath.Join(r.cfg.Dir, "*"+trailSuffix))
				held = names[0]
				_ = os.Rename(held, held+".held")
				_ = os.Mkdir(held, 0o700)
				r.accept("a", pts[0].Timestamp, -1)
				r.sink.write(pts)
			}
			return nil
		}
		r.start()
		defer r.close()
		id := r.submit(request("a", "from=-24hours")).ID
		time.Sleep(time.Minute)
		synctest.Wait()
		s, _ := r.m.Get(id)
		require.Equal(t, Waiting, s.State)
		require.Contains(t, s.Error, held)
		require.Zero(t, s.Sent)
		calls := r.sink.calls
		require.LessOrEqual(t, calls, 3)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		require.Equal(t, calls, r.sink.calls)
		require.NoError(t, os.Remove(held))
		require.NoError(t, os.Rename(held+".held", held))
		s = r.wait(id)
		want := means(r.source.samples, began-24*3600_000, began)
		want[began-24*3600_000] = -1
		require.Equal(t, want, r.sink.last("a"))
	})
}

// What is appended is synced within a second or so, once for all, and at the end.
func TestTrailsAreSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.Live, r.cfg.Dir, r.cfg.Rate = &Live{}, t.TempDir(), 100
		r.source.samples = every(began-24*3600_000, began, 60_000)
		r.start()
		id := r.submit(request("a", "from=-24hours")).ID
		synctest.Wait()
		r.m.mu.Lock()
		trail := r.m.byID[id].live.trail
		r.m.mu.Unlock()
		dirty := func() bool {
			trail.mu.Lock()
			defer trail.mu.Unlock()
			return trail.dirty
		}
		require.True(t, dirty())
		time.Sleep(syncEvery + time.Millisecond)
		synctest.Wait()
		require.False(t, dirty())
		r.cfg.Live.Note([]graphite.Point{{Name: []byte("a"), Timestamp: began}})
		require.True(t, dirty())
		r.close()
		require.False(t, dirty())
	})
}

func TestLeftoversAreRemoved(t *testing.T) {
	s, _, r := trailRig(t)
	for name, content := range map[string]string{
		"2" + trailSuffix: "", "3" + trailSuffix + tempSuffix: "", "4" + jobSuffix + tempSuffix: "", "5" + trailSuffix: "", "5" + jobSuffix: "damaged", "6" + trailSuffix: "",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o600))
	}
	r.ID, r.Metric, r.State, r.Finished = "6", "b", Done, time.Now()
	require.NoError(t, s.save(&r))
	m, err := New(Config{Sink: &sink{}, Dir: s.dir, Live: &Live{}, Origins: nil, Workers: 1})
	require.NoError(t, err)
	defer m.Close(t.Context())
	names, err := os.ReadDir(s.dir)
	require.NoError(t, err)
	var have []string
	for _, e := range names {
		have = append(have, e.Name())
	}
	for _, name := range []string{"2" + trailSuffix, "3" + trailSuffix + tempSuffix, "4" + jobSuffix + tempSuffix, "6" + trailSuffix} {
		require.NotContains(t, have, name)
	}
	require.Subset(t, have, []string{"5" + trailSuffix, "5" + jobSuffix, "6" + jobSuffix})
}

func FuzzTrail(f *testing.F) {
	for _, line := range []string{"m 60000", "k 60001 3ff0000000000000", "r 1", "c 120000", "f 60000", "x 1", "m", "r 99999999999999999999", "r -5", `p {"id":"1","metric":"a","state":"running","seq":9}`} {
		f.Add([]byte(line), true)
	}
	f.Add(sealed(nil, minuteLine, "%d", minute), false)
	f.Fuzz(func(t *testing.T, body []byte, seal bool) {
		content := body
		if seal {
			content = nil
			for line := range bytes.SplitSeq(body, []byte("\n")) {
				if len(line) > 2 && line[1] == ' ' {
					content = sealed(content, line[0], "%s", line[2:])
				}
			}
		}
		k := kept{record{Status: Status{ID: "1", Metric: "a", State: Queued}, URLs: []slice{{}}}, newLiveMetric("1", newTrail("x"))}
		damaged := k.replay(content)
		require.LessOrEqual(t, damaged, bytes.Count(content, []byte("\n"))+1)
		require.Equal(t, "a", k.Metric)
		require.LessOrEqual(t, len(k.live.points), maxLivePoints)
		for _, at := range k.live.known() {
			require.LessOrEqual(t, at, int64(math.MaxInt64))
		}
	})
}

func FuzzJobFile(f *testing.F) {
	s, _, r := trailRig(f)
	content, err := os.ReadFile(s.path(r.ID))
	require.NoError(f, err)
	f.Add(content)
	f.Add([]byte(fmt.Sprintf("%08x\n{}\n", 0)))
	f.Fuzz(func(t *testing.T, content []byte) {
		r, err := parseRecord(content)
		if err == nil {
			require.NotEmpty(t, r.Metric)
			require.NotEmpty(t, r.URLs)
		}
	})
}
