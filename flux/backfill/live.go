package backfill

import (
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/fluxmetrics/fluxkit/graphite"
)

const (
	// maxLiveMinutes bounds the minutes that Live remembers of a metric; the oldest go first.
	maxLiveMinutes = 100_000
	// maxLivePoints bounds the points of a metric that are kept to be sent once more; the oldest go first.
	maxLivePoints = 32_768
)

// Live remembers in which minutes live points were accepted of metrics that have a job, so that the job leaves them
// alone. Whoever accepts points calls Note with them once they are accepted; while there is no job that costs one atomic
// load. The zero value is ready to use.
//
// A live point and a chunk of history travel on different connections, so that nobody knows which of them Carbon reads
// last. So a live point that is accepted for a minute which its job has sent already, or is sending, is kept, and the job
// sends it once more as soon as the chunk is confirmed.
//
// With Config.Dir, what Note learns is in the job's file when it returns: the end of the process loses none of it. A loss
// of power may lose the last second; the points that a spool still holds then are to be noted again, after Load. Where
// those were delivered already, and history comes for their minute, it counts. Two more windows are open: a chunk that
// Carbon has not read yet when its connection breaks may be read after what the next connection brought, and a live point
// may be accepted before, and noted after, the end of the job that sent its minute.
type Live struct {
	watched atomic.Int64
	mu      sync.RWMutex
	metrics map[string]*liveMetric
}

// Note takes accepted points, under their canonical names, in the order in which they are delivered. It keeps nothing of
// the slice.
func (l *Live) Note(pts []graphite.Point) {
	if l == nil || l.watched.Load() == 0 {
		return
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	for i := range pts {
		if m := l.metrics[string(pts[i].Name)]; m != nil {
			m.note(livePoint{pts[i].Timestamp, pts[i].Value})
		}
	}
}

// Load reads which metrics have a job in Config.Dir that has not ended, so that points can be noted before New is called
// with the same Live and Dir. Whoever recovers points that were accepted by a process before this one does so: they are
// still to be delivered.
func (l *Live) Load(dir string) error {
	s := &store{dir: dir}
	jobs, err := s.load(slog.New(slog.DiscardHandler))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, k := range jobs {
		if !k.State.Ended() {
			l.watch(k.Metric, k.live)
		}
	}
	return err
}

// watch begins to note a metric's points in m, unless they are noted for the same job already. It returns where they are
// noted.
func (l *Live) watch(metric string, m *liveMetric) *liveMetric {
	if l == nil {
		return m
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if known := l.metrics[metric]; known != nil && known.job == m.job {
		return known
	}
	if l.metrics == nil {
		l.metrics = map[string]*liveMetric{}
	}
	l.metrics[metric] = m
	l.watched.Store(int64(len(l.metrics)))
	return m
}

// forget ends that.
func (l *Live) forget(metric string) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.metrics, metric)
	l.watched.Store(int64(len(l.metrics)))
}

// livePoint is an accepted point: Unix milliseconds, and a value.
type livePoint struct {
	at    int64
	value float64
}

// liveMetric is what one job knows of its metric's live points. What it learns goes into the job's trail at once.
type liveMetric struct {
	job   string // its id
	trail *trail // nil: nothing is kept

	mu      sync.Mutex
	minutes map[int64]struct{}
	first   int64       // minute that went first, of a new metric; none for none
	from    int64       // minutes from here
	until   int64       // to before here may have been sent by the job
	points  []livePoint // that are to be sent once more, in the order of acceptance
	dropped int64       // of them, for the bound
	forgot  int64       // minutes and points that went for their bounds
}

func newLiveMetric(job string, t *trail) *liveMetric {
	return &liveMetric{job: job, trail: t, minutes: map[int64]struct{}{}, first: none, from: none, until: none}
}

// begin is told where the minutes begin that the job may send, and whom to tell when the trail is to be synced.
func (m *liveMetric) begin(from int64, wake func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.from = from
	if t := m.trail; t != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.wake = wake; t.dirty {
			wake()
		}
	}
}

// note takes an accepted point. What cannot be written makes the job's next chunk write everything anew.
func (m *liveMetric) note(p livePoint) {
	at := floorMinute(p.at)
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.add(at)
	switch {
	case m.sent(at) && !math.IsNaN(p.value) && !math.IsInf(p.value, 0):
		m.keep(p)
		_ = m.trail.add(pointLine, "%d %x", p.at, math.Float64bits(p.value))
	case !known:
		_ = m.trail.add(minuteLine, "%d", at)
	}
}

// sent reports whether the job may have sent the minute.
func (m *liveMetric) sent(at int64) bool { return at == m.first || at >= m.from && at < m.until }

// add remembers a minute, and reports whether it was known.
func (m *liveMetric) add(at int64) bool {
	if _, known := m.minutes[at]; known {
		return true
	}
	if len(m.minutes) == maxLiveMinutes {
		all := slices.Sorted(maps.Keys(m.minutes))
		for _, old := range all[:maxLiveMinutes/10] {
			delete(m.minutes, old)
		}
		m.forgot += maxLiveMinutes / 10
	}
	m.minutes[at] = struct{}{}
	return false
}

// keep keeps a point that is to be sent once more.
func (m *liveMetric) keep(p livePoint) {
	if len(m.points) == maxLivePoints {
		const tenth = maxLivePoints / 10
		m.points = slices.Delete(m.points, 0, tenth)
		m.dropped += tenth
		m.forgot += tenth
	}
	m.points = append(m.points, p)
}

// known are the minutes that hold live points, in order.
func (m *liveMetric) known() []int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.minutes))
}

// claim leaves out, in place, the bins whose minutes hold live points. From now on live points for the others are kept,
// and that is written before one of them is sent. from is where the minutes begin that the job may send. again is how
// many of them were claimed before.
func (m *liveMetric) claim(bins []bin, from int64) (free []bin, again int64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	free = slices.DeleteFunc(bins, func(b bin) bool {
		_, live := m.minutes[b.at]
		return live
	})
	m.from = from
	for _, b := range free {
		if b.at < m.until {
			again++
		}
	}
	if len(free) == 0 {
		return free, 0, nil
	}
	if until := free[len(free)-1].at + minute; until > m.until {
		m.until = until
		err = m.trail.add(claimLine, "%d", until)
	}
	return free, again, err
}

// claimFirst is claim of one minute, that of the point which goes first of a new metric.
func (m *liveMetric) claimFirst(at int64) (free bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, live := m.minutes[at]; live {
		return false, nil
	}
	if m.first != at {
		m.first = at
		err = m.trail.add(firstLine, "%d", at)
	}
	return true, err
}

// kept are the oldest points that are to be sent once more, and how many had gone for the bound.
func (m *liveMetric) kept(most int) (points []livePoint, dropped int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.points[:min(most, len(m.points))]), m.dropped
}

// forgotten is how many minutes and points went for their bounds since the process began.
func (m *liveMetric) forgotten() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.forgot
}

// restored forgets the n points that kept returned, with what it told of dropped.
func (m *liveMetric) restored(n int, dropped int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n = max(0, n-int(m.dropped-dropped))
	m.points = slices.Delete(m.points, 0, n)
	return m.trail.add(restoredLine, "%d", n)
}
