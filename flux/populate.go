package flux

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"path/filepath"
	"time"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/flux/backfill"
	"github.com/fluxmetrics/fluxkit/graphite"
)

// PopulateConfig configures POST /flux/populate_metric, which has the past of a metric fetched from another Graphite or a
// Prometheus. It needs Config.HTTP, for the keys: one with RightPopulate may ask. Allow is required; the zero value of
// every other field means its default.
type PopulateConfig struct {
	// Allow are the origins that may be fetched from, as backfill.ParseOrigin reads them.
	Allow []string
	// Listen is a host:port that has the endpoint alone; the gateway's own address does not have it then. It speaks HTTPS
	// where the gateway does. Empty: the endpoint is the gateway's.
	Listen string

	// Carbon is where history goes, by a client of its own, so that it does not hold up live points. What is pending is
	// kept by the jobs: SpoolDir is not used. nil: the first Carbon of the server's destinations, by its protocol.
	Carbon *graphite.ClientConfig
	// Rate is how many points a second all jobs send together. Default 10,000; below 0 there is no limit.
	Rate float64
	// Render is the URL of the Graphite that is filled. It is asked what a metric has that has no mark, and whether a new
	// one exists. Empty: nobody is asked.
	Render string
	// CreateWait is how long a new metric is waited for before its history follows. Default 15 min. It needs Render.
	CreateWait time.Duration
	// Verify has each chunk read back from Render before it counts as confirmed: with its values where an archive of a
	// minute or finer keeps them, with any where only coarser ones do.
	Verify bool
	// CurrentMinute has the minute sent, too, in which a job was accepted.
	CurrentMinute bool

	// SkylineKeys writes what Skyline's Vista looks for once a job is done, dedup.Redis.NoteFetched, and a mark without a
	// value, older than the minute of the request, for a metric of which neither the gateway nor the source has ever had
	// one. DedupConfig.Store must be a dedup.Redis.
	SkylineKeys bool

	// Fetch says how sources are asked.
	Fetch backfill.FetchConfig
}

// Behind reports whether a metric's last datapoint is older than its frequency and 300 s, backfill.Grace, so that its
// history is to be fetched. A zero last is behind.
func Behind(last, now time.Time, frequency time.Duration) bool {
	return backfill.Behind(last, now, frequency)
}

// jobsDir is the directory of jobs in Config.SpoolDir. No destination can have this name.
const jobsDir = "populate.jobs"

// populate is what runs jobs, with what they work with.
type populate struct {
	*backfill.Manager
	sink   *backfill.Carbon
	client *http.Client  // of the local Graphite
	wait   time.Duration // longest, for a job to be accepted
}

func (c *Config) checkPopulate() error {
	p := c.Populate
	if p == nil {
		return nil
	}
	if c.HTTP == nil {
		return configError("Populate needs HTTP, for its keys")
	}
	if len(p.Allow) == 0 {
		return configError("Populate.Allow is empty: name the origins that may be fetched from")
	}
	if p.CreateWait < 0 || math.IsNaN(p.Rate) {
		return configError("Populate: a wait of %v, a rate of %v points a second", p.CreateWait, p.Rate)
	}
	if p.Verify && p.Render == "" {
		return configError("Populate.Verify needs Render, the Graphite that is read back from")
	}
	if u, err := url.Parse(p.Render); p.Render != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		return configError("Populate.Render is no http or https URL")
	}
	if _, ok := c.Dedup.Store.(*dedup.Redis); p.SkylineKeys && !ok {
		return configError("Populate.SkylineKeys needs a Redis as Dedup.Store")
	}
	if p.Carbon == nil && c.populateCarbon() == nil {
		return configError("Populate.Carbon is needed: no destination is a Carbon")
	}
	return nil
}

// populateCarbon is the default of PopulateConfig.Carbon, nil for none.
func (c *Config) populateCarbon() *graphite.ClientConfig {
	for _, d := range append([]Destination{c.Destination}, c.Also...) {
		if f := d.Carbon; f != nil {
			return &graphite.ClientConfig{
				Addrs: f.Addrs, Protocol: f.Protocol, TLS: f.TLS, Logger: f.Logger,
				DialTimeout: f.DialTimeout, StallTimeout: f.StallTimeout, SlowAfter: f.SlowAfter,
				ConfirmBytes: f.ConfirmBytes, ConfirmAfter: f.ConfirmAfter, AssumeAfter: f.AssumeAfter,
				BackoffMin: f.BackoffMin, BackoffMax: f.BackoffMax,
			}
		}
	}
	return nil
}

// watchJobs has the door tell of what is accepted of metrics that have a job. Called before the destinations are open, it
// lets points count that their spools held.
func (s *Server) watchJobs() error {
	if s.cfg.Populate == nil || s.door.live != nil {
		return nil
	}
	s.door.live = &backfill.Live{}
	if s.cfg.SpoolDir == "" {
		return nil
	}
	if err := s.door.live.Load(filepath.Join(s.cfg.SpoolDir, jobsDir)); err != nil {
		return fmt.Errorf("%w: Populate: %w", ErrSpool, err)
	}
	return nil
}

// openPopulate starts the jobs, once the filter knows of all pending points.
func (s *Server) openPopulate() error {
	p := s.cfg.Populate
	if p == nil {
		s.warnOfJobs()
		return nil
	}
	if err := s.watchJobs(); err != nil {
		return err
	}
	cfg := backfill.Config{
		Future: s.futureLimit(), Live: s.door.live, Rate: p.Rate, CurrentMinute: p.CurrentMinute,
		CreateWait: p.CreateWait, Verify: p.Verify, Fetch: p.Fetch, Now: s.cfg.Now, Logger: s.log,
	}
	for _, text := range p.Allow {
		o, err := backfill.ParseOrigin(text)
		if err != nil {
			return configError("Populate.Allow: %w", err)
		}
		cfg.Origins = append(cfg.Origins, o)
	}
	if s.door.filter != nil {
		cfg.Marks = s.door.filter
	}
	if s.cfg.SpoolDir != "" {
		cfg.Dir = filepath.Join(s.cfg.SpoolDir, jobsDir)
	}
	if p.SkylineKeys {
		cfg.Finished = s.noteFetched
	}
	done := &populate{wait: s.cfg.longestWait()}
	if p.Render != "" {
		done.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second}}
		cfg.Local = &backfill.Render{BaseURL: p.Render, HTTPClient: done.client, Now: s.cfg.Now}
	}
	to := p.Carbon
	if to == nil {
		to = s.cfg.populateCarbon()
	}
	var err error
	if done.sink, err = backfill.NewCarbon(*to); err != nil {
		return configError("Populate.Carbon: %w", err)
	}
	cfg.Sink = done.sink
	if done.Manager, err = backfill.New(cfg); err != nil {
		_ = done.sink.Close(ended)
		if cfg.Dir != "" {
			return fmt.Errorf("%w: Populate: %w", ErrSpool, err)
		}
		return configError("Populate: %w", err)
	}
	s.populate, s.gateway.populate = done, done
	return nil
}

// warnOfJobs tells of the jobs in the spool that nobody goes on with.
func (s *Server) warnOfJobs() {
	if s.cfg.SpoolDir == "" {
		return
	}
	dir := filepath.Join(s.cfg.SpoolDir, jobsDir)
	n, err := backfill.Unfinished(dir)
	if err != nil {
		s.log.Warn("populate jobs of an earlier run cannot be read", "dir", dir, "error", err)
	}
	if n > 0 {
		s.log.Warn("populate jobs of an earlier run have not ended, and nobody goes on with them: name their sources with --populate-allow ORIGIN, or remove the directory",
			"jobs", n, "dir", dir)
	}
}

// PopulateStats returns the account of the jobs that fetch history. ok is false without Config.Populate.
func (s *Server) PopulateStats() (st backfill.Stats, ok bool) {
	if s.populate == nil {
		return backfill.Stats{}, false
	}
	return s.populate.Stats(), true
}

// closePopulate stops the jobs where they are, before the destinations end. What they sent and have not seen confirmed
// they send again, if they outlive the process.
func (s *Server) closePopulate(ctx context.Context) {
	p := s.populate
	if p == nil {
		return
	}
	if err := p.Close(ctx); err != nil && !errors.Is(err, backfill.ErrClosed) {
		s.log.Warn("populate jobs did not stop in time", "error", err)
	}
	_ = p.sink.Close(ended)
	if p.client != nil {
		p.client.CloseIdleConnections()
	}
	left := 0
	for _, j := range p.List() {
		if !j.State.Ended() {
			left++
		}
	}
	switch {
	case left > 0 && p.Durable():
		s.log.Info("populate jobs have not ended: the next start goes on with them", "jobs", left)
	case left > 0:
		s.log.Warn("populate jobs had not ended, and are lost", "jobs", left)
	}
}

const (
	// notedWithin bounds the writing of Skyline's keys.
	notedWithin = 10 * time.Second
	// recently is how young a mark is that needs no history, as Skyline sees it.
	recently = 600 * time.Second
	// nullWithin is how far from the end of what was fetched a null counts as the present state of the source.
	nullWithin = 120 * time.Second
)

// noteFetched writes Skyline's keys for a job that has ended.
func (s *Server) noteFetched(j backfill.Status) {
	if j.State != backfill.Done {
		return
	}
	ctx, cancel := context.WithTimeout(s.door.life, notedWithin)
	defer cancel()
	null := j.Sent == 0 && j.NewestNull && j.Newest.After(j.Accepted.Add(-nullWithin))
	known := !j.Since.IsZero() && j.Accepted.Sub(j.Since) < recently
	var err error
	if at, ok := nullMark(j); null && ok {
		mark := dedup.Mark{Metric: []byte(j.Metric), Timestamp: at.UnixMilli(), Value: math.NaN()}
		err = s.door.filter.Raise(ctx, []dedup.Mark{mark})
	}
	target := ""
	if null || known || j.Sent > 0 {
		target = j.RemoteTarget
	}
	store := s.cfg.Dedup.Store.(*dedup.Redis) // checkPopulate saw to it
	err = errors.Join(err, store.NoteFetched(ctx, j.Metric, target, time.Duration(j.ResolutionMS)*time.Millisecond))
	if err != nil {
		s.log.Warn("Skyline's keys could not be written for a populate job", "job", j.ID, "metric", j.Metric, "error", err)
	}
}

// nullMark is the time of the mark without a value that Skyline notes for a series which has never had one. A metric that
// has a mark, or datapoints, lives: its next point would be a duplicate. So would a live point of the minute in which the
// job was accepted, which such a mark therefore lies before. ok is false where there is none to be noted.
func nullMark(j backfill.Status) (at time.Time, ok bool) {
	if j.Samples > 0 || !j.Since.IsZero() {
		return at, false
	}
	at = j.Newest
	if last := j.Accepted.Truncate(time.Minute).Add(-time.Minute); at.After(last) {
		at = last
	}
	return at, true
}
