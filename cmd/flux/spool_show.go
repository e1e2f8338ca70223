package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/fluxmetrics/fluxkit/internal/deadletter"
	"github.com/fluxmetrics/fluxkit/internal/queue"
)

// spoolShowCmd counts what a spool or a dead-letter file holds.
type spoolShowCmd struct {
	JSON bool   `name:"json" help:"Print a JSON object."`
	Path string `arg:"" help:"A spool, the directory of one destination in it, or a dead-letter file."`
}

func (c *spoolShowCmd) Help() string {
	return `It changes nothing, and a server may have the spool open. Ages are those of the points' stay here.`
}

// spoolState is what show tells of one destination's queue.
type spoolState struct {
	Destination string    `json:"destination"`
	Points      int64     `json:"points"`
	Bytes       int64     `json:"bytes"`
	Records     int       `json:"records"`
	Oldest      time.Time `json:"oldest,omitzero"`
	Newest      time.Time `json:"newest,omitzero"`
	Damaged     int       `json:"damaged"`
	TornBytes   int64     `json:"torn_bytes"`
}

// letterState is what show tells of the points of a dead-letter file that have destination, tenant and reason in common.
type letterState struct {
	letterGroup
	Points int64     `json:"points"`
	Oldest time.Time `json:"oldest"`
	Newest time.Time `json:"newest"`
}

type letterGroup struct {
	Destination string `json:"destination"`
	Tenant      string `json:"tenant,omitempty"`
	Reason      string `json:"reason"`
}

// Run shows.
func (c *spoolShowCmd) Run(ctx *cmdContext) error {
	s, err := openStore(c.Path)
	if err != nil {
		return err
	}
	if s.dirs == nil {
		return c.letters(ctx, s)
	}
	var states []spoolState
	for _, d := range s.dirs {
		state, err := d.state(ctx)
		if err != nil {
			return err
		}
		states = append(states, state)
	}
	if c.JSON {
		return printJSON(ctx.stdout, struct {
			Path         string       `json:"path"`
			Destinations []spoolState `json:"destinations"`
		}{c.Path, states})
	}
	w := newTable(ctx.stdout, "DESTINATION", "POINTS", "BYTES", "RECORDS", "OLDEST", "NEWEST", "DAMAGED")
	now := time.Now()
	for _, st := range states {
		w.row(st.Destination, st.Points, st.Bytes, st.Records, shownTime(now, st.Oldest), shownTime(now, st.Newest), st.Damaged)
	}
	return w.Flush()
}

func (d spoolDir) state(ctx *cmdContext) (spoolState, error) {
	st := spoolState{Destination: d.name}
	rep, err := queue.Inspect(d.path, func(r queue.Record) error {
		if ctx.ctx.Err() != nil {
			return errStopped
		}
		st.Newest = r.At.UTC()
		return nil
	})
	st.Points, st.Bytes, st.Records, st.Damaged, st.TornBytes = rep.Points, rep.Bytes, rep.Records, rep.Damaged, rep.TornBytes
	if !rep.Oldest.IsZero() {
		st.Oldest = rep.Oldest.UTC()
	}
	return st, err
}

func (c *spoolShowCmd) letters(ctx *cmdContext, s *store) error {
	groups := map[letterGroup]*letterState{}
	rep, err := deadletter.Read(s.path, func(e deadletter.Entry) error {
		if ctx.ctx.Err() != nil {
			return errStopped
		}
		k := letterGroup{e.Destination, e.Tenant, e.Reason}
		g := groups[k]
		if g == nil {
			g = &letterState{letterGroup: k, Oldest: e.At, Newest: e.At}
			groups[k] = g
		}
		g.Points++
		if e.At.Before(g.Oldest) {
			g.Oldest = e.At
		}
		if e.At.After(g.Newest) {
			g.Newest = e.At
		}
		return nil
	})
	if err := s.strange(rep, err); err != nil {
		return err
	}
	states := []*letterState{}
	for _, g := range groups {
		states = append(states, g)
	}
	slices.SortFunc(states, func(a, b *letterState) int {
		return cmp.Or(cmp.Compare(a.Destination, b.Destination), cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Reason, b.Reason))
	})
	if c.JSON {
		return printJSON(ctx.stdout, struct {
			Path     string         `json:"path"`
			Points   int64          `json:"points"`
			Bytes    int64          `json:"bytes"`
			Damaged  int64          `json:"damaged"`
			Torn     int64          `json:"torn_bytes"`
			SetAside int64          `json:"set_aside"`
			Groups   []*letterState `json:"groups"`
		}{c.Path, rep.Points, rep.Bytes, rep.Damaged, rep.Torn, rep.SetAside, states})
	}
	return lettersTable(ctx.stdout, rep, states)
}

func lettersTable(out io.Writer, rep deadletter.Report, states []*letterState) error {
	w := newTable(out, "DESTINATION", "TENANT", "REASON", "POINTS", "OLDEST", "NEWEST")
	now := time.Now()
	for _, g := range states {
		w.row(shownWord(g.Destination), shownWord(g.Tenant), shownWord(g.Reason), g.Points, shownTime(now, g.Oldest), shownTime(now, g.Newest))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s in %s", counted(rep.Points, "point"), counted(rep.Bytes, "byte"))
	if rep.Damaged > 0 {
		fmt.Fprintf(out, ", %s", counted(rep.Damaged, "damaged line"))
	}
	if rep.SetAside > 0 {
		fmt.Fprintf(out, "; %d of them were set aside by a replay that runs or was killed", rep.SetAside)
	}
	_, err := fmt.Fprintln(out)
	return err
}

// table prints columns.
type table struct{ *tabwriter.Writer }

func newTable(w io.Writer, titles ...string) table {
	t := table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	fmt.Fprintln(t, strings.Join(titles, "\t"))
	return t
}

func (t table) row(cells ...any) {
	for i, c := range cells {
		if i > 0 {
			fmt.Fprint(t, "\t")
		}
		fmt.Fprint(t, c)
	}
	fmt.Fprintln(t)
}

// shownTime is a moment with its age.
func shownTime(now, t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return fmt.Sprintf("%s (%s ago)", t.UTC().Format(time.RFC3339), max(0, now.Sub(t)).Truncate(time.Second))
}

// shownWord is a text of the file as it may go to a terminal.
func shownWord(s string) string {
	if s == "" {
		return "-"
	}
	if q := fmt.Sprintf("%q", s); q != `"`+s+`"` {
		return q
	}
	return s
}

func printJSON(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}
