package main

import (
	"bufio"
	"fmt"
	"io"

	"github.com/fluxmetrics/fluxkit/internal/deadletter"
	"github.com/fluxmetrics/fluxkit/internal/queue"
	"github.com/fluxmetrics/fluxkit/internal/record"
)

// spoolVerifyCmd reads everything that a spool or a dead-letter file holds.
type spoolVerifyCmd struct {
	Path string `arg:"" help:"A spool, the directory of one destination in it, or a dead-letter file."`
}

func (c *spoolVerifyCmd) Help() string {
	return `It changes nothing. Damage makes the exit code 1; it costs the points that it touches and no others. A write that was
cut short, at the end of a file, is the normal trace of a crash and no damage. While a server has the spool open, what
it is about to write may show as such.`
}

// Run verifies.
func (c *spoolVerifyCmd) Run(ctx *cmdContext) error {
	s, err := openStore(c.Path)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(ctx.stdout)
	var damaged int64
	if s.dirs == nil {
		damaged, err = s.verifyLetters(ctx, out)
	}
	for _, d := range s.dirs {
		var n int64
		n, err = d.verify(ctx, out)
		damaged += n
		if err != nil {
			break
		}
	}
	if failed := out.Flush(); err == nil {
		err = failed
	}
	if err != nil {
		return err
	}
	if damaged > 0 {
		return fmt.Errorf("%s", counted(damaged, "damaged place"))
	}
	return nil
}

// verify prints a line for each segment, and each stretch of one that cannot be read.
func (d spoolDir) verify(ctx *cmdContext, out io.Writer) (damaged int64, err error) {
	file, records, points := "", int64(0), int64(0)
	total := int64(0)
	finish := func() {
		if file != "" {
			fmt.Fprintf(out, "%s/%s: %s in %s\n", d.name, file, counted(points, "point"), counted(records, "record"))
		}
		total += points
		records, points = 0, 0
	}
	rep, err := queue.Inspect(d.path, func(r queue.Record) error {
		if ctx.ctx.Err() != nil {
			return errStopped
		}
		if r.File != file {
			finish()
			file = r.File
		}
		b, err := record.Decode(r.Data)
		if err == nil && b.Len() != r.Points {
			err = fmt.Errorf("%d points where %d were counted", b.Len(), r.Points)
		}
		if err != nil {
			damaged++
			fmt.Fprintf(out, "%s/%s: at byte %d: %v\n", d.name, r.File, r.Offset, err)
			return nil
		}
		records++
		points += int64(r.Points)
		return nil
	})
	finish()
	if err != nil {
		return damaged, err
	}
	damaged += int64(rep.Damaged)
	for _, g := range rep.Gaps {
		what := "are damaged"
		switch {
		case g.Torn:
			what = "of a write that was cut short, which is normal after a crash"
		case g.Unreadable:
			what = "are damaged: the disk does not give them back"
		}
		fmt.Fprintf(out, "%s/%s: at byte %d: %s %s\n", d.name, g.File, g.Offset, counted(g.Bytes, "byte"), what)
	}
	fmt.Fprintf(out, "%s: %s can be read, %s\n", d.name, counted(total, "point"), counted(damaged, "damaged place"))
	return damaged, nil
}

func (s *store) verifyLetters(ctx *cmdContext, out io.Writer) (damaged int64, err error) {
	rep, err := deadletter.Read(s.path, func(deadletter.Entry) error {
		if ctx.ctx.Err() != nil {
			return errStopped
		}
		return nil
	})
	if err := s.strange(rep, err); err != nil {
		return 0, err
	}
	for _, p := range rep.Places {
		fmt.Fprintf(out, "%s: line %d, at byte %d: %v\n", p.File, p.Line, p.Offset, p.Err)
	}
	if rep.Torn > 0 {
		fmt.Fprintf(out, "%s: %s of a line that was cut short, which is normal after a crash\n", s.path, counted(rep.Torn, "byte"))
	}
	fmt.Fprintf(out, "%s: %s can be read, %s\n", s.path, counted(rep.Points, "point"), counted(rep.Damaged, "damaged line"))
	return rep.Damaged, nil
}
