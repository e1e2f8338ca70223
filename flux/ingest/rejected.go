package ingest

import (
	"net/http"
	"strconv"
)

// Rejected is a point that was left out while others of its request were taken. The slices are views, as those of an
// Item are.
type Rejected struct {
	// Item is where the point stood: the index of the object in telegraf's metrics array, or of the line in the body,
	// blank ones included. Both count from 0.
	Item int
	// Field is the name of telegraf's field; nil for others.
	Field []byte
	// Metric is the name, as far as there is one: without the prefix of the key, and not always valid.
	Metric []byte
	// Reason is a label to count by.
	Reason Reason

	fault  fault
	source source
	array  bool
}

// Message tells what is wrong, in the words of Error.Message: which item or line, counted from 0 and from 1, which
// field, which value, which rule.
func (r *Rejected) Message() string { return r.fault.message() + r.place() }

// place tells which point it is.
func (r *Rejected) place() string {
	s := ""
	switch {
	case r.source == fromLines:
		s = "line " + strconv.Itoa(r.Item+1)
	case r.array:
		s = "item " + strconv.Itoa(r.Item)
	}
	if r.Field != nil && r.array {
		s += ", field " + quote(r.Field)
	} else if r.Field != nil {
		s = "field " + quote(r.Field)
	}
	switch {
	case r.Metric == nil || r.Reason == ReasonName:
	case s == "":
		s = quote(r.Metric)
	default:
		s += " (" + quote(r.Metric) + ")"
	}
	if s == "" {
		return ""
	}
	return " - " + s
}

// fault is what is wrong with a point.
type fault struct {
	reason Reason
	what   string // the member that is wrong; empty where the rule says it all
	got    token  // what stands there
	rule   string
}

func (f *fault) message() string {
	if f.what == "" {
		return f.rule
	}
	return "invalid " + f.what + " - " + f.got.show() + " - " + f.rule
}

// bad notes what is wrong with the point that is judged. It is false, for the caller to return.
func (p *Parser) bad(reason Reason, what string, got token, rule string) bool {
	p.fault = fault{reason, what, got, rule}
	return false
}

// reject is the point raws[i], in which p.fault was found.
func (p *Parser) reject(i int) Rejected {
	r := &p.raws[i]
	out := Rejected{Item: i, Reason: p.fault.reason, fault: p.fault, source: p.source, array: p.req.Array}
	if p.req.OneByOne {
		out.Item = int(r.item)
	}
	switch {
	case r.of > 0:
		out.Metric = p.made
		if r.name.kind == text {
			out.Field = r.name.text
		}
	case r.whole == object && r.name.kind == text:
		out.Metric = r.name.text
	}
	return out
}

// refuse is the error for a request that is refused because of the point raws[i].
func (p *Parser) refuse(i int) *Error {
	r := p.reject(i)
	return &Error{Code: http.StatusBadRequest, Message: r.Message(), Item: i, Reason: r.Reason}
}
