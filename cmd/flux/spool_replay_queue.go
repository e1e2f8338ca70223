package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/fluxmetrics/fluxkit/internal/deadletter"
	"github.com/fluxmetrics/fluxkit/internal/queue"
)

// refusedName is, in the directory of a queue, the dead-letter file of what a replay could not deliver.
const refusedName = "refused.jsonl"

// fromSpool delivers what a queue holds, and acknowledges it.
func (c *spoolReplayCmd) fromSpool(ctx context.Context, dir spoolDir, d *deliverer, out *replayed) error {
	q, err := queue.Open(queue.Options{Dir: dir.path})
	if errors.Is(err, queue.ErrInUse) {
		return fmt.Errorf("%s is in use: stop the server first, or leave everything there with --keep", dir.path)
	}
	if err != nil {
		return err
	}
	s := &spoolReplay{dir: dir, queue: q, deliverer: d, pos: q.Acked()}
	if s.refused.path = c.DeadLetter; c.DeadLetter == "" {
		s.refused.path = filepath.Join(dir.path, refusedName)
	} else {
		err = s.refused.open() // now, so that nothing is delivered that could not be acknowledged
	}
	for more := true; more && err == nil; {
		more, err = s.step(ctx)
	}
	st := q.Stats()
	out.left, out.where, out.refused, out.damaged = st.Points, dir.path, s.refused.path, int64(st.Damaged)
	return errors.Join(err, s.refused.close(), q.Release())
}

// spoolReplay is the replay of a queue.
type spoolReplay struct {
	dir       spoolDir
	queue     *queue.Queue
	deliverer *deliverer
	refused   refusedFile

	pos  queue.Pos // up to which records were read
	rec  []byte
	b    batch
	ends []recordEnd
}

// recordEnd says how many points of the batch stand up to the end of a record.
type recordEnd struct {
	pos    queue.Pos
	points int
}

// step delivers the next records. It returns whether there may be more.
func (s *spoolReplay) step(ctx context.Context) (more bool, err error) {
	if ctx.Err() != nil {
		return false, errStopped
	}
	unread := s.fill()
	if len(s.ends) == 0 {
		return false, unread
	}
	fates, err := s.deliverer.deliver(ctx, s.b.points)
	return unread == nil, errors.Join(s.settle(fates), err, unread)
}

// fill reads records until the batch is full.
func (s *spoolReplay) fill() error {
	s.b.reset()
	s.ends = s.ends[:0]
	for full := false; !full; {
		rec, pos, ok, err := s.queue.TryNext(s.pos, s.rec)
		if err != nil || !ok {
			return err
		}
		s.rec = rec
		err = eachOf(rec, s.dir.name, func(e *deadletter.Entry) error {
			full = s.b.add(*e)
			return nil
		})
		if err != nil {
			return fmt.Errorf("the record at position %d of %s is whole, and yet not one that this version of flux can read (%w): replay with the version that wrote it; or deliver all others with --keep, which passes it over, and then remove the directory",
				pos, s.dir.path, err)
		}
		s.pos = pos
		s.ends = append(s.ends, recordEnd{pos, len(s.b.points)})
	}
	return nil
}

// settle acknowledges the records of which every point is delivered, or refused and on record.
func (s *spoolReplay) settle(fates []fate) error {
	open := slices.Index(fates, fateOpen)
	if open < 0 {
		open = len(fates)
	}
	var upTo queue.Pos
	n := 0
	for _, e := range s.ends {
		if e.points > open {
			break
		}
		upTo, n = e.pos, e.points
	}
	var refused []deadletter.Entry
	for i := range n {
		if fates[i] == fateRefused {
			refused = append(refused, s.b.points[i])
		}
	}
	if err := s.refused.append(refused); err != nil {
		return err
	}
	return s.queue.Ack(upTo)
}
