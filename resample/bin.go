package resample

import "slices"

// bin gathers the samples of one bin.
type bin struct {
	aggregate Aggregation
	n         int
	acc       float64   // what the aggregation keeps
	lost      float64   // what rounding has taken from acc so far
	all       []float64 // for the median
}

func (b *bin) reset() {
	b.n, b.acc, b.lost, b.all = 0, 0, 0, b.all[:0]
}

func (b *bin) add(v float64) {
	b.n++
	switch b.aggregate {
	case Mean, Sum: // Kahan's sum, as pandas has it
		y := v - b.lost
		t := b.acc + y
		b.lost = t - b.acc - y
		if b.lost != b.lost { // the sum is infinite
			b.lost = 0
		}
		b.acc = t
	case Min:
		if b.n == 1 || v < b.acc {
			b.acc = v
		}
	case Max:
		if b.n == 1 || v > b.acc {
			b.acc = v
		}
	case First:
		if b.n == 1 {
			b.acc = v
		}
	case Last:
		b.acc = v
	case Median:
		b.all = append(b.all, v)
	}
}

// value is the bin's, which holds at least one sample.
func (b *bin) value() float64 {
	switch b.aggregate {
	case Mean:
		return b.acc / float64(b.n)
	case Count:
		return float64(b.n)
	case Median:
		slices.Sort(b.all)
		mid := len(b.all) / 2
		if len(b.all)%2 == 1 {
			return b.all[mid]
		}
		return (b.all[mid-1] + b.all[mid]) / 2
	}
	return b.acc
}
