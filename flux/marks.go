package flux

import (
	"runtime"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/graphite"
)

// settler tells the filter of the points of one required outlet. Its scratch is that of the outlet's goroutine.
//
// Of points that the disk damages while the server runs nobody knows the names, so nobody settles them: until the next
// start they count as pending. The marks of their metrics stay, and what is sent again of them is a duplicate.
type settler struct {
	door  *door
	gate  <-chan struct{} // closed once marks may rise
	marks []dedup.Mark
}

// judged returns those of the points that the filter waits for, until the next call.
func (s *settler) judged(pts []graphite.Point, tags []byte) []dedup.Mark {
	s.marks = s.marks[:0]
	for i := range pts {
		if tags[i]&tagJudged != 0 {
			s.marks = append(s.marks, dedup.Mark{Metric: pts[i].Name, Timestamp: pts[i].Timestamp, Value: pts[i].Value})
		}
	}
	return s.marks
}

// recovered is told of points that the outlet's spool held at the start: they are known as pending again.
func (s *settler) recovered(pts []graphite.Point, tags []byte) {
	s.door.filter.Recover(s.judged(pts, tags))
	clear(s.marks)
}

// settled is told of points that are about to leave the outlet's queue. Their marks may rise, once the filter knows of all
// that other outlets still hold of them. When that never comes the goroutine ends here, so that they stay in the queue:
// another destination may lack them, and the next server finds out.
func (s *settler) settled(pts []graphite.Point, tags []byte) {
	if marks := s.judged(pts, tags); len(marks) > 0 {
		if !s.ready() {
			runtime.Goexit()
		}
		// The filter remembers what the store did not take, and the server's ticker tries again.
		_ = s.door.filter.Done(s.door.life, marks)
	}
	clear(s.marks)
}

// ready waits until the gate is open. It is false when that never comes.
func (s *settler) ready() bool {
	select {
	case <-s.gate:
		return true
	default:
	}
	select {
	case <-s.gate:
		return true
	case <-s.door.life.Done():
		return false
	}
}
