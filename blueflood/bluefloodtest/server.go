package bluefloodtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

const (
	defaultMaxContent   = 1_048_576
	defaultKeepPoints   = 1_000_000
	defaultKeepRequests = 1_000
	keepBodyBytes       = 64 << 20 // of the bodies of kept requests, all together
)

// Options configure a Server. The zero value of every field means its default.
type Options struct {
	// IngestAddr and QueryAddr are where to listen, host:port. Default: free ports of 127.0.0.1.
	IngestAddr, QueryAddr string
	// MaxContent is the longest body, after inflation, that is answered. Default 1,048,576.
	MaxContent int
	// Past and Future bound the time of points around the clock. Defaults 72 h and 10 min.
	Past, Future time.Duration
	// NoSearch makes the two searches answer 404, as a Blueflood without an index does.
	NoSearch bool
	// Storage, when set, says what happens to each valid point that is about to be stored.
	Storage func(Point) StorageResult
	// OnPoint, when set, is called with each point once it is stored, from the goroutine of its connection.
	OnPoint func(Point)
	// KeepPoints and KeepRequests bound what is remembered; the oldest is dropped. Defaults 1,000,000 points and 1,000
	// requests, of which the bodies 64 MiB at most. Negative keeps none.
	KeepPoints, KeepRequests int
	// Keystone, when set, stands behind a proxy in front of both APIs that lets requests through only with a valid token
	// of it in X-Auth-Token. Others are answered 401, or 403 with Forbid, and use up no queued Reply.
	Keystone *Keystone
	Forbid   bool
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// StorageResult is what the storage behind the server does with a point.
type StorageResult int

const (
	// Stored keeps the point.
	Stored StorageResult = iota
	// StoreFailed loses the point and those of the same hundred: 500.
	StoreFailed
	// StoreTimedOut loses them too: 202. A genuine server takes five seconds for this; here it comes at once.
	StoreTimedOut
	// StoreThrew loses every point of the request: 500 with another text.
	StoreThrew
)

// Point is one stored point.
type Point struct {
	Tenant    string
	Metric    string
	Timestamp int64 // Unix milliseconds
	Value     float64
	Kind      string // what the server stores it as: "Integer", "Long" or "Double"
	TTL       int    // seconds
	Unit      string // empty when none was sent
	stored    int64  // when, Unix milliseconds
}

// Server is a running Blueflood. Its methods may be called from many goroutines.
type Server struct {
	opts   Options
	ingest net.Listener
	query  net.Listener
	done   chan struct{}
	wg     sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]struct{}
	closed   bool
	now      time.Time // zero: the clock of the options
	faults   faults
	requests []Request
	bodies   int // bytes of the bodies in requests
	inFlight int
	maxIn    int
	lastConn int
	store    store
	changed  chan struct{} // closed when points were stored; nil when nobody waits
}

// TB is the part of testing.TB that Run needs.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// Run starts a server with default options that lasts as long as the test.
func Run(t TB) *Server {
	t.Helper()
	return RunWith(t, Options{})
}

// RunWith is Run with options.
func RunWith(t TB, o Options) *Server {
	t.Helper()
	s, err := Start(o)
	if err != nil {
		t.Fatalf("%v", err)
		return nil
	}
	t.Cleanup(s.Close)
	return s
}

// Start starts a server, which Close ends.
func Start(o Options) (*Server, error) {
	o.fill()
	s := &Server{
		opts: o, done: make(chan struct{}), conns: map[net.Conn]struct{}{},
		store: store{limit: o.KeepPoints, series: map[string]map[string]*series{}},
	}
	var err error
	if s.ingest, err = listen("IngestAddr", o.IngestAddr); err != nil {
		return nil, err
	}
	if s.query, err = listen("QueryAddr", o.QueryAddr); err != nil {
		s.ingest.Close()
		return nil, err
	}
	s.wg.Add(2)
	go s.accept(s.ingest, s.serveIngest)
	go s.accept(s.query, s.serveQuery)
	return s, nil
}

func listen(field, addr string) (net.Listener, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("bluefloodtest: cannot listen on %s; put another address in %s: %w", addr, field, err)
	}
	return ln, nil
}

func (o *Options) fill() {
	if o.MaxContent == 0 {
		o.MaxContent = defaultMaxContent
	}
	if o.Past == 0 {
		o.Past = 72 * time.Hour
	}
	if o.Future == 0 {
		o.Future = 10 * time.Minute
	}
	if o.KeepPoints == 0 {
		o.KeepPoints = defaultKeepPoints
	}
	if o.KeepRequests == 0 {
		o.KeepRequests = defaultKeepRequests
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// Close stops listening, breaks all connections and waits until every goroutine of the server has ended.
func (s *Server) Close() {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.done)
		s.ingest.Close()
		s.query.Close()
		for c := range s.conns {
			c.Close()
		}
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// IngestURL is the base address of the ingest API, without a slash at its end.
func (s *Server) IngestURL() string { return "http://" + s.ingest.Addr().String() }

// QueryURL is the base address of the query API, without a slash at its end.
func (s *Server) QueryURL() string { return "http://" + s.query.Addr().String() }

// SetTime stops the server's clock at t. The zero time makes it run again.
func (s *Server) SetTime(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = t
}

// Time is the server's time.
func (s *Server) Time() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.now.IsZero() {
		return s.now
	}
	return s.opts.Now()
}

// Points returns what is stored of the metric, in order of time.
func (s *Server) Points(tenant, metric string) []Point {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store.get(tenant, metric)
}

// Metrics returns the names of the tenant's metrics, sorted.
func (s *Server) Metrics(tenant string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store.names(tenant)
}

// Received is the number of points written so far. A point that was sent twice counts twice.
func (s *Server) Received() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store.writes
}

// Distinct is the number of different points written so far: tenant, metric and millisecond make one.
func (s *Server) Distinct() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store.distinct
}

// Wait returns once n different points have been written, or an error that says how many were.
func (s *Server) Wait(ctx context.Context, n int) error {
	for {
		s.mu.Lock()
		have := s.store.distinct
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		changed := s.changed
		s.mu.Unlock()
		if have >= n {
			return nil
		}
		select {
		case <-changed:
		case <-s.done:
			return fmt.Errorf("bluefloodtest: %d of %d points came: %w", have, n, net.ErrClosed)
		case <-ctx.Done():
			return fmt.Errorf("bluefloodtest: %d of %d points came: %w", have, n, ctx.Err())
		}
	}
}

// Requests returns the ingest requests so far, oldest first, those that were not answered included.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// MaxInFlight is the largest number of ingest requests that were being dealt with at one time. One that will never be
// answered is no longer dealt with.
func (s *Server) MaxInFlight() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.maxIn
}

// remember keeps a request, within bounds.
func (s *Server) remember(r Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opts.KeepRequests < 0 {
		return
	}
	s.requests = append(s.requests, r)
	s.bodies += len(r.Body)
	for len(s.requests) > s.opts.KeepRequests || s.bodies > keepBodyBytes {
		s.bodies -= len(s.requests[0].Body)
		s.requests = s.requests[1:]
	}
}

// begin counts an ingest request in. The function it returns counts it out, once.
func (s *Server) begin() func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight++
	s.maxIn = max(s.maxIn, s.inFlight)
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.inFlight--
	})
}

// accept serves the connections of one listener until it is closed.
func (s *Server) accept(ln net.Listener, serve func(*conn)) {
	defer s.wg.Done()
	for {
		c, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			select {
			case <-s.done:
				return
			case <-time.After(10 * time.Millisecond): // out of descriptors, say
			}
			continue
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			c.Close()
			return
		}
		s.conns[c] = struct{}{}
		s.lastConn++
		id := s.lastConn
		s.wg.Add(1)
		s.mu.Unlock()
		go func() {
			defer s.wg.Done()
			serve(newConn(c, id))
			c.Close()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		}()
	}
}
