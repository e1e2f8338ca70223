package flux

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/internal/deadletter"
	"github.com/fluxmetrics/fluxkit/internal/queue"
)

// open starts the clients of all destinations. Nothing counts as delivered before all are open, so that the filter
// knows of every pending point before a mark rises.
func (s *Server) open(plans []plan) error {
	if err := s.openDeadLetter(); err != nil {
		return err
	}
	out := &s.door.out
	var r *repair
	if s.door.filter != nil {
		r = newRepair(plans)
	}
	for _, p := range plans {
		d := &destination{first: len(out.outlets), rules: p.rules}
		var gate <-chan struct{} = s.door.opened
		if r != nil && p.required {
			gate = r.gate(d)
		}
		for i := range p.outlets {
			o := &outlet{name: p.outlets[i].name, required: p.required, log: s.log, now: s.cfg.Now}
			reports := s.reportsOf(o, gate, len(out.required) == 0 && len(out.also) == 0)
			if r != nil && o.required {
				reports.recovered = both(reports.recovered, r.tail(d).add)
			}
			if err := o.open(&p.outlets[i], reports); err != nil {
				return err
			}
			out.outlets = append(out.outlets, o)
		}
		d.outlets = out.outlets[d.first:]
		out.add(d, p.required)
	}
	s.door.lags = len(out.spooled) > 0 && (s.cfg.Dedup.AllInputs || out.direct == nil)
	if r != nil {
		if err := r.run(s); err != nil {
			return err
		}
	}
	s.begin()
	close(s.door.opened)
	s.warnOfStrangers()
	return nil
}

// reportsOf is what the server wants to know of an outlet's points. No mark rises for them before the gate is open. first
// says that it is of the first destination, to which the trace refers.
func (s *Server) reportsOf(o *outlet, gate <-chan struct{}, first bool) reports {
	var r reports
	if o.required && s.door.filter != nil {
		t := &settler{door: s.door, gate: gate}
		r.recovered, r.delivered, r.failed = t.recovered, t.settled, t.settled
	}
	if live := s.door.live; live != nil { // a process that was killed, or lost its power, may not have noted all
		r.recovered = both(r.recovered, func(pts []graphite.Point, _ []byte) { live.Note(pts) })
	}
	if t := s.door.tracer; t != nil && first {
		r.recovered, r.delivered, r.failed = both(r.recovered, t.recovered), both(r.delivered, t.delivered), both(r.failed, t.givenUp)
	}
	if s.letters != nil {
		r.givenUp = func(entries []deadletter.Entry) error {
			at := s.cfg.Now()
			for i := range entries {
				entries[i].Destination, entries[i].At = o.name, at
			}
			return s.letters.Append(entries)
		}
	}
	return r
}

// both calls f, which may be nil, and then g.
func both(f, g func([]graphite.Point, []byte)) func([]graphite.Point, []byte) {
	if f == nil {
		return g
	}
	return func(pts []graphite.Point, tags []byte) {
		f(pts, tags)
		g(pts, tags)
	}
}

func (s *Server) openDeadLetter() (err error) {
	if s.cfg.DeadLetter == "" {
		return nil
	}
	if err = os.MkdirAll(filepath.Dir(s.cfg.DeadLetter), 0o750); err != nil {
		return configError("DeadLetter %q: its directory cannot be made: %w", s.cfg.DeadLetter, err)
	}
	s.letters, err = deadletter.Open(deadletter.Options{
		Path: s.cfg.DeadLetter, MaxBytes: s.cfg.DeadLetterMax, Logger: s.log, Now: s.cfg.Now,
	})
	if err != nil {
		return configError("DeadLetter %q cannot be used: %w", s.cfg.DeadLetter, err)
	}
	return nil
}

// warnOfStrangers tells of points in SpoolDir that no destination will deliver, because it was renamed or taken out of
// the configuration.
func (s *Server) warnOfStrangers() {
	if s.cfg.SpoolDir == "" {
		return
	}
	known := map[string]bool{}
	for _, o := range s.door.out.outlets {
		known[filepath.Clean(o.dir)] = true
	}
	entries, err := os.ReadDir(s.cfg.SpoolDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("the spool's directory cannot be listed", "dir", s.cfg.SpoolDir, "error", err)
	}
	for _, e := range entries {
		dir := filepath.Join(s.cfg.SpoolDir, e.Name())
		if !e.IsDir() || known[dir] {
			continue
		}
		rep, err := queue.Inspect(dir, nil)
		switch {
		case err != nil:
			s.log.Warn("a directory of the spool that no destination uses cannot be read", "dir", dir, "error", err)
		case rep.Points > 0:
			s.log.Warn("points are pending for a destination that is not configured: use its name again, or flux spool replay",
				"dir", dir, "points", rep.Points)
		}
	}
}
