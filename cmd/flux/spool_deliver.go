package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/fluxmetrics/fluxkit/internal/deadletter"
)

const (
	deliverPoints = 20_000  // that are delivered before the next are read
	deliverBytes  = 8 << 20 // of names, likewise
	sendPoints    = 1000    // handed to the target at once
	sendBytes     = 1 << 20 // of names, likewise
)

// fate is what has become of a point.
type fate uint8

const (
	fateOpen fate = iota // neither of the others: it may have arrived, or not
	fateDelivered
	fateRefused
)

// deliverer delivers points and accounts for each.
type deliverer struct {
	target  *target
	timeout time.Duration // without a point settled

	delivered, refused int64
	reasons            map[string]*refusal

	mu     sync.Mutex // the target's goroutine settles
	points []deadletter.Entry
	fates  []fate
	open   map[pointKey][]int
	idle   *time.Timer
}

// refusal counts the points that were refused for one reason.
type refusal struct {
	points  int64
	example string
}

// pointKey is what a target knows a point by: those that are alike are sent as the same, to the same place.
type pointKey struct {
	tenant    string // to write to
	name      string
	timestamp int64
	value     uint64
	ttl       time.Duration
	unit      string
}

// valueBits makes a value comparable.
func valueBits(v float64) uint64 {
	if math.IsNaN(v) {
		v = math.NaN()
	}
	return math.Float64bits(v)
}

func newDeliverer(o *targetOptions, timeout time.Duration, stderr io.Writer) (*deliverer, error) {
	d := &deliverer{timeout: timeout, reasons: map[string]*refusal{}, open: map[pointKey][]int{}}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	var err error
	d.target, err = o.open(log, d.settle)
	return d, err
}

// settle is the target's settler. Of points that are alike it does not matter which is meant.
func (d *deliverer) settle(k pointKey, reason, detail string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	alike := d.open[k]
	if len(alike) == 0 {
		return
	}
	d.idle.Reset(d.timeout)
	i := alike[0]
	d.open[k] = alike[1:]
	if reason == "" {
		d.fates[i] = fateDelivered
		return
	}
	d.fates[i] = fateRefused
	p := &d.points[i]
	p.Reason, p.Detail, p.At = reason, detail, time.Now()
}

// deliver returns once each of the points was delivered or refused; then a refused one has the new reason. An error
// leaves some open, and ends the target's work.
func (d *deliverer) deliver(ctx context.Context, points []deadletter.Entry) ([]fate, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d.mu.Lock()
	d.points, d.fates = points, make([]fate, len(points))
	clear(d.open)
	for i := range points {
		k := d.target.key(&points[i])
		d.open[k] = append(d.open[k], i)
	}
	d.idle = time.AfterFunc(d.timeout, func() { cancel(errNoProgress) })
	d.mu.Unlock()
	defer d.idle.Stop()
	err := d.send(ctx, points)
	if err == nil {
		err = d.target.flush(ctx)
	}
	if err != nil {
		err = d.explain(ctx, err)
		cancel(err)
		d.target.close(ctx) // at once
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count()
	if err == nil && slices.Contains(d.fates, fateOpen) {
		err = fmt.Errorf("%s: a point was neither delivered nor refused", d.target.name)
	}
	return d.fates, err
}

var errNoProgress = errors.New("no point was delivered")

// explain puts an error of the target in terms of the command.
func (d *deliverer) explain(ctx context.Context, err error) error {
	switch {
	case errors.Is(context.Cause(ctx), errNoProgress):
		why := d.target.why()
		if why == "" {
			why = "it took the points and did not confirm them"
		}
		return fmt.Errorf("%s: %w for %v: %s", d.target.name, errNoProgress, d.timeout, why)
	case ctx.Err() != nil:
		return errStopped
	}
	return err
}

// send hands the points to the target.
func (d *deliverer) send(ctx context.Context, points []deadletter.Entry) error {
	for len(points) > 0 {
		n, size := 0, 0
		for n < len(points) && n < sendPoints && size < sendBytes {
			size += len(points[n].Name)
			n++
		}
		if err := d.target.send(ctx, points[:n]); err != nil {
			return err
		}
		points = points[n:]
	}
	return nil
}

// count adds up what became of the points.
func (d *deliverer) count() {
	for i, f := range d.fates {
		switch f {
		case fateDelivered:
			d.delivered++
		case fateRefused:
			d.refused++
			p := &d.points[i]
			r := d.reasons[p.Reason]
			if r == nil {
				r = &refusal{example: fmt.Sprintf("%.200q: %.200s", p.Name, p.Detail)}
				d.reasons[p.Reason] = r
			}
			r.points++
		}
	}
}

// close ends the target.
func (d *deliverer) close() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // all that was sent is settled, or left where it came from
	d.target.close(ctx)
}

// tell says why points were refused.
func (d *deliverer) tell(stderr io.Writer) {
	var names []string
	for name := range d.reasons {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		r := d.reasons[name]
		fmt.Fprintf(stderr, "refused: %s: %s, such as %s\n", name, counted(r.points, "point"), r.example)
	}
}

// batch gathers points until there are enough to deliver.
type batch struct {
	points []deadletter.Entry
	size   int
}

// add reports whether the batch is full.
func (b *batch) add(e deadletter.Entry) (full bool) {
	e.Name = slices.Clone(e.Name)
	b.points = append(b.points, e)
	b.size += len(e.Name)
	return len(b.points) >= deliverPoints || b.size >= deliverBytes
}

func (b *batch) reset() { b.points, b.size = b.points[:0], 0 }
