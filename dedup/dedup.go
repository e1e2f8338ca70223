package dedup

import (
	"context"
	"errors"
	"math"
	"time"
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

// Editor is a Store whose marks people can look at and mend. Memory and Redis are
// editors.
type Editor interface {
	Store
	// Get returns what is stored of a metric.
	Get(ctx context.Context, metric []byte) (Stored, error)
	// Set puts a mark in place whatever was there, a later one or an unreadable
	// one too. None removes it.
	Set(ctx context.Context, m Mark) error
	// Remove forgets a metric's mark. One that is not there is no error.
	Remove(ctx context.Context, metric []byte) error
}

// Stored is what a store holds of a metric.
type Stored struct {
	// Mark is the mark that counts, as Last tells it. A filter may ignore one
	// that is too far ahead.
	Mark Mark
	// Texts are the places in which the store keeps it. A Memory has none.
	Texts []Text
}

// Text is a mark as a server holds it.
type Text struct {
	Key   string        // of the server
	Field string        // of the hash that is at Key, or empty
	Value string        // as it is stored
	Mark  Mark          // as it is read; its Timestamp is None where it cannot be
	TTL   time.Duration // until the server forgets it; 0: never
}

// absent is the mark of a metric that has none.
func absent(metric []byte) Mark { return Mark{metric, None, math.NaN()} }

// ErrUnavailable is wrapped by the errors of a store that could not answer: no
// connection, no reply in time, or a reply that tells of the server's trouble.
// The same call may succeed later. An error that is due to the caller's own
// context is that context's error, and not this one.
var ErrUnavailable = errors.New("dedup: store unavailable")
