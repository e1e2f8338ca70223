package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

var errLocked = errors.New("queue: another holds the lock")

// openDisk takes the directory, reads what it holds and starts the committer.
func openDisk(o Options) (*disk, error) {
	if err := o.fs.MkdirAll(o.Dir); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDisk, err)
	}
	lock, err := o.fs.Lock(filepath.Join(o.Dir, lockName))
	if errors.Is(err, errLocked) {
		return nil, fmt.Errorf("%w: %s", ErrInUse, o.Dir)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: lock of %s: %w", ErrDisk, o.Dir, err)
	}
	d := &disk{
		opts: o, fs: o.fs, lock: lock,
		segSize: min(o.MaxBytes/16, maxSegment),
		runMax:  max(minBuffer, 2*int64(o.CommitBytes)),
		wakeup:  make(chan struct{}, 1),
		done:    make(chan struct{}),
		round:   make(chan struct{}),
	}
	d.bufMax, d.asyncMax = d.runMax, int64(o.CommitBytes)
	if o.DropOldest {
		d.bufMax = max(d.bufMax, dropBuffer)
		d.asyncMax = d.bufMax
	}
	d.commitAt = int64(o.CommitBytes) / 2
	d.out.most = d.runMax
	d.line.grant = d.grant
	if err := d.recover(); err != nil {
		lock.Close()
		return nil, err
	}
	go d.run()
	return d, nil
}

// recover finds out what the directory holds. Nothing is appended to a file that another process wrote.
func (d *disk) recover() error {
	segs, rep, newest, err := survey(d.fs, d.opts.Dir)
	if err != nil {
		return err
	}
	d.report, d.damaged = rep, rep.Damaged
	d.newest, d.kept, d.ackedTo = newest, newest, newest
	for _, g := range segs {
		d.out.ordinal = g.ordinal
		if g.total.records == 0 {
			if !g.hard { // what cannot be read today perhaps can tomorrow
				d.doomed = append(d.doomed, g)
			}
			continue
		}
		if d.readable == 0 {
			d.ackedTo = rep.Acked
		}
		d.readable = g.last
		g.listed = true
		d.segs = append(d.segs, g)
		d.disk += g.size
		d.pending.add(g.total.records, g.total.points, g.total.bytes)
	}
	if err := d.harden(); err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	if rep.Damaged > 0 {
		d.opts.Logger.Error("damaged records were passed over", "dir", d.opts.Dir, "places", rep.Damaged,
			"bytes", rep.DamagedBytes, "pending_records", rep.Records, "pending_points", rep.Points)
	}
	return nil
}

// harden makes lasting what a killed process may have left to the page cache: the newest segment.
func (d *disk) harden() error {
	if len(d.segs) == 0 {
		return nil
	}
	f, err := d.fs.Open(filepath.Join(d.opts.Dir, d.segs[len(d.segs)-1].name()))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return err
	}
	return d.fs.SyncDir(d.opts.Dir)
}

// remove deletes the file of g, or remembers to try again.
func (d *disk) remove(g *segment) {
	err := d.fs.Remove(filepath.Join(d.opts.Dir, g.name()))
	if err != nil && !missing(err) {
		d.opts.Logger.Warn("a segment was not removed", "dir", d.opts.Dir, "file", g.name(), "error", err)
		d.out.stuck = append(d.out.stuck, g)
	}
}

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
