package pickle

import (
	"encoding/binary"
	"math"
	"math/big"
	"math/bits"
	"strconv"
)

// parseInt reads the text of INT and LONG as Python's int(text, 0) does: white
// space around it, a sign, underscores between digits, and the prefixes 0x, 0o
// and 0b. The caller has bounded the length.
func parseInt(text []byte) (float64, fault) {
	if n, ok := digits(text); ok {
		return float64(n), faultNone
	}
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

// digits reads a plain decimal integer of at most 18 digits.
func digits(text []byte) (int64, bool) {
	i, neg := 0, false
	if len(text) > 1 && text[0] == '-' {
		i, neg = 1, true
	}
	if len(text) == i || len(text)-i > 18 || text[i] == '0' && len(text)-i > 1 {
		return 0, false
	}
	var n int64
	for ; i < len(text); i++ {
		c := text[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + int64(c)
	}
	if neg {
		n = -n
	}
	return n, true
}

// parseFloatText reads the text of FLOAT: a C double without white space,
// underscores or hexadecimal. A finite text that overflows is a fault, as it is
// for CPython.
func parseFloatText(text []byte) (float64, fault) {
	f, under, ok := floatSyntax(text)
	if !ok || under {
		return 0, faultSyntax
	}
	if f != 0 {
		return f, faultNone
	}
	f, err := strconv.ParseFloat(string(text), 64)
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
	if len(text) <= 16 {
		if n, ok := digits(text); ok && n != 0 {
			return float64(n), scratch, faultNone
		}
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
	f, _ = strconv.ParseFloat(string(text), 64)
	return f, scratch, faultNone
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
