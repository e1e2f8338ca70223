package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/fluxmetrics/fluxkit/flux/backfill"
)

const (
	barEvery  = 200 * time.Millisecond
	lineEvery = 10 * time.Second
	barWidth  = 30
)

// progress shows how a run stands: a bar on a terminal, lines elsewhere.
type progress struct {
	w        io.Writer
	run      *backfillRun
	terminal bool
	ticker   *time.Ticker
	tick     <-chan time.Time
	drawn    bool              // a bar stands on the line
	told     map[string]string // the errors of jobs that were shown, by metric
	carbon   string            // that of Carbon
}

func newProgress(w io.Writer, run *backfillRun) *progress {
	p := &progress{w: w, run: run, terminal: isTerminal(w), told: map[string]string{}}
	every := lineEvery
	if p.terminal {
		every = barEvery
	}
	p.ticker = time.NewTicker(every)
	p.tick = p.ticker.C
	return p
}

// isTerminal reports whether w is a terminal, as far as its mode tells.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// line writes a line, in place of the bar.
func (p *progress) line(format string, args ...any) {
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.drawn = false
	}
	fmt.Fprintf(p.w, format+"\n", args...)
}

// settled tells of a metric that is.
func (p *progress) settled(s backfill.Status) {
	text := fmt.Sprintf("%s  %s, %s", s.Metric, s.State, counted(s.Sent, "point"))
	if !s.Through.IsZero() && s.Sent > 0 {
		text += " to " + stamp(s.Through.UnixMilli())
	}
	if n := s.SkippedFull + s.SkippedLive; n > 0 {
		text += fmt.Sprintf(", %s there already", counted(n, "minute"))
	}
	if s.State != backfill.Done {
		text += ": " + s.Error
	}
	if s.Note != "" {
		text += " (" + s.Note + ")"
	}
	p.line("%s", text)
}

// trouble tells of what is the matter with Carbon, once until it is over.
func (p *progress) trouble(why string) {
	if why != p.carbon && why != "" {
		p.line("nothing is delivered to Carbon: %s", why)
	}
	p.carbon = why
}

// draw shows how all jobs stand together.
func (p *progress) draw() {
	r := p.run
	done, sent, current := float64(len(r.settled)), r.sent, ""
	for _, s := range r.manager.List() {
		if _, settled := r.settled[s.Metric]; settled || s.State.Ended() {
			continue
		}
		sent += s.Sent
		if span := r.plan.until - r.plan.from; !s.Through.IsZero() && r.plan.from > 0 {
			done += min(1, max(0, float64(s.Through.UnixMilli()-r.plan.from)/float64(span)))
		}
		if s.State == backfill.Running {
			current = s.Metric
		}
		if s.Error != "" && s.Error != p.told[s.Metric] {
			p.told[s.Metric] = s.Error
			p.line("%s  is tried again: %s", s.Metric, s.Error)
		}
	}
	if r.sink != nil {
		p.trouble(r.sink.Stats().LastError)
	}
	part := done / float64(max(1, len(r.state.Histories)))
	text := fmt.Sprintf("%3.0f%%  %d of %s, %s", 100*part, len(r.settled), counted(int64(len(r.state.Histories)), "metric"), counted(sent, "point"))
	if !p.terminal {
		p.line("%s", text)
		return
	}
	full := int(part * barWidth)
	fmt.Fprintf(p.w, "\r\x1b[K[%s%s] %s  %.40s", strings.Repeat("=", full), strings.Repeat(" ", barWidth-full), text, current)
	p.drawn = true
}

func (p *progress) end() {
	p.ticker.Stop()
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
