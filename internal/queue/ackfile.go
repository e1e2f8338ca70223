package queue

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
)

// ackMark says how far records are acknowledged: all segments before the named one, and of that one the records up to
// pos. It says nothing where no such segment stands, so that it can never make newer records disappear.
type ackMark struct {
	ordinal uint64
	nonce   nonce
	pos     Pos
}

// readAck returns the zero ackMark when the file is missing, damaged or cannot be read: then everything is delivered
// again.
func readAck(fs fileSystem, dir string) (m ackMark, ok bool) {
	f, err := fs.Open(filepath.Join(dir, ackName))
	if err != nil {
		return m, false
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, ackSize+5))
	if err != nil || len(b) != ackSize+4 || string(b[:8]) != ackMagic ||
		binary.LittleEndian.Uint32(b[ackSize:]) != crc32.Checksum(b[:ackSize], castagnoli) {
		return m, false
	}
	m.ordinal = binary.LittleEndian.Uint64(b[8:])
	m.nonce = nonce(binary.LittleEndian.Uint64(b[16:]))
	m.pos = Pos(binary.LittleEndian.Uint64(b[24:]))
	return m, true
}

// writeAck replaces the file. It does not wait for the medium: an older one makes some records come twice, no more.
func writeAck(fs fileSystem, dir string, m ackMark) error {
	b := make([]byte, ackSize, ackSize+4)
	copy(b, ackMagic)
	binary.LittleEndian.PutUint64(b[8:], m.ordinal)
	binary.LittleEndian.PutUint64(b[16:], uint64(m.nonce))
	binary.LittleEndian.PutUint64(b[24:], uint64(m.pos))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	temp := filepath.Join(dir, ackTemp)
	f, err := fs.Create(temp)
	if err != nil {
		_ = fs.Remove(temp) // one that a crash left behind
		if f, err = fs.Create(temp); err != nil {
			return err
		}
	}
	_, err = f.Write(b)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = fs.Rename(temp, filepath.Join(dir, ackName))
	}
	if err != nil {
		_ = fs.Remove(temp)
		return fmt.Errorf("queue: acknowledged position: %w", err)
	}
	return nil
}
