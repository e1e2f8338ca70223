package main

import (
	"bufio"
	"errors"
	"fmt"
	"strings"

	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/internal/deadletter"
)

// spoolExportCmd prints points as carbon lines.
type spoolExportCmd struct {
	selection
	Path string `arg:"" help:"A spool, the directory of one destination in it, or a dead-letter file."`
}

func (c *spoolExportCmd) Help() string {
	return `Lines go to standard output, oldest first: METRIC VALUE TIMESTAMP, in seconds. It changes nothing, and a server may
have the spool open. A point whose name would break its line goes to standard error, and makes the exit code 1, as do
damaged places.`
}

// Run exports.
func (c *spoolExportCmd) Run(ctx *cmdContext) error {
	s, err := openStore(c.Path)
	if err != nil {
		return err
	}
	if err := s.narrow(c.selection); err != nil {
		return err
	}
	out := bufio.NewWriterSize(ctx.stdout, 64<<10)
	var line []byte
	var unfit int64
	damaged, err := s.each(ctx.ctx, c.selection, func(e *deadletter.Entry) error {
		if err := graphite.CheckName(e.Name); err != nil {
			unfit++
			fmt.Fprintf(ctx.stderr, "left out: %.200q: %v\n", e.Name, err)
			return nil
		}
		line = graphite.AppendLine(line[:0], graphite.Point{Name: e.Name, Timestamp: e.Timestamp, Value: e.Value})
		_, err := out.Write(line)
		return err
	})
	if failed := out.Flush(); err == nil {
		err = failed
	}
	if err != nil {
		return err
	}
	var bad []string
	if unfit > 0 {
		bad = append(bad, fmt.Sprintf("%s with a name that no line can hold", counted(unfit, "point")))
	}
	if damaged > 0 {
		bad = append(bad, fmt.Sprintf("%s passed over, which flux spool verify lists", counted(damaged, "damaged place")))
	}
	if len(bad) > 0 {
		return errors.New(strings.Join(bad, "; "))
	}
	return nil
}
