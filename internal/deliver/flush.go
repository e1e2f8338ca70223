package deliver

import (
	"context"
	"maps"
	"time"
)

// lookEvery is how often Flush looks for itself: what a queue drops, finds damaged or gives back is not announced.
const lookEvery = 100 * time.Millisecond

// announce wakes all who wait for an acknowledgement.
func (w *Worker) announce() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.acked != nil {
		close(w.acked)
		w.acked = nil
	}
}

// Flush returns once all that stood in the queue when it was called is delivered, given up or dropped, or with the
// context's error. It neither waits for batches to fill nor for a confirmation to fall due.
func (w *Worker) Flush(ctx context.Context) error {
	w.flushing.Add(1)
	defer w.flushing.Add(-1)
	target := w.o.Queue.Last()
	if w.o.Queue.Acked() >= target {
		return nil
	}
	select {
	case w.kick <- struct{}{}:
	default:
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
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
		case <-ctx.Done():
			return ctx.Err()
		case <-acked:
		case <-look.C:
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
