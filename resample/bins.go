package resample

import (
	"cmp"
	"slices"
)

// Bins resamples all of samples at once and returns the bins in the order of time. The samples may stand in any order;
// they are left as they are. An error wraps ErrOptions or ErrGap.
func Bins(samples []Sample, o Options) ([]Sample, error) {
	r, err := New(o)
	if err != nil {
		return nil, err
	}
	older := func(a, b Sample) int { return cmp.Compare(a.Timestamp, b.Timestamp) }
	if !slices.IsSortedFunc(samples, older) {
		samples = slices.Clone(samples)
		slices.SortStableFunc(samples, older)
	}
	out := make([]Sample, 0, r.room(samples))
	for len(samples) > 0 {
		if out, err = r.Add(out, samples[0]); err != nil {
			return nil, err
		}
		n := 1
		if r.open {
			n += r.bin.run(samples[1:], r.end)
			r.last = samples[n-1].Timestamp
		}
		samples = samples[n:]
	}
	return r.Flush(out), nil
}

// room is the most bins that the samples, which are in order, can fall in.
func (r *Resampler) room(samples []Sample) int {
	if len(samples) == 0 {
		return 0
	}
	span := r.number(samples[len(samples)-1].Timestamp) - r.number(samples[0].Timestamp)
	return int(min(uint64(span)+1, uint64(len(samples))))
}

// run adds the samples up to the timestamp end, in the order of time, and returns how many they are.
func (b *bin) run(samples []Sample, end int64) int {
	if b.aggregate != Mean && b.aggregate != Sum {
		for i, s := range samples {
			if s.Timestamp > end {
				return i
			}
			if finite(s.Value) {
				b.add(s.Value)
			}
		}
		return len(samples)
	}
	acc, lost, n, i := b.acc, b.lost, b.n, 0
	for ; i < len(samples); i++ {
		s := samples[i]
		if s.Timestamp > end {
			break
		}
		if !finite(s.Value) {
			continue
		}
		y := s.Value - lost
		t := acc + y
		lost = t - acc - y
		if lost != lost {
			lost = 0
		}
		acc = t
		n++
	}
	b.acc, b.lost, b.n = acc, lost, n
	return i
}
