package queue

import (
	"fmt"
	"path/filepath"
	"time"
)

// Record is a pending record as it stands in a directory.
type Record struct {
	Pos    Pos
	At     time.Time // when it was appended
	Points int
	Data   []byte // valid until the callback returns
	File   string // the segment's name within the directory
	Offset int64  // of the record's header
}

// Inspect reads a directory's queue, changes nothing and takes no lock. It calls each, unless that is nil, with every
// pending record, oldest first, until each returns an error, which Inspect returns. While another process has the
// queue open, what that is about to write may show as torn, and what it removes may be missing.
func Inspect(dir string, each func(Record) error) (Report, error) { return inspect(osFS{}, dir, each) }

func inspect(fs fileSystem, dir string, each func(Record) error) (Report, error) {
	segs, rep, _, err := survey(fs, dir)
	if err != nil {
		return rep, fmt.Errorf("%w: %w", ErrDisk, err)
	}
	if each == nil {
		return rep, nil
	}
	for _, g := range segs {
		if g.total.records == 0 {
			continue
		}
		if err := g.each(fs, dir, each); err != nil {
			return rep, err
		}
	}
	return rep, nil
}

// each calls f with every pending record of the segment.
func (g *segment) each(fs fileSystem, dir string, f func(Record) error) error {
	file, err := fs.Open(filepath.Join(dir, g.name()))
	if missing(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	defer file.Close()
	s := g.scan(file, g.end)
	s.off = g.ackOff
	for {
		h, payload, off, ok := s.next()
		if !ok {
			return nil
		}
		err := f(Record{Pos: h.pos, At: h.at, Points: int(h.points), Data: payload, File: g.name(), Offset: off})
		if err != nil {
			return err
		}
	}
}
