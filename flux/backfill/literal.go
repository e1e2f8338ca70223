package backfill

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Bounds of a Python literal.
const (
	maxLiteral = 1 << 20 // bytes
	maxURLs    = 100
)

// literal reads Python literals: strings, and lists or tuples of strings. Nothing else is a literal here: no prefix, no
// triple quotes, no concatenation.
type literal struct {
	text string
	pos  int
}

// parseURLLiteral reads what Vista sends: a string literal that holds a list literal of strings. The list may also
// stand there without the string around it.
func parseURLLiteral(text string) ([]string, error) {
	if len(text) > maxLiteral {
		return nil, fmt.Errorf("%d bytes, at most %d", len(text), maxLiteral)
	}
	p := literal{text: text}
	p.space()
	if c := p.peek(); c == '"' || c == '\'' {
		inner, err := p.str()
		if err != nil {
			return nil, err
		}
		if err := p.end(); err != nil {
			return nil, err
		}
		p = literal{text: inner}
	}
	p.space()
	list, err := p.list()
	if err != nil {
		return nil, err
	}
	return list, p.end()
}

// list reads a list or a tuple of strings.
func (p *literal) list() ([]string, error) {
	var closing byte
	switch p.peek() {
	case '[':
		closing = ']'
	case '(':
		closing = ')'
	default:
		return nil, p.fail("no list")
	}
	p.pos++
	var list []string
	for comma := true; ; {
		p.space()
		switch c := p.peek(); {
		case c == closing:
			if closing == ')' && len(list) == 1 && !comma {
				return nil, p.fail("a string in brackets, no tuple")
			}
			p.pos++
			return list, nil
		case c == ',' && !comma:
			p.pos, comma = p.pos+1, true
			continue
		case !comma:
			return nil, p.fail("no comma between the elements")
		}
		s, err := p.str()
		if err != nil {
			return nil, err
		}
		if len(list) == maxURLs {
			return nil, fmt.Errorf("more than %d elements", maxURLs)
		}
		list, comma = append(list, s), false
	}
}

// str reads a string in single or double quotes.
func (p *literal) str() (string, error) {
	delimiter := p.peek()
	if delimiter != '\'' && delimiter != '"' {
		return "", p.fail("no string")
	}
	p.pos++
	var out strings.Builder
	for p.pos < len(p.text) {
		switch c := p.text[p.pos]; {
		case c == delimiter:
			p.pos++
			return out.String(), nil
		case c == '\\':
			if err := p.escape(&out); err != nil {
				return "", err
			}
		case c == '\n' || c == '\r' || c == 0:
			return "", p.fail("a line ends within a string")
		default:
			out.WriteByte(c)
			p.pos++
		}
	}
	return "", errors.New("a string does not end")
}

// escape reads one escape sequence of Python. Those that Python leaves as they are, \d say, are refused.
func (p *literal) escape(out *strings.Builder) error {
	if p.pos+1 == len(p.text) {
		return errors.New("a string does not end")
	}
	c, digits := p.text[p.pos+1], 0
	switch c {
	case '\\', '\'', '"':
		out.WriteByte(c)
	case 'x':
		digits = 2
	case 'u':
		digits = 4
	case 'U':
		digits = 8
	default:
		i := strings.IndexByte("abfnrtv", c)
		if i < 0 {
			return p.fail("an escape sequence that is not read here")
		}
		out.WriteByte("\a\b\f\n\r\t\v"[i])
	}
	p.pos += 2
	if digits == 0 {
		return nil
	}
	if p.pos+digits > len(p.text) {
		return errors.New("a string does not end")
	}
	var r rune
	for _, h := range []byte(p.text[p.pos : p.pos+digits]) {
		v := strings.IndexByte("0123456789abcdef", h|0x20)
		if v < 0 || h < '0' || r > utf8.MaxRune {
			return p.fail("an escape sequence that is not hexadecimal")
		}
		r = r<<4 | rune(v)
	}
	if !utf8.ValidRune(r) {
		return p.fail("an escape sequence that is no character")
	}
	out.WriteRune(r)
	p.pos += digits
	return nil
}

func (p *literal) peek() byte {
	if p.pos == len(p.text) {
		return 0
	}
	return p.text[p.pos]
}

func (p *literal) space() {
	for p.pos < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.pos]) >= 0 {
		p.pos++
	}
}

func (p *literal) end() error {
	if p.space(); p.pos < len(p.text) {
		return p.fail("something after the end")
	}
	return nil
}

func (p *literal) fail(what string) error {
	return fmt.Errorf("%s, at byte %d, before %s", what, p.pos, quote(p.text[p.pos:min(len(p.text), p.pos+20)]))
}
