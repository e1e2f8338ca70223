package bluefloodtest

import (
	"cmp"
	"maps"
	"slices"
)

// store holds points by tenant and metric. Its limit is a number of points, beyond which those written first go.
type store struct {
	limit    int // negative: keep none
	series   map[string]map[string]*series
	order    []key // of what is kept, from head on, as it was written
	head     int
	writes   int
	distinct int
}

type key struct {
	tenant, metric string
	timestamp      int64
}

// series is one metric in order of time.
type series struct{ points []Point }

func (s *series) search(timestamp int64) (int, bool) {
	if n := len(s.points); n == 0 || s.points[n-1].Timestamp < timestamp {
		return n, false
	}
	return slices.BinarySearchFunc(s.points, timestamp, func(p Point, t int64) int { return cmp.Compare(p.Timestamp, t) })
}

// put stores a point. One of the same tenant, metric and millisecond is overwritten.
func (st *store) put(p Point) {
	st.writes++
	if st.limit < 0 {
		st.distinct++
		return
	}
	metrics := st.series[p.Tenant]
	if metrics == nil {
		metrics = map[string]*series{}
		st.series[p.Tenant] = metrics
	}
	s := metrics[p.Metric]
	if s == nil {
		s = new(series)
		metrics[p.Metric] = s
	}
	i, found := s.search(p.Timestamp)
	if found {
		s.points[i] = p
		return
	}
	s.points = slices.Insert(s.points, i, p)
	st.distinct++
	st.order = append(st.order, key{p.Tenant, p.Metric, p.Timestamp})
	if len(st.order)-st.head > st.limit {
		st.drop()
	}
}

// drop forgets the point that was written first.
func (st *store) drop() {
	k := st.order[st.head]
	st.head++
	if st.head > len(st.order)/2 {
		st.order, st.head = append([]key(nil), st.order[st.head:]...), 0
	}
	s := st.series[k.tenant][k.metric]
	if i, found := s.search(k.timestamp); found {
		s.points = slices.Delete(s.points, i, i+1)
	}
	if len(s.points) == 0 {
		delete(st.series[k.tenant], k.metric)
	}
}

func (st *store) get(tenant, metric string) []Point {
	s := st.series[tenant][metric]
	if s == nil {
		return nil
	}
	return slices.Clone(s.points)
}

func (st *store) names(tenant string) []string {
	return slices.Sorted(maps.Keys(st.series[tenant]))
}
