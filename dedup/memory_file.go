package dedup

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
)

// ErrFormat is wrapped by Restore's errors about what it read.
var ErrFormat = errors.New("dedup: not a file of marks, or a damaged one")

// A file of marks is a line that names the format, blocks, and an empty block
// as the end. A block is its length and its CRC-32C, four bytes each, little
// endian, and so many bytes of records: the name's length as a varint, the name,
// the timestamp and the value's bits, eight bytes each, little endian.
const (
	fileHeader = "fluxkit marks 1\n"
	blockSize  = 64 << 10 // a block is cut once it is this long
	maxBlock   = 1 << 20  // and never longer than this
)

// Save writes all marks, the least recently used of each shard first. Marks that
// change meanwhile are written as they were or as they are. A name too long for
// a block of 1 MiB is left out.
func (s *Memory) Save(w io.Writer) error {
	s.init()
	bw := bufio.NewWriterSize(w, blockSize)
	_, err := bw.WriteString(fileHeader)
	var block []byte
	for i := range s.shards {
		sh := &s.shards[i]
		for _, m := range sh.marks() {
			if len(m.Metric) > maxBlock-blockSize-32 {
				continue
			}
			block = binary.AppendUvarint(block, uint64(len(m.Metric)))
			block = append(block, m.Metric...)
			block = binary.LittleEndian.AppendUint64(block, uint64(m.Timestamp))
			block = binary.LittleEndian.AppendUint64(block, math.Float64bits(m.Value))
			if len(block) >= blockSize {
				err = errors.Join(err, writeBlock(bw, block))
				block = block[:0]
			}
		}
	}
	if len(block) > 0 {
		err = errors.Join(err, writeBlock(bw, block))
	}
	err = errors.Join(err, writeBlock(bw, nil), bw.Flush())
	if err != nil {
		return fmt.Errorf("dedup: save marks: %w", err)
	}
	return nil
}

// marks returns the shard's marks, the oldest use first.
func (sh *memoryShard) marks() []Mark {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	m := make([]Mark, 0, sh.t.n)
	for k := sh.oldest; k != 0; {
		sl := sh.t.at(k - 1)
		m = append(m, Mark{asBytes(sl.name), sl.val.ts, sl.val.value})
		k = sl.val.newer
	}
	return m
}

func writeBlock(w io.Writer, block []byte) error {
	var head [8]byte
	binary.LittleEndian.PutUint32(head[:], uint32(len(block)))
	binary.LittleEndian.PutUint32(head[4:], blockSum(block))
	if _, err := w.Write(head[:]); err != nil {
		return err
	}
	_, err := w.Write(block)
	return err
}

func blockSum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// Restore raises the marks to those of a file that Save wrote. A file that is
// cut or damaged gives ErrFormat; the marks of its whole blocks before that are
// in place then, and good. It needs memory for one block, 1 MiB at most.
func (s *Memory) Restore(r io.Reader) error {
	br := bufio.NewReaderSize(r, blockSize)
	head := make([]byte, len(fileHeader))
	if err := readFull(br, head); err != nil {
		return err
	}
	if string(head) != fileHeader {
		return fmt.Errorf("%w: it does not begin with %q", ErrFormat, fileHeader)
	}
	var block []byte
	for {
		if err := readFull(br, head[:8]); err != nil {
			return err
		}
		size, sum := binary.LittleEndian.Uint32(head), binary.LittleEndian.Uint32(head[4:])
		if size > maxBlock {
			return fmt.Errorf("%w: block of %d bytes, longer than %d", ErrFormat, size, maxBlock)
		}
		if int(size) > cap(block) {
			block = make([]byte, size)
		}
		block = block[:size]
		if err := readFull(br, block); err != nil {
			return err
		}
		if sum != blockSum(block) {
			return fmt.Errorf("%w: checksum", ErrFormat)
		}
		if size == 0 {
			return nil
		}
		if err := s.restoreBlock(block); err != nil {
			return err
		}
	}
}

// readFull fills b; the end of the file comes too early here.
func readFull(r io.Reader, b []byte) error {
	switch _, err := io.ReadFull(r, b); {
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return fmt.Errorf("%w: it ends early", ErrFormat)
	case err != nil:
		return fmt.Errorf("dedup: restore marks: %w", err)
	}
	return nil
}

func (s *Memory) restoreBlock(b []byte) error {
	var marks []Mark
	for len(b) > 0 {
		n, k := binary.Uvarint(b)
		if k <= 0 || uint64(len(b)-k) < 16 || n > uint64(len(b)-k-16) {
			return fmt.Errorf("%w: record", ErrFormat)
		}
		name, rest := b[k:k+int(n)], b[k+int(n):]
		marks = append(marks, Mark{
			Metric:    name,
			Timestamp: int64(binary.LittleEndian.Uint64(rest)),
			Value:     math.Float64frombits(binary.LittleEndian.Uint64(rest[8:])),
		})
		b = rest[16:]
	}
	return s.Raise(context.Background(), marks)
}
