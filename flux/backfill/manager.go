package backfill

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/fluxmetrics/fluxkit/dedup"
)

// notDurable is Status.Warning without Config.Dir.
const notDurable = "jobs are kept in memory: this one ends with the process"

// Manager runs jobs. Its methods may be called from many goroutines.
type Manager struct {
	cfg   Config
	fetch *fetcher
	store *store
	rate  *rate

	stop context.CancelFunc
	wg   sync.WaitGroup
	door chan struct{} // one Submit at a time

	mu       sync.Mutex
	closed   bool
	jobs     []*job          // in the order of acceptance
	byID     map[string]*job //
	byMetric map[string]*job // those that have not ended
	wake     chan struct{}   // closed when there is something to do

	unsynced chan struct{} // holds one when trails are to be synced
	count    counters
}

// New opens Config.Dir, takes up the jobs that it holds, and starts the workers, which Close ends.
func New(cfg Config) (*Manager, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	m := &Manager{
		cfg: cfg, fetch: newFetcher(cfg.Fetch, cfg.Origins, cfg.Now), rate: &rate{perSecond: cfg.Rate, now: cfg.Now},
		door: make(chan struct{}, 1), byID: map[string]*job{}, byMetric: map[string]*job{}, wake: make(chan struct{}),
		unsynced: make(chan struct{}, 1),
	}
	m.fetch.count, m.fetch.mended = &m.count, func() { m.set(m.rouse) }
	if m.store, err = openStore(cfg.Dir); err != nil {
		return nil, err
	}
	records, err := m.store.load(cfg.Logger)
	if err != nil {
		return nil, errors.Join(err, m.store.close())
	}
	m.store.clean(records)
	m.takeUp(records)
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	if m.Durable() {
		m.wg.Go(func() { m.syncTrails(ctx) })
	}
	for range cfg.Workers {
		m.wg.Go(func() { m.work(ctx) })
	}
	return m, nil
}

// takeUp takes the jobs that another process has left. Two unfinished jobs of one metric cannot be; if somebody copied a
// file the older one counts.
func (m *Manager) takeUp(records []kept) {
	slices.SortStableFunc(records, func(a, b kept) int { return a.Accepted.Compare(b.Accepted) })
	for _, k := range records {
		r := k.record
		j := &job{record: r, at: none, tried: r.Accepted, ended: make(chan struct{})}
		if r.State.Ended() {
			close(j.ended)
		} else if m.byMetric[r.Metric] != nil {
			m.cfg.Logger.Error("a job is passed over: its metric has another one", "job", r.ID, "metric", r.Metric)
			continue
		} else {
			j.State = Queued
			m.byMetric[r.Metric] = j
			j.live = m.cfg.Live.watch(r.Metric, k.live)
			j.live.begin(r.from(), m.stir)
		}
		m.jobs, m.byID[r.ID] = append(m.jobs, j), j
	}
	m.prune()
}

// Durable reports whether jobs outlive the process.
func (m *Manager) Durable() bool { return m.store.dir != "" }

// Submit accepts a request as a job, which is kept once Submit returns. If its metric has a job that has not ended, that
// one is returned, and joined is true. The error is a *RequestError (400), an *OriginError (403), ErrFull (503),
// ErrClosed, the context's, or that of the store of marks or of the disk, upon which the client may ask again later.
func (m *Manager) Submit(ctx context.Context, r *Request) (s Status, joined bool, err error) {
	if err := r.check(); err != nil {
		return Status{}, false, err
	}
	select {
	case m.door <- struct{}{}:
		defer func() { <-m.door }()
	case <-ctx.Done():
		return Status{}, false, ctx.Err()
	}
	accepted := time.UnixMilli(m.cfg.Now().UnixMilli()).UTC()
	j, err := m.newJob(r, accepted)
	if err != nil {
		return Status{}, false, err
	}
	for {
		s, ending, err := m.join(r.Metric)
		if err != nil || ending == nil && s.ID != "" {
			return s, err == nil, err
		}
		if ending == nil {
			break
		}
		select {
		case <-ending: // its file is being written
		case <-ctx.Done():
			return Status{}, false, ctx.Err()
		}
	}
	j.live = m.store.live(j.ID)
	j.live.begin(none, m.stir)
	m.cfg.Live.watch(r.Metric, j.live) // before the mark is read, so that no live point is between the two
	if err = m.mark(ctx, j); err == nil {
		if err = j.live.trail.create(); err == nil {
			err = m.store.save(&j.record)
		}
	}
	s = j.status()
	if err == nil {
		err = m.add(j)
	}
	if err != nil {
		m.cfg.Live.forget(r.Metric)
		return Status{}, false, errors.Join(err, j.live.trail.remove())
	}
	m.count.accepted.Add(1)
	return s, false, nil
}

// Check returns the *RequestError or *OriginError with which Submit would refuse a request now. It makes no job.
func (m *Manager) Check(r *Request) error {
	err := r.check()
	if err == nil {
		_, err = m.newJob(r, m.cfg.Now())
	}
	return err
}

// newJob makes a job of a request.
func (m *Manager) newJob(r *Request, accepted time.Time) (*job, error) {
	urls, err := r.resolve(m.cfg.Origins, accepted, !m.cfg.CurrentMinute)
	if err != nil {
		return nil, err
	}
	if r.MissingRender && m.cfg.Local == nil {
		return nil, &RequestError{"missing", `"render"`, "no local Graphite is known here"}
	}
	id := make([]byte, 8)
	_, _ = rand.Read(id) // never fails
	j := &job{at: none, tried: accepted, ended: make(chan struct{}), record: record{
		Status: Status{
			ID: hex.EncodeToString(id), Metric: r.Metric, HostType: r.HostType, RemoteTarget: r.RemoteTarget,
			State: Queued, Accepted: accepted, Slices: len(urls),
		},
		Series: r.Series, Fill: r.MissingRender, URLs: urls,
		Begin: none, Start: none, Done: none, Cut: math.MaxInt64, Decided: r.MissingRender,
	}}
	if from := urls[0].From; from != none {
		j.Begin = floorMinute(from + minute - 1)
	}
	if !m.cfg.CurrentMinute {
		j.Cut = floorMinute(accepted.UnixMilli())
	}
	if !m.Durable() {
		j.Warning = notDurable
	}
	if r.Since == "" {
		return j, nil
	}
	ms, err := parseSince(r.Since, accepted)
	if err != nil {
		return nil, &RequestError{"since", quote(r.Since), err.Error()}
	}
	j.Start, j.Decided = floorMinute(ms), true
	return j, nil
}

func parseSince(s string, now time.Time) (int64, error) {
	ms, _, err := parseTime(s, now)
	if err != nil {
		if t, e := parseInstant(s); e == nil {
			return t, nil
		}
	}
	return ms, err
}

// mark reads the metric's mark, and decides what can be decided without the local Graphite. A mark tells what is missing,
// and not that the local Graphite has the metric: Carbon may not have created it yet.
func (m *Manager) mark(ctx context.Context, j *job) error {
	if m.cfg.Local == nil {
		j.Exists = true
	}
	if m.cfg.Marks != nil {
		marks := []dedup.Mark{{Metric: []byte(j.Metric)}}
		if err := m.cfg.Marks.Last(ctx, marks); err != nil {
			return err
		}
		ms := marks[0].Timestamp
		if m.cfg.Future > 0 && ms > j.Accepted.Add(m.cfg.Future).UnixMilli() {
			ms = dedup.None
		}
		if ms != dedup.None && !j.Decided {
			j.Start, j.Decided = floorMinute(ms), true
		}
	}
	if m.cfg.Local == nil {
		j.Decided = true
	}
	return nil
}

// join returns the unfinished job of a metric, or why there cannot be one more.
func (m *Manager) join(metric string) (s Status, ending <-chan struct{}, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return Status{}, nil, ErrClosed
	}
	if j := m.byMetric[metric]; j != nil {
		if j.State.Ended() {
			return Status{}, j.ended, nil
		}
		return j.status(), nil, nil
	}
	if len(m.byMetric) >= m.cfg.MaxJobs {
		return Status{}, nil, ErrFull
	}
	return Status{}, nil, nil
}

func (m *Manager) add(j *job) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errors.Join(ErrClosed, m.store.remove(j.ID))
	}
	m.jobs = append(m.jobs, j)
	m.byID[j.ID], m.byMetric[j.Metric] = j, j
	m.rouse()
	return nil
}

// rouse tells the workers that something has changed.
func (m *Manager) rouse() {
	close(m.wake)
	m.wake = make(chan struct{})
}

// Get returns how a job stands. ok is false when there is none of that id, or when it ended long ago.
func (m *Manager) Get(id string) (s Status, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	j := m.byID[id]
	if j == nil {
		return Status{}, false
	}
	return j.status(), true
}

// List returns how all jobs stand, in the order in which they were accepted.
func (m *Manager) List() []Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]Status, len(m.jobs))
	for i, j := range m.jobs {
		out[i] = j.status()
	}
	return out
}

// Wait returns once the job has ended, or with the context's error; ErrNoJob when there is none of that id, ErrClosed
// when the manager was closed before.
func (m *Manager) Wait(ctx context.Context, id string) (Status, error) {
	m.mu.Lock()
	j := m.byID[id]
	m.mu.Unlock()
	if j == nil {
		return Status{}, ErrNoJob
	}
	for { // what is over may be forgotten meanwhile
		m.mu.Lock()
		s, closed, wake := j.status(), m.closed, m.wake
		m.mu.Unlock()
		switch {
		case s.State.Ended():
			return s, nil
		case closed:
			return s, ErrClosed
		}
		select {
		case <-j.ended:
		case <-wake:
		case <-ctx.Done():
			return s, ctx.Err()
		}
	}
}

// Cancel ends a job: one that is running ends soon after, which Wait waits for. What is confirmed stays. A chunk that is on
// its way may still arrive, and then counts above live points that come for its minutes once the job has ended. The error
// is ErrNoJob, or that of the disk; a job that has ended already stays as it is.
func (m *Manager) Cancel(id string) error {
	m.mu.Lock()
	j := m.byID[id]
	if j == nil || j.revoked || j.State.Ended() {
		m.mu.Unlock()
		if j == nil {
			return ErrNoJob
		}
		return nil
	}
	j.revoked = true
	if j.State == Running {
		j.cancel()
		m.mu.Unlock()
		return nil
	}
	j.State = Running // nobody else takes it up
	m.mu.Unlock()
	return m.finish(j, Cancelled, nil)
}

// Close stops the jobs where they are and returns once all goroutines have ended, or with the context's error. With
// Config.Dir another Manager goes on with the jobs. A second call returns ErrClosed.
func (m *Manager) Close(ctx context.Context) error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return ErrClosed
	}
	m.closed = true
	m.rouse()
	m.mu.Unlock()
	m.stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		m.wg.Wait()
		m.door <- struct{}{} // a Submit may be under way
		<-m.door
		m.syncAll()
		m.fetch.close()
		_ = m.store.close()
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
