package resample

import (
	"fmt"
	"math"
)

// Resampler resamples samples that come in the order of their timestamps. It is not for several goroutines at once.
type Resampler struct {
	o     Options
	width int64 // milliseconds
	bin   bin
	open  bool  // bin holds a sample
	at    int64 // number of the open bin, or of the last one: its left edge is at*width
	end   int64 // the newest timestamp that lies in it
	begun bool
	last  int64 // timestamp of the newest sample
	value float64
}

// New returns a Resampler. An error wraps ErrOptions.
func New(o Options) (*Resampler, error) {
	o, err := o.check()
	if err != nil {
		return nil, err
	}
	return &Resampler{o: o, width: o.Width.Milliseconds(), bin: bin{aggregate: o.Aggregate}}, nil
}

// Add takes the next sample and appends to dst the bins that are complete now: those before the sample's own. On an
// error, which wraps ErrOrder or ErrGap, the sample is not taken and dst is returned as it was.
func (r *Resampler) Add(dst []Sample, s Sample) ([]Sample, error) {
	if !finite(s.Value) {
		return dst, nil
	}
	if r.open && s.Timestamp >= r.last && s.Timestamp <= r.end { // as nearly all are
		r.last = s.Timestamp
		r.bin.add(s.Value)
		return dst, nil
	}
	if r.begun && s.Timestamp < r.last {
		return dst, fmt.Errorf("%w: %d after %d", ErrOrder, s.Timestamp, r.last)
	}
	at := r.number(s.Timestamp)
	if r.begun && at != r.at {
		if r.o.Empty != Omit && at-r.at-1 > r.o.MaxEmpty {
			return dst, fmt.Errorf("%w: %d bins of %v from %d to %d, at most %d (Options.MaxEmpty)", ErrGap, at-r.at-1, r.o.Width, r.last, s.Timestamp, r.o.MaxEmpty)
		}
		dst = r.close(dst)
		dst = r.fill(dst, at)
	}
	r.begun, r.open, r.at, r.last = true, true, at, s.Timestamp
	r.end = r.newest(at)
	r.bin.add(s.Value)
	return dst, nil
}

// Flush appends the bin that the newest sample lies in, complete or not. Further samples of the same bin begin it anew.
func (r *Resampler) Flush(dst []Sample) []Sample { return r.close(dst) }

// Reset forgets all samples and keeps the memory.
func (r *Resampler) Reset() {
	r.bin.reset()
	r.open, r.begun = false, false
}

// number is the number of the bin that ts lies in.
func (r *Resampler) number(ts int64) int64 {
	if r.o.Closed == Right && ts != math.MinInt64 {
		ts--
	}
	n := ts / r.width
	if ts%r.width < 0 {
		n--
	}
	return n
}

// newest is the last timestamp that lies in bin n.
func (r *Resampler) newest(n int64) int64 {
	end := n*r.width + r.width // may wrap around at the end of time
	if r.o.Closed == Left {
		end--
	}
	if n >= 0 && end < 0 {
		return math.MaxInt64
	}
	return end
}

// stamp is the timestamp of bin n.
func (r *Resampler) stamp(n int64) int64 {
	if r.o.Label == Right {
		n++
	}
	return n * r.width
}

func (r *Resampler) close(dst []Sample) []Sample {
	if !r.open {
		return dst
	}
	r.value = r.bin.value()
	r.bin.reset()
	r.open = false
	return append(dst, Sample{r.stamp(r.at), r.value})
}

// fill appends the empty bins before bin n.
func (r *Resampler) fill(dst []Sample, n int64) []Sample {
	var v float64
	switch r.o.Empty {
	case Omit:
		return dst
	case NaN:
		v = nan
	case Previous:
		v = r.value
	}
	for at := r.at + 1; at < n; at++ {
		dst = append(dst, Sample{r.stamp(at), v})
	}
	return dst
}
