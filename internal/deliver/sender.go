package deliver

import (
	"context"
	"time"

	"github.com/fluxmetrics/fluxkit/internal/record"
)

// Sender moves points to one destination. A Worker calls it from one goroutine at a time.
type Sender interface {
	// Send takes points from the front of b: as many as its limits allow, at least one unless it fails. The batch is
	// valid until Send returns.
	//
	// An error means that nothing of this call is known to have arrived. Of the result only RetryAfter is read, and
	// Taken, as the number of points that may have arrived. The worker waits and sends again: from the last confirmed
	// point when the sender's Confirm is still owed one, else the same batch.
	Send(ctx context.Context, b record.Batch) (Result, error)

	// Confirm returns nil once everything sent since the last Confirm is known to have arrived. Where Send's own
	// answer was the confirmation (HTTP) it returns nil at once. An error makes the worker send again from the last
	// point that was confirmed.
	Confirm(ctx context.Context) error

	// Close releases what the sender holds. The worker calls it once, when it ends.
	Close() error
}

// Result says what became of the first Taken points of a batch.
type Result struct {
	// Taken is the number of points, from the front, that this call dealt with.
	Taken int
	// Rejected are those among them that will never be taken, in ascending order of index.
	Rejected []Rejected
	// Retry are the indices, ascending, of those among them that must be sent again, ahead of newer points.
	Retry []int
	// RetryAfter is how long to wait before the next Send; with an error it stands in for the backoff if longer.
	RetryAfter time.Duration
}

// Rejected is a point that the destination, or a rule on the way to it, refuses for good.
type Rejected struct {
	Index  int
	Reason string // a short fixed label, for counters: "too_old", "bad_name"
	Detail string // what the destination said; may be empty
}
