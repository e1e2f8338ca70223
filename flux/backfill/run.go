package backfill

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/resample"
)

const (
	chunkPoints = 500
	chunkBytes  = 512 << 10
	pointBytes  = 32     // of a point beside its name, roughly
	maxCarry    = 10_000 // samples that a waiting job may keep
	pollMin     = 100 * time.Millisecond
	pollMax     = 10 * time.Second
	resendEvery = time.Minute // of a new metric's first point
)

// bin is a minute's value.
type bin struct {
	at     int64 // its beginning
	newest int64 // newest sample in it
	value  float64
}

// run brings a job forward, to its end if nothing fails. What it does can be broken off and begun again anywhere.
func (m *Manager) run(ctx context.Context, j *job) error {
	if err := m.decide(ctx, j); err != nil {
		return err
	}
	for {
		if err := m.deliver(ctx, j, j.frontier()); err != nil || j.next == len(j.URLs) {
			return err
		}
		if s := j.URLs[j.next]; s.Until >= j.lower() {
			a, err := m.fetch.fetch(ctx, s, j.HostType, j.Series)
			if err != nil {
				return fmt.Errorf("slice %d of %d: %w", j.next+1, len(j.URLs), err)
			}
			m.took(j, a)
			j.carry = merge(j.carry, a.samples)
		}
		j.next++
	}
}

// decide settles, once, from when on history is missing, and whether the metric exists.
func (m *Manager) decide(ctx context.Context, j *job) error {
	if j.Decided && j.Exists {
		return nil
	}
	ms, ok, err := m.cfg.Local.Last(ctx, j.Metric, j.Accepted)
	if err != nil {
		return err
	}
	m.set(func() {
		if !j.Decided && ok {
			j.Start = floorMinute(ms)
		}
		j.Decided, j.Exists = true, ok
	})
	return m.save(j)
}

// took counts an answer.
func (m *Manager) took(j *job, a answer) {
	m.set(func() {
		j.Fetched++
		j.Samples += int64(len(a.samples))
		j.Nulls += a.nulls
		if r := resample.Resolution(a.samples); r > 0 {
			j.ResolutionMS = r
		}
		if newest := fromMS(a.newest); newest.After(j.Newest) {
			j.Newest, j.NewestNull = newest, a.null
		}
	})
}

// clip is the part of samples, in the order of time, from lower to before cut.
func clip(samples []resample.Sample, lower, cut int64) []resample.Sample {
	for len(samples) > 0 && samples[0].Timestamp < lower {
		samples = samples[1:]
	}
	for len(samples) > 0 && samples[len(samples)-1].Timestamp >= cut {
		samples = samples[:len(samples)-1]
	}
	return samples
}

// merge merges samples in the order of time. Where both have one of the same time, that of the later slice counts, which
// is the finer one.
func merge(earlier, later []resample.Sample) []resample.Sample {
	if len(earlier) == 0 {
		return later
	}
	if len(later) == 0 {
		return earlier
	}
	out := make([]resample.Sample, 0, len(earlier)+len(later))
	i := 0
	for _, s := range later {
		for ; i < len(earlier) && earlier[i].Timestamp <= s.Timestamp; i++ {
			if earlier[i].Timestamp < s.Timestamp {
				out = append(out, earlier[i])
			}
		}
		out = append(out, s)
	}
	return append(out, earlier[i:]...)
}

// bins resamples samples per minute.
func (m *Manager) bins(samples []resample.Sample) ([]bin, error) {
	r, err := resample.New(resample.Options{Width: time.Minute, Aggregate: m.cfg.Aggregate})
	if err != nil {
		return nil, err
	}
	var out []bin
	var made []resample.Sample
	newest := int64(0)
	take := func() {
		for _, b := range made {
			out = append(out, bin{b.Timestamp, newest, b.Value})
		}
		made = made[:0]
	}
	for _, s := range samples {
		if made, err = r.Add(made, s); err != nil {
			return nil, err
		}
		take()
		newest = s.Timestamp
	}
	made = r.Flush(made)
	take()
	return out, nil
}

// deliver sends all minutes before the frontier, which is complete up to there.
func (m *Manager) deliver(ctx context.Context, j *job, frontier int64) error {
	j.carry = clip(j.carry, j.lower(), j.Cut)
	n := len(j.carry)
	for n > 0 && j.carry[n-1].Timestamp >= frontier {
		n--
	}
	bins, err := m.bins(j.carry[:n])
	if err != nil {
		return err
	}
	if !j.Exists && len(bins) > 0 {
		if err := m.create(ctx, j, bins[len(bins)-1]); err != nil {
			return err
		}
	}
	most := max(1, min(chunkPoints, chunkBytes/(len(j.Metric)+pointBytes)))
	for len(bins) > 0 {
		size := min(most, len(bins))
		if err := m.chunk(ctx, j, bins[:size]); err != nil {
			return err
		}
		bins = bins[size:]
	}
	j.carry = append([]resample.Sample(nil), j.carry[n:]...)
	if frontier != math.MaxInt64 && frontier > j.Done {
		m.set(func() { j.Done, j.fails, j.large = frontier, 0, 0 })
		return m.save(j)
	}
	return nil
}

// chunk delivers some minutes, raises the mark, and notes how far the job has come, in this order.
func (m *Manager) chunk(ctx context.Context, j *job, bins []bin) error {
	last := bins[len(bins)-1]
	kept, err := m.wanted(ctx, j, bins)
	if err != nil {
		return err
	}
	if len(kept) > 0 {
		if err := m.send(ctx, j, kept); err != nil {
			return err
		}
		if err := m.raise(ctx, j, kept[len(kept)-1]); err != nil {
			return err
		}
	}
	m.set(func() {
		j.fails, j.large = 0, 0
		j.Sent += int64(len(kept))
		j.Done = last.at + minute
	})
	return m.save(j)
}

// wanted leaves out the minutes that hold live points, and those that the local Graphite has if only the others are to
// be filled.
func (m *Manager) wanted(ctx context.Context, j *job, bins []bin) ([]bin, error) {
	var slots []Slot
	if j.Fill {
		var err error
		if slots, err = m.slots(ctx, j, bins); err != nil {
			return nil, err
		}
	}
	var kept []bin
	var live, full int64
	for i, b := range bins {
		switch {
		case slots != nil && slots[i] == Filled:
			full++
		case m.cfg.Live.has(j.Metric, b.at):
			live++
		default:
			kept = append(kept, b)
		}
	}
	m.set(func() { j.SkippedLive, j.SkippedFull = j.SkippedLive+live, j.SkippedFull+full })
	return kept, nil
}

func (m *Manager) slots(ctx context.Context, j *job, bins []bin) ([]Slot, error) {
	times := make([]int64, len(bins))
	for i, b := range bins {
		times[i] = b.at
	}
	slots, err := m.cfg.Local.Slots(ctx, j.Metric, times)
	if err == nil && len(slots) != len(times) {
		err = fmt.Errorf("backfill: Local.Slots told of %d slots where %d were asked for", len(slots), len(times))
	}
	return slots, err
}

// send gives minutes to the sink, and reads them back if that is asked for.
func (m *Manager) send(ctx context.Context, j *job, bins []bin) error {
	if err := m.rate.wait(ctx, len(bins)); err != nil {
		return err
	}
	name := []byte(j.Metric)
	pts := make([]graphite.Point, len(bins))
	for i, b := range bins {
		pts[i] = graphite.Point{Name: name, Timestamp: b.at, Value: b.value}
	}
	if err := m.cfg.Sink.Send(ctx, pts); err != nil {
		return err
	}
	if !m.cfg.Verify {
		return nil
	}
	seen, err := m.seen(ctx, j, bins, m.cfg.CreateWait)
	if err == nil && !seen {
		err = fmt.Errorf("backfill: minutes of %v to %v were sent and could not be read back within %v",
			fromMS(bins[0].at), fromMS(bins[len(bins)-1].at), m.cfg.CreateWait)
	}
	return err
}

// seen waits until the local Graphite shows the minutes: it asks at once, then ever more slowly.
func (m *Manager) seen(ctx context.Context, j *job, bins []bin, wait time.Duration) (bool, error) {
	end := m.cfg.Now().Add(wait)
	for pause := pollMin; ; pause = min(2*pause, pollMax) {
		slots, err := m.slots(ctx, j, bins)
		if err != nil {
			return false, err
		}
		all := true
		for _, s := range slots {
			all = all && (s == Filled || s == Outside)
		}
		if all {
			return true, nil
		}
		if left := end.Sub(m.cfg.Now()); left <= 0 {
			return false, nil
		} else if err := sleep(ctx, min(pause, left)); err != nil {
			return false, err
		}
	}
}

// create makes Carbon create a new metric: one point goes first, and nothing follows before it is seen. Carbon creates
// few metrics a minute and drops what came for the others, so it is sent again each minute.
func (m *Manager) create(ctx context.Context, j *job, first bin) error {
	note, end := "", m.cfg.Now().Add(m.cfg.CreateWait)
	if !m.cfg.Live.has(j.Metric, first.at) {
		point := []graphite.Point{{Name: []byte(j.Metric), Timestamp: first.at, Value: first.value}}
		for seen := false; !seen; {
			if err := m.cfg.Sink.Send(ctx, point); err != nil {
				return err
			}
			left := end.Sub(m.cfg.Now())
			var err error
			if seen, err = m.seen(ctx, j, []bin{first}, min(left, resendEvery)); err != nil {
				return err
			}
			if !seen && left <= resendEvery {
				note = fmt.Sprintf("the metric was new, and was not seen in the local Graphite within %v", m.cfg.CreateWait)
				m.cfg.Logger.Warn("a new metric was not seen in the local Graphite; the job goes on", "metric", j.Metric, "waited", m.cfg.CreateWait)
				break
			}
		}
	}
	m.set(func() { j.Exists, j.Note = true, note })
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
