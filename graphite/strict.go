package graphite

import (
	"math"
	"unicode"
	"unicode/utf8"
)

// parseStrict parses a line as carbon's TCP receiver on Python 3 does.
func (p *LineParser) parseStrict(line []byte, pt *Point) Reason {
	if !utf8.Valid(line) {
		return ReasonEncoding
	}
	var f [3][]byte
	if !pyFields(line, &f) {
		return ReasonMalformed
	}
	return p.finish(&f, true, pt)
}

// parseStrictDatagram parses a datagram as carbon does: one byte that is not UTF-8 spoils all of it, lines end where
// Python's splitlines ends them, and an infinite timestamp ends the work on the datagram, since carbon does not catch
// that exception. A datagram has no limit for a line.
func (p *LineParser) parseStrictDatagram(b []byte) {
	if !utf8.Valid(b) {
		p.reject(ReasonEncoding, b)
		return
	}
	for len(b) > 0 {
		line, rest := pyLine(b)
		if infiniteTime(line) {
			p.reject(ReasonTimestamp, b)
			return
		}
		p.add(line)
		b = rest
	}
}

// infiniteTime reports whether carbon trips over the line's timestamp: it is infinite and the value is not NaN, which
// carbon drops before it looks at the time.
func infiniteTime(line []byte) bool {
	var f [3][]byte
	if !pyFields(line, &f) {
		return false
	}
	value, ok := pyFloat(f[1])
	if !ok || value != value {
		return false
	}
	ts, ok := pyFloat(f[2])
	return ok && math.IsInf(ts, 0)
}

// pyLine cuts the first line off b, without its end, as str.splitlines does.
func pyLine(b []byte) (line, rest []byte) {
	for i, size := 0, 0; i < len(b); i += size {
		var r rune
		r, size = utf8.DecodeRune(b[i:])
		switch r {
		case '\r':
			if i+1 < len(b) && b[i+1] == '\n' {
				return b[:i], b[i+2:]
			}
			return b[:i], b[i+1:]
		case '\n', '\v', '\f', 0x1c, 0x1d, 0x1e, 0x85, 0x2028, 0x2029:
			return b[:i], b[i+size:]
		}
	}
	return b, nil
}

// pyFields splits line at runs of Unicode whitespace, as str.split does, and reports whether it has exactly three
// fields. line must be UTF-8.
func pyFields(line []byte, f *[3][]byte) bool {
	n, start := 0, -1
	for i := 0; i < len(line); {
		r, size := utf8.DecodeRune(line[i:])
		switch {
		case !pySpace(r):
			if start < 0 {
				if n == len(f) {
					return false
				}
				start = i
			}
		case start >= 0:
			f[n] = line[start:i:i]
			n, start = n+1, -1
		}
		i += size
	}
	if start >= 0 {
		f[n] = line[start:]
		n++
	}
	return n == len(f)
}

// pySpace is str.isspace: Unicode's whitespace and the four separators of ASCII.
func pySpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }
