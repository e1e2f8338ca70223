package deliver

import (
	"context"
	"errors"
	"time"

	"github.com/fluxmetrics/fluxkit/internal/queue"
	"github.com/fluxmetrics/fluxkit/internal/record"
)

// failed accounts for a failure to send or to confirm, goes back to what is not confirmed and waits.
func (w *Worker) failed(ctx context.Context, what string, err error, res Result) {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		w.rewind()
		return
	}
	n := w.buf.n
	resend := w.win.n + res.Taken
	if w.unconfirmed() {
		n += w.win.n
		w.rewind()
	}
	w.setback(ctx, what, err, n, resend, res.RetryAfter)
}

// setback takes note of a failure with so many points, of which so many are to be sent once more, and waits: the longer
// the more there were in a row, and at least as long as was asked for.
func (w *Worker) setback(ctx context.Context, what string, err error, points, resend int, least time.Duration) {
	pause := max(backoff(w.fails, w.o.BackoffMin, w.o.BackoffMax), least)
	w.fails++
	w.mu.Lock()
	w.stats.Failures++
	w.stats.Resent += uint64(resend)
	if w.stats.LastError == "" {
		w.stats.FailingAt = time.Now()
	}
	w.stats.LastError = err.Error()
	w.mu.Unlock()
	w.log.Warn("delivery failed", "destination", w.o.Name, "step", what, "error", err, "points", points, "retry_in", pause.Round(time.Millisecond))
	w.pause(ctx, pause)
}

// part is a number of points at the front of one record.
type part struct {
	pos queue.Pos
	n   int
}

// rewind forgets all that is not acknowledged, so that it is read from the queue once more, save the points of the
// first record that are confirmed already.
func (w *Worker) rewind() {
	w.noteTried()
	if w.sure > w.start && len(w.ends) > 0 { // else what stands there was not even read again since the last time
		w.skip = part{w.ends[0].pos, int(w.sure - w.start)}
	}
	w.buf.reset()
	w.win.reset()
	w.rej.reset()
	w.why = w.why[:0]
	w.ends, w.retry, w.base, w.tried = w.ends[:0], nil, w.sure, w.sure
	w.read = w.o.Queue.Acked()
}

// noteTried remembers up to which record, and how far into it, points may have been sent: by position, since the queue
// may drop records before they are read again.
func (w *Worker) noteTried() {
	start := w.start
	for _, r := range w.ends {
		if w.tried <= start {
			return
		}
		p := part{r.pos, int(min(w.tried, r.end) - start)}
		if p.pos > w.again.pos || p.pos == w.again.pos && p.n > w.again.n {
			w.again = p
		}
		start = r.end
	}
}

// missing is told the position of a record that was just read. If it is behind the one that is settled in part, the
// queue has let go of that: what is to be read again may be dropped, or turn out damaged.
func (w *Worker) missing(pos queue.Pos) {
	if w.skip.n == 0 || pos <= w.skip.pos {
		return
	}
	w.mu.Lock()
	w.stats.Partial -= uint64(w.skip.n)
	w.stats.Overtaken += uint64(w.skip.n)
	w.mu.Unlock()
	w.start, w.skip = w.sure, part{}
}

// reread returns what of a record that was just read is still to be sent, and takes note of what may have been sent
// before.
func (w *Worker) reread(b record.Batch, pos queue.Pos) record.Batch {
	if w.skip.n == 0 && w.again.n == 0 {
		return b
	}
	sent := 0
	switch {
	case pos < w.again.pos:
		sent = b.Len()
	case pos == w.again.pos:
		sent = min(w.again.n, b.Len())
	default:
		w.again = part{}
	}
	settled := 0
	if w.skip.n > 0 && pos == w.skip.pos {
		settled, w.skip = min(w.skip.n, b.Len()), part{}
	}
	if sent > settled {
		w.tried = max(w.tried, w.ordinal()+uint64(sent-settled))
	}
	return b.Skip(settled)
}
