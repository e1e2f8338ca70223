package pickle

import (
	"encoding/binary"
	"math"
	"math/big"
	"math/bits"
	"strconv"
	"unsafe"
)

// parseInt reads the text of INT and LONG as Python's int(text, 0) does: white
// space around it, a sign, underscores between digits, and the prefixes 0x, 0o
// and 0b. The caller has bounded the length.
func parseInt(text []byte) (float64, fault) {
	text = trimSpace(text)
	if len(text) > 0 && text[0] == '+' {
		text = text[1:]
		if len(text) > 0 && text[0] == '-' {
			return 0, faultSyntax
		}
	}
	if n, err := strconv.ParseInt(string(text), 0, 64); err == nil {
		return float64(n), faultNone
	}
	n, ok := new(big.Int).SetString(string(text), 0)
	if !ok {
		return 0, faultSyntax
	}
	f, _ := new(big.Float).SetInt(n).Float64()
	if math.IsInf(f, 0) {
		return 0, faultRange
	}
	return f, faultNone
}

// shortInt reads a plain decimal integer of at most 18 digits that is ended by
// end. It returns how long it is, or 0 for any other text.
func shortInt(text []byte, end byte) (n int64, length int) {
	i, neg := 0, false
	if len(text) > 0 && text[0] == '-' {
		i, neg = 1, true
	}
	first := i
	if m, ok := eightDigits(text[i:]); ok {
		n = int64(m)
		i += 8
	}
	for ; i < len(text); i++ {
		c := text[i] - '0'
		if c > 9 {
			break
		}
		n = n*10 + int64(c)
	}
	count := i - first
	if count == 0 || count > 18 || i == len(text) || text[i] != end || text[first] == '0' && count > 1 {
		return 0, 0
	}
	if neg {
		n = -n
	}
	return n, i
}

// shortFloat reads a decimal of at most 19 digits without an exponent that is
// ended by end or, if end is 0, by the end of text. It returns how long it is, or
// 0 for any other text. The result is rounded correctly: it is the quotient of
// two integers of 64 bits.
func shortFloat(text []byte, end byte) (f float64, length int) {
	i, neg := 0, false
	if len(text) > 0 && text[0] == '-' {
		i, neg = 1, true
	}
	var m uint64
	first, point := i, -1
	for ; i < len(text); i++ {
		c := text[i] - '0'
		if c <= 9 {
			m = m*10 + uint64(c)
			continue
		}
		if text[i] != '.' || point >= 0 {
			break
		}
		point = i
		for eight, ok := eightDigits(text[i+1:]); ok; eight, ok = eightDigits(text[i+1:]) {
			m = m*1e8 + eight
			i += 8
		}
	}
	n, decimals := i-first, 0
	if point >= 0 {
		n, decimals = n-1, i-point-1
	}
	if n == 0 || n > 19 || i == len(text) != (end == 0) || i < len(text) && text[i] != end {
		return 0, 0
	}
	f = quotient(m, powersOfTen[decimals])
	if neg {
		f = -f
	}
	return f, i
}

// eightDigits reads the first eight bytes of text at once, if all are digits: it
// combines neighbours to numbers below 100, those to numbers below 10,000, and
// the two that are left.
func eightDigits(text []byte) (uint64, bool) {
	if len(text) < 8 {
		return 0, false
	}
	const nines = 0x0606060606060606 // carries into the upper half of a byte from 10 up
	w := binary.LittleEndian.Uint64(text)
	if w&(w+nines)&0xf0f0f0f0f0f0f0f0 != 0x3030303030303030 {
		return 0, false
	}
	w &= 0x0f0f0f0f0f0f0f0f
	w = (w*10 + w>>8) & 0x00ff00ff00ff00ff
	w = (w*100 + w>>16) & 0x0000ffff0000ffff
	return (w*10000 + w>>32) & 0xffffffff, true
}

// powersOfTen are those that fit 64 bits.
var powersOfTen = [...]uint64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19}

// quotient returns m/d rounded to nearest, ties to even, for a d of powersOfTen.
func quotient(m, d uint64) float64 {
	if m < 1<<53 {
		return float64(m) / float64(d) // both are exact
	}
	shiftM, shiftD := bits.LeadingZeros64(m), bits.LeadingZeros64(d)
	hi, lo, d := m<<shiftM, uint64(0), d<<shiftD
	exponent := shiftD - shiftM - 64
	if hi >= d {
		hi, lo = hi>>1, hi<<63
		exponent++
	}
	q, r := bits.Div64(hi, lo, d) // from 2**63 up
	if r != 0 {
		q |= 1 // rounds as all the bits below it would
	}
	return float64(q) * math.Float64frombits(uint64(1023+exponent)<<52)
}

// parseFloatText reads the text of FLOAT: a C double without white space,
// underscores or hexadecimal. A finite text that overflows is a fault, as it is
// for CPython.
func parseFloatText(text []byte) (float64, fault) {
	if f, n := shortFloat(text, 0); n > 0 {
		return f, faultNone
	}
	f, under, ok := floatSyntax(text)
	if !ok || under {
		return 0, faultSyntax
	}
	if f != 0 {
		return f, faultNone
	}
	f, err := parseFloat(text)
	if err != nil {
		return 0, faultRange
	}
	return f, faultNone
}

// parseFloatString reads a number sent as a string as Python's float(text)
// does, ASCII digits only: white space around it and underscores between digits
// are fine, and what overflows is infinite.
func parseFloatString(text []byte, scratch []byte) (float64, []byte, fault) {
	text = trimSpace(text)
	if f, n := shortFloat(text, 0); n > 0 {
		return f, scratch, faultNone
	}
	f, under, ok := floatSyntax(text)
	if !ok {
		return 0, scratch, faultSyntax
	}
	if f != 0 {
		return f, scratch, faultNone
	}
	if under {
		scratch = scratch[:0]
		for _, c := range text {
			if c != '_' {
				scratch = append(scratch, c)
			}
		}
		text = scratch
	}
	f, _ = parseFloat(text)
	return f, scratch, faultNone
}

// parseFloat is strconv.ParseFloat without a copy of the text, which one message
// can ask for many times. ParseFloat keeps no part of it.
func parseFloat(text []byte) (float64, error) {
	return strconv.ParseFloat(unsafe.String(unsafe.SliceData(text), len(text)), 64)
}

// floatSyntax checks a decimal floating-point text. For the words inf, infinity
// and nan it returns the number they stand for, else 0.
func floatSyntax(text []byte) (word float64, under, ok bool) {
	i, sign := 0, 1
	if len(text) > 0 && (text[0] == '-' || text[0] == '+') {
		if text[0] == '-' {
			sign = -1
		}
		i = 1
	}
	switch rest := text[i:]; {
	case equalFold(rest, "inf"), equalFold(rest, "infinity"):
		return math.Inf(sign), false, true
	case equalFold(rest, "nan"):
		return math.NaN(), false, true
	}
	i, whole, u1, ok1 := digitRun(text, i)
	frac, u2, ok2 := 0, false, true
	if i < len(text) && text[i] == '.' {
		i, frac, u2, ok2 = digitRun(text, i+1)
	}
	if !ok1 || !ok2 || whole+frac == 0 {
		return 0, false, false
	}
	u3 := false
	if i < len(text) && text[i]|0x20 == 'e' {
		i++
		if i < len(text) && (text[i] == '-' || text[i] == '+') {
			i++
		}
		var exp int
		var ok3 bool
		i, exp, u3, ok3 = digitRun(text, i)
		if !ok3 || exp == 0 {
			return 0, false, false
		}
	}
	return 0, u1 || u2 || u3, i == len(text)
}

// digitRun skips digits with single underscores between them.
func digitRun(text []byte, from int) (i, n int, under, ok bool) {
	for i = from; i < len(text); i++ {
		switch c := text[i]; {
		case c-'0' <= 9:
			n++
		case c == '_':
			if i == from || text[i-1] == '_' || i+1 == len(text) || text[i+1]-'0' > 9 {
				return i, n, true, false
			}
			under = true
		default:
			return i, n, under, true
		}
	}
	return i, n, under, true
}

func equalFold(text []byte, word string) bool {
	if len(text) != len(word) {
		return false
	}
	for i := range text {
		if text[i]|0x20 != word[i] {
			return false
		}
	}
	return true
}

// trimSpace cuts the ASCII white space that Python's str.strip cuts.
func trimSpace(text []byte) []byte {
	space := func(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' || c >= 0x1c && c <= 0x1f }
	for len(text) > 0 && space(text[0]) {
		text = text[1:]
	}
	for len(text) > 0 && space(text[len(text)-1]) {
		text = text[:len(text)-1]
	}
	return text
}

// parseLong reads the little-endian two's complement of LONG1 and LONG4,
// rounded to the nearest float64, ties to even, as Python's float(int) rounds.
func parseLong(b []byte) (float64, fault) {
	if len(b) == 0 {
		return 0, faultNone
	}
	neg := b[len(b)-1] >= 0x80
	for n := len(b); n > 1; n-- { // drop sign bytes that say nothing
		top, below := b[n-1], b[n-2]
		if !(top == 0 && below < 0x80 || top == 0xff && below >= 0x80) {
			break
		}
		b = b[:n-1]
	}
	if len(b) <= 8 {
		var full [8]byte
		if neg {
			full = [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
		}
		copy(full[:], b)
		return float64(int64(binary.LittleEndian.Uint64(full[:]))), faultNone
	}
	return bigLong(b, neg)
}

// bigLong reads an integer of more than 8 bytes. Its top 64 significant bits,
// with the lowest one set if anything below is, round as the whole would.
func bigLong(b []byte, neg bool) (float64, fault) {
	carry := uint16(1) // of the two's complement negation
	var top uint64     // the magnitude's highest bits so far
	var sticky bool    // something fell out below
	for _, c := range b {
		if neg {
			s := uint16(^c) + carry
			c, carry = byte(s), s>>8
		}
		sticky = sticky || top&0xff != 0
		top = top>>8 | uint64(c)<<56
	}
	shift := 8 * (len(b) - 8)
	if neg && carry == 1 { // -(256**n): the magnitude has one more byte
		sticky = sticky || top&0xff != 0
		top = top>>8 | 1<<56
		shift += 8
	}
	// A magnitude with a clear top byte is short of bits: 57 are still more
	// than a float64 needs.
	if sticky {
		top |= 1
	}
	if bits.Len64(top)+shift > 1024 {
		return 0, faultRange
	}
	f := math.Ldexp(float64(top), shift)
	if math.IsInf(f, 0) {
		return 0, faultRange
	}
	if neg {
		f = -f
	}
	return f, faultNone
}
