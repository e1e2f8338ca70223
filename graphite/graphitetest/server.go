package graphitetest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Options configures a Server. The zero value is a Carbon on free ports of 127.0.0.1 that keeps every point.
type Options struct {
	// LineAddr, PickleAddr, UDPAddr and RenderAddr are host:port. Empty means 127.0.0.1 and a free port.
	LineAddr, PickleAddr, UDPAddr, RenderAddr string
	// Keep is how many points are kept at least; at twice that the older half is forgotten. 0 keeps all.
	Keep int
	// Now is the clock: the meaning of a timestamp of -1 and of relative times in the render API. nil is time.Now.
	Now func() time.Time
	// OnPoint is called for each point as it is taken, from the connection's goroutine: the connection is read no
	// further until it returns. It may call the Server's methods, save Close.
	OnPoint func(Point)
	// TLS makes the line and pickle listeners speak TLS.
	TLS *tls.Config
	// ReadBuffer is the size of the kernel's receive buffer of a stream connection, so that a test can fill it with
	// little. Below the 64 KiB of a segment on the loopback, connections crawl. 0 leaves it to the system.
	ReadBuffer int
}

// Server is a running Carbon. Its methods may be called from many goroutines.
type Server struct {
	// LineAddr, PickleAddr and UDPAddr are host:port; RenderURL is the base URL of the render API, without /render.
	LineAddr, PickleAddr, UDPAddr, RenderURL string

	opt          Options
	line, pickle *Stream
	udp          *net.UDPConn
	render       *http.Server
	store        store
	clock        clock
	wg           sync.WaitGroup
}

// TB is the part of testing.TB that Run needs. With an interface of its own the package does not pull package testing
// into programs that embed a Server.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// Run starts a Server that is closed when the test ends.
func Run(t TB) *Server {
	t.Helper()
	return RunOptions(t, Options{})
}

// RunOptions is Run with options.
func RunOptions(t TB, o Options) *Server {
	t.Helper()
	s, err := Start(o)
	if err != nil {
		t.Fatalf("%v", err)
		return nil
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// Start starts a Server. The caller closes it. An address that is taken makes an error that wraps the system's.
func Start(o Options) (*Server, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{opt: o, clock: clock{now: o.Now}}
	s.store.keep = o.Keep
	if err := s.listen(); err != nil {
		s.Close()
		return nil, fmt.Errorf("graphitetest: %w", err)
	}
	return s, nil
}

func (s *Server) listen() (err error) {
	if s.line, err = s.newStream("line", s.opt.LineAddr, s.readLines); err != nil {
		return err
	}
	if s.pickle, err = s.newStream("pickle", s.opt.PickleAddr, s.readFrames); err != nil {
		return err
	}
	pc, err := net.ListenPacket("udp", orFree(s.opt.UDPAddr))
	if err != nil {
		return fmt.Errorf("udp: %w", err)
	}
	s.udp = pc.(*net.UDPConn)
	web, err := net.Listen("tcp", orFree(s.opt.RenderAddr))
	if err != nil {
		return fmt.Errorf("render: %w", err)
	}
	s.LineAddr, s.PickleAddr, s.UDPAddr = s.line.addr, s.pickle.addr, pc.LocalAddr().String()
	s.RenderURL = "http://" + web.Addr().String()
	s.render = &http.Server{Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second}
	s.wg.Go(s.readDatagrams)
	s.wg.Go(func() { _ = s.render.Serve(web) })
	return nil
}

func orFree(addr string) string {
	if addr == "" {
		return "127.0.0.1:0"
	}
	return addr
}

// Line is the line listener, Pickle the pickle listener, to make them misbehave.
func (s *Server) Line() *Stream { return s.line }

// Pickle is the pickle listener.
func (s *Server) Pickle() *Stream { return s.pickle }

// SetTime stops the clock at t. The zero time lets it run again.
func (s *Server) SetTime(t time.Time) { s.clock.set(t) }

// Close stops every listener, closes every connection and waits for the goroutines. Points stay readable.
func (s *Server) Close() error {
	var errs []error
	for _, st := range []*Stream{s.line, s.pickle} {
		if st != nil {
			st.close()
		}
	}
	if s.udp != nil {
		if err := s.udp.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if s.render != nil {
		errs = append(errs, s.render.Close())
	}
	s.wg.Wait()
	return errors.Join(errs...)
}

// clock is the wall clock, or a time that a test set.
type clock struct {
	mu  sync.Mutex
	at  time.Time
	now func() time.Time
}

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = t
}

func (c *clock) get() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.at.IsZero() {
		return c.at
	}
	return c.now()
}
