package graphite

import (
	"context"
	"time"
)

// Point is one datapoint.
//
// Name is a view into the buffer of whoever made the point. In a Handler it is valid until the handler returns; copy
// what is kept. Timestamp is Unix milliseconds: Carbon's wire speaks of seconds, and a fraction of a second survives
// to the millisecond. A timestamp that does not fit is rejected where it is read.
type Point struct {
	Name      []byte
	Timestamp int64
	Value     float64
}

// Handler takes points from a receiver. A nil return means that they are kept: the receiver may then acknowledge them.
// A handler that blocks pushes back on the sender, since the receiver stops reading until it returns. An error that is
// not the context's means that the points were not kept; the receiver then closes the connection without
// acknowledging, so that the sender knows that they may be lost.
//
// The slice and every Name in it belong to the receiver and are reused as soon as the handler returns.
type Handler func(ctx context.Context, pts []Point) error

// Batch collects points with names of their own. The zero value is an empty batch, ready to use.
type Batch struct {
	pts   []Point
	names []byte
	ends  []int
}

// Add copies name into the batch with the time, to the millisecond, and the value.
func (b *Batch) Add(name string, t time.Time, value float64) {
	b.names = append(b.names, name...)
	b.ends = append(b.ends, len(b.names))
	b.pts = append(b.pts, Point{Timestamp: t.UnixMilli(), Value: value})
}

// Len is the number of points in the batch.
func (b *Batch) Len() int { return len(b.pts) }

// Points returns the points in the order in which they were added. The slice and the names are valid until the next
// Add or Reset.
func (b *Batch) Points() []Point {
	start := 0
	for i, end := range b.ends {
		b.pts[i].Name = b.names[start:end:end]
		start = end
	}
	return b.pts
}

// Reset empties the batch and keeps its memory for the next use.
func (b *Batch) Reset() {
	clear(b.pts)
	b.pts, b.names, b.ends = b.pts[:0], b.names[:0], b.ends[:0]
}
