package graphite

import (
	"math"
	"strconv"
)

// AppendLine appends the point as a line, "name value timestamp\n", and returns the extended slice.
//
// The value has the fewest digits that read back as the same float64: an integer as one, an exponent only below 1e-6
// and from 1e21 on. The timestamp is in seconds, with a fraction only if it has one, of at most three digits. Carbon
// takes a timestamp from -1 s down to just above -2 s for "now", whoever writes it.
//
// The name is written as it is; one that CheckName refuses would break the line.
func AppendLine(dst []byte, p Point) []byte {
	dst = append(dst, p.Name...)
	dst = append(dst, ' ')
	dst = appendValue(dst, p.Value)
	dst = append(dst, ' ')
	dst = appendSeconds(dst, p.Timestamp)
	return append(dst, '\n')
}

func appendValue(dst []byte, v float64) []byte {
	if i := int64(v); v > -1e15 && v < 1e15 && float64(i) == v && (i != 0 || !math.Signbit(v)) {
		return strconv.AppendInt(dst, i, 10)
	}
	abs := math.Abs(v)
	if abs < 1e9 && abs >= 1e-3 {
		if i := uint64(abs*1e3 + 0.5); float64(i)/1e3 == abs {
			return appendFraction(dst, v < 0, i, 1000)
		}
		if i := uint64(abs*1e6 + 0.5); float64(i)/1e6 == abs {
			return appendFraction(dst, v < 0, i, 1_000_000)
		}
	}
	switch {
	case math.IsInf(v, 1):
		return append(dst, "inf"...)
	case math.IsInf(v, -1):
		return append(dst, "-inf"...)
	case v != v:
		return append(dst, "nan"...)
	case abs == 0 || abs >= 1e-6 && abs < 1e21:
		return strconv.AppendFloat(dst, v, 'f', -1, 64)
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, v, 'e', -1, 64)
	return trimExponent(dst, start)
}

// appendFraction appends i/unit, which is no whole number, without zeros at its end. A decimal of up to 15 digits that
// reads as some float64 is the shortest that does: no two of them read as the same one.
func appendFraction(dst []byte, negative bool, i, unit uint64) []byte {
	if negative {
		dst = append(dst, '-')
	}
	dst = append(strconv.AppendUint(dst, i/unit, 10), '.')
	for frac := i % unit; frac != 0; {
		unit /= 10
		dst = append(dst, byte('0'+frac/unit))
		frac %= unit
	}
	return dst
}

// trimExponent turns the "e+21" or "e-07" at the end of dst[start:] into "e21" or "e-7".
func trimExponent(dst []byte, start int) []byte {
	e := len(dst) - 1
	for e > start && dst[e] != 'e' {
		e--
	}
	out := dst[:e+1]
	exp := dst[e+1:]
	if exp[0] == '-' {
		out = append(out, '-')
	}
	exp = exp[1:]
	for len(exp) > 1 && exp[0] == '0' {
		exp = exp[1:]
	}
	return append(out, exp...)
}

// appendSeconds appends milliseconds as decimal seconds.
func appendSeconds(dst []byte, ms int64) []byte {
	whole, frac := ms/1000, ms%1000
	if frac < 0 {
		frac = -frac
		if whole == 0 {
			dst = append(dst, '-')
		}
	}
	dst = strconv.AppendInt(dst, whole, 10)
	if frac == 0 {
		return dst
	}
	dst = append(dst, '.', byte('0'+frac/100))
	if frac%100 != 0 {
		dst = append(dst, byte('0'+frac/10%10))
	}
	if frac%10 != 0 {
		dst = append(dst, byte('0'+frac%10))
	}
	return dst
}
