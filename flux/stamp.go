package flux

import (
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fluxmetrics/fluxkit/graphite"
)

const (
	// maxStampAhead is how far ahead of the clock a series' points may be stamped: 60,000 points in one burst.
	maxStampAhead = time.Minute
	// maxStamped bounds the series that are remembered: about 2 MiB.
	maxStamped = 1 << 16
)

// stamper gives points the time at which they were read, to each of a series a millisecond of its own: of two points
// of a series with the same timestamp a destination keeps one. It may be used from many goroutines.
//
// It remembers the last stamp of each series that the clock has not passed, under a hash of its name: two series of the
// same hash merely skip each other's milliseconds.
type stamper struct {
	now    func() time.Time
	log    *slog.Logger
	seed   maphash.Seed
	shared atomic.Uint64 // points that did not get a millisecond of their own
	warned atomic.Int64

	mu    sync.Mutex
	last  map[uint64]int64
	swept int64 // the millisecond in which last was swept
}

func newStamper(now func() time.Time, log *slog.Logger) *stamper {
	return &stamper{now: now, log: log, seed: maphash.MakeSeed(), last: map[uint64]int64{}}
}

// stamp overwrites the points' timestamps.
func (s *stamper) stamp(pts []graphite.Point) {
	now := s.now().UnixMilli()
	shared := uint64(0)
	s.mu.Lock()
	for i := range pts {
		ts, own := s.next(maphash.Bytes(s.seed, pts[i].Name), now)
		pts[i].Timestamp = ts
		if !own {
			shared++
		}
	}
	s.mu.Unlock()
	if shared == 0 {
		return
	}
	total := s.shared.Add(shared)
	if everySecond(&s.warned, s.now) {
		s.log.Warn("points of one series came faster than one a millisecond, or too many series at once: some share a timestamp, of which a destination keeps one point",
			"points", shared, "total", total)
	}
}

// next is the stamp for a point of a series. own is false when another point may have the same.
func (s *stamper) next(series uint64, now int64) (ts int64, own bool) {
	last, known := s.last[series]
	limit := now + maxStampAhead.Milliseconds()
	switch {
	case !known && len(s.last) >= maxStamped && !s.sweep(now):
		return now, false
	case !known, last < now, last > limit: // the last when the clock was set back
		ts, own = now, true
	case last == limit:
		return limit, false
	default:
		ts, own = last+1, true
	}
	s.last[series] = ts
	return ts, own
}

// sweep forgets the series whose last stamp the clock has passed, once a millisecond. It reports whether there is room.
func (s *stamper) sweep(now int64) bool {
	if s.swept == now {
		return false
	}
	s.swept = now
	limit := now + maxStampAhead.Milliseconds()
	for series, last := range s.last {
		if last < now || last > limit {
			delete(s.last, series)
		}
	}
	return len(s.last) < maxStamped
}
