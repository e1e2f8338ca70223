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

// exact are the powers of ten that matter here; a float64 holds each exactly. A whole number of at most 2^53 divided
// by one of them is rounded once, so the quotient is the float64 nearest to the decimal.
var exact = [...]float64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
}

// decimal passes over a JSON number. next is its end, or 0 if there is none. read tells that f is its value, which
// needs a number without an exponent and with few enough digits.
func decimal(b []byte, i int) (f float64, next int, read bool) {
	if len(b)-i < 8 {
		return longDecimal(b, i)
	}
	x := load(b[i:i+8]) ^ ones*'0' // a digit is now its value
	marks := (atLeast(x&lows, 10) | x) & highs
	if marks == 0 {
		return longDecimal(b, i)
	}
	whole := first(marks)
	size, fraction, after := whole, 0, byte(x>>(8*whole&63)) // how many bytes, how many behind the dot, and what follows
	if after == '.'^'0' {
		size = first(marks & (marks - 1))
		fraction = size - whole - 1
		after = byte(x >> (8 * size & 63))
		before := uint64(1)<<(8*whole&63) - 1
		x = x&before | x>>8&^before // without the dot
		if size == 8 || fraction == 0 {
			return longDecimal(b, i)
		}
	}
	if whole == 0 || whole > 1 && byte(x) == 0 || (after^'0')|0x20 == 'e' {
		return longDecimal(b, i)
	}
	m := number8(x << (64 - 8*(whole+fraction)&63)) // with zeros in front instead of what follows
	return float64(int64(m)) / exact[fraction&7], i + size, true
}

// longDecimal is decimal for any number; decimal itself has those of at most seven characters, without a sign.
func longDecimal(b []byte, i int) (f float64, next int, read bool) {
	negative := at(b, i) == '-'
	if negative {
		i++
	}
	m, start := uint64(0), i
	for ; i < len(b) && b[i]-'0' <= 9; i++ {
		m = m*10 + uint64(b[i]-'0')
	}
	n, fraction := i-start, 0
	if n == 0 || n > 1 && b[start] == '0' {
		return 0, 0, false
	}
	if at(b, i) == '.' {
		i++
		start = i
		for ; i < len(b) && b[i]-'0' <= 9; i++ {
			m = m*10 + uint64(b[i]-'0')
		}
		if fraction = i - start; fraction == 0 {
			return 0, 0, false
		}
	}
	if at(b, i)|0x20 == 'e' {
		i++
		if c := at(b, i); c == '-' || c == '+' {
			i++
		}
		rest := pastDigits(b[i:])
		if len(rest) == len(b)-i {
			return 0, 0, false
		}
		return 0, len(b) - len(rest), false
	}
	if n+fraction > 18 || m > 1<<53 {
		return 0, i, false
	}
	f = float64(m) / exact[fraction]
	if negative {
		f = -f
	}
	return f, i, true
}
