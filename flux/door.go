package flux

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/flux/backfill"
	"github.com/fluxmetrics/fluxkit/graphite"
)

var (
	// ErrFull is wrapped by the error of an Ingest that found no room before its context ended, or whose points another
	// caller was waiting to find room for. None of its points was accepted.
	ErrFull = errors.New("flux: the destination's queue is full")
	// ErrTooBig is wrapped by the error for points that would not even fit in an empty queue.
	ErrTooBig = errors.New("flux: more points at once than the destination's queue can hold")
	// ErrClosed is wrapped by the error of a call on a server that was closed.
	ErrClosed = errors.New("flux: the server is closed")
	// ErrStore is wrapped by the error of an Ingest whose points could not be judged, because the dedup store did not
	// answer. None of them was accepted.
	ErrStore = errors.New("flux: the dedup store does not answer")
	// ErrSpool is wrapped, with the cause, by the error of an Ingest for which the disk of the spool failed. Points whose
	// verdict says Accepted or Duplicate all the same are pending, but are lost if the process ends before the disk works
	// again: send all of them once more, and those that are judged are recognised. The others were not accepted.
	ErrSpool = errors.New("flux: the spool's disk fails")
)

// Outcome is what became of a point at the door.
type Outcome uint8

const (
	// Accepted points are kept, and delivered or given up on record.
	Accepted Outcome = iota + 1
	// Duplicate points were delivered before, or are pending.
	Duplicate
	// Late points are older than their metric's mark and were discarded.
	Late
	// Rejected points broke a rule.
	Rejected
)

func (o Outcome) String() string {
	switch o {
	case Accepted:
		return "accepted"
	case Duplicate:
		return "duplicate"
	case Late:
		return "late"
	case Rejected:
		return "rejected"
	}
	return "unknown"
}

// Verdict is the outcome for one point and, for a rejected one, the rule that it broke as a short fixed label.
type Verdict struct {
	Outcome Outcome
	Reason  string
}

// door is where a point is judged, once, and where every point is counted.
type door struct {
	out       fanout
	filter    *dedup.Filter // nil: nothing is judged
	tracer    *tracer       // nil: nobody can ask
	lags      bool          // a pending point may not be on the disk yet
	now       func() time.Time
	log       *slog.Logger
	away      Away
	awayWait  time.Duration // see DedupConfig
	bypass    []string
	live      *backfill.Live // told of what is accepted; nil: nobody asks
	maxFuture time.Duration  // of judged points of carbon inputs; 0 or less: no bound

	received, accepted, duplicate, late, unjudged atomic.Uint64

	mu       sync.Mutex
	rejected map[string]uint64
	unread   map[string]uint64 // requests of which nobody knows how many points they held

	instant bool // the store answers at once
	store   presence

	turn   chan struct{}   // holds one: see reserve
	warned atomic.Int64    // when the store was complained of last, Unix nanoseconds
	life   context.Context // of raising marks
	opened chan struct{}   // closed once all destinations are open
	pool   sync.Pool       // *judging
}

// entry says how points came in.
type entry struct {
	judge  bool          // against the marks, unless the point is a fill
	carbon bool          // from an input whose timestamps are not bounded
	async  bool          // a later sync sees to it that the points are kept
	try    bool          // do not wait for room
	room   time.Duration // longest wait for room; 0: until the context ends
	hold   bool          // wait for the dedup store to come back: nobody else has the points
	fill   []bool        // of the points that are fills; nil: none
}

// admit judges the points and hands those that are new to the destinations. It waits, for room and for points that
// another caller is about to have kept, until ctx ends. The verdicts are valid until the judging is put back.
//
// On an error none of the points was accepted, save those that have a verdict that says so: see ErrSpool.
func (d *door) admit(ctx context.Context, pts []graphite.Point, e entry) (*judging, error) {
	d.received.Add(uint64(len(pts)))
	j, _ := d.pool.Get().(*judging)
	if j == nil {
		j = new(judging)
	}
	j.reset(len(pts))
	err := d.judge(ctx, j, pts, e)
	d.count(j.out, err)
	if d.tracer != nil && !j.told {
		d.tracer.judged(pts, j.out, err)
	}
	return j, err
}

// pass hands points that are not to be judged to the destinations, all or none.
func (d *door) pass(ctx context.Context, pts []graphite.Point, e entry) error {
	n := uint64(len(pts))
	d.received.Add(n)
	if d.tracer != nil {
		d.tracer.passed(pts, nil) // before they can be delivered
	}
	durable, err := d.send(ctx, pts, nil, e)
	if err != nil {
		if d.tracer != nil {
			d.tracer.takeBack(pts, nil)
			d.tracer.passed(pts, err)
		}
		d.reject(refusal(err), n)
		return err
	}
	d.accepted.Add(n)
	return d.commit(ctx, e, durable)
}

// withRoom is the context for waiting for room.
func (e entry) withRoom(ctx context.Context) (context.Context, context.CancelFunc) {
	if e.room > 0 {
		return context.WithTimeout(ctx, e.room)
	}
	return context.WithCancel(ctx)
}

// send hands points to the destinations, and tells whether they are kept without a commit.
func (d *door) send(ctx context.Context, pts []graphite.Point, tags []byte, e entry) (durable bool, err error) {
	if durable, err = d.give(ctx, pts, tags, e); err == nil {
		d.live.Note(pts)
	}
	return durable, err
}

// give is send that tells nobody.
func (d *door) give(ctx context.Context, pts []graphite.Point, tags []byte, e entry) (durable bool, err error) {
	if e.try {
		ctx = ended
	} else if e.room > 0 {
		if len(d.out.spooled) == 0 { // there is room nearly always, and a timer costs more than to look
			if durable, err = d.out.give(ended, pts, tags, e); !errors.Is(err, ErrFull) {
				return durable, err
			}
		}
		var cancel context.CancelFunc
		ctx, cancel = e.withRoom(ctx)
		defer cancel()
	}
	return d.out.give(ctx, pts, tags, e)
}

// commit waits until everything that was sent is kept, unless it is already or a later sync sees to it. It has as much
// time as there was for finding room.
func (d *door) commit(ctx context.Context, e entry, durable bool) error {
	if durable || e.async {
		return nil
	}
	if e.try {
		e.room = DefaultRoomWait
	}
	if e.room > 0 {
		var cancel context.CancelFunc
		ctx, cancel = e.withRoom(ctx)
		defer cancel()
	}
	return d.out.sync(ctx)
}

// count moves the counters by the verdicts. Points without one were refused by err.
func (d *door) count(out []Verdict, err error) {
	var accepted, duplicate, late uint64
	rejected := map[string]uint64(nil)
	for _, v := range out {
		reason := v.Reason
		switch v.Outcome {
		case Accepted:
			accepted++
			continue
		case Duplicate:
			duplicate++
			continue
		case Late:
			late++
			continue
		case Rejected:
		default:
			reason = refusal(err)
		}
		if rejected == nil {
			rejected = map[string]uint64{}
		}
		rejected[reason]++
	}
	d.accepted.Add(accepted)
	if duplicate+late > 0 { // each costs, as all requests add to the same
		d.duplicate.Add(duplicate)
		d.late.Add(late)
	}
	for reason, n := range rejected {
		d.reject(reason, n)
	}
}

// refuse counts points that were received and rejected before they could be judged.
func (d *door) refuse(reason string, n int) {
	if n == 0 {
		return
	}
	d.received.Add(uint64(n))
	d.reject(reason, uint64(n))
}

// refuseAll is refuse of points that are at hand.
func (d *door) refuseAll(pts []graphite.Point, reason string) {
	d.refuse(reason, len(pts))
	for i := range pts {
		d.traceRefused(pts[i].Name, reason)
	}
}

// refuseRequest counts a request that could not be read as points.
func (d *door) refuseRequest(reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.unread == nil {
		d.unread = map[string]uint64{}
	}
	d.unread[reason]++
}

// traceRefused is told the name of a point that refuse counts.
func (d *door) traceRefused(name []byte, reason string) {
	if d.tracer != nil {
		d.tracer.refused(name, reason)
	}
}

func (d *door) reject(reason string, n uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.rejected == nil {
		d.rejected = map[string]uint64{}
	}
	d.rejected[reason] += n
}

// refusal is the label for points that an error kept out.
func refusal(err error) string {
	switch {
	case errors.Is(err, ErrFull):
		return "full"
	case errors.Is(err, ErrTooBig):
		return "too_big"
	case errors.Is(err, ErrStore):
		return "store"
	case errors.Is(err, ErrSpool):
		return "spool"
	case errors.Is(err, ErrClosed):
		return "closed"
	}
	return "canceled"
}

func (d *door) stats() Stats {
	d.mu.Lock()
	rejected, unread := maps.Clone(d.rejected), maps.Clone(d.unread)
	d.mu.Unlock()
	if rejected == nil {
		rejected = map[string]uint64{}
	}
	return Stats{
		Received: d.received.Load(), Accepted: d.accepted.Load(), Duplicate: d.duplicate.Load(), Late: d.late.Load(),
		Unjudged: d.unjudged.Load(), StoreDown: d.store.down(), Rejected: rejected, Unread: unread,
	}
}
