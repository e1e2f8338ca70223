package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/flux/backfill"
)

// backfillAhead is how many metrics are handed to the manager of jobs before their turn.
const backfillAhead = 64

// backfillRun is a run: the metrics, and what has become of each.
type backfillRun struct {
	cmd     *backfillCmd
	plan    *backfillPlan
	state   *backfillState
	manager *backfill.Manager
	sink    *backfill.Carbon
	settled map[string]backfill.Status // by metric
	since   map[string]time.Time       // of metrics that an earlier run has begun, and that are asked for again
	sent    int64                      // points, of all that is settled
}

// newest is a metric's newest datapoint that is known, zero for none.
func (p *backfillPlan) newest(ctx context.Context, metric string) (time.Time, error) {
	if p.marks != nil {
		m := []dedup.Mark{{Metric: []byte(metric)}}
		if err := p.marks.Last(ctx, m); err != nil {
			return time.Time{}, err
		}
		if m[0].Timestamp != dedup.None {
			return time.UnixMilli(m[0].Timestamp), nil
		}
	}
	if p.local != nil {
		ms, ok, err := p.local.Last(ctx, metric, p.now, nil)
		if err != nil || !ok {
			return time.Time{}, err
		}
		return time.UnixMilli(ms), nil
	}
	return time.Time{}, nil
}

// keepBehind takes the metrics out of the state that have what --frequency lets one expect.
func (c *backfillCmd) keepBehind(ctx *cmdContext, p *backfillPlan, s *backfillState) error {
	var behind []history
	for _, h := range s.Histories {
		last, err := p.newest(ctx.ctx, h.Metric)
		if err != nil {
			return err
		}
		if backfill.Behind(last, p.now, time.Duration(c.Frequency)) {
			behind = append(behind, h)
			continue
		}
		fmt.Fprintf(ctx.stderr, "%s is not behind: it has a datapoint of %s\n", h.Metric, stamp(last.UnixMilli()))
	}
	s.Histories = behind
	return nil
}

// show tells what would be fetched.
func (r *backfillRun) show(ctx *cmdContext) error {
	for _, h := range r.state.Histories {
		urls, err := r.plan.source.urls(h)
		if err != nil {
			return err
		}
		fmt.Fprintf(ctx.stdout, "%s\n", h.Metric)
		if r.cmd.Missing == "known" {
			last, err := r.plan.newest(ctx.ctx, h.Metric)
			if err != nil {
				return err
			}
			if !last.IsZero() {
				fmt.Fprintf(ctx.stdout, "  from %s on, since what is older is there\n", stamp(last.UnixMilli()))
			}
		}
		if file, ok := r.plan.source.(*fileSource); ok {
			samples := file.metrics[h.Target]
			fmt.Fprintf(ctx.stdout, "  %s of %s to %s\n", counted(int64(len(samples)), "point"), stamp(samples[0].at), stamp(samples[len(samples)-1].at))
			continue
		}
		for _, u := range urls {
			fmt.Fprintf(ctx.stdout, "  %s\n", u)
		}
	}
	fmt.Fprintf(ctx.stdout, "%s would be fetched\n", counted(int64(len(r.state.Histories)), "metric"))
	return nil
}

// deliver runs the jobs to their end, or until ctx ends.
func (r *backfillRun) deliver(ctx *cmdContext) error {
	r.settled, r.since = map[string]backfill.Status{}, map[string]time.Time{}
	carbon, err := r.cmd.carbon()
	if err != nil {
		return &exitError{exitUsage, err}
	}
	sink, err := backfill.NewCarbon(carbon)
	if err != nil {
		return &exitError{exitUsage, fmt.Errorf("--carbon: %w", err)}
	}
	ended, end := context.WithCancel(context.Background())
	end()
	defer func() { _ = sink.Close(ended) }() // what is not confirmed its job sends again
	r.sink = sink
	finished := make(chan backfill.Status, 2*len(r.state.Histories)+1)
	if err := r.open(sink, finished); err != nil {
		return err
	}
	runErr := r.follow(ctx, finished)
	closing, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	closeErr := r.manager.Close(closing)
	return errors.Join(r.conclude(ctx, runErr), closeErr, r.plan.saveMarks())
}

// open starts the manager of jobs, with those of an earlier run.
func (r *backfillRun) open(sink backfill.Sink, finished chan<- backfill.Status) error {
	c := r.cmd
	origin, err := r.plan.source.origin()
	if err != nil {
		return &exitError{exitUsage, err}
	}
	rate, err := pointRate("--rate", c.Rate)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	_, isFile := r.plan.source.(*fileSource)
	cfg := backfill.Config{
		Sink: sink, Origins: []backfill.Origin{origin}, Marks: r.plan.marks, Local: r.plan.local, Rate: rate,
		CreateWait: max(time.Duration(c.CreateWait), time.Millisecond), Verify: c.Verify, GiveUp: time.Duration(c.GiveUp),
		CurrentMinute: c.MinuteAtHand == "keep" || isFile, Workers: c.Jobs,
		MaxJobs: len(r.state.Histories) + 1, KeepJobs: len(r.state.Histories) + 1, KeepFor: 10 * 365 * 24 * time.Hour,
		Finished: func(s backfill.Status) { finished <- s },
	}
	if c.State != "" {
		cfg.Dir = filepath.Join(c.State, stateJobs)
	}
	if r.manager, err = backfill.New(cfg); errors.Is(err, backfill.ErrLocked) {
		return fmt.Errorf("--state %s is in use by another process: %w", c.State, err)
	}
	return err
}

// submit has a job made for a metric, and returns its id.
func (r *backfillRun) submit(ctx context.Context, h history) (string, error) {
	urls, err := r.plan.source.urls(h)
	if err != nil {
		return "", err
	}
	req := &backfill.Request{
		HostType: r.plan.source.hostType(), RemoteTarget: h.Target, Metric: h.Metric, URLs: urls,
		Series: r.cmd.Series, MissingRender: r.cmd.Missing == "render",
	}
	if at := r.since[h.Metric]; !at.IsZero() {
		req.Since = wholeSeconds(at.UnixMilli())
	} else if r.cmd.Missing == "all" {
		req.Since = wholeSeconds(r.plan.from)
	}
	s, _, err := r.manager.Submit(ctx, req)
	return s.ID, err
}

// takeUp finds what an earlier run has left, and returns the jobs that go on by themselves, by metric. Jobs over a file are asked for again, from where they stood, since it is
// served at another address now.
func (r *backfillRun) takeUp(ctx context.Context) (running map[string]string, err error) {
	running = map[string]string{}
	_, isFile := r.plan.source.(*fileSource)
	for _, s := range r.manager.List() {
		switch {
		case s.State == backfill.Done:
			r.settle(s)
		case s.State.Ended() || isFile:
			if err := r.manager.Cancel(s.ID); err != nil {
				return nil, err
			}
			if s, err = r.manager.Wait(ctx, s.ID); err != nil {
				return nil, err
			}
			if s.Through.After(r.since[s.Metric]) {
				r.since[s.Metric] = s.Through
			}
		default:
			running[s.Metric] = s.ID
		}
	}
	return running, nil
}

// settle notes what has become of a metric.
func (r *backfillRun) settle(s backfill.Status) {
	r.settled[s.Metric] = s
	r.sent += s.Sent
}

// follow hands the metrics on, a few ahead, and shows how they stand, until all are settled or ctx ends.
func (r *backfillRun) follow(ctx *cmdContext, finished <-chan backfill.Status) error {
	under, err := r.takeUp(ctx.ctx)
	if err != nil {
		return err
	}
	show := newProgress(ctx.stderr, r)
	defer show.end()
	todo := r.state.Histories
	for {
		for len(todo) > 0 && len(under) < backfillAhead {
			h := todo[0]
			todo = todo[1:]
			if _, done := r.settled[h.Metric]; done || under[h.Metric] != "" {
				continue
			}
			job, err := r.submit(ctx.ctx, h)
			if refused := (*backfill.RequestError)(nil); errors.As(err, &refused) {
				s := backfill.Status{Metric: h.Metric, State: backfill.Failed, Error: refused.Message()}
				r.settle(s)
				show.settled(s)
				continue
			}
			if err != nil {
				return fmt.Errorf("%s: %w", h.Metric, err)
			}
			under[h.Metric] = job
		}
		if len(r.settled) >= len(r.state.Histories) {
			return nil
		}
		select {
		case s := <-finished:
			if under[s.Metric] == s.ID { // others were cancelled, or had ended before
				r.settle(s)
				delete(under, s.Metric)
				show.settled(s)
			}
		case <-show.tick:
			show.draw()
		case <-ctx.ctx.Done():
			return ctx.ctx.Err()
		}
	}
}

// conclude tells what became of everything, and what the exit code is to say.
func (r *backfillRun) conclude(ctx *cmdContext, err error) error {
	failed := 0
	for _, s := range r.settled {
		if s.State != backfill.Done {
			failed++
		}
	}
	all, sent := len(r.state.Histories), r.sent
	for _, s := range r.manager.List() {
		if _, settled := r.settled[s.Metric]; !settled {
			sent += s.Sent
		}
	}
	fmt.Fprintf(ctx.stdout, "%d of %s done, %d failed, %s sent\n", len(r.settled)-failed, counted(int64(all), "metric"), failed, counted(sent, "point"))
	switch {
	case ctx.ctx.Err() != nil && r.cmd.State != "":
		return errors.New("interrupted: the same command goes on where it was")
	case ctx.ctx.Err() != nil:
		return errors.New("interrupted: run it again, with --state DIR to have it remember how far it has come")
	case err != nil:
		return err
	}
	if err := r.cmd.clearState(); err != nil {
		return err
	}
	switch left := r.state.LeftOut; {
	case failed > 0 && left != "":
		return fmt.Errorf("%s failed, %s left out", counted(int64(failed), "metric"), left)
	case failed > 0:
		return fmt.Errorf("%s failed", counted(int64(failed), "metric"))
	case left != "":
		return fmt.Errorf("%s left out", left)
	}
	return nil
}
