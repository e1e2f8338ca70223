package resample

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Sample is a value at a time. Timestamp is in Unix milliseconds.
type Sample struct {
	Timestamp int64
	Value     float64
}

// Aggregation makes one value of the samples of a bin.
type Aggregation uint8

// The aggregations. Of samples with the same timestamp, First and Last go by the order in which they were given.
const (
	Mean Aggregation = iota
	Sum
	Min
	Max
	First
	Last
	Median
	Count
)

var aggregations = [...]string{"mean", "sum", "min", "max", "first", "last", "median", "count"}

// String returns the name that ParseAggregation takes.
func (a Aggregation) String() string {
	if int(a) < len(aggregations) {
		return aggregations[a]
	}
	return fmt.Sprintf("Aggregation(%d)", a)
}

// ParseAggregation returns the aggregation of that name: mean, sum, min, max, first, last, median or count.
func ParseAggregation(name string) (Aggregation, error) {
	for i, s := range aggregations {
		if s == name {
			return Aggregation(i), nil
		}
	}
	return 0, fmt.Errorf("resample: aggregation %.40q is none of mean, sum, min, max, first, last, median, count", name)
}

// Side is a side of a bin.
type Side uint8

// The sides. A bin that is closed on the left holds a sample at its beginning, and the next bin has one at its end.
const (
	Left Side = iota
	Right
)

// Empty says what a bin without samples holds.
type Empty uint8

const (
	Omit     Empty = iota // there is no such bin
	NaN                   // not a number
	Zero                  // 0
	Previous              // the value of the bin before
)

// DefaultMaxEmpty is Options.MaxEmpty where that is 0.
const DefaultMaxEmpty = 1_000_000

// Options say how to resample. Only Width is required.
type Options struct {
	// Width of a bin, whole milliseconds.
	Width time.Duration
	// Aggregate is how a bin's samples become its value. Default Mean.
	Aggregate Aggregation
	// Closed is the side on which bins include their edge, Label the edge that gives them their timestamp. Default Left.
	Closed, Label Side
	// Empty is what bins without samples hold. Default Omit.
	Empty Empty
	// MaxEmpty bounds the empty bins in one gap that is filled: a single wrong timestamp would otherwise make millions.
	// 0 means DefaultMaxEmpty.
	MaxEmpty int64
}

var (
	// ErrOptions is wrapped by the error for options that cannot be used.
	ErrOptions = errors.New("resample: options")
	// ErrOrder is wrapped by the error for a sample that is older than the one before it.
	ErrOrder = errors.New("resample: sample out of order")
	// ErrGap is wrapped by the error for a gap of more than Options.MaxEmpty bins.
	ErrGap = errors.New("resample: gap too long to be filled")
)

func (o Options) check() (Options, error) {
	switch {
	case o.Width < time.Millisecond || o.Width%time.Millisecond != 0:
		return o, fmt.Errorf("%w: Width is %v, and must be whole milliseconds, at least one", ErrOptions, o.Width)
	case int(o.Aggregate) >= len(aggregations):
		return o, fmt.Errorf("%w: Aggregate is %v, which is none", ErrOptions, o.Aggregate)
	case o.Closed > Right || o.Label > Right:
		return o, fmt.Errorf("%w: Closed is %d and Label %d, and each must be Left or Right", ErrOptions, o.Closed, o.Label)
	case o.Empty > Previous:
		return o, fmt.Errorf("%w: Empty is %d, and must be Omit, NaN, Zero or Previous", ErrOptions, o.Empty)
	case o.MaxEmpty < 0:
		return o, fmt.Errorf("%w: MaxEmpty is %d, less than nothing", ErrOptions, o.MaxEmpty)
	}
	if o.MaxEmpty == 0 {
		o.MaxEmpty = DefaultMaxEmpty
	}
	return o, nil
}

func finite(v float64) bool { return v-v == 0 }

var nan = math.NaN()
