package flux

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/internal/deadletter"
)

const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 60 * time.Second
	answerTimeout     = 60 * time.Second // for an answer to be read, once it could be written
	idleTimeout       = 120 * time.Second
	maxHeaderBytes    = 64 << 10
	retryEvery        = time.Second
	askEvery          = 100 * time.Millisecond // of a dedup store that is away
	maxGrace          = 5 * time.Second        // for requests under way when the server stops
	maxStatusConns    = 64
)

// Server is a gateway, a forwarder, or both. Its methods may be called from many goroutines.
type Server struct {
	cfg      Config
	log      *slog.Logger
	door     *door
	gateway  *gateway // nil: no HTTP
	handler  http.Handler
	status   http.Handler // for Config.StatusListen
	unready  atomic.Int64 // when it was logged last that Ready failed, Unix nanoseconds
	inputs   []*input
	populate *populate // nil: no history is fetched
	chunk    int       // bytes that a carbon input hands to the door at once

	stamper *stamper         // nil: no input overwrites timestamps
	letters *deadletter.File // nil: points that are given up are counted alone

	background sync.WaitGroup
	stop       context.CancelFunc // of the background work
	running    sync.WaitGroup     // Run
	runs       sync.Mutex         // held to begin Run, or to keep it from beginning
	closing    context.Context    // ends when Close is called
	beginClose context.CancelFunc
	closeOnce  sync.Once
	closeErr   error
}

// Result is the account of one Ingest.
type Result struct {
	Verdicts                            []Verdict // one a point
	Accepted, Duplicate, Late, Rejected int
}

// New checks cfg, binds the listeners, where connections wait until Run, and starts the destinations' delivery. Close
// ends all of it, whether Run was called or not. An error about cfg itself wraps ErrConfig; a *ListenError is about an
// address, and one that wraps ErrSpool about a spool that cannot be used.
func New(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	plans, err := cfg.plans()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, log: cfg.Logger, chunk: chunkFor(plans, chunkBytes), door: &door{
		now: cfg.Now, log: cfg.Logger, maxFuture: cfg.Dedup.MaxFutureCarbon,
		away: cfg.Dedup.Away, awayWait: cfg.Dedup.AwayWait, bypass: cfg.Dedup.Bypass,
		turn: make(chan struct{}, 1), opened: make(chan struct{}), store: presence{doubt: make(chan struct{}, 1)},
	}}
	s.closing, s.beginClose = context.WithCancel(context.Background())
	s.door.life, s.stop = context.WithCancel(context.Background())
	if !cfg.Dedup.Off {
		_, memory := cfg.Dedup.Store.(*dedup.Memory)
		s.door.instant = memory || cfg.Dedup.Store == nil
		s.door.filter = &dedup.Filter{
			Store: cfg.Dedup.Store, Now: cfg.Now, Future: s.futureLimit(), LateDeliver: cfg.Dedup.LateDeliver,
			Required: required(plans),
		}
	}
	if cfg.overwrites() {
		s.stamper = newStamper(cfg.Now, s.log)
	}
	if err := s.newHandlers(); err != nil {
		s.abandon()
		return nil, err
	}
	if s.gateway != nil {
		s.gateway.chunk = chunkFor(plans, gatewayChunk)
	}
	if err := s.bind(); err != nil {
		s.abandon()
		return nil, err
	}
	if err := s.watchJobs(); err != nil { // before the spools tell what they hold
		s.abandon()
		return nil, err
	}
	if err := s.open(plans); err != nil {
		s.abandon()
		return nil, err
	}
	if err := s.openPopulate(); err != nil {
		s.abandon()
		return nil, err
	}
	if s.door.filter != nil {
		s.background.Go(func() { s.door.retryMarks(s.door.life) })
		if !s.door.instant {
			s.background.Go(func() { s.door.watchStore(s.door.life) })
		}
	}
	if cfg.SelfMetrics.Prefix != "" {
		before := s.selfFigures()
		s.background.Go(func() { s.selfMetrics(s.closing, before) })
	}
	return s, nil
}

// required is how many destinations every point must have reached before its mark rises.
func required(plans []plan) int {
	n := 0
	for _, p := range plans {
		if p.required {
			n++
		}
	}
	return n
}

// futureLimit is how far ahead of now a stored mark may be and count: as far as an input lets points be.
func (s *Server) futureLimit() time.Duration {
	limit := DefaultMaxFuture
	if s.cfg.HTTP != nil {
		limit = s.cfg.HTTP.MaxFuture
	}
	if limit < 0 || !s.cfg.Dedup.AllInputs {
		return max(0, limit)
	}
	if s.cfg.Dedup.MaxFutureCarbon < 0 {
		return 0
	}
	return max(limit, s.cfg.Dedup.MaxFutureCarbon)
}

// Handler serves the gateway's HTTP API, for mounting in a server of one's own. It is nil when Config.HTTP is.
func (s *Server) Handler() http.Handler { return s.handler }

// Ingest judges the points and keeps those that are new. It waits for room until ctx ends and then returns an error
// that wraps ErrFull. On any error but ErrSpool, which tells more, none of the points was accepted. The points and their
// names are copied.
func (s *Server) Ingest(ctx context.Context, pts []graphite.Point) (Result, error) {
	return s.ingest(ctx, pts, entry{judge: true})
}

func (s *Server) ingest(ctx context.Context, pts []graphite.Point, e entry) (Result, error) {
	j, err := s.door.admit(ctx, pts, e)
	defer s.door.put(j)
	r := Result{Verdicts: append([]Verdict(nil), j.out...)}
	for _, v := range r.Verdicts {
		switch v.Outcome {
		case Accepted:
			r.Accepted++
		case Duplicate:
			r.Duplicate++
		case Late:
			r.Late++
		case Rejected:
			r.Rejected++
		}
	}
	return r, err
}

// TryIngest is Ingest that does not wait for room.
func (s *Server) TryIngest(pts []graphite.Point) (Result, error) {
	return s.ingest(context.Background(), pts, entry{judge: true, try: true})
}

// Flush returns once every point that was accepted before the call is delivered or given up by all required
// destinations, or with the context's error. The others are made to hurry meanwhile.
func (s *Server) Flush(ctx context.Context) error { return s.door.out.flush(ctx) }

// Stats returns the account so far.
func (s *Server) Stats() Stats {
	st := s.door.stats()
	for _, in := range s.inputs {
		for reason, n := range in.rejects() {
			st.Received += n
			st.Rejected[reason] += n
		}
	}
	st.Destinations = s.door.out.stats()
	if s.letters != nil {
		l := s.letters.Stats()
		st.DeadLetter = DeadLetterStats{Points: l.Points, Bytes: l.Bytes, Dropped: l.Dropped}
	}
	if s.stamper != nil {
		st.SharedTimestamps = s.stamper.shared.Load()
	}
	return st
}

// Addr returns the address that an input is bound to: "http", "populate", "status", "line", "pickle"
// or "udp". It is nil for an input that
// is not configured.
func (s *Server) Addr(name string) net.Addr {
	for _, in := range s.inputs {
		if in.name == name {
			return in.addr()
		}
	}
	return nil
}

// Run serves all inputs until ctx ends or one of them fails. Then it stops them: what they have read is kept, within
// Config.DrainTimeout, before it returns. It is called once; delivery goes on until Close. The error is nil when ctx
// ended, or Close was called.
func (s *Server) Run(ctx context.Context) error {
	s.runs.Lock()
	s.running.Add(1)
	s.runs.Unlock()
	defer s.running.Done()
	outer := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.closing, func() { cancel(nil) })()
	var serving sync.WaitGroup
	for _, in := range s.inputs {
		serving.Go(func() {
			if err := in.serve(ctx); err != nil && s.closing.Err() == nil {
				cancel(fmt.Errorf("flux: %s input: %w", in.name, err))
			}
		})
	}
	<-ctx.Done()
	serving.Wait()
	if outer.Err() != nil || s.closing.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}
