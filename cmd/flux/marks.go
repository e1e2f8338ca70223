package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/graphite"
)

// dedupCmd looks at marks, and mends them.
type dedupCmd struct {
	Get marksGetCmd `cmd:"" help:"Show the marks of metrics."`
	Set marksSetCmd `cmd:"" help:"Set the mark of a metric, to a lower one too."`
	Rm  marksRmCmd  `cmd:"" help:"Remove the marks of metrics: their next point is taken whatever its time."`
}

func (c *dedupCmd) Help() string {
	return `The mark of a metric is the timestamp of its newest delivered point. What is not newer is discarded as a duplicate or
as late. A metric is named as Carbon has it: with the prefix of its key.

  flux dedup get web.load --dedup redis://127.0.0.1:6379
  flux dedup set web.load 1700000000 --dedup unix:///run/redis/redis.sock
  flux dedup rm web.load db.load --dedup-file /var/lib/flux/marks

A file of marks belongs to the flux serve that runs with it: stop that one first, or it writes over what was mended.`
}

// marksOptions name a store.
type marksOptions struct {
	Dedup     string `group:"dedup" placeholder:"STORE" help:"The store: redis://[user:password@]host:port[/db], rediss://… or unix:///path/to/socket[?db=N]."`
	DedupFile string `group:"dedup" placeholder:"FILE" help:"File in which flux serve --dedup-file saved its marks."`

	storeOptions
}

// open returns the store, and what saves and closes it.
func (o marksOptions) open() (store dedup.Editor, save func() error, done func(), err error) {
	nothing := func() error { return nil }
	switch {
	case (o.Dedup == "") == (o.DedupFile == ""):
		return nil, nil, nil, badPath("name the store with --dedup redis://HOST:PORT, or with --dedup-file FILE")
	case o.Dedup != "":
		if o.Dedup == "memory" || o.Dedup == "off" {
			return nil, nil, nil, badPath("--dedup %s keeps no marks that can be seen from here: name a Redis, or a file with --dedup-file", o.Dedup)
		}
		s, done, err := o.openStore(o.Dedup, nil)
		if err != nil {
			return nil, nil, nil, &exitError{exitUsage, err}
		}
		return s.(dedup.Editor), nothing, done, nil
	}
	if _, err := o.tls(""); err != nil {
		return nil, nil, nil, &exitError{exitUsage, err}
	}
	if _, err := os.Stat(o.DedupFile); errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil, badPath("%s does not exist", o.DedupFile)
	}
	all := &dedup.Memory{MaxMetrics: math.MaxInt32, MaxBytes: math.MaxInt64 / 2}
	var log bytes.Buffer
	if err := restore(all, o.DedupFile, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
		return nil, nil, nil, err
	}
	if log.Len() > 0 {
		return nil, nil, nil, fmt.Errorf("%s is damaged; flux serve uses what is left of it, and saves that", o.DedupFile)
	}
	return all, (&markFile{path: o.DedupFile, memory: all}).save, func() {}, nil
}

// canonical is a metric's name as the store has it.
func canonical(name string) ([]byte, error) {
	s, err := graphite.NormaliseSeries(name)
	if err == nil {
		err = graphite.CheckName(s)
	}
	if err != nil {
		return nil, badPath("%q is no name of a metric: %w", name, err)
	}
	return []byte(s), nil
}

// edit calls f with each metric, and keeps what it did.
func (o marksOptions) edit(metrics []string, f func(dedup.Editor, []byte) error) error {
	store, save, done, err := o.open()
	if err != nil {
		return err
	}
	defer done()
	for _, metric := range metrics {
		name, err := canonical(metric)
		if err == nil {
			err = f(store, name)
		}
		if err != nil {
			return err
		}
	}
	return save()
}

type marksGetCmd struct {
	Metric []string `arg:"" help:"Names of metrics."`

	marksOptions
}

// Run shows what the store has.
func (c *marksGetCmd) Run(ctx *cmdContext) error {
	store, _, done, err := c.open()
	if err != nil {
		return err
	}
	defer done()
	for _, metric := range c.Metric {
		name, err := canonical(metric)
		if err != nil {
			return err
		}
		stored, err := store.Get(ctx.ctx, name)
		if err != nil {
			return err
		}
		showMark(ctx.stdout, stored, time.Now())
	}
	return nil
}

// showMark writes what a store has of a metric: first what is read from it, then as it is stored.
func showMark(w io.Writer, s dedup.Stored, now time.Time) {
	fmt.Fprintf(w, "%s\n  mark    %s\n", s.Mark.Metric, markText(s.Mark, now))
	for _, t := range s.Texts {
		kind := "string"
		if t.Field != "" {
			kind = "hash"
		}
		fmt.Fprintf(w, "  %-6s  %s  %s", kind, t.Key, shownWord(t.Value))
		switch {
		case t.Mark.Timestamp == dedup.None:
			fmt.Fprint(w, "  (not a mark: Skyline could not read it either)")
		case t.TTL > 0:
			fmt.Fprintf(w, "  (forgotten in %v)", t.TTL.Round(time.Second))
		}
		fmt.Fprintln(w)
	}
}

// markText is a mark for people.
func markText(m dedup.Mark, now time.Time) string {
	if m.Timestamp == dedup.None {
		return "none"
	}
	at := time.UnixMilli(m.Timestamp).UTC()
	age := now.Sub(at)
	text := fmt.Sprintf("%s  %s (%s ago)", seconds(m.Timestamp), at.Format(time.RFC3339Nano), age.Truncate(time.Second))
	if age < 0 {
		text = fmt.Sprintf("%s  %s (%s ahead; flux serve passes over a mark that is further ahead than its points may be)",
			seconds(m.Timestamp), at.Format(time.RFC3339Nano), (-age).Truncate(time.Second))
	}
	if math.IsNaN(m.Value) {
		return text + "  value unknown"
	}
	return fmt.Sprintf("%s  value %v", text, m.Value)
}

// seconds is a timestamp as it is typed.
func seconds(ms int64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%d.%03d", ms/1000, ms%1000), "0"), ".")
}

type marksSetCmd struct {
	Metric string `arg:"" help:"Name of the metric."`
	Mark   string `arg:"" name:"timestamp[=value]" help:"Unix time in seconds and, if it is known, the value of the point."`

	marksOptions
}

// Run sets a mark, and tells what it replaced.
func (c *marksSetCmd) Run(ctx *cmdContext) error {
	m, err := parseMark(c.Mark)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	return c.edit([]string{c.Metric}, func(store dedup.Editor, name []byte) error {
		m.Metric = name
		before, err := store.Get(ctx.ctx, name)
		if err == nil {
			err = store.Set(ctx.ctx, m)
		}
		if err != nil {
			return err
		}
		now := time.Now()
		fmt.Fprintf(ctx.stdout, "%s\n  was     %s\n  is now  %s\n", name, markText(before.Mark, now), markText(m, now))
		switch was := before.Mark.Timestamp; {
		case was == dedup.None:
		case m.Timestamp < was:
			fmt.Fprintln(ctx.stdout, "  lowered: points between the two are taken again, and may be delivered a second time")
		case m.Timestamp > was:
			fmt.Fprintln(ctx.stdout, "  raised: points between the two are discarded from now on")
		}
		return nil
	})
}

// parseMark reads TIMESTAMP[=VALUE].
func parseMark(text string) (dedup.Mark, error) {
	at, value, given := strings.Cut(text, "=")
	m := dedup.Mark{Value: math.NaN()}
	sec, err := strconv.ParseFloat(at, 64)
	if err != nil || !(sec >= 0 && sec < 1e11) {
		return m, fmt.Errorf("%q is not a Unix time in seconds, such as 1700000000 or 1700000000=1.5", at)
	}
	m.Timestamp = int64(math.Round(sec * 1000))
	if given {
		if m.Value, err = strconv.ParseFloat(value, 64); err != nil || math.IsInf(m.Value, 0) || math.IsNaN(m.Value) {
			return m, fmt.Errorf("%q is not a finite value", value)
		}
	}
	return m, nil
}

type marksRmCmd struct {
	Metric []string `arg:"" help:"Names of metrics."`

	marksOptions
}

// Run removes marks, and tells what they were.
func (c *marksRmCmd) Run(ctx *cmdContext) error {
	return c.edit(c.Metric, func(store dedup.Editor, name []byte) error {
		before, err := store.Get(ctx.ctx, name)
		if err == nil {
			err = store.Remove(ctx.ctx, name)
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(ctx.stdout, "%s\n  removed %s\n", name, markText(before.Mark, time.Now()))
		return nil
	})
}
