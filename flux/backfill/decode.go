package backfill

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/fluxmetrics/fluxkit/resample"
)

// What can be wrong with an answer.
var (
	errTooLarge  = errors.New("the answer is too large")
	errMalformed = errors.New("the answer is not what was asked for")
	errSeries    = errors.New("series")
)

// maxListed is how many names of series an answer keeps, for a message.
const maxListed = 10

// limits bound an answer.
type limits struct {
	bytes  int64 // after decompression
	points int
	// Datapoints before low are passed over, and so are those from high on unless it is 0.
	low, high int64
}

// answer is what is taken of an answer.
type answer struct {
	samples []resample.Sample // of the series that are taken, in the order of time; all finite
	series  int               // series in the answer
	names   []string          // of the first of them
	taken   int               // series taken
	nulls   int64             // datapoints without a finite value
	newest  int64             // newest timestamp, whatever its value; none if there is no datapoint
	null    bool              // the newest datapoint has no finite value
	step    int64             // shortest time between two datapoints that follow each other; 0 where there are none
}

// decoder reads one answer.
type decoder struct {
	*scanner
	answer
	want   string
	points int // that may still come
	limit  int
	low    int64 // bounds of what is taken, as limits has them
	high   int64
	before int64          // time of the last datapoint
	onNull func(ms int64) // told of each datapoint without a value, if set
}

// decode reads an answer of a source. want is Request.Series.
func decode(r io.Reader, host HostType, want string, l limits) (answer, error) {
	d := decoder{scanner: newScanner(r, l.bytes), want: want, points: l.points, limit: l.points, low: l.low, high: l.high}
	d.newest = none
	read := d.graphite
	if host == Prometheus {
		read = d.prometheus
	}
	if err := read(); err != nil {
		return answer{}, err
	}
	if err := d.finish(); err != nil {
		return answer{}, err
	}
	return d.answer, d.choose()
}

// choose checks that what is taken is what was asked for, and brings it into order.
func (d *decoder) choose() error {
	if d.want == "" && d.series > 1 {
		return fmt.Errorf("%w: the answer has %d and the request names none, nor %q: %s", errSeries, d.series, AllSeries, strings.Join(d.names, ", "))
	}
	if d.want != "" && d.want != AllSeries && d.series > 0 && d.taken == 0 {
		return fmt.Errorf("%w: the answer has no %s, but %s", errSeries, quote(d.want), strings.Join(d.names, ", "))
	}
	byTime := func(a, b resample.Sample) int { return compare(a.Timestamp, b.Timestamp) }
	if !slices.IsSortedFunc(d.samples, byTime) {
		slices.SortStableFunc(d.samples, byTime)
	}
	if d.want != AllSeries { // one series has one value a time: the last that stands there
		d.samples = lastOfEach(d.samples)
	}
	return nil
}

// lastOfEach keeps, in place, the last of the samples of one time.
func lastOfEach(s []resample.Sample) []resample.Sample {
	n := 0
	for i, sample := range s {
		if i+1 < len(s) && s[i+1].Timestamp == sample.Timestamp {
			continue
		}
		s[n] = sample
		n++
	}
	return s[:n]
}

// end ends a series, whose samples begin at from.
func (d *decoder) end(name string, from int) {
	d.series++
	if len(d.names) < maxListed {
		d.names = append(d.names, quote(name))
	}
	if d.want == "" || d.want == AllSeries || d.want == name {
		d.taken++
		return
	}
	d.samples = d.samples[:from]
}

// add takes a datapoint.
func (d *decoder) add(ms int64, value float64) error {
	if d.points--; d.points < 0 {
		return fmt.Errorf("%w: more than %d datapoints", errTooLarge, d.limit)
	}
	if step := ms - d.before; step > 0 && (d.step == 0 || step < d.step) && d.before > 0 {
		d.step = step
	}
	d.before = ms
	if ms < d.low || d.high != 0 && ms >= d.high {
		return nil
	}
	finite := !math.IsNaN(value) && !math.IsInf(value, 0)
	if ms >= d.newest {
		d.newest, d.null = ms, !finite
	}
	if finite {
		d.samples = append(d.samples, resample.Sample{Timestamp: ms, Value: value})
		return nil
	}
	d.nulls++
	if d.onNull != nil {
		d.onNull(ms)
	}
	return nil
}

// timestamp reads seconds and returns milliseconds.
func (d *decoder) timestamp() (int64, error) {
	text, fraction, err := d.number()
	if err != nil {
		return 0, err
	}
	if !fraction && len(text) <= 12 && text[0] != '-' {
		n := int64(0)
		for _, c := range text {
			n = n*10 + int64(c-'0')
		}
		if n < maxTime/1000 {
			return n * second, nil
		}
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if ms := math.Round(f * 1000); err == nil && ms >= 0 && ms < maxTime {
		return int64(ms), nil
	}
	return 0, fmt.Errorf("%w: %s is no time in seconds", errMalformed, quote(text))
}

// graphite reads [{"target": "...", "datapoints": [[value, seconds], ...]}, ...].
func (d *decoder) graphite() error {
	return d.elements(func() error {
		from, name, seen := len(d.samples), "", 0
		err := d.members(func(member string) (err error) {
			switch member {
			case "target":
				seen++
				name, err = d.str()
			case "datapoints":
				seen += 10
				err = d.elements(d.graphitePoint)
			default:
				err = d.skip(0)
			}
			return err
		})
		if err == nil && seen != 11 {
			err = fmt.Errorf("%w: a series is to have one target and one list of datapoints", errMalformed)
		}
		d.end(name, from)
		return err
	})
}

// graphitePoint reads [value, seconds]. An infinite value is written 1e9999 or, as is NaN, by its name.
func (d *decoder) graphitePoint() error {
	if err := d.take('['); err != nil {
		return err
	}
	value := math.NaN()
	switch c := d.peek(); c {
	case 'n', 'N', 'I':
		if _, err := d.word("null", "NaN", "Infinity"); err != nil {
			return err
		}
	default:
		var err error
		if value, err = d.value(); err != nil {
			return err
		}
	}
	if err := d.take(','); err != nil {
		return err
	}
	ms, err := d.timestamp()
	if err != nil {
		return err
	}
	if err := d.take(']'); err != nil {
		return err
	}
	return d.add(ms, value)
}

// value reads a number. -Infinity is one here, as Python writes it.
func (d *decoder) value() (float64, error) {
	for len(d.buf)-d.pos < 2 && d.fill(d.pos) {
	}
	if len(d.buf)-d.pos >= 2 && d.buf[d.pos] == '-' && d.buf[d.pos+1] == 'I' {
		d.pos++
		_, err := d.word("Infinity")
		return math.Inf(-1), err
	}
	text, _, err := d.number()
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseFloat(string(text), 64)
	if err != nil && !math.IsInf(v, 0) {
		return 0, fmt.Errorf("%w: %s is no value", errMalformed, quote(text))
	}
	return v, nil
}
