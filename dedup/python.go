package dedup

import (
	"bytes"
	"math"
	"strconv"
)

// Skyline keeps marks as Python literals: the string "[1478021700, 1.0]", the
// hash field "{'timestamp': 1478021700, 'value': 1.0}", and None as a value
// where the source was null. This file writes them as Python would and reads
// them; raise.lua has the same reading in Lua.

// appendPythonFloat appends Python's repr(f): the shortest digits that give f
// again, ".0" where there is no fraction, and an exponent of two or more digits
// below 1e-4 and from 1e16. A value that is not finite becomes None, since
// Python's literals have no NaN or Inf: such an entry would be unreadable.
func appendPythonFloat(dst []byte, f float64) []byte {
	if short, ok := appendShort(dst, f); ok {
		return short
	}
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(dst, "None"...)
	}
	if a := math.Abs(f); a >= 1e16 || a < 1e-4 && a != 0 {
		return strconv.AppendFloat(dst, f, 'e', -1, 64)
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, f, 'f', -1, 64)
	if bytes.IndexByte(dst[start:], '.') < 0 {
		dst = append(dst, ".0"...)
	}
	return dst
}

// tens are the powers of ten that a float64 has exactly and a short number wants.
var tens = [...]float64{1, 10, 100, 1000, 10000}

// appendShort is appendPythonFloat for numbers of up to 15 digits, up to four of
// them behind the point: nearly all that are measured. Numbers of so many digits
// are different float64s, so one that gives f again is the shortest that does.
func appendShort(dst []byte, f float64) ([]byte, bool) {
	a := math.Abs(f)
	if !(a < 1e10) || a == 0 && math.Signbit(f) {
		return dst, false
	}
	for k, ten := range tens {
		n := int64(a * ten)
		if float64(n)/ten != a {
			if n++; k == 0 || float64(n)/ten != a { // the product may have been rounded down
				continue
			}
		}
		if math.Signbit(f) {
			dst = append(dst, '-')
		}
		scale := int64(ten)
		dst = strconv.AppendInt(dst, n/scale, 10)
		dst = append(dst, '.')
		if k == 0 {
			return append(dst, '0'), true
		}
		rest := n % scale
		for scale /= 10; scale > 0; scale /= 10 {
			dst = append(dst, '0'+byte(rest/scale%10))
		}
		return dst, true
	}
	return dst, false
}

// appendSeconds appends Unix milliseconds as Python seconds: an integer where
// they are whole, as Skyline writes, or else a float.
func appendSeconds(dst []byte, ms int64) []byte {
	if ms%1000 == 0 {
		return strconv.AppendInt(dst, ms/1000, 10)
	}
	return appendPythonFloat(dst, float64(ms)/1000)
}

// appendList appends "[seconds, value]".
func appendList(dst []byte, ms int64, value float64) []byte {
	var seconds [32]byte
	return appendListOf(dst, appendSeconds(seconds[:0], ms), value)
}

// appendListOf is appendList with the seconds as text.
func appendListOf(dst, seconds []byte, value float64) []byte {
	dst = append(dst, '[')
	dst = append(dst, seconds...)
	dst = append(dst, ", "...)
	dst = appendPythonFloat(dst, value)
	return append(dst, ']')
}

// appendDict appends "{'timestamp': seconds, 'value': value}".
func appendDict(dst []byte, ms int64, value float64) []byte {
	dst = append(dst, "{'timestamp': "...)
	dst = appendSeconds(dst, ms)
	dst = append(dst, ", 'value': "...)
	dst = appendPythonFloat(dst, value)
	return append(dst, '}')
}

// parseList reads a string key. What Skyline cannot read is no mark to it, so
// it is none here.
func parseList(b []byte) (ms int64, value float64, ok bool) {
	if ms, value, ok = parseUsual(b, "[", ", ", ']'); ok {
		return ms, value, true
	}
	return parseMark(b, listParts[:])
}

// parseDict reads a hash field.
func parseDict(b []byte) (ms int64, value float64, ok bool) {
	if ms, value, ok = parseUsual(b, "{'timestamp': ", ", 'value': ", '}'); ok {
		return ms, value, true
	}
	return parseMark(b, dictParts[:])
}

// parseUsual reads a mark in exactly the form in which Python writes it, with a
// timestamp of ten digits.
func parseUsual(b []byte, front, middle string, end byte) (ms int64, value float64, ok bool) {
	const digits = 10
	at := len(front) + digits
	from, to := at+len(middle), len(b)-1
	if from >= to || string(b[:len(front)]) != front || string(b[at:from]) != middle || b[to] != end {
		return None, 0, false
	}
	seconds := int64(0)
	for _, c := range b[len(front):at] {
		if c < '0' || c > '9' {
			return None, 0, false
		}
		seconds = seconds*10 + int64(c-'0')
	}
	text, rest := cutNumber(b[from:to])
	if len(rest) > 0 {
		return None, 0, false
	}
	if value, ok = parseNumber(text); !ok {
		return None, 0, false
	}
	return seconds * 1000, value, true
}

// The literal text before, between and behind the two numbers. Space may stand
// between any two tokens.
var (
	listParts = [3][]string{{"["}, {","}, {"]"}}
	dictParts = [3][]string{{"{", "'timestamp'", ":"}, {",", "'value'", ":"}, {"}"}}
)

// parseMark reads a mark with any space that Python would bear.
func parseMark(b []byte, parts [][]string) (ms int64, value float64, ok bool) {
	if b, ok = skipTokens(b, parts[0]); !ok {
		return None, 0, false
	}
	seconds, b := cutNumber(b)
	if b, ok = skipTokens(b, parts[1]); !ok {
		return None, 0, false
	}
	text, b := cutNumber(b)
	null := false
	if len(text) == 0 {
		b, null = bytes.CutPrefix(b, []byte("None"))
	}
	if b, ok = skipTokens(b, parts[2]); !ok || len(trimSpace(b)) != 0 {
		return None, 0, false
	}
	if ms, ok = parseSeconds(seconds); !ok {
		return None, 0, false
	}
	if null {
		return ms, math.NaN(), true
	}
	if value, ok = parseNumber(text); !ok {
		return None, 0, false
	}
	return ms, value, true
}

// skipTokens cuts the tokens and the space around each off the front.
func skipTokens(b []byte, tokens []string) ([]byte, bool) {
	for _, t := range tokens {
		b = trimSpace(b)
		if len(b) < len(t) || string(b[:len(t)]) != t {
			return b, false
		}
		b = b[len(t):]
	}
	return trimSpace(b), true
}

func trimSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] >= '\t' && b[0] <= '\r') {
		b = b[1:]
	}
	return b
}

// cutNumber splits off the longest front of characters that a number may have.
func cutNumber(b []byte) (number, rest []byte) {
	for i, c := range b {
		if (c < '0' || c > '9') && c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E' {
			return b[:i], b[i:]
		}
	}
	return b, nil
}

// parseNumber accepts a number that overflows, as Python does: it is infinite.
func parseNumber(b []byte) (float64, bool) {
	if f, ok := parseShort(b); ok {
		return f, true
	}
	f, err := strconv.ParseFloat(string(b), 64)
	return f, err == nil || math.IsInf(f, 0)
}

// parseShort is parseNumber for what appendShort writes: a quotient of two integers
// that a float64 has exactly is rounded once.
func parseShort(b []byte) (float64, bool) {
	digits := b
	if len(b) > 0 && b[0] == '-' {
		digits = b[1:]
	}
	point := len(digits) - 1
	for point > 0 && digits[point] != '.' {
		point--
	}
	behind := len(digits) - 1 - point
	if point < 1 || len(digits) > 16 || behind < 1 || behind >= len(tens) {
		return 0, false
	}
	n := int64(0)
	for i, c := range digits {
		if c -= '0'; c <= 9 {
			n = n*10 + int64(c)
		} else if i != point {
			return 0, false
		}
	}
	f := float64(n) / tens[behind]
	if len(digits) < len(b) {
		f = -f
	}
	return f, true
}

// parseSeconds returns milliseconds, those nearest within int64.
func parseSeconds(b []byte) (int64, bool) {
	if n, err := strconv.ParseInt(string(b), 10, 64); err == nil &&
		n < math.MaxInt64/1000 && n > math.MinInt64/1000 {
		return n * 1000, true
	}
	f, ok := parseNumber(b)
	switch f = math.Round(f * 1000); {
	case !ok:
		return None, false
	case f >= math.MaxInt64:
		return math.MaxInt64, true
	case f <= math.MinInt64:
		return math.MinInt64 + 1, true
	}
	return int64(f), true
}
