package backfill

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Bounds of an answer's parts, in bytes and levels.
const (
	maxToken = 64 << 10
	maxDepth = 64
	bufSize  = 64 << 10
)

// scanner reads JSON from a stream, strictly by RFC 8259, in memory that does not grow with it.
type scanner struct {
	r     io.Reader
	left  int64 // bytes that may still be read
	limit int64
	buf   []byte
	pos   int
	err   error // of r
}

func newScanner(r io.Reader, limit int64) *scanner {
	return &scanner{r: r, left: limit, limit: limit, buf: make([]byte, 0, bufSize)}
}

// fill makes one more byte available, and keeps those from keep on. It reports false at the end and on an error.
func (s *scanner) fill(keep int) bool {
	if s.err != nil {
		return false
	}
	n := copy(s.buf[:cap(s.buf)], s.buf[keep:])
	s.pos, s.buf = s.pos-keep, s.buf[:n]
	if n == cap(s.buf) {
		s.buf = append(make([]byte, 0, 2*cap(s.buf)), s.buf...)
	}
	room := s.buf[n:cap(s.buf)]
	if int64(len(room)) > s.left {
		room = room[:s.left+1]
	}
	for range 100 {
		got, err := s.r.Read(room)
		if int64(got) > s.left {
			s.err = fmt.Errorf("%w: %d bytes", errTooLarge, s.limit)
			return false
		}
		s.left -= int64(got)
		s.buf, s.err = s.buf[:n+got], err
		if got > 0 {
			return true
		}
		if err != nil {
			return false
		}
	}
	s.err = io.ErrNoProgress
	return false
}

// peek skips whitespace and returns the next byte, 0 at the end.
func (s *scanner) peek() byte {
	for {
		for s.pos < len(s.buf) {
			switch c := s.buf[s.pos]; c {
			case ' ', '\t', '\n', '\r':
				s.pos++
			default:
				return c
			}
		}
		if !s.fill(s.pos) {
			return 0
		}
	}
}

// at is the byte at i, 0 at the end. The token that begins at from is kept; it may move to the front, by so many bytes.
func (s *scanner) at(i, from int) (c byte, moved int) {
	if i < len(s.buf) {
		return s.buf[i], 0
	}
	before := s.pos
	ok := s.fill(from)
	moved = before - s.pos
	if !ok {
		return 0, moved
	}
	return s.buf[i-moved], moved
}

// take consumes c, after whitespace.
func (s *scanner) take(c byte) error {
	if s.peek() != c {
		return s.expected(strconv.QuoteRune(rune(c)))
	}
	s.pos++
	return nil
}

// expected is the error for something else than what.
func (s *scanner) expected(what string) error {
	if s.pos >= len(s.buf) && s.err != nil {
		if errors.Is(s.err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		return s.err
	}
	return fmt.Errorf("%w: %s where %s is expected", errMalformed, quote(s.buf[s.pos:min(len(s.buf), s.pos+20)]), what)
}

// number returns the text of a number, valid until the next call. fraction tells that it is no integer.
func (s *scanner) number() (text []byte, fraction bool, err error) {
	s.peek()
	i, from := s.pos, s.pos
	var c byte
	step := func() {
		var moved int
		c, moved = s.at(i, from)
		i, from = i-moved, from-moved
	}
	digits := func() bool {
		begin := i - from
		for step(); c >= '0' && c <= '9' && i-from < maxToken; step() {
			i++
		}
		return i-from > begin
	}
	if step(); c == '-' {
		i++
		step()
	}
	zero := c == '0'
	begin := i - from
	ok := digits() && (!zero || i-from == begin+1)
	if ok && c == '.' {
		i, fraction = i+1, true
		ok = digits()
	}
	if ok && c|0x20 == 'e' {
		i, fraction = i+1, true
		if step(); c == '+' || c == '-' {
			i++
		}
		ok = digits()
	}
	s.pos = from
	if !ok || i-from >= maxToken {
		if s.pos = min(i, len(s.buf)); s.pos < len(s.buf) {
			s.pos = from
		}
		return nil, false, s.expected("a number")
	}
	s.pos = i
	return s.buf[from:i], fraction, nil
}

// rawString returns a string with its quotes, as it is written, valid until the next call. plain tells that what is
// between the quotes is the string.
func (s *scanner) rawString() (text []byte, plain bool, err error) {
	if s.peek() != '"' {
		return nil, false, s.expected("a string")
	}
	i, from := s.pos+1, s.pos
	plain = true
	for escaped := false; ; i++ {
		if i-from > maxToken {
			return nil, false, fmt.Errorf("%w: a string of more than %d bytes", errMalformed, maxToken)
		}
		c, moved := s.at(i, from)
		i, from = i-moved, from-moved
		switch {
		case i >= len(s.buf):
			s.pos = len(s.buf)
			return nil, false, s.expected("the end of a string")
		case c < ' ':
			s.pos = i
			return nil, false, s.expected("the end of a string")
		case escaped:
			escaped = false
		case c == '"':
			s.pos = i + 1
			if text = s.buf[from : i+1]; !plain && !json.Valid(text) {
				return nil, false, fmt.Errorf("%w: %s is no string", errMalformed, quote(text))
			}
			return text, plain, nil
		case c == '\\':
			escaped, plain = true, false
		case c >= 0x80:
			plain = false
		}
	}
}

// str returns a string.
func (s *scanner) str() (string, error) {
	text, plain, err := s.rawString()
	if err != nil {
		return "", err
	}
	if plain {
		return string(text[1 : len(text)-1]), nil
	}
	var out string
	return out, json.Unmarshal(text, &out)
}

// word consumes one of the words, which no letter or digit follows.
func (s *scanner) word(words ...string) (string, error) {
	s.peek()
	for _, w := range words {
		for len(s.buf)-s.pos < len(w)+1 && s.fill(s.pos) {
		}
		rest, ok := bytes.CutPrefix(s.buf[s.pos:], []byte(w))
		if ok && (len(rest) == 0 || rest[0]|0x20 < 'a' || rest[0]|0x20 > 'z') {
			s.pos += len(w)
			return w, nil
		}
	}
	return "", s.expected("a value")
}

// elements calls each for the elements of an array.
func (s *scanner) elements(each func() error) error {
	if err := s.take('['); err != nil {
		return err
	}
	if s.peek() == ']' {
		s.pos++
		return nil
	}
	for {
		if err := each(); err != nil {
			return err
		}
		switch s.peek() {
		case ',':
			s.pos++
		case ']':
			s.pos++
			return nil
		default:
			return s.expected("',' or ']'")
		}
	}
}

// members calls each for the members of an object, which stand once each.
func (s *scanner) members(each func(name string) error) error {
	if err := s.take('{'); err != nil {
		return err
	}
	if s.peek() == '}' {
		s.pos++
		return nil
	}
	for {
		name, err := s.str()
		if err != nil {
			return err
		}
		if err := s.take(':'); err != nil {
			return err
		}
		if err := each(name); err != nil {
			return err
		}
		switch s.peek() {
		case ',':
			s.pos++
		case '}':
			s.pos++
			return nil
		default:
			return s.expected("',' or '}'")
		}
	}
}

// skip consumes a value.
func (s *scanner) skip(depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%w: more than %d levels", errMalformed, maxDepth)
	}
	switch c := s.peek(); {
	case c == '{':
		return s.members(func(string) error { return s.skip(depth + 1) })
	case c == '[':
		return s.elements(func() error { return s.skip(depth + 1) })
	case c == '"':
		_, _, err := s.rawString()
		return err
	case c == '-' || c >= '0' && c <= '9':
		_, _, err := s.number()
		return err
	}
	_, err := s.word("null", "true", "false")
	return err
}

// finish checks that nothing follows.
func (s *scanner) finish() error {
	if s.peek() != 0 || s.pos < len(s.buf) {
		return s.expected("the end")
	}
	if !errors.Is(s.err, io.EOF) {
		return s.err
	}
	return nil
}
