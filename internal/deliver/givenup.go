package deliver

import (
	"fmt"
	"time"

	"github.com/fluxmetrics/fluxkit/internal/record"
)

// tellRejected logs what was given up, once a second a reason, with one example.
func (w *Worker) tellRejected() {
	if w.rej.n == 0 {
		return
	}
	if w.told == nil {
		w.told = map[string]*givenUp{}
	}
	now := time.Now()
	var p record.Point
	c := w.rej.batch().Cursor()
	for _, r := range w.why {
		c.Next(&p)
		t := w.told[r.Reason]
		if t == nil {
			t = &givenUp{}
			w.told[r.Reason] = t
		}
		t.points++
		if now.Sub(t.at) < time.Second {
			continue
		}
		w.log.Warn("points given up", "destination", w.o.Name, "reason", r.Reason, "detail", r.Detail,
			"example", fmt.Sprintf("%.200q", p.Name), "points", t.points)
		*t = givenUp{at: now}
	}
}

// givenUp is what is to be logged of one reason.
type givenUp struct {
	at     time.Time // when it was logged last
	points int       // since then
}
