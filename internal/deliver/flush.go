package deliver

import (
	"context"
	"maps"
)

// announce wakes all who wait for an acknowledgement.
func (w *Worker) announce() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.acked != nil {
		close(w.acked)
		w.acked = nil
	}
}

// Flush returns once all that stood in the queue when it was called is delivered or given up, or with the context's
// error. It neither waits for batches to fill nor for a confirmation to fall due.
func (w *Worker) Flush(ctx context.Context) error {
	w.flushing.Add(1)
	defer w.flushing.Add(-1)
	target := w.o.Queue.Last()
	for {
		w.mu.Lock()
		if w.acked == nil {
			w.acked = make(chan struct{})
		}
		acked := w.acked
		w.mu.Unlock()
		if w.o.Queue.Acked() >= target {
			return nil
		}
		select {
		case w.kick <- struct{}{}:
		default:
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-acked:
		}
	}
}

// Stats returns the account so far.
func (w *Worker) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.stats
	s.Rejected = maps.Clone(s.Rejected)
	return s
}
