package backfill

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/fluxmetrics/fluxkit/graphite"
)

// maxLiveMinutes bounds the minutes that Live remembers of a metric; the oldest go first.
const maxLiveMinutes = 100_000

// Live remembers in which minutes live points were accepted of metrics that have a job, so that the job leaves them
// alone. Whoever accepts points calls Note with them; while there is no job that costs one atomic load. The zero value
// is ready to use.
type Live struct {
	watched atomic.Int64
	mu      sync.RWMutex
	metrics map[string]*liveMinutes
}

type liveMinutes struct {
	mu      sync.Mutex
	minutes map[int64]struct{}
}

// Note takes accepted points, under their canonical names. It keeps nothing of the slice.
func (l *Live) Note(pts []graphite.Point) {
	if l == nil || l.watched.Load() == 0 {
		return
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	for i := range pts {
		if m := l.metrics[string(pts[i].Name)]; m != nil {
			m.add(floorMinute(pts[i].Timestamp))
		}
	}
}

func (m *liveMinutes) add(minutes ...int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, at := range minutes {
		if _, known := m.minutes[at]; known {
			continue
		}
		if len(m.minutes) == maxLiveMinutes {
			m.shrink()
		}
		m.minutes[at] = struct{}{}
	}
}

// shrink forgets the oldest tenth.
func (m *liveMinutes) shrink() {
	all := m.all()
	slices.Sort(all)
	for _, at := range all[:maxLiveMinutes/10] {
		delete(m.minutes, at)
	}
}

func (m *liveMinutes) all() []int64 {
	out := make([]int64, 0, len(m.minutes))
	for at := range m.minutes {
		out = append(out, at)
	}
	return out
}

// watch begins to remember a metric's minutes, and those that are known already.
func (l *Live) watch(metric string, known []int64) {
	if l == nil {
		return
	}
	m := &liveMinutes{minutes: map[int64]struct{}{}}
	m.add(known...)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.metrics == nil {
		l.metrics = map[string]*liveMinutes{}
	}
	l.metrics[metric] = m
	l.watched.Store(int64(len(l.metrics)))
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

// has reports whether a live point lies in the minute that begins at ms.
func (l *Live) has(metric string, ms int64) bool {
	if l == nil {
		return false
	}
	l.mu.RLock()
	m := l.metrics[metric]
	l.mu.RUnlock()
	if m == nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.minutes[ms]
	return ok
}

// minutes are those of a metric, in order.
func (l *Live) minutes(metric string) []int64 {
	if l == nil {
		return nil
	}
	l.mu.RLock()
	m := l.metrics[metric]
	l.mu.RUnlock()
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	out := m.all()
	slices.Sort(out)
	return out
}
