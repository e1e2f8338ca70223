package dedup

import (
	"context"
	"errors"
	"math"
)

// None is the Timestamp of a mark that does not exist. No point may carry it.
const None = math.MinInt64

// Mark is a metric's high-water mark, or a point on its way to become one.
type Mark struct {
	// Metric is the canonical name. No function of this package keeps the
	// slice beyond its return; what must be kept is copied.
	Metric []byte
	// Timestamp is Unix milliseconds, or None.
	Timestamp int64
	// Value is the point's value. It takes no part in any decision and is
	// kept because Skyline stores "[timestamp, value]". NaN means unknown.
	Value float64
}

// Store holds high-water marks. Its methods may be called from several
// goroutines at once, each with a slice of its own.
type Store interface {
	// Last fills in Timestamp and Value of every element by its Metric: the
	// metric's mark, or None and NaN where there is none. When it fails the
	// slice's contents are undefined.
	Last(ctx context.Context, m []Mark) error
	// Raise sets each metric's mark to the given one where that is later,
	// atomically a metric: a mark never falls, whoever else raises it at the
	// same time. A metric may occur more than once. When it fails, some of
	// the marks may have been raised; raising them again is harmless.
	Raise(ctx context.Context, m []Mark) error
}

// ErrUnavailable is wrapped by the errors of a store that could not answer: no
// connection, no reply in time, or a reply that tells of the server's trouble.
// The same call may succeed later. An error that is due to the caller's own
// context is that context's error, and not this one.
var ErrUnavailable = errors.New("dedup: store unavailable")
