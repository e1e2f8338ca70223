package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/fluxmetrics/fluxkit/graphite"
)

// Limits of a name, in bytes.
const (
	maxElement = 255                         // a file's name
	maxLast    = maxElement - 4              // the last element is a file's name with ".wsp"
	maxName    = 4096 - len(whisper) - 4 - 1 // the path of the file, with Flux's default folder
	whisper    = "/opt/graphite/storage/whisper"
)

// What is wrong with a name, in a message.
const (
	nameEmpty   = "empty name"
	nameChars   = "invalid characters in name"
	nameEdge    = "name starts or ends with a dot or a slash"
	nameDots    = "path element of dots alone"
	nameElement = "longer than 255 characters"
	nameLong    = "name too long"
)

// Classes of bytes, most of them about names.
const (
	nameByte  = 1 << iota // allowed in a name
	plainByte             // allowed, and part of an element
	breakByte             // allowed, and ends an element
	swapByte              // becomes an underscore
	textByte              // stands in a JSON string for itself, and is ASCII
)

// classes has the classes of each byte.
var classes = func() (t [256]uint8) {
	for c := range t {
		switch {
		case c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', strings.IndexByte("+-%_=:", byte(c)) >= 0:
			t[c] = nameByte | plainByte
		case c == '.' || c == '/':
			t[c] = nameByte | breakByte
		case c == ' ' || c == '*' || c == '\'':
			t[c] = swapByte
		}
		if c >= ' ' && c <= '~' && c != '"' && c != '\\' {
			t[c] |= textByte
		}
	}
	return t
}()

// cleanName returns how long the name is that b begins with and a quote ends, or 0 if there is no quote or the name is
// not clean: it holds a byte that is not allowed or has to be replaced, two breaks in a row, or a break at an end.
func cleanName(b []byte) (n int) {
	inner := uint64(0)      // the high bit of the byte before, if that is not a break; the beginning counts as one
	single := uint64(highs) // what is left of it after two breaks in a row
	for ; n < len(b)-7; n += 8 {
		x := load(b[n:])
		low := x & lows
		lower := low | ones*0x20 // of letters
		stop := atLeast(low^ones*'_', 1)
		stop ^= atLeast(lower, 'a') ^ atLeast(lower, 'z'+1)
		stop ^= atLeast(low, '-') ^ atLeast(low, ':'+1) // digits, "-./" before them and ":" after them
		stop = (stop | x) & highs
		inside := atLeast((low|ones)^ones*'/', 1) & highs // which are no breaks; a dot is the byte before a slash
		if stop == 0 {
			single &= inside | inside<<8 | inner
			inner = inside >> 56
			continue
		}
		stop &= -stop // the first
		end := first(stop)
		if byte(x>>(8*end&63)) != '"' {
			break
		}
		inside &^= stop // the quote counts as a break
		if (inside|inside<<8|inner|-stop<<1)&single != highs {
			return 0
		}
		return n + end
	}
	if single != highs {
		return 0
	}
	last := uint8(breakByte)
	if inner != 0 {
		last = 0
	}
	return cleanRest(b, n, last)
}

// cleanRest is cleanName for what is left of a name, behind a byte of the class last.
func cleanRest(b []byte, i int, last uint8) (end int) {
	double := uint8(0)
	for ; i < len(b); i++ {
		c := classes[b[i]]
		if c&nameByte == 0 {
			break
		}
		double |= last & c
		last = c
	}
	if i == len(b) || b[i] != '"' || (double|last)&breakByte != 0 {
		return 0
	}
	return i
}

// clean reports whether b, after a byte of the class last, holds nothing but bytes that are allowed and no two breaks in
// a row. end is the class of its last byte, or last.
func clean(b []byte, last uint8) (end uint8, ok bool) {
	all, double := uint8(nameByte), uint8(0)
	for _, c := range b {
		c := classes[c]
		all &= c
		double |= last & c
		last = c
	}
	return last, all != 0 && double&breakByte == 0
}

// sanitise makes the replacements that Flux makes: a space, an asterisk and an apostrophe become an underscore, a run
// of dots one dot. The result is name itself if there is nothing to replace.
func (p *Parser) sanitise(name []byte) []byte {
	if isTidy(name) {
		return name
	}
	from := len(p.text)
	p.text = append(p.text, name...)
	name = tidy(p.text[from:])
	p.text = p.text[:from+len(name)]
	return name[:len(name):len(name)]
}

// isTidy reports whether there is nothing to replace.
func isTidy(name []byte) bool {
	swaps, last := uint8(0), byte(0)
	for _, c := range name {
		swaps |= classes[c]
		if c == '.' && last == '.' {
			return false
		}
		last = c
	}
	return swaps&swapByte == 0
}

// tidy does the work of sanitise in place and returns what is left of b.
func tidy(b []byte) []byte {
	n, last := 0, byte(0)
	for _, c := range b {
		if c == '.' && last == '.' {
			continue
		}
		last = c
		if classes[c]&swapByte != 0 {
			c = '_'
		}
		b[n] = c
		n++
	}
	return b[:n]
}

// checkName returns what is wrong with a sanitised name, or "".
func checkName(name []byte) string {
	path, tags, tagged := bytes.Cut(name, []byte(";"))
	if len(path) == 0 {
		return nameEmpty
	}
	for _, c := range path {
		if classes[c]&nameByte == 0 {
			return nameChars
		}
	}
	if tagged && !tagText(tags) {
		return nameChars
	}
	if isBreak(path[0]) || isBreak(path[len(path)-1]) {
		return nameEdge
	}
	for element := range bytes.SplitSeq(path, []byte("/")) {
		if len(element) > 0 && len(bytes.Trim(element, ".")) == 0 {
			return nameDots
		}
	}
	if !tagged {
		return checkLength(path)
	}
	return ""
}

func isBreak(c byte) bool { return classes[c]&breakByte != 0 }

// checkLength checks the lengths of the elements.
func checkLength(path []byte) string {
	size := 0
	for _, c := range path {
		size++
		if isBreak(c) {
			size = 0
		} else if size > maxElement {
			return nameElement
		}
	}
	if size > maxLast {
		return nameElement
	}
	return ""
}

// tagText reports whether the tags, everything after the first semicolon, can be written on a carbon line: UTF-8
// without whitespace and control characters. A trailing "} would make carbon read the name in another way.
func tagText(tags []byte) bool {
	for i := 0; i < len(tags); {
		if c := tags[i]; c > ' ' && c <= '~' {
			i++
			continue
		}
		r, n := utf8.DecodeRune(tags[i:])
		if r == utf8.RuneError && n == 1 || unicode.IsSpace(r) || unicode.IsControl(r) {
			return false
		}
		i += n
	}
	return !bytes.HasSuffix(tags, []byte(`"}`))
}

// CheckPrefix returns nil for a prefix that can be given to Validate: empty, or a name without tags that needs no
// rewriting.
func CheckPrefix(prefix string) error {
	rule := ""
	switch {
	case prefix == "":
	case strings.Contains(prefix, ";"):
		rule = "a prefix cannot have tags"
	case strings.Contains(prefix, ".."):
		rule = "empty element"
	default:
		rule = checkName([]byte(prefix))
	}
	if rule != "" {
		return fmt.Errorf("ingest: invalid prefix - %s - %s", quote(prefix), rule)
	}
	return nil
}

// isUnder reports whether the name is under the prefix already.
func isUnder(name []byte, prefix string) bool {
	n := len(prefix)
	return n == 0 || len(name) >= n && string(name[:n]) == prefix && (len(name) == n || name[n] == '.' || name[n] == ';')
}

// under puts the name under the prefix, unless it is there already.
func (p *Parser) under(name []byte, prefix string) []byte {
	if isUnder(name, prefix) {
		return name
	}
	from := len(p.text)
	p.text = append(p.text, prefix...)
	p.text = append(p.text, '.')
	p.text = append(p.text, name...)
	return p.text[from:len(p.text):len(p.text)]
}

// tidied returns the name with Flux's replacements, or what is wrong with it.
func (p *Parser) tidied(name []byte) ([]byte, string) {
	name = p.sanitise(name)
	return name, checkName(name)
}

// final returns a checked name under the prefix, in its canonical spelling, or what is wrong with that. tags says that
// it may have tags.
func (p *Parser) final(name []byte, prefix string, tags bool) ([]byte, string) {
	name = p.under(name, prefix)
	if len(name) > maxName {
		return name, nameLong
	}
	if tags && bytes.IndexByte(name, ';') >= 0 {
		return p.normalise(name)
	}
	return name, ""
}

// Name returns the name that a point of this name has once it is an Item: after the replacements, under the prefix,
// canonical. The result may be a view of name or of the parser's memory, as that of an Item is. The error is an *Error
// with ReasonName, for a name that no point can have.
func (p *Parser) Name(name []byte, prefix string) ([]byte, error) {
	if len(name) == 0 {
		return nil, refused(ReasonName, "invalid metric - empty")
	}
	out, rule := p.tidied(name)
	if rule == "" {
		out, rule = p.final(out, prefix, true)
	}
	if rule != "" {
		return nil, refused(ReasonName, "invalid metric - "+quote(name)+" - "+rule)
	}
	return out, nil
}

// Names tells the names, as Name has them, of those points of the last request that have one, and which point it is,
// counted as Error.Item is. It is for telling what became of the points of a request that was refused. Telegraf's are
// left out, which are not refused for one another.
func (p *Parser) Names(prefix string, tell func(i int, name []byte)) {
	for i := range p.raws {
		r := &p.raws[i]
		if r.of > 0 || r.whole != object || r.name.kind != text {
			continue
		}
		if name, err := p.Name(r.name.text, prefix); err == nil {
			tell(i, name)
		}
	}
}

// normalise returns the canonical spelling of a name with tags, or what is wrong with it.
func (p *Parser) normalise(name []byte) ([]byte, string) {
	if canonical(name) {
		return name, ""
	}
	s, err := graphite.NormaliseSeries(string(name))
	if err != nil {
		if e, ok := errors.AsType[*graphite.TagError](err); ok {
			return nil, "tag " + quote(e.Segment) + ": " + e.Problem
		}
		return nil, err.Error()
	}
	from := len(p.text)
	p.text = append(p.text, s...)
	return p.text[from:len(p.text):len(p.text)], ""
}

// canonical reports whether the tags of a name are well-formed and in order already, so that normalising would change
// nothing. Tags of one key always stand together in that order, so it is enough to look at neighbours.
func canonical(name []byte) bool {
	_, rest, more := bytes.Cut(name, []byte(";"))
	var last, lastKey []byte
	for more {
		var tag []byte
		tag, rest, more = bytes.Cut(rest, []byte(";"))
		key, value, ok := bytes.Cut(tag, []byte("="))
		if !ok || len(key) == 0 || len(value) == 0 || value[0] == '~' || bytes.ContainsAny(key, "!^") ||
			string(key) == "name" || bytes.Equal(key, lastKey) || bytes.Compare(last, tag) >= 0 {
			return false
		}
		last, lastKey = tag, key
	}
	return true
}
