package backfill

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// rate spaces out what all jobs send together.
type rate struct {
	perSecond float64 // 0: no limit
	now       func() time.Time

	mu   sync.Mutex
	next time.Time // when the next chunk may go
}

// wait waits for the turn of n points.
func (r *rate) wait(ctx context.Context, n int) error {
	if r.perSecond <= 0 {
		return ctx.Err()
	}
	r.mu.Lock()
	now := r.now()
	// A clock that was set back must not stop the lane.
	if r.next.Before(now) || r.next.Sub(now) > time.Hour {
		r.next = now
	}
	d := r.next.Sub(now)
	r.next = r.next.Add(time.Duration(float64(n) / r.perSecond * float64(time.Second)))
	r.mu.Unlock()
	return sleep(ctx, d)
}

// sleep waits for d, or for the context's end, whose error it returns.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Bounds of the wait after a failure.
const (
	backoffMin = time.Second
	backoffMax = 5 * time.Minute
)

// backoff is the wait after so many failures in a row before this one: it doubles, and half of it is by chance.
func backoff(fails int) time.Duration {
	d := backoffMax
	if fails < 20 && backoffMin<<fails < backoffMax {
		d = backoffMin << fails
	}
	return d/2 + rand.N(d/2+1)
}
