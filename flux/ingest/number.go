package ingest

import (
	"bytes"
	"math"
	"strconv"
)

// maxSeconds is the last timestamp of ten digits, in the year 2286. What is larger is in another unit.
const maxSeconds = 9_999_999_999

// What is wrong with a number, in a message.
const (
	notInt     = "timestamp is not an int"
	notTime    = "timestamp is not a valid current unix timestamp"
	notMillis  = "timestamp is not a valid current unix timestamp, it has to be in seconds, not milliseconds"
	notNumber  = "not a number"
	notFinite  = "not a finite number"
	nonNumeric = "non-numeric value"
)

// seconds reads a timestamp as Python's int reads its text, and checks that it can be one. It counts perSecond to the
// second, at most a billion; a part of a second is cut off. rule is empty or what is wrong.
func seconds(t token, perSecond uint64) (s int64, rule string) {
	n, largest := uint64(0), (maxSeconds+1)*perSecond-1
	b := t.text
	switch t.kind {
	case text:
		b = bytes.TrimSpace(b)
	case number, bareWord:
	default:
		return 0, notInt
	}
	negative := len(b) > 0 && b[0] == '-'
	b = unsigned(b)
	digit := false
	for _, c := range b {
		switch {
		case c-'0' <= 9:
			n = min(n, largest/10+1)*10 + uint64(c-'0')
		case c != '_' || !digit:
			return 0, notInt
		}
		digit = c != '_'
	}
	switch {
	case !digit:
		return 0, notInt
	case negative || n < perSecond:
		return 0, notTime
	case n > largest && perSecond == 1:
		return 0, notMillis
	case n > largest:
		return 0, notTime
	}
	return int64(n / perSecond), ""
}

// float reads a value as Python's float reads its text. rule is empty or what is wrong.
func float(t token) (f float64, rule string) {
	b := t.text
	switch t.kind {
	case number:
	case text, bareWord:
		if t.kind == text {
			b = bytes.TrimSpace(b)
		}
		var stack [64]byte
		var ok bool
		if b, ok = plain(stack[:0], b); !ok {
			if named(b) {
				return 0, notFinite
			}
			return 0, notNumber
		}
	default:
		return 0, notNumber
	}
	f, err := strconv.ParseFloat(string(b), 64)
	switch {
	case math.IsInf(f, 0):
		return 0, notFinite
	case err != nil:
		return 0, notNumber
	}
	return f, ""
}

// plain returns b without its underscores, each of which must stand between two digits, and reports whether it is
// [+-](digits[.digits*]|.digits)[e[+-]digits]. Without underscores it is b itself; else it is appended to dst.
func plain(dst, b []byte) ([]byte, bool) {
	if bytes.IndexByte(b, '_') >= 0 {
		for i, c := range b {
			if c != '_' {
				dst = append(dst, c)
			} else if i == 0 || i == len(b)-1 || b[i-1]-'0' > 9 || b[i+1]-'0' > 9 {
				return b, false
			}
		}
		b = dst
	}
	whole := unsigned(b)
	rest := pastDigits(whole)
	digits := len(whole) - len(rest)
	if len(rest) > 0 && rest[0] == '.' {
		after := pastDigits(rest[1:])
		digits += len(rest) - 1 - len(after)
		rest = after
	}
	if digits > 0 && len(rest) > 0 && rest[0]|0x20 == 'e' {
		exp := unsigned(rest[1:])
		rest = pastDigits(exp)
		if len(rest) == len(exp) {
			return b, false
		}
	}
	return b, digits > 0 && len(rest) == 0
}

func unsigned(b []byte) []byte {
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		return b[1:]
	}
	return b
}

func pastDigits(b []byte) []byte {
	for len(b) > 0 && b[0]-'0' <= 9 {
		b = b[1:]
	}
	return b
}

// named reports whether b is one of the words that Python reads as NaN or infinite.
func named(b []byte) bool {
	b = unsigned(b)
	for _, word := range [...]string{"nan", "inf", "infinity"} {
		if len(b) == len(word) && bytes.EqualFold(b, []byte(word)) {
			return true
		}
	}
	return false
}
