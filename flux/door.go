package flux

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fluxmetrics/fluxkit/dedup"
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
	dest      destination
	filter    *dedup.Filter // nil: nothing is judged
	now       func() time.Time
	log       *slog.Logger
	maxFuture time.Duration // of judged points of carbon inputs; 0 or less: no bound

	received, accepted, duplicate, late atomic.Uint64

	mu       sync.Mutex
	rejected map[string]uint64

	turn   chan struct{}   // holds one: see reserve
	warned atomic.Int64    // when the store was complained of last, Unix nanoseconds
	life   context.Context // of raising marks
	pool   sync.Pool       // *judging
	done   []dedup.Mark    // scratch of the destination's goroutine
}

// entry says how points came in.
type entry struct {
	judge  bool          // against the marks, unless the point is a fill
	carbon bool          // from an input whose timestamps are not bounded
	try    bool          // do not wait for room
	room   time.Duration // longest wait for room; 0: until the context ends
	hold   bool          // wait for the dedup store to come back: nobody else has the points
	fill   func(i int) bool
}

// judging is what judging a run of points needs.
type judging struct {
	marks    []dedup.Mark
	verdicts []dedup.Verdict
	index    []int // of the point in the run that marks[i] is about
	pts      []graphite.Point
	tags     []byte
	kept     []dedup.Mark
	waiting  []dedup.Mark
	out      []Verdict
}

// admit judges the points and hands those that are new to the destination. It waits, for room and for points that
// another caller is about to have kept, until ctx ends. The verdicts are valid until the judging is put back.
//
// On an error none of the points was accepted.
func (d *door) admit(ctx context.Context, pts []graphite.Point, e entry) (*judging, error) {
	d.received.Add(uint64(len(pts)))
	j, _ := d.pool.Get().(*judging)
	if j == nil {
		j = new(judging)
	}
	j.reset(len(pts))
	err := d.judge(ctx, j, pts, e)
	d.count(j.out, err)
	return j, err
}

// pass hands points that are not to be judged to the destination, all or none.
func (d *door) pass(ctx context.Context, pts []graphite.Point, e entry) error {
	n := uint64(len(pts))
	d.received.Add(n)
	err := d.send(ctx, pts, nil, e)
	if err != nil {
		d.reject(refusal(err), n)
		return err
	}
	d.accepted.Add(n)
	return nil
}

func (d *door) put(j *judging) {
	clear(j.marks[:cap(j.marks)])
	clear(j.kept[:cap(j.kept)])
	clear(j.waiting[:cap(j.waiting)])
	clear(j.pts[:cap(j.pts)])
	d.pool.Put(j)
}

func (j *judging) reset(n int) {
	j.out = append(j.out[:0], make([]Verdict, n)...)
	j.marks, j.index = j.marks[:0], j.index[:0]
	j.pts, j.tags, j.kept, j.waiting = j.pts[:0], j.tags[:0], j.kept[:0], j.waiting[:0]
}

func (d *door) judge(ctx context.Context, j *judging, pts []graphite.Point, e entry) error {
	if !e.judge || d.filter == nil {
		if err := d.send(ctx, pts, nil, e); err != nil {
			return err
		}
		for i := range j.out {
			j.out[i].Outcome = Accepted
		}
		return nil
	}
	limit := int64(0)
	if e.carbon && d.maxFuture > 0 {
		limit = d.now().Add(d.maxFuture).UnixMilli()
	}
	for i := range pts {
		switch {
		case e.fill != nil && e.fill(i):
			j.take(pts[i], i, 0)
		case limit != 0 && pts[i].Timestamp > limit:
			j.out[i] = Verdict{Rejected, "in_future"}
		default:
			j.marks = append(j.marks, dedup.Mark{Metric: pts[i].Name, Timestamp: pts[i].Timestamp, Value: pts[i].Value})
			j.index = append(j.index, i)
		}
	}
	if err := d.reserve(ctx, j, e); err != nil {
		return err
	}
	for k, m := range j.marks {
		i := j.index[k]
		switch j.verdicts[k] {
		case dedup.New:
			j.take(pts[i], i, tagJudged)
			j.kept = append(j.kept, m)
		case dedup.Duplicate:
			j.out[i].Outcome = Duplicate
		case dedup.Late:
			j.out[i].Outcome = Late
		}
	}
	if len(j.pts) == 0 {
		return nil
	}
	if err := d.send(ctx, j.pts, j.tags, e); err != nil {
		d.filter.Release(j.kept)
		clear(j.out)
		return err
	}
	d.filter.Kept(j.kept)
	return nil
}

// reserve has the filter judge j.marks until none of them is in flight, which is what it says of a point that another
// caller has reserved and may fail to get kept. Meanwhile nothing is reserved here, so that nobody waits for somebody
// who waits. Of several callers who met such points one at a time tries again, so that they do not meet for ever.
func (d *door) reserve(ctx context.Context, j *judging, e entry) error {
	if len(j.marks) == 0 {
		return nil
	}
	if cap(j.verdicts) < len(j.marks) {
		j.verdicts = make([]dedup.Verdict, len(j.marks))
	}
	j.verdicts = j.verdicts[:len(j.marks)]
	var room context.Context
	for {
		if err := d.ask(ctx, j, e); err != nil {
			return err
		}
		inFlight := j.split()
		if len(inFlight) == 0 {
			return nil
		}
		d.filter.Release(j.kept)
		j.kept = j.kept[:0]
		if e.try {
			return fmt.Errorf("%w: another sender of the same points waits for room", ErrFull)
		}
		if room == nil {
			var cancel context.CancelFunc
			room, cancel = e.withRoom(ctx)
			defer cancel()
			select {
			case d.turn <- struct{}{}:
				defer func() { <-d.turn }()
			case <-room.Done():
				return fmt.Errorf("%w: other senders of the same points wait for room: %w", ErrFull, room.Err())
			}
		}
		if err := d.filter.Wait(room, inFlight); err != nil {
			return fmt.Errorf("%w: another sender of the same points waits for room: %w", ErrFull, err)
		}
	}
}

// split lists the marks that were judged new in j.kept, and returns those in flight.
func (j *judging) split() []dedup.Mark {
	j.kept, j.waiting = j.kept[:0], j.waiting[:0]
	for k, m := range j.marks {
		switch j.verdicts[k] {
		case dedup.New:
			j.kept = append(j.kept, m)
		case dedup.InFlight:
			j.waiting = append(j.waiting, m)
		}
	}
	if len(j.waiting) == 0 {
		j.kept = j.kept[:0]
	}
	return j.waiting
}

// ask has the filter judge j.marks.
func (d *door) ask(ctx context.Context, j *judging, e entry) error {
	for {
		err := d.filter.Judge(ctx, j.marks, j.verdicts)
		if !errors.Is(err, dedup.ErrUnavailable) {
			return err
		}
		if now := d.now().UnixNano(); now-d.warned.Swap(now) >= int64(time.Second) {
			d.log.Warn("points cannot be judged: the dedup store does not answer", "held", e.hold, "points", len(j.marks), "error", err)
		}
		if !e.hold {
			return fmt.Errorf("%w: %w", ErrStore, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrStore, err)
		case <-time.After(retryEvery):
		}
	}
}

// withRoom is the context for waiting for room.
func (e entry) withRoom(ctx context.Context) (context.Context, context.CancelFunc) {
	if e.room > 0 {
		return context.WithTimeout(ctx, e.room)
	}
	return context.WithCancel(ctx)
}

// send hands points to the destination.
func (d *door) send(ctx context.Context, pts []graphite.Point, tags []byte, e entry) error {
	if e.try || e.room > 0 {
		var cancel context.CancelFunc
		ctx, cancel = e.withRoom(ctx)
		defer cancel()
		if e.try {
			cancel()
		}
	}
	return d.dest.send(ctx, pts, tags)
}

// take adds a point to those that are to be sent.
func (j *judging) take(p graphite.Point, i int, tag byte) {
	j.pts = append(j.pts, p)
	j.tags = append(j.tags, tag)
	j.out[i].Outcome = Accepted
}

// settled is told of points that have left the destination's queue. Their marks may rise now.
func (d *door) settled(pts []graphite.Point, tags []byte) {
	marks := d.done[:0]
	for i := range pts {
		if tags[i]&tagJudged != 0 {
			marks = append(marks, dedup.Mark{Metric: pts[i].Name, Timestamp: pts[i].Timestamp, Value: pts[i].Value})
		}
	}
	if len(marks) > 0 {
		// The filter remembers what the store did not take, and the server's ticker tries again.
		_ = d.filter.Done(d.life, marks)
	}
	clear(marks)
	d.done = marks
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
	d.duplicate.Add(duplicate)
	d.late.Add(late)
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
	case errors.Is(err, ErrClosed):
		return "closed"
	}
	return "canceled"
}

func (d *door) stats() Stats {
	d.mu.Lock()
	rejected := maps.Clone(d.rejected)
	d.mu.Unlock()
	if rejected == nil {
		rejected = map[string]uint64{}
	}
	return Stats{
		Received: d.received.Load(), Accepted: d.accepted.Load(), Duplicate: d.duplicate.Load(), Late: d.late.Load(),
		Rejected: rejected,
	}
}
