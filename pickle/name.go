package pickle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// What an [Encoder] refuses, inside a [*PointError].
var (
	// ErrName says that a name is empty, not UTF-8, or holds white space or a
	// control character. Carbon's line client writes a name as it is, so a name
	// with a newline is a second line: a point that nobody sent.
	ErrName = errors.New("pickle: name cannot be sent")
	// ErrTimestamp says that a timestamp is NaN or infinite. Carbon closes the
	// connection on one.
	ErrTimestamp = errors.New("pickle: timestamp is not finite")
	// ErrTooLarge says that a point alone is over Encoder.MaxBytes.
	ErrTooLarge = errors.New("pickle: point is over MaxBytes")
)

// CheckName reports whether name may be sent: nil, or an error that matches
// [ErrName] and says why not.
func CheckName(name []byte) error {
	if plainName(name) {
		return nil
	}
	if len(name) == 0 {
		return fmt.Errorf("%w: it is empty", ErrName)
	}
	for i := 0; i < len(name); {
		r, n := utf8.DecodeRune(name[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			return fmt.Errorf("%w: byte %d is not UTF-8", ErrName, i)
		case unicode.IsSpace(r), unicode.IsControl(r):
			return fmt.Errorf("%w: %U at byte %d", ErrName, r, i)
		}
		i += n
	}
	return nil
}

// plainName reports whether name is not empty and all graphic ASCII.
func plainName(name []byte) bool {
	n := len(name)
	if n < 8 {
		for _, c := range name {
			if c-0x21 > 0x7e-0x21 {
				return false
			}
		}
		return n > 0
	}
	odd := oddBytes(binary.LittleEndian.Uint64(name[n-8:])) // may overlap the others
	for len(name) > 8 {
		odd |= oddBytes(binary.LittleEndian.Uint64(name))
		name = name[8:]
	}
	return highBits(odd) == 0
}

// oddBytes sets the high bit of some byte if any of the eight is not graphic
// ASCII. The high bit of a byte is set in x from 0x80 up, in x+1 from 0x7f up,
// and in x-0x21 below 0x21; a carry or borrow between bytes starts in one that
// is odd itself.
func oddBytes(x uint64) uint64 {
	const ones = 0x0101010101010101
	return x | (x + ones) | (x - 0x21*ones)
}
