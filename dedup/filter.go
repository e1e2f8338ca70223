package dedup

import (
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultMaxPending is Filter's bound where MaxPending is 0: 128 MiB, enough
// for 500,000 metrics that come at regular intervals, however many of their
// points are pending, or for five million points that come at no interval.
const DefaultMaxPending = 128 << 20

// MaxRequired bounds Filter's Required.
const MaxRequired = 127

// Verdict is the judgement of a point.
type Verdict uint8

const (
	// New: not seen before. The point is reserved for the caller, who must
	// end that by Kept or Release, once.
	New Verdict = iota
	// Duplicate: equal to the metric's mark, to a point that is pending, or to
	// an earlier point of the same call.
	Duplicate
	// Late: older than the metric's mark.
	Late
	// InFlight: equal to a point that another call has reserved. Whether it is
	// a duplicate shows once that call's request is stored or refused: use Wait,
	// then judge the point again.
	InFlight

	twin // within Judge: equal to an earlier point of the same call
)

// String returns the verdict in lower case.
func (v Verdict) String() string {
	switch v {
	case New:
		return "new"
	case Duplicate:
		return "duplicate"
	case Late:
		return "late"
	case InFlight:
		return "in flight"
	}
	return fmt.Sprintf("Verdict(%d)", uint8(v))
}

// Filter judges the points of requests, knows those that are accepted and not
// delivered yet, and raises the marks of its store as delivery proceeds. For
// each request the caller runs this loop:
//
//	for len(pts) > 0 {
//		err := f.Judge(ctx, pts, out) // reserves what is New
//		                              // error: nothing is reserved, nothing judged
//		store the New ones            // a queue's Append
//		f.Kept(new)                   // or, if that failed, f.Release(new)
//		pts = those InFlight
//		err = f.Wait(ctx, pts)        // then judge these again
//	}
//
// (a Reservation does the same for less) and each destination that is required
// calls Done once for every point that
// Kept named and once each time that Recover named one for it, when it has the
// point or gave it up on record. Destinations may do so in any order, from
// goroutines of their own, and before Kept. Nobody waits while holding a
// reservation, so nobody waits for ever.
//
// A mark rises to a point when every older point of its metric that was
// accepted is done, too, those merely reserved included. Equal to a mark is
// Duplicate, older is Late; a point newer than the mark is New, also when it is
// older than one that is pending.
//
// What is known of a metric is evicted, oldest points first, when MaxPending is
// reached: an evicted point may be delivered twice, but is never discarded, and
// its metric's mark does not pass it before it is done.
//
// The zero value is ready for use. Fields are read at the first call and must
// not change afterwards. Filter must not be copied; its methods may be called
// from several goroutines. In steady state they allocate nothing.
type Filter struct {
	// Store holds the marks; nil means a Memory of its own.
	Store Store
	// Now is the clock for Future; nil means time.Now.
	Now func() time.Time
	// Future is how far ahead of now a mark may be to count. A later one, say
	// of a host whose clock was wrong, is read as absent, or it would mute its
	// metric until then; it stays in the store, since marks never fall, so that
	// until then only pending points of the metric are recognised. 0 turns the
	// rule off. It must be at least what the inputs let through.
	Future time.Duration
	// LateDeliver makes late points New, so that they are delivered.
	LateDeliver bool
	// Required is how many destinations must call Done for each point that was
	// judged New before it counts as delivered; 0 or less means one. More than
	// MaxRequired is refused by Judge, and elsewhere taken as MaxRequired.
	Required int
	// MaxPending bounds the memory of pending points and of their metrics'
	// names, in bytes, roughly counted; 0 means DefaultMaxPending.
	MaxPending int64

	once   sync.Once
	seed   maphash.Seed
	memory *Memory // Store, if it is one
	shift  uint
	shards []shard
	calls  atomic.Uint32
	future atomic.Uint64
	unused sync.Pool // *scratch
}

// Stats is a snapshot of a Filter. The first five are gauges, the others count
// since the start.
type Stats struct {
	Reserved int64 // points judged New, neither kept nor released yet
	Pending  int64 // points kept and not done, as far as known
	Blocked  int64 // points done while an older one of their metric is not
	Metrics  int64 // metrics that have any of these, or a mark in Unraised, or are kept for reuse
	Unraised int64 // marks on their way to the store, or waiting for it
	Bytes    int64 // memory of the table, roughly; entries kept for reuse included

	Evicted      uint64 // points forgotten to make room
	EvictedMarks uint64 // unraised marks forgotten to make room
	FutureMarks  uint64 // times a mark was ignored for being too far ahead
}

func (f *Filter) init() {
	f.once.Do(func() {
		if f.Store == nil {
			f.Store = &Memory{}
		}
		if f.Now == nil {
			f.Now = time.Now
		}
		if f.MaxPending <= 0 {
			f.MaxPending = DefaultMaxPending
		}
		f.seed = maphash.MakeSeed()
		if m, ok := f.Store.(*Memory); ok {
			m.join()
			f.memory, f.seed = m, m.seed
		}
		bits := uint(0)
		if f.MaxPending >= 1<<20 {
			bits = shardBits()
		}
		n := 1 << bits
		f.shift = 64 - bits
		f.shards = make([]shard, n)
		for i := range f.shards {
			f.shards[i].memory = f.memory
			f.shards[i].budget = f.MaxPending / int64(n)
			f.shards[i].required = uint8(min(max(f.Required, 1), MaxRequired))
		}
		f.unused.New = func() any { return new(scratch) }
	})
}
