package backfill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// maxLarge is how many answers in a row may be too large before a job fails.
const maxLarge = 5

// work runs jobs until ctx ends.
func (m *Manager) work(ctx context.Context) {
	for ctx.Err() == nil {
		j, jobCtx, wait, wake := m.pick(ctx)
		if j != nil {
			m.attempt(jobCtx, j)
			continue
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-wake:
		case <-t.C:
		}
		t.Stop()
	}
}

// pick takes the oldest job that may run. Without one it tells how long to wait.
func (m *Manager) pick(ctx context.Context) (*job, context.Context, time.Duration, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.prune()
	wait, now := time.Hour, m.cfg.Now()
	for _, j := range m.jobs {
		if j.State != Queued && j.State != Waiting {
			continue
		}
		if d := j.retryAt.Sub(now); d > 0 {
			wait = min(wait, d)
			continue
		}
		j.State, j.RetryAt = Running, time.Time{}
		if j.Started.IsZero() {
			j.Started = now.UTC()
		}
		jobCtx, cancel := context.WithCancel(ctx)
		j.cancel = cancel
		return j, jobCtx, 0, nil
	}
	return nil, nil, wait, m.wake
}

// attempt runs a job until it ends or has to wait.
func (m *Manager) attempt(ctx context.Context, j *job) {
	err := m.run(ctx, j)
	stopped := ctx.Err() != nil
	m.mu.Lock()
	j.cancel()
	revoked := j.revoked
	m.mu.Unlock()
	switch {
	case err == nil:
		err = m.finish(j, Done, nil)
	case revoked:
		err = m.finish(j, Cancelled, nil)
	case stopped:
		m.set(func() { j.State = Queued })
		err = m.save(j)
	default:
		err = m.failed(j, err)
	}
	if err != nil {
		m.cfg.Logger.Error("a job's file could not be written", "job", j.ID, "metric", j.Metric, "error", err)
	}
}

// failed has a job wait after an error, or ends it.
func (m *Manager) failed(j *job, err error) error {
	var f *fetchError
	isFetch := errors.As(err, &f)
	now := m.cfg.Now()
	m.mu.Lock()
	if j.Errors++; j.fails == 0 {
		j.since = now
	}
	if isFetch && f.TooLarge {
		j.large++
	}
	wait := backoff(j.fails)
	if isFetch {
		wait = max(wait, f.RetryAfter)
	}
	j.fails++
	j.Error = err.Error()
	end := isFetch && f.Permanent || j.large >= maxLarge
	if !end && now.Sub(j.since) >= m.cfg.GiveUp {
		end = true
		err = fmt.Errorf("it failed for %v: %w", m.cfg.GiveUp, err)
	}
	if len(j.carry) > maxCarry {
		j.restart()
	}
	m.mu.Unlock()
	if end {
		return m.finish(j, Failed, err)
	}
	m.cfg.Logger.Warn("a job waits", "job", j.ID, "metric", j.Metric, "wait", wait, "error", err)
	// The job can be taken up again as soon as it waits, so its file is written before.
	m.mu.Lock()
	kept := j.record
	kept.State, kept.RetryAt = Waiting, now.Add(wait).UTC()
	kept.Live = m.cfg.Live.minutes(j.Metric)
	m.mu.Unlock()
	saved := m.store.save(&kept)
	m.mu.Lock()
	defer m.mu.Unlock()
	if j.revoked { // meanwhile
		m.mu.Unlock()
		err := m.finish(j, Cancelled, nil)
		m.mu.Lock()
		return err
	}
	j.State, j.RetryAt, j.retryAt = Waiting, kept.RetryAt, kept.RetryAt
	m.rouse()
	return saved
}

// finish ends a job that nobody else runs.
func (m *Manager) finish(j *job, s State, why error) error {
	m.mu.Lock()
	j.State, j.Finished, j.RetryAt, j.Live, j.carry = s, m.cfg.Now().UTC(), time.Time{}, nil, nil
	if why != nil {
		j.Error = why.Error()
	}
	kept := j.record
	m.mu.Unlock()
	err := m.store.save(&kept)
	m.cfg.Live.forget(j.Metric)
	if s == Failed {
		m.cfg.Logger.Error("a job failed", "job", j.ID, "metric", j.Metric, "error", why)
	} else {
		m.cfg.Logger.Info("a job ended", "job", j.ID, "metric", j.Metric, "state", string(s), "sent", kept.Sent)
	}
	m.mu.Lock()
	delete(m.byMetric, j.Metric)
	close(j.ended)
	m.rouse()
	m.mu.Unlock()
	if m.cfg.Finished != nil {
		m.cfg.Finished(kept.status())
	}
	return err
}

// set changes a running job under the lock, which its worker needs for that alone: nobody else changes it.
func (m *Manager) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

// save keeps how a running job stands.
func (m *Manager) save(j *job) error {
	m.mu.Lock()
	if m.store.dir != "" {
		j.Live = m.cfg.Live.minutes(j.Metric)
	}
	kept := j.record
	m.mu.Unlock()
	return m.store.save(&kept)
}

// prune forgets jobs that ended long ago, or are more than are kept. The lock is held.
func (m *Manager) prune() {
	ended, now := 0, m.cfg.Now()
	for _, j := range m.jobs {
		if j.State.Ended() {
			ended++
		}
	}
	m.jobs = slices.DeleteFunc(m.jobs, func(j *job) bool {
		if !j.State.Ended() || ended <= m.cfg.KeepJobs && now.Sub(j.Finished) < m.cfg.KeepFor {
			return false
		}
		select {
		case <-j.ended:
		default:
			return false // it is being ended
		}
		ended--
		delete(m.byID, j.ID)
		if err := m.store.remove(j.ID); err != nil {
			m.cfg.Logger.Warn("the file of a job that ended could not be removed", "job", j.ID, "error", err)
		}
		return true
	})
}
