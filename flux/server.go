package flux

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/graphite"
)

const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 60 * time.Second
	idleTimeout       = 120 * time.Second
	maxHeaderBytes    = 64 << 10
	retryEvery        = time.Second
	maxGrace          = 5 * time.Second // for requests under way when the server stops
)

// Server is a gateway, a forwarder, or both. Its methods may be called from many goroutines.
type Server struct {
	cfg     Config
	log     *slog.Logger
	door    *door
	handler http.Handler
	inputs  []*input

	background sync.WaitGroup
	stop       context.CancelFunc // of the background work
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

// New checks cfg, starts the destination's delivery and binds the listeners; connections wait there until Run. Close
// ends all of it, whether Run was called or not. An error about cfg itself wraps ErrConfig.
func New(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, log: cfg.Logger, door: &door{
		now: cfg.Now, log: cfg.Logger, maxFuture: cfg.Dedup.MaxFutureCarbon, turn: make(chan struct{}, 1),
	}}
	s.closing, s.beginClose = context.WithCancel(context.Background())
	s.door.life, s.stop = context.WithCancel(context.Background())
	if !cfg.Dedup.Off {
		s.door.filter = &dedup.Filter{
			Store: cfg.Dedup.Store, Now: cfg.Now, Future: s.futureLimit(), LateDeliver: cfg.Dedup.LateDeliver,
		}
	}
	var done settled
	if s.door.filter != nil {
		done = s.door.settled
	}
	dest, err := openDestination(cfg.Destination, done)
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	s.door.dest = dest
	if cfg.HTTP != nil {
		s.handler = newGateway(*cfg.HTTP, s.door, s.log)
	}
	if err := s.bind(); err != nil {
		s.stop()
		return nil, errors.Join(err, s.shut(s.door.life))
	}
	if s.door.filter != nil {
		s.background.Go(func() { s.retryMarks(s.door.life) })
	}
	return s, nil
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

// retryMarks raises, once the store is back, the marks that it did not take.
func (s *Server) retryMarks(ctx context.Context) {
	t := time.NewTicker(retryEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if err := s.raiseAll(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("marks cannot be raised; they are kept and tried again", "error", err)
		}
	}
}

// raiseAll raises the marks that wait for it, until none is left or the store fails.
func (s *Server) raiseAll(ctx context.Context) error {
	for left := int64(math.MaxInt64); ; {
		if err := s.door.filter.Retry(ctx); err != nil {
			return err
		}
		now := s.door.filter.Stats().Unraised
		if now == 0 || now >= left {
			return nil
		}
		left = now
	}
}

// Handler serves the gateway's HTTP API, for mounting in a server of one's own. It is nil when Config.HTTP is.
func (s *Server) Handler() http.Handler { return s.handler }

// Ingest judges the points and keeps those that are new. It waits for room until ctx ends and then returns an error
// that wraps ErrFull. On any error none of the points was accepted. The points and their names are copied.
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

// Flush returns once every point that was accepted before the call is delivered or given up, or with the context's
// error.
func (s *Server) Flush(ctx context.Context) error { return s.door.dest.flush(ctx) }

// Stats returns the account so far.
func (s *Server) Stats() Stats {
	st := s.door.stats()
	for _, in := range s.inputs {
		for reason, n := range in.rejects() {
			st.Received += n
			st.Rejected[reason] += n
		}
	}
	st.Destinations = []DestinationStats{s.door.dest.stats()}
	return st
}

// Addr returns the address that an input is bound to: "http", "line", "pickle" or "udp". It is nil for an input that
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

// Close stops the inputs, if Run has not, and delivers what is pending until ctx ends. When points were left it returns
// an *UndeliveredError: without a spool they are lost with the server. A second call returns what the first did.
func (s *Server) Close(ctx context.Context) error {
	s.closeOnce.Do(func() {
		s.beginClose()
		hurry := context.AfterFunc(ctx, s.stop) // a store that hangs holds nobody up for longer
		s.closeErr = s.shut(ctx)
		if s.door.filter != nil {
			if err := s.raiseAll(s.door.life); err != nil {
				s.log.Warn("marks could not be raised before the end: what was just delivered would be taken once more", "error", err)
			}
		}
		hurry()
		s.stop()
		s.background.Wait()
	})
	return s.closeErr
}

// UndeliveredError says how many points were pending when a server was closed.
type UndeliveredError struct {
	Points int64
	Err    error // why they were not delivered
}

func (e *UndeliveredError) Error() string {
	return fmt.Sprintf("flux: %d accepted points were not delivered: %v", e.Points, e.Err)
}

func (e *UndeliveredError) Unwrap() error { return e.Err }

// shut closes listeners and destination.
func (s *Server) shut(ctx context.Context) error {
	for _, in := range s.inputs {
		in.close()
	}
	err := s.door.dest.close(ctx)
	var carbonLeft *graphite.UndeliveredError
	if errors.As(err, &carbonLeft) {
		return &UndeliveredError{Points: carbonLeft.Points, Err: err}
	}
	var bluefloodLeft *blueflood.UndeliveredError
	if errors.As(err, &bluefloodLeft) {
		return &UndeliveredError{Points: bluefloodLeft.Points, Err: err}
	}
	return err
}
