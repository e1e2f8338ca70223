package flux

import (
	"sync"
	"time"
)

// bucket limits a rate. It fills up to one second's worth; as long as anything is in it a request may take more than
// that, and the next ones wait until the debt is paid, so that a request larger than the bucket gets through, too.
type bucket struct {
	mu   sync.Mutex
	left float64
	at   time.Time // when left was right; zero: the bucket is full
}

// orNew returns b, or a new bucket where there is none.
func (b *bucket) orNew() *bucket {
	if b == nil {
		return new(bucket)
	}
	return b
}

// maxWait bounds what take returns, so that a tiny rate makes no absurd one.
const maxWait = 24 * time.Hour

// take takes n at the given rate a second and returns 0, or takes nothing and returns how long it will be until
// something is in the bucket, at most maxWait.
func (b *bucket) take(n int, rate float64, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	full := max(rate, 1)
	switch passed := now.Sub(b.at).Seconds(); {
	case b.at.IsZero():
		b.left, b.at = full, now
	case passed > 0:
		b.left, b.at = min(full, b.left+passed*rate), now
	case passed < -1: // the clock was set back
		b.at = now
	}
	if b.left <= 0 {
		return max(1, time.Duration(min((1-b.left)/rate, maxWait.Seconds())*float64(time.Second)))
	}
	b.left -= float64(n)
	return 0
}

// give puts back n that were taken and not used.
func (b *bucket) give(n int, rate float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = min(max(rate, 1), b.left+float64(n))
}
