package graphite

import (
	"errors"
	"fmt"

	"github.com/fluxmetrics/fluxkit/internal/deadletter"
	"github.com/fluxmetrics/fluxkit/internal/deliver"
	"github.com/fluxmetrics/fluxkit/internal/queue"
	"github.com/fluxmetrics/fluxkit/internal/record"
)

// openQueue opens the client's queue, in memory or in SpoolDir.
func (cfg *ClientConfig) openQueue() (*queue.Queue, error) {
	o := queue.Options{MaxBytes: cfg.MemoryMax, DropOldest: cfg.DropOldest, Logger: cfg.Logger}
	if cfg.SpoolDir != "" {
		o.Dir, o.MaxBytes = cfg.SpoolDir, cfg.SpoolMax
	}
	q, err := queue.Open(o)
	switch {
	case err == nil:
		return q, nil
	case errors.Is(err, queue.ErrInUse):
		return nil, fmt.Errorf("graphite: ClientConfig.SpoolDir %s is open already, in this process or another: %w", cfg.SpoolDir, err)
	case errors.Is(err, queue.ErrDisk):
		return nil, fmt.Errorf("%w: ClientConfig.SpoolDir %s: %w", ErrSpool, cfg.SpoolDir, err)
	}
	return nil, fmt.Errorf("graphite: %w", err)
}

// queueMax is the bound of the queue in bytes.
func (cfg *ClientConfig) queueMax() int64 {
	if cfg.SpoolDir != "" {
		return cfg.SpoolMax
	}
	return cfg.MemoryMax
}

// checkQueue fills in and checks what bounds the queue.
func (cfg *ClientConfig) checkQueue() error {
	if cfg.MemoryMax == 0 {
		cfg.MemoryMax = queue.DefaultMaxBytes
	}
	if cfg.SpoolMax == 0 {
		cfg.SpoolMax = queue.DefaultDirMaxBytes
	}
	if cfg.MemoryMax < queue.MinMaxBytes {
		return fmt.Errorf("graphite: ClientConfig.MemoryMax is %d bytes, less than the %d that a queue needs", cfg.MemoryMax, queue.MinMaxBytes)
	}
	if cfg.SpoolMax < queue.MinMaxBytes {
		return fmt.Errorf("graphite: ClientConfig.SpoolMax is %d bytes, less than the %d that a queue needs", cfg.SpoolMax, queue.MinMaxBytes)
	}
	if cfg.DeadLetterMax != 0 && cfg.DeadLetterMax < deadletter.MinMaxBytes {
		return fmt.Errorf("graphite: ClientConfig.DeadLetterMax is %d bytes, less than the %d that a file needs", cfg.DeadLetterMax, deadletter.MinMaxBytes)
	}
	return nil
}

// openDeadLetters opens the dead-letter file of a destination; without one it returns nil.
func (cfg *ClientConfig) openDeadLetters(destination string) (*deliver.DeadLetters, error) {
	if cfg.DeadLetter == "" {
		return nil, nil
	}
	d, err := deliver.OpenDeadLetters(cfg.DeadLetter, cfg.DeadLetterMax, cfg.Logger)
	if err != nil {
		return nil, fmt.Errorf("graphite: ClientConfig.DeadLetter %s: %w", cfg.DeadLetter, err)
	}
	d.Destination = destination
	return d, nil
}

// recover tells what the spool holds, a record at a time. It acknowledges nothing.
func (c *Client) recover() {
	c.recovered = uint64(c.queue.Recovered().Points)
	if c.cfg.Recovered == nil || c.recovered == 0 {
		return
	}
	var rec []byte
	for pos := c.queue.Acked(); ; {
		var ok bool
		var err error
		if rec, pos, ok, err = c.queue.TryNext(pos, rec); !ok || err != nil {
			return
		}
		if b, err := record.Decode(rec); err == nil { // else the worker says so, and passes it over
			c.cfg.Recovered(c.view(b))
		}
	}
}
