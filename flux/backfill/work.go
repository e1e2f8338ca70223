package backfill

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"
)

const (
	// maxLarge is how many answers in a row may be too large, for a part of a slice that is not cut any further, before a
	// job fails.
	maxLarge = 5
	// largeWait is how long a job waits after the first of them; after the second twice as long, and so on.
	largeWait = 15 * time.Minute
)

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

// pick takes, among the jobs that may run, one of the origin that was tried least recently, and of those the one that was
// tried least recently. Without a job it tells how long to wait.
func (m *Manager) pick(ctx context.Context) (*job, context.Context, time.Duration, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.prune()
	wait, now, load := time.Hour, m.cfg.Now(), m.load()
	var best *job
	var since time.Time
	for _, j := range m.jobs {
		if j.State != Queued && j.State != Waiting {
			continue
		}
		if d := j.retryAt.Sub(now); d > 0 {
			wait = min(wait, d)
			continue
		}
		tried, ok := m.admit(j, load)
		if ok && (best == nil || tried.Before(since) || tried.Equal(since) && j.tried.Before(best.tried)) {
			best, since = j, tried
		}
	}
	if best == nil {
		return nil, nil, wait, m.wake
	}
	best.State, best.RetryAt, best.tried = Running, time.Time{}, now
	for _, o := range best.sources() {
		m.fetch.try(o, now)
	}
	if best.Started.IsZero() {
		best.Started = now.UTC()
	}
	jobCtx, cancel := context.WithCancel(ctx)
	best.cancel = cancel
	return best, jobCtx, 0, nil
}

// load is what the workers are at.
type load struct {
	busy map[string]int // jobs that run, by origin
	last bool           // one worker is free, and another one is at an origin that may not answer
}

// load counts the jobs that run. The lock is held.
func (m *Manager) load() load {
	l := load{busy: map[string]int{}}
	running, doubtful := 0, false
	for _, j := range m.jobs {
		if j.State != Running {
			continue
		}
		running++
		for _, o := range j.sources() {
			l.busy[o]++
			doubtful = doubtful || m.fetch.standing(o).doubtful()
		}
	}
	l.last = doubtful && running+1 >= m.cfg.Workers
	return l
}

// admit reports whether a job may run now, and which of its origins' times of the last try is the oldest. A source that
// hangs keeps a worker for FetchConfig.Timeout. So an origin that has not answered yet, or did not answer last time, has
// one worker at most; and such origins together leave one to the others, among which is, once, each that was never tried.
// The lock is held.
func (m *Manager) admit(j *job, l load) (tried time.Time, ok bool) {
	for i, o := range j.sources() {
		s := m.fetch.standing(o)
		if l.busy[o] >= m.fetch.cfg.PerHost || l.busy[o] > 0 && !s.answers || l.last && s.doubtful() {
			return tried, false
		}
		if i == 0 || s.tried.Before(tried) {
			tried = s.tried
		}
	}
	return tried, true
}

// sources are the origins that the job is fetched from. The manager's lock is held.
func (j *job) sources() []string {
	if j.origins != nil {
		return j.origins
	}
	j.origins = []string{}
	for _, s := range j.URLs {
		u, err := url.Parse(s.URL)
		if err != nil { // its fetch says so
			continue
		}
		if o, err := originOf(u); err == nil && !slices.Contains(j.origins, o.String()) {
			j.origins = append(j.origins, o.String())
		}
	}
	return j.origins
}

// attempt runs a job until it ends or has to wait.
func (m *Manager) attempt(ctx context.Context, j *job) {
	err := m.run(ctx, j)
	stopped := ctx.Err() != nil
	m.mu.Lock()
	j.cancel()
	revoked := j.revoked
	m.mu.Unlock()
	var p *pauseError
	switch {
	case err == nil:
		err = m.finish(j, Done, nil)
	case revoked:
		err = m.finish(j, Cancelled, nil)
	case stopped:
		m.set(func() { j.State = Queued })
		err = m.save(j)
	case errors.As(err, &p):
		err = m.pause(j, p.wait)
	default:
		err = m.failed(j, err)
	}
	if err != nil {
		m.cfg.Logger.Error("a job's file could not be written", "job", j.ID, "metric", j.Metric, "error", err)
	}
}

// pauseError ends an attempt that has nothing to do for a while, so that another job has its worker.
type pauseError struct{ wait time.Duration }

func (e *pauseError) Error() string { return fmt.Sprintf("backfill: a job waits %v", e.wait) }

// maxHeld bounds the samples that jobs keep together while they wait, beside the maxCarry that each may.
const maxHeld = 2_000_000

// letGo has a job that begins to wait forget what it has fetched if jobs that wait keep too much. The lock is held.
func (m *Manager) letGo(j *job) {
	held := len(j.carry)
	for _, other := range m.byMetric {
		if other.State == Waiting {
			held += len(other.carry)
		}
	}
	if len(j.carry) > maxCarry && held > maxHeld {
		j.restart()
	}
}

// pause has a job wait that has not failed.
func (m *Manager) pause(j *job, wait time.Duration) error {
	m.mu.Lock()
	if j.revoked { // meanwhile
		m.mu.Unlock()
		return m.finish(j, Cancelled, nil)
	}
	defer m.mu.Unlock()
	m.letGo(j)
	at := m.cfg.Now().Add(wait)
	j.State, j.RetryAt, j.retryAt = Waiting, at.UTC(), at
	m.rouse()
	return nil
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
	wait := backoff(j.fails)
	if isFetch && f.TooLarge {
		j.large++
		wait = time.Duration(j.large) * largeWait
	}
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
	m.letGo(j)
	m.mu.Unlock()
	if end {
		return m.finish(j, Failed, err)
	}
	m.cfg.Logger.Warn("a job waits", "job", j.ID, "metric", j.Metric, "wait", wait, "error", err)
	// The job can be taken up again as soon as it waits, so its file is written before.
	m.mu.Lock()
	kept := j.version()
	kept.State, kept.RetryAt = Waiting, now.Add(wait).UTC()
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

// lastWords is how long a job that does not end well may take to send live points once more.
const lastWords = 2 * time.Second

// finish ends a job that nobody else runs.
func (m *Manager) finish(j *job, s State, why error) error {
	if s != Done { // a chunk may be on its way; the sink has what follows behind it
		ctx, cancel := context.WithTimeout(context.Background(), lastWords)
		if err := m.restore(ctx, j); err != nil {
			m.cfg.Logger.Warn("live points may have been written over by a job that did not end", "job", j.ID, "metric", j.Metric, "error", err)
		}
		cancel()
	}
	m.mu.Lock()
	j.State, j.Finished, j.RetryAt, j.carry = s, m.cfg.Now().UTC(), time.Time{}, nil
	if why != nil {
		j.Error = why.Error()
	}
	kept := j.version()
	m.mu.Unlock()
	err := m.store.save(&kept)
	m.cfg.Live.forget(j.Metric)
	if err == nil {
		err = j.live.trail.remove()
	}
	m.count.end(s)
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
	kept := j.version()
	m.mu.Unlock()
	return m.store.save(&kept)
}

// progress is save of what a chunk changes: it outlives the process, and within syncEvery a loss of power.
func (m *Manager) progress(j *job) error {
	m.mu.Lock()
	kept := j.version()
	m.mu.Unlock()
	return j.live.trail.progress(kept)
}

// tidy writes a running job's trail anew if it has grown or could not be written.
func (m *Manager) tidy(j *job) error {
	if !j.live.trail.untidy() {
		return nil
	}
	m.mu.Lock()
	kept := j.version()
	m.mu.Unlock()
	return j.live.rewrite(kept, m.store)
}

// syncEvery is how long the newest lines of trails may be lost with the power.
const syncEvery = time.Second

// stir has trails synced before long.
func (m *Manager) stir() {
	select {
	case m.unsynced <- struct{}{}:
	default:
	}
}

// syncTrails syncs trails that were written to, until ctx ends.
func (m *Manager) syncTrails(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.unsynced:
		}
		if sleep(ctx, syncEvery) != nil {
			return
		}
		m.syncAll()
	}
}

func (m *Manager) syncAll() {
	m.mu.Lock()
	var trails []*trail
	for _, j := range m.byMetric {
		trails = append(trails, j.live.trail)
	}
	m.mu.Unlock()
	for _, t := range trails {
		if err := t.sync(); err != nil {
			m.cfg.Logger.Warn("what is known of a job may not outlive a loss of power", "file", t.path, "error", err)
		}
	}
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
