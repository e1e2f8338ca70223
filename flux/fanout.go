package flux

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/fluxmetrics/fluxkit/graphite"
)

// destination is one of the configuration: an outlet or, with tenants, several, of which each point has one.
type destination struct {
	first   int // index of outlets[0] among the fanout's
	outlets []*outlet
	rules   *tenantRules // nil: outlets[0] has all
}

// fanout gives every accepted point to all destinations.
type fanout struct {
	required, also []*destination
	outlets        []*outlet // of all, in the order of Stats
	direct         *outlet   // the only required one; nil when there are several
	spooled        []*outlet // the required ones that are kept on a disk
	pool           sync.Pool // *parcels

	gate   sync.RWMutex // held for reading while points are given to one required outlet after the other
	closed bool
}

// add takes in a destination, whose outlets are the newest of f.
func (f *fanout) add(d *destination, required bool) {
	if !required {
		f.also = append(f.also, d)
		return
	}
	f.required = append(f.required, d)
	for _, o := range d.outlets {
		if o.dir != "" {
			f.spooled = append(f.spooled, o)
		}
	}
	f.direct = nil
	if len(f.required) == 1 && len(d.outlets) == 1 {
		f.direct = d.outlets[0]
	}
}

// parcel is what one outlet gets of a run of points.
type parcel struct {
	outlet *outlet
	pts    []graphite.Point
	tags   []byte
}

// parcels is what sorting a run of points needs.
type parcels struct {
	list   []parcel
	shares []share // one an outlet
	held   []reservation
}

func (f *fanout) take() *parcels {
	p, _ := f.pool.Get().(*parcels)
	if p == nil {
		p = &parcels{}
	}
	return p
}

func (f *fanout) put(p *parcels) {
	for i := range p.shares {
		s := &p.shares[i]
		clear(s.pts)
		s.pts, s.tags = s.pts[:0], s.tags[:0]
	}
	clear(p.list)
	clear(p.held)
	p.list, p.held = p.list[:0], p.held[:0]
	f.pool.Put(p)
}

// pack sorts the points by the outlets of the destinations.
func (f *fanout) pack(p *parcels, to []*destination, pts []graphite.Point, tags []byte) {
	for _, d := range to {
		if d.rules == nil {
			p.list = append(p.list, parcel{d.outlets[0], pts, tags})
			continue
		}
		if p.shares == nil {
			p.shares = make([]share, len(f.outlets))
		}
		shares := p.shares[d.first:][:len(d.outlets)]
		d.rules.split(shares, pts, tags)
		for i, s := range shares {
			if len(s.pts) > 0 {
				p.list = append(p.list, parcel{d.outlets[i], s.pts, s.tags})
			}
		}
	}
}

// give hands the points to all required destinations or, on an error, to none, and then to the others. It waits for
// room until ctx ends. durable says that no sync is needed to have them kept.
func (f *fanout) give(ctx context.Context, pts []graphite.Point, tags []byte, e entry) (durable bool, err error) {
	if f.direct != nil {
		durable, err = f.direct.take(ctx, pts, tags, e.async)
	} else {
		durable, err = f.giveAll(ctx, pts, tags, e.async)
	}
	if err != nil || len(f.also) == 0 {
		return durable, err
	}
	p := f.take()
	defer f.put(p)
	f.pack(p, f.also, pts, nil)
	for _, q := range p.list {
		q.outlet.offer(q.pts, !e.try)
	}
	return durable, nil
}

// giveAll is give for several required outlets. Room is held in each of them, in the same order by all callers, before
// any is given a point.
func (f *fanout) giveAll(ctx context.Context, pts []graphite.Point, tags []byte, async bool) (durable bool, err error) {
	p := f.take()
	defer f.put(p)
	f.pack(p, f.required, pts, tags)
	if len(p.list) == 1 {
		return p.list[0].outlet.take(ctx, p.list[0].pts, p.list[0].tags, async)
	}
	for _, q := range p.list {
		r, err := q.outlet.client.reserve(ctx, q.pts, q.tags)
		if err != nil {
			p.cancel()
			return false, fmt.Errorf("%w: destination %s", err, q.outlet.name)
		}
		p.held = append(p.held, r)
	}
	f.gate.RLock()
	defer f.gate.RUnlock()
	if f.closed {
		p.cancel()
		return false, ErrClosed
	}
	for _, r := range p.held {
		err = errors.Join(err, r.Send())
	}
	return len(f.spooled) == 0, err
}

func (p *parcels) cancel() {
	for _, r := range p.held {
		r.Cancel()
	}
}

// sync returns once everything that was given to the required destinations before the call is kept. Its error wraps
// ErrSpool.
func (f *fanout) sync(ctx context.Context) error {
	if len(f.spooled) == 0 {
		return nil
	}
	errs := make([]error, len(f.spooled))
	var others sync.WaitGroup
	for i, o := range f.spooled[1:] {
		others.Go(func() { errs[i+1] = o.client.sync(ctx) })
	}
	errs[0] = f.spooled[0].client.sync(ctx)
	others.Wait()
	err := errors.Join(errs...)
	if err != nil && !errors.Is(err, ErrSpool) {
		err = fmt.Errorf("%w: %w", ErrSpool, err)
	}
	return err
}

// flush returns once the required destinations have delivered, or given up, everything that was given to them before
// the call. The others are flushed for as long.
func (f *fanout) flush(ctx context.Context) error {
	rest, cancel := context.WithCancel(ctx)
	var others, needed sync.WaitGroup
	errs := make([]error, len(f.outlets))
	for i, o := range f.outlets {
		if !o.required {
			others.Go(func() { _ = o.client.flush(rest) })
			continue
		}
		needed.Go(func() { errs[i] = o.client.flush(ctx) })
	}
	needed.Wait()
	cancel()
	others.Wait()
	return errors.Join(errs...)
}

// bar sees to it that several required outlets are given nothing more.
func (f *fanout) bar() {
	f.gate.Lock()
	defer f.gate.Unlock()
	f.closed = true
}

// close ends all clients, and delivers until ctx ends. The errors are those of the outlets.
func (f *fanout) close(ctx context.Context) []error {
	errs := make([]error, len(f.outlets))
	var closing sync.WaitGroup
	for i, o := range f.outlets {
		closing.Go(func() { errs[i] = o.client.close(ctx) })
	}
	closing.Wait()
	return errs
}

func (f *fanout) stats() []DestinationStats {
	out := make([]DestinationStats, len(f.outlets))
	for i, o := range f.outlets {
		out[i] = o.stats()
	}
	return out
}
