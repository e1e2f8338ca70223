package queue

import (
	"encoding/binary"
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

// write keeps the mark in the directory. The file is written over in place: that costs no space, which a full disk would
// not have, and nothing that the next sync of a segment would have to wait for. It does not wait for the medium: an older
// mark, or a torn one, makes some records come twice, no more.
func (m ackMark) write(f file) error {
	b := make([]byte, ackSize, ackSize+4)
	copy(b, ackMagic)
	binary.LittleEndian.PutUint64(b[8:], m.ordinal)
	binary.LittleEndian.PutUint64(b[16:], uint64(m.nonce))
	binary.LittleEndian.PutUint64(b[24:], uint64(m.pos))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	_, err := f.WriteAt(b, 0)
	return err
}

// openAck opens the file to be written, and cuts off what does not belong to it.
func openAck(fs fileSystem, dir string) (file, error) {
	f, err := fs.OpenWrite(filepath.Join(dir, ackName))
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err == nil && size > ackSize+4 {
		err = f.Truncate(ackSize + 4)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// writeMark writes the acknowledged position. If it fails the next acknowledgement tries again.
func (d *disk) writeMark(m ackMark) {
	o := &d.out
	var err error
	if o.ack == nil {
		o.ack, err = openAck(d.fs, d.opts.Dir)
	}
	if err == nil {
		err = m.write(o.ack)
	}
	if err == nil {
		return
	}
	d.opts.Logger.Warn("the acknowledged position was not written", "dir", d.opts.Dir, "error", err)
	if o.ack != nil {
		o.ack.Close()
		o.ack = nil
	}
}
