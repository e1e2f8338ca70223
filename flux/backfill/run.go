package backfill

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

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
	if err := m.resume(ctx, j); err != nil {
		return err
	}
	for {
		if j.at == none || len(j.carry) >= chunkPoints {
			if err := m.deliver(ctx, j, j.frontier()); err != nil {
				return err
			}
		}
		if j.next == len(j.URLs) {
			return m.restore(ctx, j)
		}
		if s := j.URLs[j.next]; s.Until < j.lower() {
			j.at = s.Until + 1
		} else if err := m.get(ctx, j); err != nil {
			return fmt.Errorf("slice %d of %d: %w", j.next+1, len(j.URLs), err)
		}
		if j.at > j.URLs[j.next].Until {
			j.next, j.at, j.span = j.next+1, none, 0
		}
	}
}

// resume goes on with what was waited for, or decides what is to be done.
func (m *Manager) resume(ctx context.Context, j *job) error {
	switch {
	case j.sent != nil:
		return m.confirm(ctx, j)
	case j.born != nil:
		return m.create(ctx, j, bin{})
	}
	return m.decide(ctx, j)
}

// get fetches the next piece of a slice, or has the next attempt ask for a shorter one where it is too large.
func (m *Manager) get(ctx context.Context, j *job) error {
	p := j.piece(m.cfg.Now())
	if p.empty {
		j.at = p.end
		return nil
	}
	if n, most := len(j.carry), m.fetch.cfg.MaxPoints; n > most {
		return &fetchError{Permanent: true, Err: fmt.Errorf(
			"%d samples wait for slices that begin no later than they do, at most %d may (FetchConfig.MaxPoints): ask for slices that overlap less", n, most)}
	}
	a, err := m.fetch.fetch(ctx, p.slice, j.HostType, j.Series)
	if f := (*fetchError)(nil); errors.As(err, &f) && f.TooLarge {
		if j.narrow(p) {
			return nil
		}
		return fmt.Errorf("%v to %v, which is not cut any further: %w", fromMS(p.begin), fromMS(p.end), err)
	}
	if err != nil {
		return err
	}
	m.took(j, a)
	j.take(p, a)
	m.aged(j, p, a)
	j.at, j.span = p.end, floorMinute(j.span*3/2) // slowly, lest every other answer be too large again
	return nil
}

// decide settles, once, from when on history is missing, and whether the metric exists. Live points that came since the
// job was accepted do not count, wherever they lie: what is older than they are is not there for that.
func (m *Manager) decide(ctx context.Context, j *job) error {
	if j.Decided && j.Exists {
		return nil
	}
	if m.cfg.Local == nil { // there may have been one when the job was accepted
		m.set(func() { j.Decided, j.Exists = true, true })
		return m.save(j)
	}
	ms, ok, err := m.cfg.Local.Last(ctx, j.Metric, j.Accepted, j.live.known)
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
	if i := lastFinite(bins); !j.Exists && i >= 0 {
		if err := m.create(ctx, j, bins[i]); err != nil {
			return err
		}
	}
	most := m.most(j)
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
		return m.progress(j)
	}
	return nil
}
