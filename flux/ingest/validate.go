package ingest

import (
	"bytes"
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Validate checks every point of the last request by the rules and, if all are good, sets the request's Items, in
// order of time. One bad point refuses the request: Items stays nil and the *Error tells of the first bad point.
//
// Of each point it checks the name, then the timestamp, then the value. The prefix, without a trailing dot, is that of
// the request's key: a name that is not under it already, on the boundary of an element, is put there. An empty prefix
// leaves names alone.
//
// It may be called again, with other rules. After a failed parse it returns that error.
func (p *Parser) Validate(rules Rules, prefix string) error {
	p.req.Items = nil
	if p.shape != nil {
		return p.shape
	}
	w := rules.window()
	p.items = slices.Grow(p.items[:0], len(p.raws))[:len(p.raws)]
	sorted := true
	for i := range p.raws {
		if e := p.point(i, &p.items[i], &w, prefix); e != nil {
			return e
		}
		sorted = sorted && (i == 0 || p.items[i-1].Timestamp <= p.items[i].Timestamp)
	}
	if !sorted {
		slices.SortStableFunc(p.items, func(a, b Item) int { return cmp.Compare(a.Timestamp, b.Timestamp) })
	}
	p.req.Items = p.items
	return nil
}

// point validates one point and writes it to it.
func (p *Parser) point(i int, it *Item, w *window, prefix string) *Error {
	r := &p.raws[i]
	if rule := p.incomplete(r); rule != "" {
		return p.refuse(i, ReasonMissing, rule)
	}
	if r.whole != object {
		return p.refuse(i, ReasonForm, "invalid metric - "+r.whole.String()+" - not an object")
	}
	name, rule := p.name(r, prefix)
	if rule != "" {
		return p.refuse(i, ReasonName, "invalid metric - "+r.name.show()+" - "+rule)
	}
	ts, reason, rule := w.read(r)
	if rule != "" {
		return p.refuse(i, reason, "invalid timestamp - "+r.time.show()+" - "+rule)
	}
	value := r.number
	if !r.valueRead {
		if value, rule = float(r.value); rule != "" {
			return p.refuse(i, ReasonValue, "invalid value - "+r.value.show()+" - "+rule)
		}
	}
	*it = Item{Name: name, Timestamp: ts * 1000, Value: value, Fill: r.fill}
	return nil
}

// incomplete returns what to answer to a point that lacks something, or "". Only the single form of a POST must have a
// timestamp.
func (p *Parser) incomplete(r *raw) string {
	switch {
	case r.whole != object:
	case p.get && len(r.name.text) == 0:
		return "no metric parameter passed"
	case p.get && r.value.kind == absent:
		return "no value parameter passed"
	case p.get:
	case r.name.kind == absent && p.req.Array:
		return "invalid metric - no metric"
	case r.name.kind == absent:
		return "no metric data passed - no metric"
	case r.time.kind == absent && !p.req.Array:
		return "no metric data passed - no timestamp"
	case r.value.kind == absent && !p.req.Array:
		return "no metric data passed - no value"
	case r.value.kind == absent, r.value.kind == text && len(r.value.text) == 0:
		return "no value parameter present"
	}
	return ""
}

// name returns the final name of a point, or what is wrong with it.
func (p *Parser) name(r *raw, prefix string) (name []byte, rule string) {
	name = r.name.text
	switch {
	case r.name.kind != text:
		return nil, "not a string"
	case r.clean && len(name) > maxLast:
		rule = checkLength(name)
	case !r.clean:
		name = p.sanitise(name)
		rule = checkName(name)
	}
	if rule != "" {
		return nil, rule
	}
	name = p.under(name, prefix)
	switch {
	case len(name) > maxName:
		return nil, nameLong
	case !r.clean && bytes.IndexByte(name, ';') >= 0:
		return p.normalise(name)
	}
	return name, ""
}

// refuse is the error about one point: what is wrong, which item of the array it is, and its metric, if what is wrong
// is not the metric.
func (p *Parser) refuse(i int, reason Reason, message string) *Error {
	metric := ""
	if r := &p.raws[i]; reason != ReasonName && r.name.kind == text {
		metric = quote(r.name.text)
	}
	switch {
	case p.req.Array && metric != "":
		message += " - item " + strconv.Itoa(i) + " (" + metric + ")"
	case p.req.Array:
		message += " - item " + strconv.Itoa(i)
	case metric != "":
		message += " - " + metric
	}
	return &Error{Code: http.StatusBadRequest, Message: message, Item: i, Reason: reason}
}

// window is what Rules allow, in Unix seconds: first and last are the oldest and the newest timestamp.
type window struct {
	now, first, last int64
	rules            *Rules
}

func (r *Rules) window() window {
	now := r.Now
	if now.IsZero() {
		now = time.Now()
	}
	w := window{now: now.Unix(), first: 1, last: maxSeconds, rules: r}
	if r.MaxAge > 0 {
		w.first = w.now - int64(r.MaxAge/time.Second)
	}
	if r.MaxFuture > 0 {
		w.last = w.now + int64(r.MaxFuture/time.Second)
	}
	return w
}

// read returns the timestamp of a point, in seconds, or what is wrong with it.
func (w *window) read(r *raw) (s int64, reason Reason, rule string) {
	switch {
	case r.timeRead:
		s = r.seconds
	case r.time.kind == absent:
		return w.now, "", ""
	default:
		if s, rule = seconds(r.time); rule != "" {
			return 0, ReasonTimestamp, rule
		}
	}
	switch {
	case r.fill || s >= w.first && s <= w.last:
		return s, "", ""
	case s < w.first:
		return 0, ReasonOld, "timestamp is too old, older than " + inSeconds(w.rules.MaxAge)
	case w.rules.MaxFuture == time.Minute:
		return 0, ReasonFuture, "timestamp is more than 1 minute in the future"
	}
	return 0, ReasonFuture, "timestamp is more than " + inSeconds(w.rules.MaxFuture) + " in the future"
}

func inSeconds(d time.Duration) string {
	return strconv.FormatInt(int64(d/time.Second), 10) + " seconds"
}
