package ingest

import (
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// The JSON scanner: RFC 8259, strictly. Where the text is wrong it notes the error and moves to the end, so that every
// loop ends by itself.

// fail notes why the body cannot be read, unless something is noted already.
func (p *Parser) fail(e *Error) {
	if p.err == nil {
		p.err = e
	}
	p.i = len(p.b)
}

// broken notes that the text is wrong where the parser stands.
func (p *Parser) broken(what string) {
	p.fail(refused(ReasonJSON, "invalid json data - "+what+" at byte "+strconv.Itoa(p.i)))
}

// unexpected notes that something else than wanted stands where the parser does.
func (p *Parser) unexpected(wanted string) {
	if p.i >= len(p.b) {
		p.broken("the text ends where " + wanted + " is wanted,")
		return
	}
	p.broken(strconv.QuoteToASCII(string(p.b[p.i:p.i+1])) + " where " + wanted + " is wanted,")
}

// peek is the byte where the parser stands, 0 at the end. A zero byte stands nowhere in valid JSON.
func (p *Parser) peek() byte {
	if p.i < len(p.b) {
		return p.b[p.i]
	}
	return 0
}

// blank passes over whitespace.
func (p *Parser) blank() {
	for p.i < len(p.b) {
		switch p.b[p.i] {
		case ' ', '\n', '\t', '\r':
			p.i++
		default:
			return
		}
	}
}

// descend enters an object or an array, past its bracket. The caller takes depth back.
func (p *Parser) descend() {
	p.depth++
	if p.depth > maxDepth {
		p.broken("nested more than " + strconv.Itoa(maxDepth) + " levels deep")
		return
	}
	p.i++
}

// element moves to the next element of an array; false means that the array is closed or the text wrong.
func (p *Parser) element(first bool) bool {
	p.blank()
	c := p.peek()
	switch {
	case p.err != nil:
		return false
	case c == ']':
		p.i++
		return false
	case first:
		return true
	case c != ',':
		p.unexpected(`"," or "]"`)
		return false
	}
	p.i++
	p.blank()
	return true
}

// member moves to the value of the next member of an object and returns the member's name; false means that the
// object is closed or the text wrong.
func (p *Parser) member(first bool) ([]byte, bool) {
	p.blank()
	c := p.peek()
	switch {
	case p.err != nil:
		return nil, false
	case c == '}':
		p.i++
		return nil, false
	case first:
	case c != ',':
		p.unexpected(`"," or "}"`)
		return nil, false
	default:
		p.i++
		p.blank()
	}
	if p.peek() != '"' {
		p.unexpected("a member's name")
		return nil, false
	}
	name := p.str()
	p.blank()
	if p.peek() != ':' {
		p.unexpected(`":"`)
		return nil, false
	}
	p.i++
	p.blank()
	if p.seen = append(p.seen, name); len(p.seen) > maxMembers {
		p.broken("more than " + strconv.Itoa(maxMembers) + " members")
	}
	return name, p.err == nil
}

// value reads any value.
func (p *Parser) value() token {
	start := p.i
	var k kind
	switch c := p.peek(); {
	case c == '"':
		return token{p.str(), text}
	case c == '-' || c-'0' <= 9:
		k = number
		p.number()
	case c == '{':
		k = object
		base := p.open()
		for first := true; ; first = false {
			_, more := p.member(first)
			if !more {
				break
			}
			p.value()
		}
		p.close(base)
	case c == '[':
		k = array
		p.descend()
		for first := true; p.element(first); first = false {
			p.value()
		}
		p.depth--
	case c == 't':
		k = p.literal("true", truth)
	case c == 'f':
		k = p.literal("false", untruth)
	case c == 'n':
		k = p.literal("null", null)
	default:
		p.unexpected("a value")
	}
	return token{p.b[start:p.i], k}
}

func (p *Parser) literal(word string, k kind) kind {
	if len(p.b)-p.i < len(word) || string(p.b[p.i:p.i+len(word)]) != word {
		p.unexpected("a value")
		return absent
	}
	p.i += len(word)
	return k
}

// number passes over a number.
func (p *Parser) number() {
	if p.peek() == '-' {
		p.i++
	}
	if p.peek() == '0' {
		p.i++
	} else {
		p.digits()
	}
	if p.peek() == '.' {
		p.i++
		p.digits()
	}
	if c := p.peek(); c == 'e' || c == 'E' {
		p.i++
		if c := p.peek(); c == '+' || c == '-' {
			p.i++
		}
		p.digits()
	}
}

// digits passes over at least one digit.
func (p *Parser) digits() {
	start := p.i
	for p.i < len(p.b) && p.b[p.i]-'0' <= 9 {
		p.i++
	}
	if p.i == start {
		p.unexpected("a digit")
	}
}

// str reads a string and returns its text: a view into the body, or into the parser's text if it has escapes.
func (p *Parser) str() []byte {
	p.i++
	start := p.i
	escaped := false
	from := len(p.text)
	for {
		p.plain()
		switch c := p.peek(); {
		case p.i >= len(p.b):
			p.unexpected("the end of a string")
			return nil
		case c == '"':
			end := p.i
			p.i++
			if !escaped {
				return p.b[start:end:end]
			}
			p.text = append(p.text, p.b[start:end]...)
			if int64(cap(p.text)) != p.textCap {
				p.spread()
			}
			return p.text[from:len(p.text):len(p.text)]
		case c == '\\':
			escaped = true
			p.text = append(p.text, p.b[start:p.i]...)
			p.escape()
			start = p.i
		case c < ' ':
			p.broken("a control character in a string")
		case c < utf8.RuneSelf: // DEL
			p.i++
		default:
			r, n := utf8.DecodeRune(p.b[p.i:])
			if r == utf8.RuneError && n == 1 {
				p.broken("a string that is not UTF-8")
				return nil
			}
			p.i += n
		}
	}
}

// plain passes over text that stands for itself.
func (p *Parser) plain() {
	i := p.i
	for i < len(p.b) && classes[p.b[i]]&textByte != 0 {
		i++
	}
	p.i = i
}

// escape reads the escape that the parser stands before and appends its character to the parser's text.
func (p *Parser) escape() {
	p.i++
	c := p.peek()
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		p.i++
		p.unicode()
		return
	default:
		p.unexpected("an escape")
		return
	}
	p.i++
	p.text = append(p.text, c)
}

// unicode reads the four digits of a \u escape, and the second escape of a surrogate pair.
func (p *Parser) unicode() {
	r := p.hex()
	if utf16.IsSurrogate(r) {
		if p.peek() != '\\' || p.i+1 >= len(p.b) || p.b[p.i+1] != 'u' {
			p.broken("half of a surrogate pair")
			return
		}
		p.i += 2
		r = utf16.DecodeRune(r, p.hex())
		if r == utf8.RuneError {
			p.broken("half of a surrogate pair")
			return
		}
	}
	p.text = utf8.AppendRune(p.text, r)
}

func (p *Parser) hex() rune {
	var r rune
	for range 4 {
		c := nibble(p.peek())
		if c > 15 {
			p.unexpected("a hexadecimal digit")
			return 0
		}
		p.i++
		r = r<<4 | rune(c)
	}
	return r
}
