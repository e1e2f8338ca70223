package pickle

import (
	"encoding/binary"
	"unicode/utf16"
	"unicode/utf8"
)

// asciiOnly reports whether b holds bytes below 0x80 alone. Names of 16 to 64
// bytes, the usual ones, take no loop: what is read from the front and from the
// back may overlap.
func asciiOnly(b []byte) bool {
	for len(b) > 64 {
		if highBits(sixteen(b)|sixteen(b[16:])) != 0 {
			return false
		}
		b = b[32:]
	}
	n := len(b)
	if n < 16 {
		return asciiShort(b)
	}
	odd := sixteen(b) | sixteen(b[n-16:])
	if n > 32 {
		odd |= sixteen(b[16:]) | sixteen(b[n-32:])
	}
	return highBits(odd) == 0
}

func asciiShort(b []byte) bool {
	var odd uint64
	if n := len(b); n >= 8 {
		odd = binary.LittleEndian.Uint64(b) | binary.LittleEndian.Uint64(b[n-8:])
	} else {
		for _, c := range b {
			odd |= uint64(c)
		}
	}
	return highBits(odd) == 0
}

// sixteen combines the first 16 bytes of b.
func sixteen(b []byte) uint64 {
	return binary.LittleEndian.Uint64(b) | binary.LittleEndian.Uint64(b[8:])
}

func highBits(x uint64) uint64 { return x & 0x8080808080808080 }

// textFlags classifies a string once, when it is read, so that the many points
// that share a name do not scan it again.
func textFlags(b []byte) uint8 {
	if asciiOnly(b) {
		return isASCII | isUTF8
	}
	if utf8.Valid(b) {
		return isUTF8
	}
	return 0
}

// unquote undoes the repr of a Python 2 str: the body of a STRING opcode. It
// appends to dst. Unknown escapes stay as they are, as in Python; inner quotes
// need no escape, since some senders write none.
func unquote(dst, line []byte) ([]byte, bool) {
	n := len(line)
	if n < 2 || line[0] != line[n-1] || line[0] != '\'' && line[0] != '"' {
		return dst, false
	}
	s := line[1 : n-1]
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			dst = append(dst, s[i])
			continue
		}
		i++
		if i == len(s) {
			return dst, false
		}
		switch c := s[i]; {
		case c >= '0' && c <= '7':
			v := c - '0'
			for k := 0; k < 2 && i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '7'; k++ {
				i++
				v = v<<3 | (s[i] - '0')
			}
			dst = append(dst, v)
		case c == 'x':
			v, ok := hexDigits(s[i+1:], 2)
			if !ok {
				return dst, false
			}
			dst = append(dst, byte(v))
			i += 2
		default:
			if e := simpleEscape(c); e != 0 {
				dst = append(dst, e)
			} else {
				dst = append(dst, '\\', c)
			}
		}
	}
	return dst, true
}

// simpleEscape gives the byte that a one-letter escape stands for, or 0.
func simpleEscape(c byte) byte {
	switch c {
	case '\\', '\'', '"':
		return c
	case 'a':
		return '\a'
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'v':
		return '\v'
	}
	return 0
}

// unescapeUnicode turns the raw-unicode-escape text of a UNICODE opcode into
// UTF-8: bytes are Latin-1, \u with four hexadecimal digits and \U with eight are
// escapes, everything else stands for itself. A surrogate pair becomes the
// character it means; a lone surrogate becomes the three bytes that Python's
// surrogatepass gives, which are not valid UTF-8.
func unescapeUnicode(dst, s []byte) ([]byte, bool) {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '\\' || i+1 == len(s) {
			dst = utf8.AppendRune(dst, rune(c))
			continue
		}
		i++
		width := 0
		switch s[i] {
		case 'u':
			width = 4
		case 'U':
			width = 8
		default:
			dst = utf8.AppendRune(append(dst, '\\'), rune(s[i]))
			continue
		}
		v, ok := hexDigits(s[i+1:], width)
		if !ok || v > utf8.MaxRune {
			return dst, false
		}
		i += width
		if r := rune(v); !utf16.IsSurrogate(r) {
			dst = utf8.AppendRune(dst, r)
			continue
		}
		if low, ok := lowSurrogate(s[i+1:]); ok && v < 0xdc00 {
			dst = utf8.AppendRune(dst, utf16.DecodeRune(rune(v), low))
			i += 6
			continue
		}
		dst = append(dst, 0xe0|byte(v>>12), 0x80|byte(v>>6)&0x3f, 0x80|byte(v)&0x3f)
	}
	return dst, true
}

// lowSurrogate reads \uDC00 to \uDFFF at the start of s.
func lowSurrogate(s []byte) (rune, bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	v, ok := hexDigits(s[2:], 4)
	return rune(v), ok && v >= 0xdc00 && v <= 0xdfff
}

// hexDigits reads exactly n hexadecimal digits.
func hexDigits(s []byte, n int) (uint32, bool) {
	if len(s) < n {
		return 0, false
	}
	var v uint32
	for _, c := range s[:n] {
		switch {
		case c-'0' <= 9:
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		v = v<<4 | uint32(c)
	}
	return v, true
}

// latin1 appends text as Latin-1, one byte a character; false if one has none.
func latin1(dst, text []byte) ([]byte, bool) {
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		if r > 0xff {
			return dst, false
		}
		dst = append(dst, byte(r))
		text = text[n:]
	}
	return dst, true
}
