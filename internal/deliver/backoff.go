package deliver

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff is the wait after so many failures in a row before this one.
func backoff(fails int, least, most time.Duration) time.Duration {
	d := most
	if fails < 30 && least<<fails > 0 && least<<fails < most {
		d = least << fails
	}
	return d/2 + rand.N(d/2+1)
}

// pause waits for d. A Flush that begins meanwhile cuts it short, so that one more attempt is made before whoever flushes
// gives up.
func (w *Worker) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-w.kick:
	case <-t.C:
	}
}
