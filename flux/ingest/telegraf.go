package ingest

import "time"

// Telegraf says how Parser.Telegraf reads. The zero value reads as Skyline's Flux does.
type Telegraf struct {
	// Prefix stands in front of every name: the request's header "prefix". The prefix of the key comes before it.
	Prefix string
	// Template says what a name is made of; nil means host.tags.measurement.field.
	Template *Template
	// Unit is what timestamps count, json_timestamp_units in telegraf's configuration: a second, which 0 means too, a
	// millisecond, a microsecond or a nanosecond. A part of a second is cut off.
	Unit time.Duration
}

// Telegraf reads the body of a POST that telegraf's outputs.http makes with data_format "json", in batches or not:
//
//	{"metrics": [{"fields": {"usage_idle": 98.5}, "name": "cpu", "tags": {"host": "web-1"}, "timestamp": 1795293175}, ...]}
//	{"fields": {"usage_idle": 98.5}, "name": "cpu", "tags": {"host": "web-1"}, "timestamp": 1795293175}
//
// Each field is a point, and each point is judged by itself: Validate puts the good ones in Items and the others in
// Rejected. A field that is no number, such as a text or a boolean, is rejected with ReasonNonNumeric. An object with
// a member metric is a point of Flux's own and is judged by itself too; a body that holds one alone, outside an array,
// is read as Parser.JSON does. What Flux knows besides, such as key and test, may stand next to metrics.
//
// Names come from the template and the prefix. In tags and fields a dot becomes an underscore and a slash a hyphen; in
// the host, the measurement and the prefix both stay what they are. After that the rules for names hold, and there are
// no carbon tags: a semicolon is refused. Without the tag host an object has no name, unless the template does
// without it.
//
// Errors are those of Parser.JSON, but for the number of points, which is not limited. Names that come to far more bytes
// than the body has refuse the whole request, with code 413; that is for Validate to tell.
func (p *Parser) Telegraf(body []byte, t Telegraf) (*Request, error) {
	p.Reset()
	p.source = fromTelegraf
	p.series.Telegraf = t
	if t.Template == nil {
		p.series.Template = &defaultTemplate
	}
	p.series.perSecond = 1
	if t.Unit > 0 && t.Unit < time.Second {
		p.series.perSecond = uint64(time.Second / t.Unit)
	}
	return p.document(body)
}

// metric is one of telegraf's objects without its fields, which are points.
type metric struct {
	name, fields, tags token
	fieldsAt, tagsAt   int   // where they stand, for an object that is the body
	from, to           int32 // its tags, in series.tags
}

// tag is one of telegraf's.
type tag struct {
	key   []byte
	value token
}

// set takes a member of an object that is the body.
func (m *metric) set(name []byte, v token, at int) {
	switch string(name) {
	case "name":
		m.name = v
	case "fields":
		m.fields, m.fieldsAt = v, at
	case "tags":
		m.tags, m.tagsAt = v, at
	}
}

// isTelegraf decides between an object of telegraf and a point of Flux's own.
func (m *metric) isTelegraf(one *raw) bool {
	return m.fields.kind != absent && one.name.kind == absent
}

// object reads one element of telegraf's metrics array.
func (p *Parser) object(n int) {
	one := raw{item: int32(n), whole: object}
	m := metric{from: int32(len(p.series.tags))}
	from := len(p.raws)
	if p.peek() != '{' {
		one.whole = p.value().kind
		p.keep(from, &one, &m)
		return
	}
	base := p.open()
	for first := true; ; first = false {
		name, more := p.member(first)
		if !more {
			break
		}
		switch string(name) {
		case "fields":
			m.fields = p.fields()
		case "tags":
			m.tags = p.tags()
		case "name":
			m.name = p.value()
		default:
			one.set(name, p.value())
		}
	}
	p.close(base)
	p.keep(from, &one, &m)
}

// again reads the fields and the tags of an object that is the body.
func (p *Parser) again(m *metric, one *raw) {
	end := p.i
	if m.fields.kind == object {
		p.i = m.fieldsAt
		p.fields()
	}
	if m.tags.kind == object && p.err == nil {
		p.i = m.tagsAt
		p.tags()
	}
	p.i = end
	p.keep(0, one, m)
}

// fields reads the fields of an object; each is a point.
func (p *Parser) fields() token {
	if p.peek() != '{' {
		return p.value()
	}
	base := p.open()
	for first := true; ; first = false {
		name, more := p.member(first)
		if !more {
			break
		}
		r := p.next()
		if r == nil {
			break
		}
		r.name, r.whole = token{name, text}, object
		if f, next, read := decimal(p.b, p.i); next > 0 {
			if r.number, r.valueRead = f, read; !read {
				r.value = token{p.b[p.i:next:next], number}
			}
			p.i = next
		} else {
			r.value = p.value()
		}
	}
	p.close(base)
	return token{kind: object}
}

// tags reads the tags of an object.
func (p *Parser) tags() token {
	if p.peek() != '{' {
		return p.value()
	}
	base := p.open()
	for first := true; ; first = false {
		key, more := p.member(first)
		if !more {
			break
		}
		value := p.value()
		if s := &p.series; len(s.tags) == cap(s.tags) && !p.room(grown(cap(s.tags), sizeTag)) {
			break
		}
		p.series.tags = append(p.series.tags, tag{key, value})
	}
	p.close(base)
	return token{kind: object}
}

// keep makes points of an element that was read. Its fields are the points from raws[from] on.
func (p *Parser) keep(from int, one *raw, m *metric) {
	if !m.isTelegraf(one) {
		clear(p.raws[from:])
		p.raws, p.series.tags = p.raws[:from], p.series.tags[:m.from]
		if r := p.next(); r != nil {
			*r = *one
			p.req.Fill = p.req.Fill || r.fill
		}
		return
	}
	if m.fields.kind != object { // one point stands for those that are not there
		if r := p.next(); r != nil {
			r.whole = object
		}
	}
	if len(p.raws) == from {
		p.series.tags = p.series.tags[:m.from]
		return
	}
	m.to = int32(len(p.series.tags))
	p.series.metrics = append(p.series.metrics, *m)
	s, rule := seconds(one.time, p.series.perSecond)
	for i := from; i < len(p.raws); i++ {
		r := &p.raws[i]
		r.item, r.of = one.item, int32(len(p.series.metrics))
		r.time, r.seconds, r.timeRead = one.time, s, rule == ""
	}
}
