package deliver

import (
	"time"

	"github.com/fluxmetrics/fluxkit/internal/record"
)

// replay returns the length of the run of points at the front of batch that are all to be given up, as about to be sent
// a second time and too old for that, or all not.
func (w *Worker) replay(batch record.Batch) (n int, stale bool) {
	oldest := time.Now().Add(-w.o.MaxReplayAge).UnixMilli()
	again := len(w.retry) + int(w.tried-w.base)
	var p record.Point
	c := batch.Cursor()
	for ; c.Next(&p); n++ {
		old := n < again && p.Timestamp < oldest
		if n == 0 {
			stale = old
		} else if old != stale {
			break
		}
	}
	return n, stale
}

// ReasonReplayAge is the reason for points that MaxReplayAge gives up.
const ReasonReplayAge = "replay_age"
