package deliver

import (
	"encoding/binary"

	"github.com/fluxmetrics/fluxkit/internal/queue"
)

// ack lets the queue forget the records of which no point is left. So many points have been settled since the last time.
func (w *Worker) ack(settled int) {
	w.sure = w.base
	if len(w.retry) > 0 {
		w.sure = w.retry[0]
	}
	n := 0
	for n < len(w.ends) && w.ends[n].end <= w.sure {
		n++
	}
	w.account(settled, w.ends[:n])
	if n == 0 {
		return
	}
	if err := w.o.Queue.Ack(w.ends[n-1].pos); err != nil {
		w.log.Error("queue does not take the acknowledgement", "destination", w.o.Name, "error", err)
	}
	w.ends = append(w.ends[:0], w.ends[n:]...)
}

// account takes note of points that were settled and of records that are about to be acknowledged.
func (w *Worker) account(settled int, records []recEnd) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.Partial += uint64(settled)
	for _, r := range records {
		w.stats.Partial -= r.end - w.start
		w.stats.Undecoded += r.lost
		w.start = r.end
	}
}

// passOver leaves out a record that is none.
func (w *Worker) passOver(rec []byte, pos queue.Pos, err error) {
	w.log.Error("a damaged record is passed over", "destination", w.o.Name, "position", pos, "error", err)
	r := recEnd{pos: pos, end: w.ordinal()}
	if len(rec) >= 5 {
		if n := binary.LittleEndian.Uint32(rec[1:]); int64(n) < int64(len(rec)) {
			r.lost = uint64(n)
		}
	}
	w.ends = append(w.ends, r)
	if !w.unconfirmed() {
		w.ack(0)
	}
}

// Why points are lost, in Stats.
const (
	DroppedFull    = "full"    // DropOldest made room
	DroppedDamaged = "damaged" // a record could not be read
)

// Balance sets the worker's account against the state of its queue. It returns how many points are pending, neither
// delivered nor rejected nor dropped, and how many were dropped, by reason; reasons that did not occur are absent. The
// two accounts are read one after the other: only while nothing moves do they add up.
func (s *Stats) Balance(q queue.Stats) (pending int64, dropped map[string]uint64) {
	overtaken := int64(s.Overtaken)
	dropped = map[string]uint64{}
	put := func(reason string, n int64) {
		less := min(overtaken, n)
		overtaken -= less
		if n > less {
			dropped[reason] = uint64(n - less)
		}
	}
	put(DroppedFull, q.Dropped)
	put(DroppedDamaged, q.Lost+int64(s.Undecoded))
	return max(0, q.Points-int64(s.Partial)), dropped
}
