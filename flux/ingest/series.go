package ingest

import "bytes"

// How many bytes the names of a telegraf request may come to: namesAlways, and so many more for each byte of the body.
const (
	namesAlways  = 64 << 10
	namesPerByte = 32
)

// series is what telegraf's objects say, and the part of a name that the points of one object share.
type series struct {
	Telegraf
	perSecond uint64 // units of time in a second
	metrics   []metric
	tags      []tag
	size      int // how many bytes all names came to

	at         int32  // which object the rest is about, counted from 1
	fault      fault  // what is wrong with it
	made       []byte // memory for head and tail
	head, tail []byte // what stands before and after the field in a name
	clean      bool   // head and tail need no check but that of lengths
}

func (s *series) reset() {
	clear(s.metrics)
	clear(s.tags)
	if cap(s.made) > keepText {
		s.made = nil
	}
	*s = series{metrics: s.metrics[:0], tags: s.tags[:0], made: s.made[:0]}
}

// again is for names under another prefix.
func (s *series) again() { s.at, s.size = 0, 0 }

// seriesName makes the final name of a point of telegraf, or notes what is wrong with it.
func (p *Parser) seriesName(r *raw, prefix string) ([]byte, bool) {
	s := &p.series
	if s.at != r.of {
		s.at = r.of
		s.fault = s.share(&s.metrics[r.of-1])
	}
	if s.fault.rule != "" {
		p.fault = s.fault
		return nil, false
	}
	size := len(s.head) + len(r.name.text) + len(s.tail)
	switch {
	case len(r.name.text) == 0:
		return nil, p.bad(ReasonMissing, "", token{}, "a field without a name")
	case size > maxName:
		return nil, p.bad(ReasonName, "field", r.name, nameLong)
	}
	if s.size += size + len(prefix); s.size > namesAlways+namesPerByte*len(p.b) {
		return nil, p.bad(ReasonTooMany, "", token{}, namesTooLong)
	}
	from := len(p.text)
	if prefix != "" {
		p.text = append(append(p.text, prefix...), '.')
	}
	at := len(p.text) - from
	p.text = append(p.text, s.head...)
	var clean bool
	p.text, clean = flat(p.text, r.name.text)
	p.text = append(p.text, s.tail...)
	whole := p.text[from:len(p.text):len(p.text)]
	name := whole[at:]
	p.made = name
	if isUnder(name, prefix) {
		whole = name
	}
	if rule := checkMade(name, whole, clean && s.clean); rule != "" {
		return nil, p.bad(ReasonName, "metric", token{name, text}, rule)
	}
	return whole, true
}

// checkMade returns what is wrong with a name made for telegraf, or "". whole is the name under its prefix; clean tells
// that only lengths have to be looked at. There are no tags of carbon's in it.
func checkMade(name, whole []byte, clean bool) (rule string) {
	switch {
	case clean && len(name) <= maxLast:
	case clean:
		rule = checkLength(name)
	case bytes.IndexByte(name, ';') >= 0:
		rule = nameChars
	default:
		rule = checkName(name)
	}
	if rule == "" && len(whole) > maxName {
		return nameLong
	}
	return rule
}

// share makes the part of a name that the points of m share, or returns what is wrong with m.
func (s *series) share(m *metric) fault {
	tags := s.tags[m.from:m.to]
	if f := m.fault(tags); f.rule != "" {
		return f
	}
	s.made = s.made[:0]
	s.element([]byte(s.Prefix))
	cut := 0
	for _, word := range s.Template.words {
		switch word {
		case "field":
			cut = len(s.made)
			s.made = append(s.made, '.')
		case "measurement":
			s.element(m.name.text)
		case "tags":
			for i := range tags {
				if !s.Template.names(tags[i].key) {
					s.flat(tags[i].value.text)
				}
			}
		case "host":
			host := find(tags, word)
			if len(host) == 0 {
				return fault{reason: ReasonMissing, rule: "no host tag"}
			}
			s.element(host)
		default:
			s.flat(find(tags, word))
		}
	}
	s.head, s.tail = tidy(s.made[:cut]), tidy(s.made[cut:len(s.made)-1])
	_, headClean := clean(s.head, breakByte)
	last, tailClean := clean(s.tail, plainByte)
	s.clean = headClean && tailClean && last&breakByte == 0
	return fault{}
}

// element appends an element of the name as it is, and the dot after it. Empty ones are left out.
func (s *series) element(text []byte) {
	if len(text) > 0 {
		s.made = append(append(s.made, text...), '.')
	}
}

// flat appends a text that must not make elements of its own.
func (s *series) flat(text []byte) {
	if len(text) > 0 {
		s.made, _ = flat(s.made, text)
		s.made = append(s.made, '.')
	}
}

func find(tags []tag, key string) []byte {
	for i := range tags {
		if string(tags[i].key) == key {
			return tags[i].value.text
		}
	}
	return nil
}

// fault returns what is wrong with an object, but for its name.
func (m *metric) fault(tags []tag) fault {
	switch {
	case m.fields.kind != object:
		return fault{ReasonForm, "fields", m.fields, "not an object"}
	case m.name.kind == absent, m.name.kind == text && len(m.name.text) == 0:
		return fault{reason: ReasonMissing, rule: "no name"}
	case m.name.kind != text:
		return fault{ReasonForm, "name", m.name, "not a string"}
	case m.tags.kind != absent && m.tags.kind != object:
		return fault{ReasonForm, "tags", m.tags, "not an object"}
	}
	for i := range tags {
		if tags[i].value.kind != text {
			return fault{ReasonForm, "tag " + quote(tags[i].key), tags[i].value, "not a string"}
		}
	}
	return fault{}
}

// flat appends text to dst with the bytes that Flux puts for those that it does not want in tags and fields, and reports
// whether that makes an element of bytes that are allowed.
func flat(dst, text []byte) ([]byte, bool) {
	from, all := len(dst), ^uint8(0)
	dst = append(dst, text...)
	for i, c := range dst[from:] {
		c = flattened[c]
		dst[from+i] = c
		all &= classes[c]
	}
	return dst, all&plainByte != 0
}

// flattened is what each byte of a tag's value and of a field's name becomes.
var flattened = func() (t [256]byte) {
	for c := range t {
		t[c] = byte(c)
		if classes[c]&swapByte != 0 {
			t[c] = '_'
		}
	}
	t['.'], t['/'] = '_', '-'
	return t
}()
