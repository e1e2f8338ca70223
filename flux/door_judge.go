package flux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/graphite"
)

// judging is what judging a run of points needs.
type judging struct {
	marks    []dedup.Mark
	verdicts []dedup.Verdict
	index    []int // of the point in the run that marks[i] is about; empty where marks has them all
	pts      []graphite.Point
	tags     []byte
	judged   []byte // tags of points that are all judged
	res      dedup.Reservation
	waiting  []dedup.Mark
	out      []Verdict
	allNew   bool // all verdicts are dedup.New
	unjudged bool // the verdicts are by what is pending alone
	told     bool // the trace was, of the verdicts
}

func (d *door) put(j *judging) {
	clear(j.marks)
	clear(j.waiting[:cap(j.waiting)])
	clear(j.pts)
	d.pool.Put(j)
}

func (j *judging) reset(n int) {
	j.out = append(j.out[:0], make([]Verdict, n)...)
	j.marks, j.index = j.marks[:0], j.index[:0]
	j.allNew, j.unjudged, j.told = false, false, false
	j.pts, j.tags, j.waiting = j.pts[:0], j.tags[:0], j.waiting[:0]
}

func (d *door) judge(ctx context.Context, j *judging, pts []graphite.Point, e entry) error {
	if !e.judge || d.filter == nil {
		for i := range j.out {
			j.out[i].Outcome = Accepted
		}
		durable, err := d.sendTold(ctx, j, pts, pts, nil, e)
		if err != nil {
			return err
		}
		return d.commit(ctx, e, durable)
	}
	j.res.Filter = d.filter
	d.sort(j, pts, e)
	if err := d.reserve(ctx, j, e); err != nil {
		return err
	}
	news, tags, duplicates := j.settle(pts)
	durable := !d.lags || !duplicates
	if len(news) > 0 {
		kept, err := d.sendTold(ctx, j, pts, news, tags, e)
		if err != nil {
			j.res.Release()
			return err
		}
		n := j.res.Kept()
		if j.unjudged {
			d.unjudged.Add(uint64(n))
		}
		durable = durable && kept
	}
	return d.commit(ctx, e, durable)
}

// sendTold is send of some of pts, of whose verdicts it tells the trace before: they may be delivered at once. On an error
// it takes the verdicts back.
func (d *door) sendTold(ctx context.Context, j *judging, pts, send []graphite.Point, tags []byte, e entry) (durable bool, err error) {
	if d.tracer != nil {
		d.tracer.judged(pts, j.out, nil)
		j.told = true
	}
	if durable, err = d.send(ctx, send, tags, e); err != nil {
		if j.told {
			d.tracer.takeBack(pts, j.out)
			j.told = false
		}
		clear(j.out)
	}
	return durable, err
}

// sort lists in j.marks the points that the filter is to judge.
func (d *door) sort(j *judging, pts []graphite.Point, e entry) {
	limit := int64(0)
	if e.carbon && d.maxFuture > 0 {
		limit = d.now().Add(d.maxFuture).UnixMilli()
	}
	if e.fill == nil && limit == 0 && len(d.bypass) == 0 {
		marks := slices.Grow(j.marks, len(pts))[:len(pts)]
		for i := range pts {
			p, m := &pts[i], &marks[i] // member by member, which is three times as fast as a whole Mark
			m.Metric, m.Timestamp, m.Value = p.Name, p.Timestamp, p.Value
		}
		j.marks = marks
		return
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

// settle puts what the filter said in terms of the door. It returns the points to send, which are all of pts as a rule, and
// whether there are duplicates.
func (j *judging) settle(pts []graphite.Point) (send []graphite.Point, tags []byte, duplicates bool) {
	if j.allNew && len(j.marks) == len(pts) {
		for i := range j.out {
			j.out[i].Outcome = Accepted
		}
		if n := len(pts) - len(j.judged); n > 0 {
			j.judged = append(j.judged, bytes.Repeat([]byte{tagJudged}, n)...)
		}
		return pts, j.judged[:len(pts)], false
	}
	for k := range j.marks {
		i := k
		if len(j.index) > 0 {
			i = j.index[k]
		}
		switch j.verdicts[k] {
		case dedup.New:
			j.take(pts[i], i, tagJudged)
		case dedup.Duplicate:
			j.out[i].Outcome = Duplicate
			duplicates = true
		case dedup.Late:
			j.out[i].Outcome = Late
		}
	}
	return j.pts, j.tags, duplicates
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
		j.res.Release()
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

// split returns the marks that are in flight, and notes whether all are new.
func (j *judging) split() []dedup.Mark {
	j.waiting, j.allNew = j.waiting[:0], true
	for k, v := range j.verdicts {
		if v == dedup.New {
			continue
		}
		j.allNew = false
		if v == dedup.InFlight {
			j.waiting = append(j.waiting, j.marks[k])
		}
	}
	return j.waiting
}

// ask has the filter judge j.marks. While the store is away it does as DedupConfig.Away says: to deliver means that the
// filter judges by what is pending alone.
func (d *door) ask(ctx context.Context, j *judging, e entry) error {
	j.unjudged = false
	if d.instant {
		return j.res.Judge(ctx, j.marks, j.verdicts)
	}
	limited, cancel := ctx, func() {}
	if !e.hold || d.away == AwayDeliver {
		limited, cancel = context.WithTimeout(ctx, d.awayWait)
	}
	defer cancel()
	for {
		err, back := errGone, d.store.away()
		if back == nil {
			if err = d.askStore(ctx, limited, j); err == nil || errors.Is(ctx.Err(), context.Canceled) {
				return err
			}
			back = d.store.away()
		}
		d.complain(err)
		switch {
		case d.away == AwayDeliver:
			j.unjudged = true
			return j.res.JudgePending(j.marks, j.verdicts)
		case !e.hold && (e.try || d.away == AwayRefuse):
			return fmt.Errorf("%w: %w", ErrStore, err)
		}
		var again <-chan time.Time
		if back == nil { // it is back already, or the caller's own time is over
			again = time.After(askEvery)
		}
		select {
		case <-limited.Done():
			return fmt.Errorf("%w: %w", ErrStore, err)
		case <-back:
		case <-again:
		}
	}
}

// errGone is what a caller gets who need not ask.
var errGone = fmt.Errorf("it did not a moment ago: %w", dedup.ErrUnavailable)

// askStore has the filter judge j.marks by the store, for a caller whose own time may end before that of the store does.
func (d *door) askStore(ctx, limited context.Context, j *judging) error {
	err := j.res.Judge(limited, j.marks, j.verdicts)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		d.store.suspect() // all callers may be as impatient
	default:
		d.store.lose(d.now())
	}
	return err
}

// take adds a point to those that are to be sent.
func (j *judging) take(p graphite.Point, i int, tag byte) {
	j.pts = append(j.pts, p)
	j.tags = append(j.tags, tag)
	j.out[i].Outcome = Accepted
}
