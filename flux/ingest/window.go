package ingest

import (
	"strconv"
	"time"
)

// window is what Rules allow, in Unix seconds: first and last are the oldest and the newest timestamp.
type window struct {
	now, first, last int64
	age, future      time.Duration
	tooOld, tooFar   string // what to say of others, once it was said
}

func (r Rules) window() window {
	now := r.Now
	if now.IsZero() {
		now = time.Now()
	}
	w := window{now: now.Unix(), first: 1, last: maxSeconds, age: r.MaxAge, future: r.MaxFuture}
	if r.MaxAge > 0 {
		w.first = w.now - int64(r.MaxAge/time.Second)
	}
	if r.MaxFuture > 0 {
		w.last = w.now + int64(r.MaxFuture/time.Second)
	}
	return w
}

// seconds returns the timestamp of a point, or notes what is wrong with it.
func (p *Parser) seconds(r *raw, w *window) (s int64, ok bool) {
	switch {
	case r.timeRead:
		s = r.seconds
	case r.time.kind == absent && r.of == 0:
		return w.now, true
	case r.time.kind == absent:
		return 0, p.bad(ReasonMissing, "", token{}, "no timestamp")
	default:
		per, rule := uint64(1), ""
		if r.of > 0 {
			per = p.series.perSecond
		}
		if s, rule = seconds(r.time, per); rule != "" {
			return 0, p.bad(ReasonTimestamp, "timestamp", r.time, rule)
		}
	}
	switch {
	case r.fill || s >= w.first && s <= w.last:
		return s, true
	case s < w.first:
		return 0, p.bad(ReasonOld, "timestamp", r.written(), w.old())
	}
	return 0, p.bad(ReasonFuture, "timestamp", r.written(), w.ahead())
}

// written is the timestamp for a message, where it may be kept as a number only.
func (r *raw) written() token {
	if r.time.kind != absent {
		return r.time
	}
	k := number
	if r.timeText {
		k = text
	}
	return token{strconv.AppendInt(nil, r.seconds, 10), k}
}

func (w *window) old() string {
	if w.tooOld == "" {
		w.tooOld = "timestamp is too old, older than " + inSeconds(w.age)
	}
	return w.tooOld
}

func (w *window) ahead() string {
	if w.tooFar == "" {
		w.tooFar = "timestamp is more than " + inSeconds(w.future) + " in the future"
		if w.future == time.Minute {
			w.tooFar = "timestamp is more than 1 minute in the future"
		}
	}
	return w.tooFar
}

func inSeconds(d time.Duration) string {
	return strconv.FormatInt(int64(d/time.Second), 10) + " seconds"
}
