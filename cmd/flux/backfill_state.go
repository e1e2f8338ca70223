package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// backfillState is what --state remembers of a run, beside the jobs. A run that has ended leaves none.
type backfillState struct {
	Options   string    `json:"options"` // that the run was begun with
	Began     time.Time `json:"began"`
	Histories []history `json:"metrics"`
	LeftOut   string    `json:"left_out,omitempty"` // what is not among them, although it was asked for
}

const (
	stateFile = "backfill.json"
	stateJobs = "backfill.jobs"
)

// options tells runs apart: what is fetched, and under which names.
func (c *backfillCmd) options() string {
	file := ""
	if c.File != "" {
		if info, err := os.Stat(c.File); err == nil {
			file = fmt.Sprintf("%s, %d bytes of %s", c.File, info.Size(), info.ModTime().UTC().Format(time.RFC3339Nano))
		}
	}
	skip := ""
	if c.SkipBad {
		skip = ", bad lines left out"
	}
	return fmt.Sprintf("%q from %q to %q, series %q, as %q %q, %q to %q, by %q, missing %s, current minute %s%s",
		c.Target, c.Graphite+c.Prometheus+file, strings.Join(c.Carbon, " "), c.Series, c.As, c.Prefix, c.From, c.Until, c.Resolutions, c.Missing, c.MinuteAtHand, skip)
}

// loadState returns the run that was interrupted, nil for none.
func (c *backfillCmd) loadState() (*backfillState, error) {
	if c.State == "" {
		return nil, nil
	}
	b, err := os.ReadFile(filepath.Join(c.State, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	s := &backfillState{}
	if err == nil {
		err = json.Unmarshal(b, s)
	}
	if err != nil {
		return nil, fmt.Errorf("--state %s: %w", c.State, err)
	}
	if s.Options != c.options() {
		return nil, &exitError{exitUsage, fmt.Errorf("--state %s holds a run that was interrupted, with other options: end it first (%s), or name another directory", c.State, s.Options)}
	}
	return s, nil
}

// saveState begins a run.
func (c *backfillCmd) saveState(s *backfillState) error {
	if c.State == "" || c.DryRun {
		return nil
	}
	b, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(c.State, stateJobs)); err != nil { // of a run that ended while it was cleared away
		return fmt.Errorf("--state: %w", err)
	}
	if err := os.MkdirAll(c.State, 0o750); err != nil {
		return fmt.Errorf("--state: %w", err)
	}
	path := filepath.Join(c.State, stateFile)
	if err := os.WriteFile(path+".tmp", b, 0o600); err != nil {
		return fmt.Errorf("--state: %w", err)
	}
	return os.Rename(path+".tmp", path)
}

// clearState ends a run.
func (c *backfillCmd) clearState() error {
	if c.State == "" {
		return nil
	}
	if err := os.Remove(filepath.Join(c.State, stateFile)); err != nil {
		return fmt.Errorf("--state: %w", err)
	}
	if err := os.RemoveAll(filepath.Join(c.State, stateJobs)); err != nil {
		return fmt.Errorf("--state: %w", err)
	}
	return nil
}
