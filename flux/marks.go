package flux

import (
	"context"
	"math"
	"runtime"
	"slices"
	"time"

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
	s.marks = slices.Grow(s.marks[:0], len(pts))[:len(pts)]
	n := 0
	for i := range pts {
		if tags[i]&tagJudged != 0 {
			m, p := &s.marks[n], &pts[i]
			m.Metric, m.Timestamp, m.Value = p.Name, p.Timestamp, p.Value
			n++
		}
	}
	s.marks = s.marks[:n]
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
		s.door.done(marks)
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

// raiseWait is how long delivery waits for the store to take marks.
const raiseWait = 200 * time.Millisecond

// done tells the filter of points that a required destination has, or gave up, and has their marks raised. When the store
// does not take them soon they are due, and from then on the ticker raises all, until it has: delivery does not wait.
func (d *door) done(marks []dedup.Mark) {
	switch {
	case d.instant:
		_ = d.filter.Done(d.life, marks)
	case d.store.behind.Load() || d.store.away() != nil:
		d.store.behind.Store(true)
		_ = d.filter.Done(ended, marks)
	default:
		ctx, cancel := context.WithTimeout(d.life, raiseWait)
		defer cancel()
		if err := d.filter.Done(ctx, marks); err != nil {
			d.store.behind.Store(true)
			d.store.suspect()
		}
	}
}

// retryMarks raises, every second, the marks that the store did not take at once.
func (d *door) retryMarks(ctx context.Context) {
	t := time.NewTicker(retryEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		err := d.raiseAll(ctx)
		if ctx.Err() != nil {
			return
		}
		d.store.behind.Store(err != nil)
		d.store.failing.Store(err != nil)
		if err != nil {
			d.store.suspect()
			d.log.Warn("marks cannot be raised; they are kept and tried again", "error", err)
		}
	}
}

// raiseAll raises the marks that wait for it, until none is left or the store fails.
func (d *door) raiseAll(ctx context.Context) error {
	for left := int64(math.MaxInt64); ; {
		if err := d.filter.Retry(ctx); err != nil {
			return err
		}
		now := d.filter.Stats().Unraised
		if now == 0 || now >= left {
			return nil
		}
		left = now
	}
}
