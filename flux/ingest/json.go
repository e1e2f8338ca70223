package ingest

import (
	"bytes"
	"slices"
)

// maxDepth is how deeply objects and arrays may be nested; the points stand on the third level.
const maxDepth = 32

// maxMembers is how many members an object and those around it may have together.
const maxMembers = 4096

// JSON reads the body of POST /metric_data_post:
//
//	{"metric": "a.b", "timestamp": 1478021700, "value": 1.0, "key": "..."}
//	{"key": "...", "metrics": [{"metric": "a.b", "timestamp": 1478021700, "value": 1.0}, ...]}
//
// Members that Flux does not know are ignored. A metrics array with something in it counts and the members of the
// single form beside it do not; one that is empty, null or absent means the single form.
//
// The error is an *Error: the body is not JSON, it is not an object with members, it holds more than MaxPoints points,
// or what Hold said. What is wrong with the points themselves is for Validate to tell. The body must be left alone until the
// items have been used.
func (p *Parser) JSON(body []byte) (*Request, error) {
	p.Reset()
	return p.document(body)
}

// document reads a JSON body, of Flux or of telegraf.
func (p *Parser) document(body []byte) (*Request, error) {
	p.b = body
	p.blank()
	if p.peek() == '{' {
		p.root()
	} else {
		p.value()
		p.shape = refused(ReasonJSON, noData)
	}
	p.blank()
	if p.err == nil && p.i < len(p.b) {
		p.unexpected("the end")
	}
	if p.err != nil {
		p.shape = p.err
	}
	if p.shape != nil && (p.shape.Reason != ReasonForm || p.full != nil) {
		return nil, p.shape
	}
	return &p.req, nil
}

// noData answers a body that is JSON but says nothing.
const noData = "no POST data received"

// root reads the object that is the body.
func (p *Parser) root() {
	one := raw{whole: object}
	var list token
	var m metric
	base := p.open()
	members := 0
	for {
		name, more := p.member(members == 0)
		if !more {
			break
		}
		members++
		if string(name) == "metrics" && p.peek() == '[' {
			list.kind = array
			p.list()
			continue
		}
		start := p.i
		v := p.value()
		switch string(name) {
		case "metrics":
			list = v
		case "key":
			p.req.HasKey = true
			if v.kind == text {
				p.req.Key = v.text
			}
		case "status":
			p.req.Status = v.kind != text || len(v.text) > 0
		case "test":
			p.req.Test = v.yes()
		case "validate_key":
			p.req.ValidateKey = v.yes()
		default:
			one.set(name, v)
			if p.source == fromTelegraf {
				m.set(name, v, start)
			}
		}
	}
	p.close(base)
	if members == 0 {
		p.shape = refused(ReasonJSON, noData)
	}
	p.form(list, &one, &m)
}

// form decides between the array, the single form and a single object of telegraf.
func (p *Parser) form(list token, one *raw, m *metric) {
	if p.req.Array {
		p.req.Points, p.req.OneByOne = len(p.raws), p.source == fromTelegraf
		return
	}
	odd := list.kind != absent && list.kind != null && list.kind != array
	if odd && p.shape == nil {
		p.shape = refused(ReasonForm, "invalid metrics - "+list.show()+" - not an array")
	}
	if p.source == fromTelegraf && m.isTelegraf(one) && !odd && p.err == nil {
		p.req.OneByOne = true
		p.again(m, one)
	} else {
		p.raws = append(p.raws, *one)
		p.req.Fill = one.fill
	}
	p.req.Points = len(p.raws)
}

// list reads the metrics array.
func (p *Parser) list() {
	p.descend()
	var l layout
	for n := 0; p.element(n == 0); n++ {
		p.req.Array = true
		if p.source == fromTelegraf {
			p.object(n)
			continue
		}
		r := p.next()
		if r == nil {
			return
		}
		if end := usual(p.b, p.i, r, &l); end > 0 {
			p.i = end
			p.alike(&l)
		} else {
			*r = raw{}
			p.item(r)
		}
		l.before = p.i
		p.req.Fill = p.req.Fill || r.fill
	}
	p.depth--
}

// item reads one element of the metrics array.
func (p *Parser) item(r *raw) {
	if p.peek() != '{' {
		r.whole = p.value().kind
		return
	}
	r.whole = object
	base := p.open()
	for first := true; ; first = false {
		name, more := p.member(first)
		if !more {
			break
		}
		r.set(name, p.value())
	}
	p.close(base)
}

// set takes a member of a point; others than a point's are ignored.
func (r *raw) set(name []byte, v token) {
	switch string(name) {
	case "metric":
		r.name = v
	case "timestamp":
		r.time = v
	case "value":
		r.value = v
	case "fill":
		r.fill = v.fill()
	}
}

// fill reports whether a fill member asks for it, as Flux decides.
func (t token) fill() bool {
	return t.kind == truth || t.kind == text && (string(t.text) == "true" || string(t.text) == "True")
}

// FillAll has every point of the last request ask to be taken whatever its age. It is for before Validate.
func (p *Parser) FillAll() {
	for i := range p.raws {
		p.raws[i].fill = true
	}
	p.req.Fill = p.req.Fill || len(p.raws) > 0
}

// yes reports whether a switch is on: what Python takes for true. So every text but the empty one turns it on, false too.
func (t token) yes() bool {
	switch t.kind {
	case truth:
		return true
	case number:
		f, _ := float(t)
		return f != 0
	case text:
		return len(t.text) > 0
	case array, object:
		if len(t.text) < 2 { // the body ended in it; that is an error already
			return false
		}
		return len(bytes.TrimSpace(t.text[1:len(t.text)-1])) > 0
	}
	return false
}

// open enters the object that the parser stands before and returns what close wants.
func (p *Parser) open() (base int) {
	p.descend()
	return len(p.seen)
}

// close leaves an object: no name may stand twice in it.
func (p *Parser) close(base int) {
	p.depth--
	names := p.seen[base:]
	p.seen = p.seen[:base]
	if p.err != nil {
		return
	}
	if ascending(names) {
		return
	}
	if len(names) > 16 {
		slices.SortFunc(names, bytes.Compare)
		for i := 1; i < len(names); i++ {
			if bytes.Equal(names[i-1], names[i]) {
				p.repeated(names[i])
				return
			}
		}
		return
	}
	for i, a := range names {
		for _, b := range names[:i] {
			if bytes.Equal(a, b) {
				p.repeated(a)
				return
			}
		}
	}
}

// ascending reports whether names are in order and none stands twice, as encoders of maps write them.
func ascending(names [][]byte) bool {
	for i := 1; i < len(names); i++ {
		if bytes.Compare(names[i-1], names[i]) >= 0 {
			return false
		}
	}
	return true
}

func (p *Parser) repeated(name []byte) {
	p.broken("the member " + quote(name) + " stands twice in the object that ends")
}
