package deliver

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/fluxmetrics/fluxkit/internal/deadletter"
	"github.com/fluxmetrics/fluxkit/internal/record"
)

// entriesAtOnce bounds what is put on record with one write.
const entriesAtOnce = 1024

// DeadLetters puts points that were rejected in a file, each once, however often a Worker reports it. One worker's
// goroutine uses it. A nil one does nothing.
type DeadLetters struct {
	// Destination and Tenant stand in each entry.
	Destination, Tenant string
	// Extra, if set, fills in what the point's extra bytes mean.
	Extra func(e *deadletter.Entry, p *record.Point)
	// Now is the time of an entry; nil means time.Now.
	Now func() time.Time

	file    *deadletter.File
	path    string
	done    int // of the points that are being reported
	entries []deadletter.Entry
}

// OpenDeadLetters opens the file at path, bounded to max bytes; zero means 64 MiB.
func OpenDeadLetters(path string, max int64, log *slog.Logger) (*DeadLetters, error) {
	f, err := deadletter.Open(deadletter.Options{Path: path, MaxBytes: max, Logger: log})
	if err != nil {
		return nil, err
	}
	return &DeadLetters{file: f, path: path}, nil
}

// Record returns once the rejected points of b are on disk. What a call that failed has recorded, the next one, which
// must be about the same points, leaves out: until Settled.
func (d *DeadLetters) Record(b record.Batch, rejected []Rejected) error {
	if d == nil || d.done >= len(rejected) {
		return nil
	}
	now := time.Now
	if d.Now != nil {
		now = d.Now
	}
	at := now()
	var p record.Point
	c := b.Cursor()
	for i, next := 0, 0; next < len(rejected) && c.Next(&p); i++ {
		r := &rejected[next]
		if r.Index != i {
			continue
		}
		if next++; next <= d.done {
			continue
		}
		e := deadletter.Entry{
			Destination: d.Destination, Tenant: d.Tenant, Reason: r.Reason, Detail: r.Detail, At: at,
			Name: p.Name, Timestamp: p.Timestamp, Value: p.Value, Tag: p.Tag,
		}
		if d.Extra != nil {
			d.Extra(&e, &p)
		}
		d.entries = append(d.entries, e)
		if len(d.entries) < entriesAtOnce && next < len(rejected) {
			continue
		}
		err := d.file.Append(d.entries)
		clear(d.entries)
		d.entries = d.entries[:0]
		if err != nil {
			return fmt.Errorf("dead letters, %s: %w", d.path, err)
		}
		d.done = next
	}
	return nil
}

// Settled says that the points of the last Record are done with.
func (d *DeadLetters) Settled() {
	if d != nil {
		d.done = 0
	}
}

// Stats is the file's state.
func (d *DeadLetters) Stats() deadletter.Stats {
	if d == nil {
		return deadletter.Stats{}
	}
	return d.file.Stats()
}

// Close closes the file.
func (d *DeadLetters) Close() error {
	if d == nil {
		return nil
	}
	return d.file.Close()
}
