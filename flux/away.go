package flux

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/fluxmetrics/fluxkit/dedup"
)

// Away is what becomes of points while the dedup store does not answer. Those that come before anybody knows that it does
// not wait for it to fail, which one that hangs does after its own timeout.
type Away uint8

const (
	// AwayHold waits for it: an HTTP request for as long as DedupConfig.AwayWait, then it is answered 503; a carbon input
	// for as long as it takes. Nothing is accepted unjudged.
	AwayHold Away = iota
	// AwayDeliver accepts them without judging them, so that they may be delivered twice.
	AwayDeliver
	// AwayRefuse refuses them at once, with 503. A carbon input waits as with AwayHold, since nobody else has its points.
	AwayRefuse
)

// String returns what becomes of the points: "held", "delivered unjudged" or "refused".
func (a Away) String() string {
	switch a {
	case AwayHold:
		return "held"
	case AwayDeliver:
		return "delivered unjudged"
	case AwayRefuse:
		return "refused"
	}
	return "unknown"
}

// absence is a time in which the dedup store does not answer.
type absence struct {
	since time.Time
	ended chan struct{} // closed when the store answers again
}

// presence is whether the dedup store answers. Who finds out that it does not says so, and nobody asks it from then on
// but watch, one question at a time: a store that hangs costs each caller its whole timeout.
type presence struct {
	gone    atomic.Pointer[absence] // nil: it answered when it was asked last
	doubt   chan struct{}           // holds one: wakes watch
	behind  atomic.Bool             // marks are raised by the ticker alone
	failing atomic.Bool             // the ticker could not raise them
}

// away is closed when the store answers again. It is nil as long as it does.
func (p *presence) away() <-chan struct{} {
	if a := p.gone.Load(); a != nil {
		return a.ended
	}
	return nil
}

// down tells that the store does not answer, or does not take marks.
func (p *presence) down() bool { return p.away() != nil || p.failing.Load() }

// lose notes that the store does not answer.
func (p *presence) lose(now time.Time) {
	p.gone.CompareAndSwap(nil, &absence{now, make(chan struct{})})
	p.suspect()
}

// suspect has watch find out.
func (p *presence) suspect() {
	select {
	case p.doubt <- struct{}{}:
	default:
	}
}

// found notes that the store answers, and returns since when it did not, zero if it did.
func (p *presence) found() time.Time {
	a := p.gone.Swap(nil)
	if a == nil {
		return time.Time{}
	}
	close(a.ended)
	return a.since
}

// watchStore asks the store, when there is doubt, until it answers, or ctx has ended.
func (d *door) watchStore(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.store.doubt:
		}
		for asked := false; !asked || d.store.away() != nil; asked = true {
			select {
			case <-ctx.Done():
				return
			case <-time.After(askEvery):
			}
			d.askAfter(ctx)
		}
	}
}

// askAfter asks whether the store answers, and notes it.
func (d *door) askAfter(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, d.awayWait)
	defer cancel()
	err := d.filter.Store.Last(limited, []dedup.Mark{{Metric: probe[0].Name}})
	switch {
	case ctx.Err() != nil:
	case err != nil:
		d.store.lose(d.now())
		d.complain(err)
	default:
		if since := d.store.found(); !since.IsZero() {
			d.log.Info("the dedup store answers again", "away", d.now().Sub(since).Round(time.Millisecond))
		}
	}
}

// complain logs, once a second, that the store does not answer.
func (d *door) complain(err error) {
	if everySecond(&d.warned, d.now) {
		d.log.Warn("the dedup store does not answer", "points_are", d.away.String(), "error", err)
	}
}
