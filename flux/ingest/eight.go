package ingest

import (
	"encoding/binary"
	"math/bits"
)

// Eight bytes of text at a time: a word holds them, the first in its lowest byte. A test of all eight answers in the
// high bit of each byte.

// ones times a byte is a word of eight of them.
const (
	ones  = 0x0101010101010101
	lows  = ones * 0x7f
	highs = ones * 0x80
)

// load is the first of b.
func load(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// atLeast marks the bytes of x, all below 128, that are c or more; c is 1 to 128. Its other bits mean nothing.
func atLeast(x uint64, c uint8) uint64 { return x + ones*uint64(128-c) }

// first is how many bytes come before the first one that is marked; 8 if none is.
func first(marks uint64) int { return bits.TrailingZeros64(marks) / 8 }

// number8 is the number that eight values of digits make: pairs are put together, then pairs of pairs, then those.
func number8(x uint64) uint64 {
	x = x * (10<<8 + 1) >> 8 & 0x00ff00ff00ff00ff
	x = x * (100<<16 + 1) >> 16 & 0x0000ffff0000ffff
	return x * (10000<<32 + 1) >> 32
}
