package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fluxmetrics/fluxkit/internal/deadletter"
	"github.com/fluxmetrics/fluxkit/internal/queue"
	"github.com/fluxmetrics/fluxkit/internal/record"
)

// spoolCmd looks at what a server keeps on disk, and delivers it by hand.
type spoolCmd struct {
	Show   spoolShowCmd   `cmd:"" help:"Show how many points there are, how old, and for which destination."`
	Verify spoolVerifyCmd `cmd:"" help:"Read everything and say what is damaged."`
	Export spoolExportCmd `cmd:"" help:"Print the points as carbon lines."`
	Replay spoolReplayCmd `cmd:"" help:"Deliver the points to a Carbon or a Blueflood."`
}

func (c *spoolCmd) Help() string {
	return `Of flux spool ACTION PATH, PATH is one of

  DIR         what was given to --spool: a directory for each destination
  DIR/NAME    the directory of one destination
  FILE        what was given to --dead-letter

Examples:

  flux spool show /var/lib/flux/spool
  flux spool export --reason too_old /var/lib/flux/dead.jsonl
  flux spool replay --carbon 127.0.0.1:2004 /var/lib/flux/spool/carbon`
}

// errStopped is what a signal makes of a command that has not done all of its work.
var errStopped = errors.New("interrupted before the end")

// store is what a PATH names: the queues of a spool, or a dead-letter file.
type store struct {
	path  string
	dirs  []spoolDir // nil for a dead-letter file
	whole bool       // the spool, not the directory of one destination
}

// spoolDir is the queue of one destination.
type spoolDir struct{ name, path string }

// openStore tells what path is.
func openStore(path string) (*store, error) {
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if left, _ := deadletter.Exists(path); left {
			return &store{path: path}, nil
		}
		return nil, badPath("%s does not exist", path)
	}
	if err != nil {
		return nil, badPath("%v", err)
	}
	switch {
	case st.IsDir():
		return openSpool(path)
	case strings.HasSuffix(path, ".seg"):
		return nil, badPath("%s is one file of a spool: name its directory, %s", path, filepath.Dir(path))
	case !st.Mode().IsRegular():
		return nil, badPath("%s is neither a directory nor a file", path)
	}
	return &store{path: path}, nil
}

func badPath(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

func openSpool(path string) (*store, error) {
	s := &store{path: path}
	one, sub, err := lookInto(path)
	if err != nil {
		return nil, badPath("%v", err)
	}
	if one {
		name := filepath.Base(path)
		if abs, err := filepath.Abs(path); err == nil {
			name = filepath.Base(abs)
		}
		s.dirs = []spoolDir{{name, path}}
		return s, nil
	}
	s.whole = true
	for _, name := range sub {
		dir := filepath.Join(path, name)
		is, _, err := lookInto(dir)
		if err != nil {
			return nil, badPath("%v", err)
		}
		if is {
			s.dirs = append(s.dirs, spoolDir{name, dir})
		}
	}
	if len(s.dirs) == 0 {
		return nil, badPath("%s is no spool: neither it nor a directory in it holds a destination's points", path)
	}
	return s, nil
}

// besideQueue are the files that a client or a server keeps in a queue's directory.
var besideQueue = []string{"tenant", "tenant.next", "unfinished"}

// lookInto reports whether a directory is a queue, and what directories it holds. Many a directory has a file called
// lock: alone it tells only where there is nothing but what clients and servers put beside a queue.
func lookInto(path string) (isQueue bool, dirs []string, err error) {
	entries, err := os.ReadDir(path)
	locked, others := false, false
	for _, e := range entries {
		name := e.Name()
		switch {
		case e.IsDir():
			dirs = append(dirs, name)
		case name == "acked" || strings.HasSuffix(name, ".seg"):
			isQueue = true
		case name == "lock":
			locked = true
		case !slices.Contains(besideQueue, name) && !strings.HasPrefix(name, refusedName):
			others = true
		}
	}
	return isQueue || locked && !others && len(dirs) == 0, dirs, err
}

// selection says which points of a store are meant.
type selection struct {
	Destination string `placeholder:"NAME" help:"Take the points of that destination alone."`
	Reason      string `placeholder:"REASON" help:"Of a dead-letter file, take the points that were given up for that reason alone."`
}

// narrow leaves of a spool the one destination that is meant: two may well hold the same points.
func (s *store) narrow(sel selection) error {
	if s.dirs == nil {
		return nil
	}
	if sel.Reason != "" {
		return badPath("--reason %s is for a dead-letter file, and %s is a spool: nothing in it was given up", sel.Reason, s.path)
	}
	dirs := s.dirs
	switch {
	case sel.Destination != "":
		dirs = slices.DeleteFunc(slices.Clone(dirs), func(d spoolDir) bool { return d.name != sel.Destination })
		if len(dirs) == 0 {
			return badPath("%s holds nothing of a destination %q: it has %s", s.path, sel.Destination, s.names())
		}
	case len(dirs) > 1:
		dirs = nil
		for _, d := range s.dirs {
			rep, err := queue.Inspect(d.path, nil)
			if err != nil {
				return err
			}
			if rep.Points > 0 {
				dirs = append(dirs, d)
			}
		}
		if len(dirs) > 1 {
			return badPath("%s holds points of several destinations, perhaps the same ones: choose one with --destination: %s", s.path, s.names())
		}
		if len(dirs) == 0 {
			dirs = s.dirs[:1]
		}
	}
	s.dirs = dirs
	return nil
}

func (s *store) names() string {
	var names []string
	for _, d := range s.dirs {
		names = append(names, d.name)
	}
	return strings.Join(names, ", ")
}

func (sel selection) takes(e *deadletter.Entry) bool {
	return (sel.Destination == "" || e.Destination == sel.Destination) && (sel.Reason == "" || e.Reason == sel.Reason)
}

// each calls f with every point that sel takes, oldest first, and returns how many damaged places were passed over. It
// changes nothing. The names of a spool's points are valid until f returns.
func (s *store) each(ctx context.Context, sel selection, f func(*deadletter.Entry) error) (damaged int64, err error) {
	take := func(e *deadletter.Entry) error {
		if ctx.Err() != nil {
			return errStopped
		}
		return f(e)
	}
	if s.dirs == nil {
		rep, err := deadletter.Read(s.path, func(e deadletter.Entry) error {
			if !sel.takes(&e) {
				return nil
			}
			return take(&e)
		})
		return rep.Damaged, s.strange(rep, err)
	}
	for _, d := range s.dirs {
		rep, err := queue.Inspect(d.path, func(r queue.Record) error {
			err := eachOf(r.Data, d.name, take)
			if errors.Is(err, record.ErrCorrupt) {
				damaged++
				err = nil
			}
			return err
		})
		damaged += int64(rep.Damaged)
		if err != nil {
			return damaged, err
		}
	}
	return damaged, nil
}

// strange tells of a file of which not a line can be read.
func (s *store) strange(rep deadletter.Report, err error) error {
	if err == nil && rep.Points == 0 && rep.Damaged > 0 {
		return badPath("%s is no dead-letter file: none of its lines is such a point", s.path)
	}
	return err
}

// eachOf calls f with every point of a record. The name is a view.
func eachOf(rec []byte, destination string, f func(*deadletter.Entry) error) error {
	b, err := record.Decode(rec)
	if err != nil {
		return err
	}
	var p record.Point
	for c := b.Cursor(); c.Next(&p); {
		ttl, unit := p.TTLAndUnit()
		e := deadletter.Entry{
			Destination: destination, Name: p.Name, Timestamp: p.Timestamp, Value: p.Value, TTL: ttl, Unit: string(unit), Tag: p.Tag,
		}
		if err := f(&e); err != nil {
			return err
		}
	}
	return nil
}

// counted is a number of things: 1 point, 2 points.
func counted(n int64, word string) string {
	return fmt.Sprintf("%d %s", n, plural(int(n), word))
}
