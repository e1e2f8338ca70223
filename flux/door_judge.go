package flux

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/graphite"
)

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
		durable, err := d.send(ctx, pts, nil, e)
		if err != nil {
			return err
		}
		for i := range j.out {
			j.out[i].Outcome = Accepted
		}
		return d.commit(ctx, e, durable)
	}
	d.sort(j, pts, e)
	if err := d.reserve(ctx, j, e); err != nil {
		return err
	}
	duplicates := j.settle(pts)
	durable := !d.lags || !duplicates
	if len(j.pts) > 0 {
		kept, err := d.send(ctx, j.pts, j.tags, e)
		if err != nil {
			d.filter.Release(j.kept)
			clear(j.out)
			return err
		}
		d.filter.Kept(j.kept)
		durable = durable && kept
	}
	return d.commit(ctx, e, durable)
}

// sort lists in j.marks the points that the filter is to judge.
func (d *door) sort(j *judging, pts []graphite.Point, e entry) {
	limit := int64(0)
	if e.carbon && d.maxFuture > 0 {
		limit = d.now().Add(d.maxFuture).UnixMilli()
	}
	for i := range pts {
		switch {
		case e.fill != nil && e.fill[i]:
			j.take(pts[i], i, 0)
		case limit != 0 && pts[i].Timestamp > limit:
			j.out[i] = Verdict{Rejected, "in_future"}
		case len(d.bypass) > 0 && d.bypasses(pts[i].Name):
			j.take(pts[i], i, 0)
		default:
			j.marks = append(j.marks, dedup.Mark{Metric: pts[i].Name, Timestamp: pts[i].Timestamp, Value: pts[i].Value})
			j.index = append(j.index, i)
		}
	}
}

// bypasses reports whether the name stands under a prefix whose points are not judged.
func (d *door) bypasses(name []byte) bool {
	for _, prefix := range d.bypass {
		if n := len(prefix); len(name) >= n && string(name[:n]) == prefix && (len(name) == n || name[n] == '.' || name[n] == ';') {
			return true
		}
	}
	return false
}

// settle puts what the filter said in terms of the door, and tells whether there are duplicates.
func (j *judging) settle(pts []graphite.Point) (duplicates bool) {
	for k, m := range j.marks {
		i := j.index[k]
		switch j.verdicts[k] {
		case dedup.New:
			j.take(pts[i], i, tagJudged)
			j.kept = append(j.kept, m)
		case dedup.Duplicate:
			j.out[i].Outcome = Duplicate
			duplicates = true
		case dedup.Late:
			j.out[i].Outcome = Late
		}
	}
	return duplicates
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

// ask has the filter judge j.marks. While the store is away it does as DedupConfig.Away says: to deliver means that the
// filter judges by what is pending alone.
func (d *door) ask(ctx context.Context, j *judging, e entry) error {
	if d.instant {
		return d.filter.Judge(ctx, j.marks, j.verdicts)
	}
	limited := ctx
	if !e.hold {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, d.awayWait)
		defer cancel()
	}
	for {
		err := d.askStore(limited, j, e)
		if err == nil || errors.Is(ctx.Err(), context.Canceled) {
			return err
		}
		if everySecond(&d.warned, d.now) {
			d.log.Warn("points cannot be judged: the dedup store does not answer", "held", e.hold, "points", len(j.marks), "error", err)
		}
		switch {
		case d.away == AwayDeliver:
			return d.filter.JudgePending(j.marks, j.verdicts)
		case !e.hold && (e.try || d.away == AwayRefuse):
			return fmt.Errorf("%w: %w", ErrStore, err)
		}
		select {
		case <-limited.Done():
			return fmt.Errorf("%w: %w", ErrStore, err)
		case <-time.After(askEvery):
		}
	}
}

// errGone is what a caller that need not wait gets while another one finds out whether the store is back.
var errGone = fmt.Errorf("it did not a moment ago: %w", dedup.ErrUnavailable)

// askStore has the filter judge j.marks by the store. Once that was away, one caller at a time asks it, save for those
// who wait for it anyway: one that hangs must not hold up everybody.
func (d *door) askStore(ctx context.Context, j *judging, e entry) error {
	if d.gone.Load() && (e.try || d.away != AwayHold && !e.hold) {
		if !d.probing.CompareAndSwap(false, true) {
			return errGone
		}
		defer d.probing.Store(false)
	}
	err := d.filter.Judge(ctx, j.marks, j.verdicts)
	d.gone.Store(err != nil && !errors.Is(ctx.Err(), context.Canceled))
	return err
}

// take adds a point to those that are to be sent.
func (j *judging) take(p graphite.Point, i int, tag byte) {
	j.pts = append(j.pts, p)
	j.tags = append(j.tags, tag)
	j.out[i].Outcome = Accepted
}
