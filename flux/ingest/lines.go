package ingest

import (
	"bytes"
	"time"

	"github.com/fluxmetrics/fluxkit/graphite"
)

// Lines reads a body of carbon's lines, "name value timestamp\n", as a graphite.LineParser does by its default rules: a
// timestamp of -1 is now, the last line needs no newline, blank lines are passed over. Each line is a point that is
// judged by itself, by the rules for all points of HTTP: Validate puts the good ones in Items and the others in
// Rejected, where Item+1 is the line's number.
//
// The error is an *Error, and what Hold said. The body must be left alone until the items have been used.
func (p *Parser) Lines(body []byte) (*Request, error) {
	p.Reset()
	p.source, p.req.OneByOne = fromLines, true
	p.lines.Now = noTime
	for n := int32(0); len(body) > 0; n++ {
		line := body
		if i := bytes.IndexByte(body, '\n'); i >= 0 {
			line, body = body[:i], body[i+1:]
		} else {
			body = nil
		}
		if len(bytes.Trim(line, " \t\r")) == 0 {
			continue
		}
		r := p.next()
		if r == nil {
			p.shape = p.err
			return nil, p.err
		}
		r.item = n
		p.line(r, line)
	}
	p.req.Points = len(p.raws)
	return &p.req, nil
}

// unread is what the clock of the line parser says, so that -1 is told from a time: no timestamp of a line comes to
// this, since those that are so large are whole seconds.
const unread = -1<<63 + 1

func noTime() time.Time { return time.UnixMilli(unread) }

// line reads a line that is not blank.
func (p *Parser) line(r *raw, line []byte) {
	r.whole = object
	if len(line) > graphite.DefaultMaxLine {
		r.whole, r.name = tooLong, token{line, text}
		return
	}
	p.lines.ParseLast(line)
	if len(p.lines.Rows) == 1 {
		row := &p.lines.Rows[0]
		if r.at(row.Timestamp) {
			last, ok := clean(row.Name, breakByte)
			r.name, r.clean = token{row.Name, text}, ok && last&breakByte == 0 && len(row.Name) <= maxLast
			r.number, r.valueRead = row.Value, true
			return
		}
	}
	p.slowLine(r, line)
}

// at takes the timestamp of a line, if it is in whole seconds that can be a time.
func (r *raw) at(ms int64) bool {
	if ms == unread {
		r.time = token{}
		return true
	}
	r.seconds = ms / 1000
	r.timeRead = ms%1000 == 0 && r.seconds > 0 && r.seconds <= maxSeconds
	return r.timeRead
}

// slowLine takes a line apart that is probably wrong, so that what is wrong with it can be told.
func (p *Parser) slowLine(r *raw, line []byte) {
	rest := bytes.TrimRight(line, "\r")
	r.name.kind, r.value.kind, r.time.kind = text, bareWord, bareWord
	for _, t := range [...]*token{&r.name, &r.value, &r.time} {
		rest = bytes.TrimLeft(rest, " \t")
		end := bytes.IndexAny(rest, " \t")
		if end < 0 {
			end = len(rest)
		}
		t.text = rest[:end:end]
		rest = rest[end:]
	}
	if len(r.time.text) == 0 || len(bytes.TrimLeft(rest, " \t")) > 0 {
		*r = raw{item: r.item, whole: malformed, name: token{line, text}}
		return
	}
	alone := append([]byte("x 0 "), r.time.text...)
	if pt, err := graphite.ParseLine(alone, noTime()); err == nil {
		r.at(pt.Timestamp)
	}
}
