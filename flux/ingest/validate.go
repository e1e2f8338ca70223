package ingest

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"

	"github.com/fluxmetrics/fluxkit/graphite"
)

// Validate checks every point of the last request by the rules and sets the request's Items, in order of time. Where
// points are judged one by one, those that are bad go to Rejected. Else one bad point refuses the request: Items stays
// nil and the *Error tells of the first bad point.
//
// Of each point it checks the name, then the timestamp, then the value. The prefix, without a trailing dot, is that of
// the request's key: a name that is not under it already, on the boundary of an element, is put there. An empty prefix
// leaves names alone.
//
// It may be called again, with other rules. After a failed parse it returns that error.
func (p *Parser) Validate(rules Rules, prefix string) error {
	p.req.Items, p.req.Rejected = nil, nil
	if p.shape != nil {
		return p.shape
	}
	p.series.again()
	w := rules.window()
	if n := int64(len(p.raws)-cap(p.items)) * sizeItem; n > 0 && !p.room(n) {
		return p.refuseFull()
	}
	p.items, p.rejected = slices.Grow(p.items[:0], len(p.raws)), p.rejected[:0]
	n := 0
	for i := 0; ; i++ {
		if prefix == "" {
			k := w.easy(p.raws[i:], p.items[n:cap(p.items)])
			n, i = n+k, i+k
		}
		if i == len(p.raws) {
			break
		}
		if !p.point(&p.raws[i], &p.items[:n+1][n], &w, prefix) {
			if p.fault.reason == ReasonTooMany {
				return &Error{Code: http.StatusRequestEntityTooLarge, Message: p.fault.rule, Item: -1, Reason: ReasonTooMany}
			}
			if !p.req.OneByOne {
				return p.refuse(i)
			}
			if len(p.rejected) == cap(p.rejected) && !p.room(grown(cap(p.rejected), sizeRejected)) {
				return p.refuseFull()
			}
			p.rejected = append(p.rejected, p.reject(i))
			continue
		}
		if int64(cap(p.text)) != p.textCap && !p.spread() {
			return p.refuseFull()
		}
		n++
	}
	p.items = p.items[:n]
	if !inOrder(p.items) {
		slices.SortStableFunc(p.items, func(a, b Item) int { return cmp.Compare(a.Timestamp, b.Timestamp) })
	}
	p.req.Items, p.req.Rejected = p.items, p.rejected
	return nil
}

// easy validates points as long as they are ready, and returns how many. There is no prefix.
func (w *window) easy(raws []raw, items []Item) int {
	for i := range raws {
		r := &raws[i]
		if !w.ready(r) {
			return i
		}
		items[i] = Item{Name: r.name.text, Timestamp: r.seconds * 1000, Value: r.number, Fill: r.fill}
	}
	return len(raws)
}

// ready reports whether nothing of a point has to be looked at any more but the name's length under a prefix.
func (w *window) ready(r *raw) bool {
	return r.clean && r.timeRead && r.valueRead && (r.fill || r.seconds >= w.first && r.seconds <= w.last)
}

func inOrder(items []Item) bool {
	for i := 1; i < len(items); i++ {
		if items[i].Timestamp < items[i-1].Timestamp {
			return false
		}
	}
	return true
}

// refuseFull refuses the request for want of memory, now and when it is validated again.
func (p *Parser) refuseFull() error {
	p.shape = p.full
	return p.full
}

// namesTooLong is why a telegraf request is refused whole, once its points are judged.
const namesTooLong = "names too long - those of all fields come to more than 32 times the body"

// point validates one point and writes it to it, or notes what is wrong.
func (p *Parser) point(r *raw, it *Item, w *window, prefix string) bool {
	var name []byte
	var ok bool
	if w.ready(r) && len(prefix)+1+len(r.name.text) <= maxName {
		*it = Item{Name: p.under(r.name.text, prefix), Timestamp: r.seconds * 1000, Value: r.number, Fill: r.fill}
		return true
	}
	if r.of > 0 {
		p.made = nil
		name, ok = p.seriesName(r, prefix)
	} else {
		name, ok = p.name(r, prefix)
	}
	if !ok {
		return false
	}
	s, ok := p.seconds(r, w)
	if !ok {
		return false
	}
	value := r.number
	if !r.valueRead {
		if value, ok = p.float(r); !ok {
			return false
		}
	}
	*it = Item{Name: name, Timestamp: s * 1000, Value: value, Fill: r.fill}
	return true
}

// incomplete returns what to answer to a point that lacks something, or "". Only the single form of a POST must have a
// timestamp.
func (p *Parser) incomplete(r *raw) string {
	single := !p.req.Array && p.source != fromLines
	switch {
	case p.source == fromQuery && len(r.name.text) == 0:
		return "no metric parameter passed"
	case p.source == fromQuery && r.value.kind == absent:
		return "no value parameter passed"
	case p.source == fromQuery:
	case r.name.kind == absent && !single:
		return "invalid metric - no metric"
	case r.name.kind == absent:
		return "no metric data passed - no metric"
	case r.time.kind == absent && !r.timeRead && single:
		return "no metric data passed - no timestamp"
	case r.value.kind == absent && !r.valueRead && single:
		return "no metric data passed - no value"
	case r.value.kind == absent && !r.valueRead, r.value.kind == text && len(r.value.text) == 0:
		return "no value parameter present"
	}
	return ""
}

// name returns the final name of a point, or notes what is wrong with it or with the point as a whole.
func (p *Parser) name(r *raw, prefix string) (name []byte, ok bool) {
	if r.whole != object {
		return nil, p.noPoint(r)
	}
	if rule := p.incomplete(r); rule != "" {
		return nil, p.bad(ReasonMissing, "", token{}, rule)
	}
	rule := ""
	name = r.name.text
	switch {
	case r.name.kind != text:
		rule = "not a string"
	case r.clean:
	default:
		name, rule = p.tidied(name)
	}
	if rule == "" {
		name, rule = p.final(name, prefix, !r.clean)
	}
	if rule != "" {
		return nil, p.bad(ReasonName, "metric", r.name, rule)
	}
	return name, true
}

// noPoint notes that something else stands where a point should.
func (p *Parser) noPoint(r *raw) bool {
	switch r.whole {
	case malformed:
		return p.bad(ReasonForm, "line", r.name, "not a name, a value and a timestamp")
	case tooLong:
		return p.bad(ReasonForm, "line", r.name, "longer than "+strconv.Itoa(graphite.DefaultMaxLine)+" bytes")
	}
	return p.bad(ReasonForm, "", token{}, "invalid metric - "+r.whole.String()+" - not an object")
}

// float returns the value of a point, or notes what is wrong with it.
func (p *Parser) float(r *raw) (float64, bool) {
	if r.of > 0 && r.value.kind != number {
		return 0, p.bad(ReasonNonNumeric, "value", r.value, nonNumeric)
	}
	f, rule := float(r.value)
	if rule != "" {
		return 0, p.bad(ReasonValue, "value", r.value, rule)
	}
	return f, true
}
