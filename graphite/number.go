package graphite

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// exact10 are the powers of ten that a float64 holds exactly. A mantissa of at most 2^53 divided by one of them is
// rounded once, so the quotient is the float64 nearest to the decimal.
var exact10 = [...]float64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
}

// decimal reads a plain decimal number, [+-]digits[.digits] with at most 18 digits, from b[i:] up to a blank or the
// end. next is where it stopped. ok is false for everything else: other notations, more digits, not a number.
func decimal(b []byte, i int) (f float64, next int, ok bool) {
	neg := false
	if i < len(b) && (b[i] == '-' || b[i] == '+') {
		neg = b[i] == '-'
		i++
	}
	var m uint64
	start := i
	for i < len(b) && b[i]-'0' <= 9 {
		m = m*10 + uint64(b[i]-'0')
		i++
	}
	digits, frac := i-start, 0
	if i < len(b) && b[i] == '.' {
		i++
		start = i
		for i < len(b) && b[i]-'0' <= 9 {
			m = m*10 + uint64(b[i]-'0')
			i++
		}
		frac = i - start
		digits += frac
	}
	if digits == 0 || digits > 18 || m > 1<<53 || i < len(b) && b[i] != ' ' && b[i] != '\t' {
		return 0, i, false
	}
	f = float64(m)
	if frac > 0 {
		f /= exact10[frac]
	}
	if neg {
		f = -f
	}
	return f, i, true
}

// seconds reads a whole number of 1 to 12 digits from b[i:] up to a blank or the end: a timestamp as nearly every
// sender writes it.
func seconds(b []byte, i int) (s int64, next int, ok bool) {
	start := i
	if len(b)-i >= 8 {
		if n, ok := eightDigits(b[i:]); ok {
			s, i = n, i+8
		}
	}
	for i < len(b) && b[i]-'0' <= 9 {
		s = s*10 + int64(b[i]-'0')
		i++
	}
	digits := i - start
	return s, i, digits > 0 && digits <= 12 && (i == len(b) || b[i] == ' ' || b[i] == '\t')
}

// eightDigits reads the first eight bytes of b, if all are digits, at once: it adds neighbours up to two digits each,
// and then two products sum the four pairs, each with its power of ten, in the upper half.
func eightDigits(b []byte) (n int64, ok bool) {
	const high, zeros, sixes, pair = 0xf0f0f0f0f0f0f0f0, 0x3030303030303030, 0x0606060606060606, 0x000000ff000000ff
	x := binary.LittleEndian.Uint64(b)
	if x&high != zeros || (x+sixes)&high != zeros {
		return 0, false
	}
	x -= zeros
	x = x*10 + x>>8
	x = (x&pair)*(100+1_000_000<<32) + (x>>16&pair)*(1+10_000<<32)
	return int64(x >> 32), true
}

// pyFloat reads a number as Python's float() does, which is what carbon uses: decimal notation with an optional
// exponent, single underscores between digits, any Unicode decimal digit, inf, infinity and nan in any case. Too large
// is infinite and too small is zero. Hexadecimal is not a number.
func pyFloat(b []byte) (float64, bool) {
	var stack [32]byte
	s, ok := pyASCII(stack[:0], b)
	if !ok {
		return 0, false
	}
	if !plainNumber(s) {
		return namedNumber(s)
	}
	f, err := strconv.ParseFloat(string(s), 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, false
	}
	return f, true
}

// pyASCII appends b to dst with every decimal digit in ASCII and without its underscores, each of which must stand
// between two digits.
func pyASCII(dst, b []byte) ([]byte, bool) {
	digit, under := false, false // what the last character was
	for i := 0; i < len(b); {
		c, size := b[i], 1
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRune(b[i:])
			d, ok := unicodeDigit(r)
			if !ok {
				return dst, false
			}
			c, size = d, n
		}
		i += size
		if c == '_' {
			if !digit {
				return dst, false
			}
			digit, under = false, true
			continue
		}
		digit = c-'0' <= 9
		if under && !digit {
			return dst, false
		}
		under = false
		dst = append(dst, c)
	}
	return dst, !under
}

// unicodeDigit returns the ASCII digit for a decimal digit of any script. Unicode lays each set of ten out in order,
// and its table of them joins only whole sets.
func unicodeDigit(r rune) (byte, bool) {
	for _, t := range unicode.Nd.R16 {
		if r <= rune(t.Hi) {
			return byte('0' + (r-rune(t.Lo))%10), r >= rune(t.Lo)
		}
	}
	for _, t := range unicode.Nd.R32 {
		if r <= rune(t.Hi) {
			return byte('0' + (r-rune(t.Lo))%10), r >= rune(t.Lo)
		}
	}
	return 0, false
}

// plainNumber reports whether s is [+-](digits[.digits*]|.digits)[e[+-]digits].
func plainNumber(s []byte) bool {
	s = unsigned(s)
	rest := skipDigits(s)
	digits := len(s) - len(rest)
	if len(rest) > 0 && rest[0] == '.' {
		after := skipDigits(rest[1:])
		digits += len(rest) - 1 - len(after)
		rest = after
	}
	if digits == 0 {
		return false
	}
	if len(rest) > 0 && rest[0]|0x20 == 'e' {
		exp := unsigned(rest[1:])
		rest = skipDigits(exp)
		if len(rest) == len(exp) {
			return false
		}
	}
	return len(rest) == 0
}

func unsigned(s []byte) []byte {
	if len(s) > 0 && (s[0] == '+' || s[0] == '-') {
		return s[1:]
	}
	return s
}

func skipDigits(s []byte) []byte {
	for len(s) > 0 && s[0]-'0' <= 9 {
		s = s[1:]
	}
	return s
}

// namedNumber reads inf, infinity and nan, in any case and with any sign.
func namedNumber(s []byte) (float64, bool) {
	name := unsigned(s)
	if len(name) > len("infinity") {
		return 0, false
	}
	for _, c := range name {
		if c >= utf8.RuneSelf {
			return 0, false
		}
	}
	switch {
	case bytes.EqualFold(name, []byte("nan")):
		return math.NaN(), true
	case bytes.EqualFold(name, []byte("inf")), bytes.EqualFold(name, []byte("infinity")):
		if s[0] == '-' {
			return math.Inf(-1), true
		}
		return math.Inf(1), true
	}
	return 0, false
}

// maxSeconds bounds a timestamp: beyond it the milliseconds do not fit an int64.
const maxSeconds = math.MaxInt64 / 1000

// judge turns a timestamp in seconds, as both wires carry it, into milliseconds, and says whether the point can be
// kept. It is the one rule for lines and pickles. As in carbon, a NaN value is dropped first, and a timestamp whose
// whole part is -1 is now. A fraction is rounded to the nearest millisecond.
func judge(ts, value float64, now func() int64, allowInf bool) (ms int64, r Reason) {
	switch {
	case value != value:
		return 0, ReasonNaN
	case math.IsInf(value, 0) && !allowInf:
		return 0, ReasonInfinite
	case ts > -2 && ts <= -1:
		return now(), 0
	case !(math.Abs(ts) < maxSeconds): // NaN too
		return 0, ReasonTimestamp
	}
	whole, frac := math.Modf(ts)
	return int64(whole)*1000 + int64(math.Round(frac*1000)), 0
}
