package flux

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/internal/deadletter"
	"github.com/fluxmetrics/fluxkit/internal/queue"
)

// tagJudged marks a point, for as long as it is pending, as one that the filter waits for.
const tagJudged = 1

// DestinationStats is the account of one destination. Accepted + Recovered = Delivered + the sum of GivenUp + the sum of
// Dropped + Pending, exactly so when nothing is going on.
type DestinationStats struct {
	Name      string
	Tenant    string // of Blueflood
	Required  bool
	Accepted  uint64
	Recovered uint64            // points that the spool held at the start
	Dropped   map[string]uint64 // points lost, by reason: "full", "too_big", "spool" or "spool_slow" where it is not required, "damaged" on the disk
	Delivered uint64
	Assumed   uint64 // of the delivered, those that a peer which confirms nothing is assumed to have
	GivenUp   map[string]uint64
	Pending   int64
	Bytes     int64         // that the pending take
	Oldest    time.Duration // age of the oldest pending point
	Resent    uint64        // in no sum
	Down      bool
	LastError string
}

// client owns a queue and delivers what stands in it. Its errors are those of this package.
type client interface {
	// send returns once the points are kept, all or none; tags may be nil. It waits for room until ctx ends, and then
	// returns an error that wraps ErrFull.
	send(ctx context.Context, pts []graphite.Point, tags []byte) error
	// sendAsync is send after which the points are kept once sync has returned nil.
	sendAsync(ctx context.Context, pts []graphite.Point, tags []byte) error
	// reserve holds room for the points, which it copies.
	reserve(ctx context.Context, pts []graphite.Point, tags []byte) (reservation, error)
	sync(ctx context.Context) error
	flush(ctx context.Context) error
	close(ctx context.Context) error
	stats() DestinationStats
}

// reservation ends with Send, which is sendAsync that neither waits nor fails unless the client was closed, or Cancel.
type reservation interface {
	Send() error
	Cancel()
}

// reports is what a client tells of its points. Each may be nil.
type reports struct {
	recovered func(pts []graphite.Point, tags []byte) // before anything is delivered
	delivered func(pts []graphite.Point, tags []byte)
	failed    func(pts []graphite.Point, tags []byte) // after givenUp
	givenUp   func([]deadletter.Entry) error
}

// outlet is one queue and its client, with what the server knows of them.
type outlet struct {
	name     string
	tenant   string
	dir      string // of the spool; empty: in memory
	required bool
	client   client
	log      *slog.Logger
	now      func() time.Time

	offered atomic.Uint64 // points that a queue which is not required did not take; they count as accepted and dropped
	warned  atomic.Int64  // when that was logged last, Unix nanoseconds
	hasty   atomic.Int64  // until when the queue is not waited for, because its disk was too slow; Unix nanoseconds
	mu      sync.Mutex
	dropped map[string]uint64
}

// open starts the outlet's client.
func (o *outlet) open(p *outletPlan, r reports) (err error) {
	if p.carbon != nil {
		o.dir = p.carbon.SpoolDir
		o.client, err = openCarbon(*p.carbon, !o.required, r)
	} else {
		o.tenant, o.dir = p.blueflood.Tenant, p.blueflood.SpoolDir
		o.client, err = openBlueflood(*p.blueflood, !o.required, r)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrSpool):
		return fmt.Errorf("destination %q: %w", o.name, err)
	case p.rule > 0:
		return configError("tenant rule %d, %q, of destination %q: %w", p.rule, p.pattern, p.destination, err)
	}
	return configError("destination %q: %w", o.name, err)
}

// take keeps the points. durable says that no sync is needed for that.
func (o *outlet) take(ctx context.Context, pts []graphite.Point, tags []byte, async bool) (durable bool, err error) {
	if async && o.dir != "" {
		return false, o.client.sendAsync(ctx, pts, tags)
	}
	return true, o.client.send(ctx, pts, tags)
}

// ended is a context that has ended: what is given it tries once, and waits for nothing.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// A queue on a disk that is slower than what comes in is waited for: it is our disk that is slow, not the destination,
// and points that a queue has room for are not to be lost. But other destinations must not be slowed down much by it. So
// nobody waits for longer than slowDisk, and once somebody did in vain nobody does until slowAgain is over.
const (
	slowDisk  = 250 * time.Millisecond
	slowAgain = time.Second
)

// offer gives the points to a queue that is not required. What it does not take is counted. patient says that a slow disk
// may be waited for.
func (o *outlet) offer(pts []graphite.Point, patient bool) {
	err := o.client.sendAsync(ended, pts, nil)
	if patient && errors.Is(err, queue.ErrBusy) && time.Now().UnixNano() >= o.hasty.Load() {
		err = o.insist(pts)
	}
	if err == nil {
		return
	}
	reason := refusal(err)
	if errors.Is(err, queue.ErrBusy) {
		reason = "spool_slow"
	}
	o.offered.Add(uint64(len(pts)))
	o.mu.Lock()
	if o.dropped == nil {
		o.dropped = map[string]uint64{}
	}
	o.dropped[reason] += uint64(len(pts))
	o.mu.Unlock()
	if everySecond(&o.warned, o.now) {
		o.log.Warn("a destination that is not required did not take points, which it has lost", "destination", o.name,
			"points", len(pts), "reason", reason, "error", err)
	}
}

// insist waits for a disk.
func (o *outlet) insist(pts []graphite.Point) error {
	ctx, cancel := context.WithTimeout(context.Background(), slowDisk)
	defer cancel()
	err := o.client.sendAsync(ctx, pts, nil)
	if err != nil {
		o.hasty.Store(time.Now().Add(slowAgain).UnixNano())
	}
	return err
}

// everySecond reports whether a second has passed since it last said so.
func everySecond(last *atomic.Int64, now func() time.Time) bool {
	t, was := now().UnixNano(), last.Load()
	return (t-was >= int64(time.Second) || t < was) && last.CompareAndSwap(was, t)
}

func (o *outlet) stats() DestinationStats {
	st := o.client.stats()
	st.Name, st.Tenant, st.Required = o.name, o.tenant, o.required
	st.Accepted += o.offered.Load()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.dropped) == 0 {
		return st
	}
	sum := map[string]uint64{}
	for _, m := range []map[string]uint64{st.Dropped, o.dropped} {
		for reason, n := range m {
			sum[reason] += n
		}
	}
	st.Dropped = sum
	return st
}

// sentinels are a client's errors.
type sentinels struct{ full, tooBig, closed, spool error }

// translate wraps a client's error into this package's of the same meaning.
func (s *sentinels) translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, s.full):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case errors.Is(err, s.tooBig):
		return fmt.Errorf("%w: %w", ErrTooBig, err)
	case errors.Is(err, s.closed):
		return fmt.Errorf("%w: %w", ErrClosed, err)
	case errors.Is(err, s.spool):
		return fmt.Errorf("%w: %w", ErrSpool, err)
	}
	return err
}
