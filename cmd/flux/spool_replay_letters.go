package main

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/fluxmetrics/fluxkit/internal/deadletter"
)

// fromLetters delivers what a dead-letter file holds. Its points stand in the files that were set aside until all that
// was not delivered is back.
func (c *spoolReplayCmd) fromLetters(ctx context.Context, s *store, d *deliverer, out *replayed) error {
	aside, err := deadletter.SetAside(s.path)
	if err != nil {
		return err
	}
	defer aside.Close()
	r := &letterReplay{deliverer: d, back: refusedFile{path: s.path}}
	rep, err := aside.Read(func(e deadletter.Entry) error { return r.add(ctx, c.selection, e) })
	if err == nil {
		err = r.deliver(ctx)
	}
	if err == nil {
		err = r.putBack()
	}
	if cerr := r.back.close(); err == nil {
		err = cerr
	}
	out.where, out.refused, out.damaged = s.path, s.path, rep.Damaged
	if err != nil {
		return fmt.Errorf("%w; nothing is lost: all of the file is set aside and stands in the next replay", err)
	}
	out.left = r.left
	out.kept, err = aside.Remove()
	return errors.Join(r.stopped, err)
}

// letterReplay is the replay of a dead-letter file.
type letterReplay struct {
	deliverer *deliverer
	back      refusedFile
	b         batch
	returned  []deadletter.Entry
	left      int64 // points that were to be delivered and are back
	stopped   error // why the rest is not delivered
}

func (r *letterReplay) add(ctx context.Context, sel selection, e deadletter.Entry) error {
	switch {
	case !sel.takes(&e):
		return r.giveBack(e)
	case r.stopped != nil:
		r.left++
		return r.giveBack(e)
	case r.b.add(e):
		return r.deliver(ctx)
	}
	return nil
}

func (r *letterReplay) giveBack(e deadletter.Entry) error {
	r.returned = append(r.returned, e)
	if len(r.returned) < sendPoints {
		return nil
	}
	return r.putBack()
}

func (r *letterReplay) putBack() error {
	err := r.back.append(r.returned)
	r.returned = r.returned[:0]
	return err
}

// deliver delivers the batch. The error is about what was to be put back.
func (r *letterReplay) deliver(ctx context.Context) error {
	if len(r.b.points) == 0 {
		return nil
	}
	var fates []fate
	fates, r.stopped = r.deliverer.deliver(ctx, r.b.points)
	for i, f := range fates {
		if f == fateOpen {
			r.left++
		}
		if f != fateDelivered {
			if err := r.giveBack(r.b.points[i]); err != nil {
				return err
			}
		}
	}
	r.b.reset()
	return nil
}

// refusedFile is a dead-letter file that is opened when there is something to write. It has no bound: whoever replays
// asked for it.
type refusedFile struct {
	path string
	file *deadletter.File
}

func (f *refusedFile) open() (err error) {
	if f.file == nil {
		f.file, err = deadletter.Open(deadletter.Options{Path: f.path, MaxBytes: math.MaxInt64})
	}
	return err
}

func (f *refusedFile) append(points []deadletter.Entry) error {
	if len(points) == 0 {
		return nil
	}
	if err := f.open(); err != nil {
		return err
	}
	return f.file.Append(points)
}

func (f *refusedFile) close() error {
	if f.file == nil {
		return nil
	}
	return f.file.Close()
}
