package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fluxmetrics/fluxkit/internal/deadletter"
)

// spoolReplayCmd delivers points by hand.
type spoolReplayCmd struct {
	targetOptions
	selection
	Keep       bool   `help:"Leave everything where it is: what is delivered stays, and what is refused is only counted. A server may have the spool open."`
	DeadLetter string `placeholder:"FILE" help:"Of a spool, append points that are refused to FILE, with the reason. Default: refused.jsonl in the destination's directory."`
	Timeout    span   `default:"60s" placeholder:"TIME" help:"Give up when nothing is delivered for TIME, in seconds or as 90s, 5m."`
	Path       string `arg:"" help:"A spool, the directory of one destination in it, or a dead-letter file."`
}

func (c *spoolReplayCmd) Help() string {
	return `Points pass no check for duplicates. What is delivered leaves the spool or the file; when the replay is interrupted, the
same command goes on where it stopped, and points of the last moments may be delivered twice.

A spool must not be open in a server. A dead-letter file may be: it is set aside, and the server goes on with a fresh
one. What is not delivered is put back, what is refused again with the new reason.`
}

// Run replays.
func (c *spoolReplayCmd) Run(ctx *cmdContext) error {
	if err := c.check(); err != nil {
		return badPath("%w", err)
	}
	s, err := openStore(c.Path)
	if err != nil {
		return err
	}
	if err := c.prepare(ctx.ctx, s); err != nil {
		return err
	}
	d, err := newDeliverer(&c.targetOptions, max(time.Duration(c.Timeout), time.Millisecond), ctx.stderr)
	if err != nil {
		return badPath("%w", err)
	}
	defer d.close()
	var out replayed
	switch {
	case c.Keep:
		err = c.keeping(ctx.ctx, s, d, &out)
	case s.dirs != nil:
		err = c.fromSpool(ctx.ctx, s.dirs[0], d, &out)
	default:
		err = c.fromLetters(ctx.ctx, s, d, &out)
	}
	d.tell(ctx.stderr)
	if err == nil || d.delivered+d.refused > 0 {
		fmt.Fprintf(ctx.stdout, "%s delivered to %s, %d refused\n", counted(d.delivered, "point"), d.target.name, d.refused)
	}
	return out.error(d, err)
}

// replayed is what there is to say at the end, besides the numbers.
type replayed struct {
	left    int64  // points that are still there
	where   string // they are
	refused string // where refused points are
	damaged int64
	kept    []string // files that hold damaged lines
}

func (o *replayed) error(d *deliverer, err error) error {
	var text []string
	if err != nil {
		text = append(text, err.Error())
	}
	if o.left > 0 {
		text = append(text, fmt.Sprintf("%s left in %s", counted(o.left, "point"), o.where))
	}
	if d.refused > 0 {
		where := ""
		if o.refused != "" {
			where = ", kept in " + o.refused
		}
		text = append(text, fmt.Sprintf("%s refused%s", counted(d.refused, "point"), where))
	}
	if o.damaged > 0 {
		where := ""
		if len(o.kept) > 0 {
			where = ", kept in " + strings.Join(o.kept, ", ")
		}
		text = append(text, fmt.Sprintf("%s passed over%s", counted(o.damaged, "damaged place"), where))
	}
	if len(text) == 0 {
		return nil
	}
	return &replayError{strings.Join(text, "; "), err}
}

type replayError struct {
	text string
	err  error
}

func (e *replayError) Error() string { return e.text }
func (e *replayError) Unwrap() error { return e.err }

// prepare finds out whether it is clear what is meant.
func (c *spoolReplayCmd) prepare(ctx context.Context, s *store) error {
	if c.DeadLetter != "" && (s.dirs == nil || c.Keep) {
		return badPath("--dead-letter is for the refused points of a spool, and not for --keep")
	}
	if s.dirs != nil {
		if c.Blueflood != "" && c.Tenant == "" {
			return badPath("--tenant is missing: name the tenant to write to")
		}
		return s.narrow(c.selection)
	}
	destinations, homeless := map[string]bool{}, false
	if _, err := s.each(ctx, c.selection, func(e *deadletter.Entry) error {
		destinations[e.Destination] = true
		homeless = homeless || e.Tenant == ""
		return nil
	}); err != nil {
		return err
	}
	if len(destinations) > 1 {
		var names []string
		for name := range destinations {
			names = append(names, shownWord(name))
		}
		slices.Sort(names)
		return badPath("%s holds points of several destinations: choose one with --destination: %s", s.path, strings.Join(names, ", "))
	}
	if c.Blueflood != "" && c.Tenant == "" && homeless {
		return badPath("--tenant is missing: %s has points without a tenant", s.path)
	}
	return nil
}

// keeping delivers and changes nothing.
func (c *spoolReplayCmd) keeping(ctx context.Context, s *store, d *deliverer, out *replayed) error {
	var b batch
	deliver := func() error {
		defer b.reset()
		_, err := d.deliver(ctx, b.points)
		return err
	}
	damaged, err := s.each(ctx, c.selection, func(e *deadletter.Entry) error {
		if b.add(*e) {
			return deliver()
		}
		return nil
	})
	if err == nil && len(b.points) > 0 {
		err = deliver()
	}
	out.damaged = damaged
	return err
}
