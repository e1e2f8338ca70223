package backfill

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/resample"
)

// Config configures a Manager. Sink is required; the zero value of every other field means its default.
type Config struct {
	// Sink is where history goes. It is the caller's to close, after the Manager.
	Sink Sink
	// Origins are the servers that may be fetched from. Without any, every request is refused with an *OriginError.
	Origins []Origin
	// Marks are the metrics' high-water marks: read when a job is accepted, raised with each confirmed chunk. A store that
	// must not rise past a pending live point wraps Raise. nil: there are no marks.
	Marks dedup.Store
	// Future is how far ahead of now a mark may be to count, as in dedup.Filter. 0: any counts.
	Future time.Duration
	// Local is the Graphite that is filled. nil: where there is no mark, all history is missing, and a new metric is not
	// waited for.
	Local Local
	// Live tells which minutes live points hold, and which live points history may be written over. nil: none.
	Live *Live
	// Dir keeps the jobs, two files each, so that they outlive the process. It is created where it is missing. Empty: they
	// end with the process, and each Status says so.
	Dir string

	// Workers is how many jobs are run at a time. Default 4. Each holds an answer and, where slices overlap, as many samples
	// that wait for the next one: Fetch.MaxPoints of either at most, beyond which the job fails. While they are merged and
	// made into minutes that is 120 bytes for each of MaxPoints, 480 MB a worker by default. Jobs that wait keep
	// 10,000 samples each at most, and 2,000,000 more together.
	Workers int
	// MaxJobs bounds the jobs that have not ended. Default 1000.
	MaxJobs int
	// KeepJobs and KeepFor bound what is told of jobs that have ended. Defaults 1000, and 24 h.
	KeepJobs int
	KeepFor  time.Duration
	// GiveUp is how long a job may go on failing at one thing before it fails. Default 24 h.
	GiveUp time.Duration

	// Rate is how many points a second all jobs send together. Default 10,000; below 0 there is no limit.
	Rate float64
	// Aggregate makes a minute's value of its samples. Default the mean.
	Aggregate resample.Aggregation
	// CurrentMinute has the minute sent, too, in which a job was accepted, although it is not complete.
	CurrentMinute bool
	// CreateWait is how long a new metric is waited for, before its history follows, and how long Verify waits. Default
	// 15 min.
	CreateWait time.Duration
	// Verify has each chunk read back from Local before it counts as confirmed: with the values that were sent where a slot
	// is Exact and no live point has come for its minute, else with any.
	Verify bool

	// Fetch says how sources are asked.
	Fetch FetchConfig
	// Finished is called when a job has ended, from a goroutine of the Manager's.
	Finished func(Status)
	// Now is the clock. nil is time.Now.
	Now func() time.Time
	// Logger receives what an operator should know. nil is silent.
	Logger *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	if c.Sink == nil {
		return c, errors.New("backfill: Config.Sink is missing")
	}
	if c.Verify && c.Local == nil {
		return c, errors.New("backfill: Config.Verify needs Config.Local")
	}
	for _, f := range []struct {
		name string
		to   *int
		def  int
	}{{"Workers", &c.Workers, 4}, {"MaxJobs", &c.MaxJobs, 1000}, {"KeepJobs", &c.KeepJobs, 1000}} {
		if *f.to < 0 {
			return c, fmt.Errorf("backfill: Config.%s is %d", f.name, *f.to)
		}
		if *f.to == 0 {
			*f.to = f.def
		}
	}
	for _, f := range []struct {
		name string
		to   *time.Duration
		def  time.Duration
	}{
		{"KeepFor", &c.KeepFor, 24 * time.Hour}, {"GiveUp", &c.GiveUp, 24 * time.Hour},
		{"CreateWait", &c.CreateWait, 15 * time.Minute}, {"Future", &c.Future, 0},
	} {
		if *f.to < 0 {
			return c, fmt.Errorf("backfill: Config.%s is %v", f.name, *f.to)
		}
		if *f.to == 0 {
			*f.to = f.def
		}
	}
	if _, err := resample.New(resample.Options{Width: time.Minute, Aggregate: c.Aggregate}); err != nil {
		return c, fmt.Errorf("backfill: Config.Aggregate: %w", err)
	}
	if c.Rate == 0 {
		c.Rate = 10_000
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}
