package backfill

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/graphite"
)

// restoreRounds bounds how often live points are sent once more after a chunk; what is left then follows the next one.
const restoreRounds = 100

// wanted are the minutes of a chunk that are to be sent, and how many of the others there are.
type wanted struct {
	free                          []bin
	again, live, filled, overflow int64 // of free, sent before; left to live points; in the local Graphite already; not finite
}

// finite reports whether the minute has a value that can be delivered: the sum of finite samples may not be finite.
func (b bin) finite() bool { return !math.IsNaN(b.value) && !math.IsInf(b.value, 0) }

// lastFinite is the index of the newest such bin, -1 for none.
func lastFinite(bins []bin) int {
	i := len(bins) - 1
	for i >= 0 && !bins[i].finite() {
		i--
	}
	return i
}

// chunk delivers some minutes, raises the mark, and notes how far the job has come, in this order.
func (m *Manager) chunk(ctx context.Context, j *job, bins []bin) error {
	if err := m.tidy(j); err != nil {
		return err
	}
	w, err := m.want(ctx, j, bins)
	if err != nil {
		return err
	}
	if len(w.free) > 0 {
		if err := m.send(ctx, j, w.free); err != nil {
			return err
		}
	}
	j.sent = &sentChunk{wanted: w, through: bins[len(bins)-1].at + minute}
	if m.cfg.Verify && len(w.free) > 0 {
		j.sent.unseen = &unseen{bins: w.free, end: m.cfg.Now().Add(m.cfg.CreateWait), pause: pollMin}
	}
	return m.confirm(ctx, j)
}

// sentChunk is a chunk that was sent.
type sentChunk struct {
	wanted
	through int64
	unseen  *unseen // what is to be read back; nil: nothing
}

// confirm does what follows once a chunk was sent. After an error it is sent again, save while nobody tells whether it is
// there.
func (m *Manager) confirm(ctx context.Context, j *job) error {
	c := j.sent
	if c.unseen != nil {
		if err := m.readBack(ctx, j, c.unseen); err != nil {
			if errors.Is(err, errUnseen) {
				j.sent = nil
			}
			return err
		}
	}
	j.sent = nil
	if err := m.restore(ctx, j); err != nil {
		return err
	}
	if len(c.free) > 0 {
		if err := m.raise(ctx, j, c.free[len(c.free)-1]); err != nil {
			return err
		}
	}
	sent := int64(len(c.free))
	m.set(func() {
		j.fails, j.large = 0, 0
		j.Sent, j.Resent = j.Sent+sent, j.Resent+c.again
		j.SkippedLive, j.SkippedFull, j.Overflows = j.SkippedLive+c.live, j.SkippedFull+c.filled, j.Overflows+c.overflow
		j.Done = c.through
	})
	m.count.sent.Add(uint64(sent))
	m.count.resent.Add(uint64(c.again))
	return m.progress(j)
}

// want leaves out the minutes that hold live points, those that the local Graphite has if only the others are to be
// filled, and those without a finite value.
func (m *Manager) want(ctx context.Context, j *job, bins []bin) (w wanted, err error) {
	var slots []Slot
	if j.Fill {
		if slots, err = m.slots(ctx, j, bins); err != nil {
			return w, err
		}
	}
	empty := make([]bin, 0, len(bins))
	for i, b := range bins {
		switch {
		case !b.finite():
			w.overflow++
		case slots != nil && slots[i].State == Filled:
			w.filled++
		default:
			empty = append(empty, b)
		}
	}
	w.free, w.again, err = j.live.claim(empty, j.from())
	w.live = int64(len(empty) - len(w.free))
	return w, err
}

// restore sends live points once more that were accepted for minutes which the job has sent: history that was on its way
// may have been written over them.
func (m *Manager) restore(ctx context.Context, j *job) error {
	m.forgotten(j)
	name := []byte(j.Metric)
	for range restoreRounds {
		points, dropped := j.live.kept(m.most(j))
		if len(points) == 0 {
			return nil
		}
		if err := m.rate.wait(ctx, len(points)); err != nil {
			return err
		}
		pts := make([]graphite.Point, len(points))
		for i, p := range points {
			pts[i] = graphite.Point{Name: name, Timestamp: p.at, Value: p.value}
		}
		if err := m.cfg.Sink.Send(ctx, pts); err != nil {
			return err
		}
		if err := j.live.restored(len(points), dropped); err != nil {
			return err
		}
		m.set(func() { j.Restored += int64(len(points)) })
		m.count.restored.Add(uint64(len(points)))
	}
	return nil
}

// forgotten tells of live points that are no longer protected, since there were too many.
func (m *Manager) forgotten(j *job) {
	n := j.live.forgotten() - j.forgot
	if n == 0 {
		return
	}
	first := j.LiveForgot == 0
	j.forgot += n
	m.set(func() { j.LiveForgot += n })
	m.count.forgotten.Add(uint64(n))
	if first {
		m.note(j, "more live points came than are remembered: history may stand in the place of the oldest of them (live_forgotten)")
	}
}

// most is how many points a chunk of the job has at most.
func (m *Manager) most(j *job) int {
	return max(1, min(chunkPoints, chunkBytes/(len(j.Metric)+pointBytes)))
}

func (m *Manager) slots(ctx context.Context, j *job, bins []bin) ([]Slot, error) {
	times := make([]int64, len(bins))
	for i, b := range bins {
		times[i] = b.at
	}
	if m.cfg.Local == nil {
		return nil, errors.New("backfill: what is null is to be filled, and Config.Local, which tells it, is missing now")
	}
	slots, err := m.cfg.Local.Slots(ctx, j.Metric, times)
	if err == nil && len(slots) != len(times) {
		err = fmt.Errorf("backfill: Local.Slots told of %d slots where %d were asked for", len(slots), len(times))
	}
	return slots, err
}

// send gives minutes to the sink.
func (m *Manager) send(ctx context.Context, j *job, bins []bin) error {
	if err := m.rate.wait(ctx, len(bins)); err != nil {
		return err
	}
	name := []byte(j.Metric)
	pts := make([]graphite.Point, len(bins))
	for i, b := range bins {
		pts[i] = graphite.Point{Name: name, Timestamp: b.at, Value: b.value}
	}
	return m.cfg.Sink.Send(ctx, pts)
}

// unseen is what was sent and is to be seen in the local Graphite: it is asked at once, then ever more slowly.
type unseen struct {
	bins  []bin
	end   time.Time     // when nobody waits any more
	again time.Time     // when it is sent again; zero: not yet sent
	pause time.Duration // until it is looked for again
}

// next ends an attempt until it is time to look again.
func (u *unseen) next(left time.Duration) error {
	wait := min(u.pause, left)
	u.pause = min(2*u.pause, pollMax)
	return &pauseError{wait}
}

// seen reports whether the local Graphite shows the minutes; with values, whether it also shows what was sent for those
// that hold no live point, where an archive keeps it.
func (m *Manager) seen(ctx context.Context, j *job, bins []bin, values bool) (bool, error) {
	slots, err := m.slots(ctx, j, bins)
	if err != nil {
		return false, err
	}
	var live []int64 // once the answer is there: what it shows was noted before
	if values {
		live = j.live.known()
	}
	for i, s := range slots {
		switch {
		case s.State == Outside:
		case s.State != Filled:
			return false, nil
		case values && s.Exact && !equal(s.Value, bins[i].value) && !within(live, bins[i].at, bins[i].at+minute):
			return false, nil
		}
	}
	return true, nil
}

// equal reports whether two values are one, written and read with nine digits at least.
func equal(a, b float64) bool {
	return a == b || math.Abs(a-b) <= 1e-9*max(math.Abs(a), math.Abs(b))
}

// errUnseen is wrapped by the error for a chunk that is to be sent again.
var errUnseen = errors.New("backfill: what was sent could not be read back with its values")

// readBack returns once the minutes of a chunk are seen.
func (m *Manager) readBack(ctx context.Context, j *job, u *unseen) error {
	seen, err := m.seen(ctx, j, u.bins, true)
	if err != nil || seen {
		return err
	}
	if left := u.end.Sub(m.cfg.Now()); left > 0 {
		return u.next(left)
	}
	return fmt.Errorf("%w within %v: minutes of %v to %v",
		errUnseen, m.cfg.CreateWait, fromMS(u.bins[0].at), fromMS(u.bins[len(u.bins)-1].at))
}

// create makes Carbon create a new metric: one point goes first, and nothing follows before it is seen. Carbon creates
// few metrics a minute and drops what came for the others, so it is sent again each minute. Where a live point has come
// for the same minute, that one does it. Later attempts go on with the same point.
func (m *Manager) create(ctx context.Context, j *job, first bin) error {
	u := j.born
	if u == nil {
		u = &unseen{bins: []bin{first}, end: m.cfg.Now().Add(m.cfg.CreateWait)}
	}
	j.born = nil // where it cannot be sent it begins anew
	now := m.cfg.Now()
	if u.again.IsZero() || !now.Before(u.again) && now.Before(u.end) {
		if err := m.tidy(j); err != nil {
			return err
		}
		free, err := j.live.claimFirst(u.bins[0].at)
		if err != nil {
			return err
		}
		if free {
			if err := m.send(ctx, j, u.bins); err != nil {
				return err
			}
		}
		now = m.cfg.Now()
		u.again, u.pause = now.Add(resendEvery), pollMin
	}
	seen, err := m.seen(ctx, j, u.bins, false)
	if err != nil {
		j.born = u
		return err
	}
	note := ""
	if !seen {
		if left := u.end.Sub(m.cfg.Now()); left > 0 {
			j.born = u
			return u.next(min(left, max(0, u.again.Sub(m.cfg.Now()))))
		}
		note = fmt.Sprintf("the metric was new, and was not seen in the local Graphite within %v", m.cfg.CreateWait)
	}
	if note != "" {
		m.note(j, note)
	}
	m.set(func() { j.Exists = true })
	return m.save(j)
}

// raise raises the metric's mark to the newest sample of the minute, but not beyond the moment the job was accepted.
func (m *Manager) raise(ctx context.Context, j *job, last bin) error {
	mark := dedup.Mark{Metric: []byte(j.Metric), Timestamp: min(last.newest, j.Accepted.UnixMilli()), Value: last.value}
	if m.cfg.Marks != nil {
		if err := m.cfg.Marks.Raise(ctx, []dedup.Mark{mark}); err != nil {
			return err
		}
	}
	m.set(func() { j.Mark, j.Value = fromMS(mark.Timestamp), mark.Value })
	return nil
}
