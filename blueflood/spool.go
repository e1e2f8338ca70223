package blueflood

import (
	"errors"
	"fmt"

	"github.com/fluxmetrics/fluxkit/internal/deadletter"
	"github.com/fluxmetrics/fluxkit/internal/deliver"
	"github.com/fluxmetrics/fluxkit/internal/queue"
	"github.com/fluxmetrics/fluxkit/internal/record"
)

// openQueue opens the endpoint's buffer, in memory or in SpoolDir.
func (c *EndpointConfig) openQueue() (*queue.Queue, error) {
	o := queue.Options{MaxBytes: c.MemoryMax, DropOldest: c.DropOldest, Logger: c.Logger}
	if c.SpoolDir != "" {
		o.Dir, o.MaxBytes = c.SpoolDir, c.SpoolMax
	}
	q, err := queue.Open(o)
	switch {
	case err == nil && c.SpoolDir != "":
		if err := c.claimSpool(q); err != nil {
			return nil, errors.Join(err, q.Release())
		}
		return q, nil
	case err == nil:
		return q, nil
	case errors.Is(err, queue.ErrInUse):
		return nil, &ConfigError{"SpoolDir", c.SpoolDir, "is open already, in this process or another"}
	case errors.Is(err, queue.ErrDisk):
		return nil, fmt.Errorf("%w: SpoolDir %s: %w", ErrSpool, c.SpoolDir, err)
	}
	return nil, fmt.Errorf("blueflood: %w", err)
}

// checkQueue checks what bounds the buffer.
func (c *EndpointConfig) checkQueue() error {
	tooSmall := fmt.Sprintf("must be at least %d bytes, which a buffer needs", queue.MinMaxBytes)
	switch {
	case c.MemoryMax < queue.MinMaxBytes:
		return &ConfigError{"MemoryMax", fmt.Sprint(c.MemoryMax), tooSmall + "; 0 means 16 MiB"}
	case c.SpoolMax < queue.MinMaxBytes:
		return &ConfigError{"SpoolMax", fmt.Sprint(c.SpoolMax), tooSmall + "; 0 means 8 GiB"}
	case c.DeadLetterMax != 0 && c.DeadLetterMax < deadletter.MinMaxBytes:
		return &ConfigError{"DeadLetterMax", fmt.Sprint(c.DeadLetterMax), fmt.Sprintf(
			"must be at least %d bytes; 0 means 64 MiB", deadletter.MinMaxBytes)}
	}
	return nil
}

// openDeadLetters opens the dead-letter file; without one it returns nil.
func (e *Endpoint) openDeadLetters() (*deliver.DeadLetters, error) {
	if e.cfg.DeadLetter == "" {
		return nil, nil
	}
	d, err := deliver.OpenDeadLetters(e.cfg.DeadLetter, e.cfg.DeadLetterMax, e.cfg.Logger)
	if err != nil {
		return nil, &ConfigError{"DeadLetter", e.cfg.DeadLetter, err.Error()}
	}
	d.Destination, d.Tenant, d.Now = e.name(), e.cfg.Tenant, e.cfg.Now
	d.Extra = func(entry *deadletter.Entry, p *record.Point) {
		ttl, unit := extra(p)
		entry.TTL, entry.Unit = ttl, string(unit)
	}
	return d, nil
}

// recover tells what the spool holds, a record at a time. It acknowledges nothing.
func (e *Endpoint) recover() {
	e.recovered = uint64(e.queue.Recovered().Points)
	if e.cfg.Recovered == nil || e.recovered == 0 {
		return
	}
	var rec []byte
	for pos := e.queue.Acked(); ; {
		var ok bool
		var err error
		if rec, pos, ok, err = e.queue.TryNext(pos, rec); !ok || err != nil {
			return
		}
		if b, err := record.Decode(rec); err == nil { // else the worker says so, and passes it over
			e.reported = appendMetrics(e.reported[:0], b)
			e.cfg.Recovered(e.reported)
		}
	}
}
