package graphitetest

import (
	"bufio"
	"errors"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxLine is carbon's limit for a line without its end.
const maxLine = 16384

var errHangUp = errors.New("graphitetest: carbon closes the connection here")

// readLines takes lines until the connection ends. A last line without an end is not taken.
func (s *Server) readLines(r *bufio.Reader) error {
	for {
		text, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		if text = text[:len(text)-1]; len(text) > maxLine || !utf8.ValidString(text) {
			s.reject()
			return errHangUp
		}
		if !s.takeLine(text) {
			return errHangUp
		}
	}
}

// takeLine takes "name value timestamp". It reports whether the connection may stay open.
func (s *Server) takeLine(text string) bool {
	f := strings.Fields(text)
	if len(f) != 3 {
		s.reject()
		return true
	}
	value, err1 := pyFloat(f[1])
	ts, err2 := pyFloat(f[2])
	if err1 != nil || err2 != nil {
		s.reject()
		return true
	}
	return s.take(f[0], ts, value)
}

// readDatagrams takes lines from datagrams until the socket is closed. A datagram that is not UTF-8 is dropped whole,
// and what stands behind 8192 bytes is cut.
func (s *Server) readDatagrams() {
	buf := make([]byte, 8192)
	for {
		n, _, err := s.udp.ReadFrom(buf)
		if err != nil {
			return
		}
		if !utf8.Valid(buf[:n]) {
			s.reject()
			continue
		}
		for _, text := range strings.FieldsFunc(string(buf[:n]), func(r rune) bool { return r == '\n' || r == '\r' }) {
			s.takeLine(text)
		}
	}
}

// pyFloat reads a number as Python's float() does: single underscores between digits, no hexadecimal, and what is too
// large is infinite.
func pyFloat(text string) (float64, error) {
	if strings.ContainsAny(text, "xXpP") {
		return 0, strconv.ErrSyntax
	}
	if strings.Contains(text, "_") {
		for i := range len(text) {
			if text[i] == '_' && !(i > 0 && i+1 < len(text) && isDigit(text[i-1]) && isDigit(text[i+1])) {
				return 0, strconv.ErrSyntax
			}
		}
		text = strings.ReplaceAll(text, "_", "")
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil && math.IsInf(v, 0) {
		return v, nil
	}
	return v, err
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
