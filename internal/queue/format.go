package queue

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"time"
)

const (
	headerSize = 40
	maxRecord  = 256 << 20 // what a record may hold at most: it must fit in memory more than once

	lockName = "lock"
	ackName  = "acked"
	ackSize  = 32
	ackMagic = "fluxack1"
	suffix   = ".seg"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// nonce is a segment's random number. Each record begins with it, and so do the bytes under its checksums.
type nonce uint64

func newNonce() nonce {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return nonce(binary.LittleEndian.Uint64(b[:]))
}

func (n nonce) marker() (b [8]byte) {
	binary.LittleEndian.PutUint64(b[:], uint64(n))
	return b
}

// header stands before each record's payload.
type header struct {
	pos     Pos
	at      time.Time
	points  uint32
	length  uint32
	payload uint32 // checksum of the header's first 32 bytes and the payload
	sum     uint32 // of the header's first 32 bytes, which begin with the nonce
}

func (h *header) size() int64 { return headerSize + int64(h.length) }

// seal writes the header of a record whose payload stands behind the headerSize bytes at the front of b.
func (h *header) seal(b []byte, n nonce) {
	binary.LittleEndian.PutUint64(b[0:], uint64(n))
	binary.LittleEndian.PutUint64(b[8:], uint64(h.pos))
	binary.LittleEndian.PutUint64(b[16:], uint64(h.at.UnixNano()))
	binary.LittleEndian.PutUint32(b[24:], h.points)
	binary.LittleEndian.PutUint32(b[28:], h.length)
	h.sum = crc32.Checksum(b[:32], castagnoli)
	binary.LittleEndian.PutUint32(b[32:], crc32.Update(h.sum, castagnoli, b[headerSize:headerSize+int(h.length)]))
	binary.LittleEndian.PutUint32(b[36:], crc32.Update(h.sum, castagnoli, b[32:36]))
}

// parse reads a header. ok is false when it is none of this segment's.
func (h *header) parse(b []byte, n nonce) (ok bool) {
	if len(b) < headerSize || binary.LittleEndian.Uint64(b) != uint64(n) {
		return false
	}
	h.sum = crc32.Checksum(b[:32], castagnoli)
	if binary.LittleEndian.Uint32(b[36:]) != crc32.Update(h.sum, castagnoli, b[32:36]) {
		return false
	}
	h.pos = Pos(binary.LittleEndian.Uint64(b[8:]))
	h.at = time.Unix(0, int64(binary.LittleEndian.Uint64(b[16:])))
	h.points = binary.LittleEndian.Uint32(b[24:])
	h.length = binary.LittleEndian.Uint32(b[28:])
	h.payload = binary.LittleEndian.Uint32(b[32:])
	return true
}

func (h *header) intact(payload []byte) bool {
	return crc32.Update(h.sum, castagnoli, payload) == h.payload
}

// segmentID is what a segment's name says.
type segmentID struct {
	ordinal uint64 // rises from one segment to the next
	first   Pos    // no record before it stands in this segment, none from it on counts in an earlier one
	nonce   nonce
}

func (id segmentID) name() string {
	return fmt.Sprintf("%016x-%016x-%016x%s", id.ordinal, uint64(id.first), uint64(id.nonce), suffix)
}

func parseName(name string) (id segmentID, ok bool) {
	if len(name) != 3*16+2+len(suffix) || !strings.HasSuffix(name, suffix) {
		return id, false
	}
	n, err := fmt.Sscanf(name, "%16x-%16x-%16x", &id.ordinal, &id.first, &id.nonce)
	return id, n == 3 && err == nil && id.name() == name
}

// listSegments returns the directory's segments, oldest first.
func listSegments(fs fileSystem, dir string) ([]segmentID, error) {
	names, err := fs.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var ids []segmentID
	for _, name := range names {
		if id, ok := parseName(name); ok {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b segmentID) int { return strings.Compare(a.name(), b.name()) })
	return ids, nil
}
