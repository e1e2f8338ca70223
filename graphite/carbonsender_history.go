package graphite

import (
	"time"

	"github.com/fluxmetrics/fluxkit/internal/record"
)

// history keeps what was confirmed a short while ago, so that it can be sent once more to a Carbon that was killed with
// it in memory. It is nil unless ClientConfig.ResendOnReconnect is set.
type history struct {
	span  time.Duration
	limit int

	sent  []byte // encoded points of the connection that is not confirmed yet
	count int
	past  []confirmed // oldest first
	size  int
	owed  time.Time // since when Carbon is known to be in trouble; zero when it is not
}

// confirmed is a run of points that one confirmation covered.
type confirmed struct {
	at     time.Time
	points []byte
	n      int
}

func newHistory(cfg *ClientConfig) *history {
	if cfg.ResendOnReconnect == 0 {
		return nil
	}
	return &history{span: cfg.ResendOnReconnect, limit: int(cfg.MemoryMax)}
}

// add remembers points that were written.
func (h *history) add(b record.Batch) {
	if h == nil {
		return
	}
	h.sent = append(h.sent, b.Points()...)
	h.count += b.Len()
}

// confirm says that what was added is confirmed, and so is what was due: Carbon has read that anew.
func (h *history) confirm(now time.Time) {
	if h == nil {
		return
	}
	due := h.due()
	for i := range due {
		due[i].at = now
	}
	h.owed = time.Time{}
	if h.count > 0 {
		h.past = append(h.past, confirmed{now, append([]byte(nil), h.sent...), h.count})
		h.size += len(h.sent)
		h.sent, h.count = h.sent[:0], 0
	}
	old := 0
	for old < len(h.past) && (h.size > h.limit || now.Sub(h.past[old].at) > h.span) {
		h.size -= len(h.past[old].points)
		old++
	}
	n := copy(h.past, h.past[old:])
	clear(h.past[n:])
	h.past = h.past[:n]
}

// fail says that the connection broke, or could not be made, and forgets what was written to it: that is not confirmed
// and is sent again in any case.
func (h *history) fail(now time.Time) {
	if h == nil {
		return
	}
	h.sent, h.count = h.sent[:0], 0
	if h.owed.IsZero() {
		h.owed = now
	}
}

// due returns the runs that are to be sent once more. They stay due until a confirmation.
func (h *history) due() []confirmed {
	if h == nil || h.owed.IsZero() {
		return nil
	}
	for i, c := range h.past {
		if h.owed.Sub(c.at) <= h.span {
			return h.past[i:]
		}
	}
	return nil
}
