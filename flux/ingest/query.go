package ingest

import "strings"

// Query reads the raw query of GET /metric_data, what follows the question mark:
//
//	metric=a.b&timestamp=1478021700&value=1.0&key=...
//
// Parameters come in any order; fill=true, status and test (see Switch) are the optional ones. A plus sign and %20 are spaces.
// A parameter without "=" is empty. Every semicolon is one of a name with tags and separates nothing.
//
// The error is an *Error: a parameter that Flux does not know or that stands twice, or a broken escape. What is wrong
// with the point is for Validate to tell.
func (p *Parser) Query(rawQuery string) (*Request, error) {
	p.Reset()
	p.source = fromQuery
	one := raw{whole: object}
	if p.shape = p.parameters(rawQuery, &one); p.shape != nil {
		return nil, p.shape
	}
	p.raws = append(p.raws, one)
	p.req.Points, p.req.Fill = 1, one.fill
	return &p.req, nil
}

// parameters reads the parameters; those of the point go to one.
func (p *Parser) parameters(rawQuery string, one *raw) *Error {
	var seen [len(parameters)]bool
	for part := range strings.SplitSeq(rawQuery, "&") {
		if part == "" {
			continue
		}
		escaped, value, _ := strings.Cut(part, "=")
		name, ok := p.unescape(escaped)
		if !ok {
			return refused(ReasonQuery, "invalid query string - broken escape in the name of a parameter")
		}
		n := parameter(name)
		if n < 0 {
			return refused(ReasonQuery, "Invalid parameter received - "+label(name))
		}
		if seen[n] {
			return refused(ReasonQuery, "invalid query string - parameter passed twice - "+parameters[n])
		}
		seen[n] = true
		v, ok := p.unescape(value)
		if !ok {
			return refused(ReasonQuery, "invalid query string - broken escape in parameter "+parameters[n])
		}
		p.take(one, parameters[n], token{v, text})
	}
	return nil
}

// parameters are those that a query may have.
var parameters = [...]string{"metric", "timestamp", "value", "key", "fill", "status", "test"}

func parameter(name []byte) int {
	for i, s := range parameters {
		if string(name) == s {
			return i
		}
	}
	return -1
}

func (p *Parser) take(one *raw, name string, v token) {
	switch name {
	case "key":
		p.req.Key, p.req.HasKey = v.text, true
	case "status":
		p.req.Status = true
	case "test":
		p.req.Test = Switch(string(v.text))
	default:
		one.set([]byte(name), v)
	}
}

// Switch reports whether the value of a parameter such as test turns it on: all do but 0, false and False, so that
// nobody who asks for a test in words of his own has his points sent.
func Switch(value string) bool {
	return value != "0" && value != "false" && value != "False"
}

// unescape appends the text that s stands for to the parser's text and returns it.
func (p *Parser) unescape(s string) ([]byte, bool) {
	from := len(p.text)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch c {
		case '+':
			c = ' '
		case '%':
			if i+2 >= len(s) {
				return nil, false
			}
			hi, lo := nibble(s[i+1]), nibble(s[i+2])
			if hi > 15 || lo > 15 {
				return nil, false
			}
			c = hi<<4 | lo
			i += 2
		}
		p.text = append(p.text, c)
	}
	return p.text[from:len(p.text):len(p.text)], true
}

// nibble is the value of a hexadecimal digit, or 16.
func nibble(c byte) byte {
	switch {
	case c-'0' <= 9:
		return c - '0'
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 16
}

// label cites a parameter's name, which Flux does not quote: as it is where it is a plain word.
func label(name []byte) string {
	if len(name) <= cited && len(name) > 0 && strings.Trim(string(name), word) == "" {
		return string(name)
	}
	return quote(name)
}

const word = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-."
