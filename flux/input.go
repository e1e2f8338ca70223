package flux

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/fluxmetrics/fluxkit/graphite"
)

// chunkBytes bounds what a carbon input hands to the door at once: a pickle can name one long metric a thousand times
// in few bytes, and each naming becomes a copy in the queue. A small queue makes it less.
const chunkBytes = 256 << 10

// chunkFor is the size given, or what a record of every destination's queue may hold, with a margin.
func chunkFor(plans []plan, most int64) int {
	for _, p := range plans {
		for i := range p.outlets {
			if bound, _ := p.outlets[i].bound(); bound > 0 {
				most = min(most, bound/4)
			}
		}
	}
	return int(most)
}

// input is a bound listener and what serves it.
type input struct {
	name    string
	addr    func() net.Addr
	serve   func(ctx context.Context) error // until ctx ends; closes the listener
	close   func()                          // for one that was never served, or is still
	rejects func() map[string]uint64        // points that never reached the door
}

// bind opens every listener of the configuration. When one fails, those before it stay open for shut to close.
func (s *Server) bind() error {
	if h := s.cfg.HTTP; h != nil && h.Listen != "" {
		in, err := s.bindHTTP("http", h.Listen, s.handler, h.TLS, h.MaxConns)
		if err != nil {
			return err
		}
		s.inputs = append(s.inputs, in)
	}
	if p := s.cfg.Populate; p != nil && p.Listen != "" {
		in, err := s.bindHTTP("populate", p.Listen, cleaned(s.gateway.populateMux()), s.cfg.HTTP.TLS, s.cfg.HTTP.MaxConns)
		if err != nil {
			return err
		}
		s.inputs = append(s.inputs, in)
	}
	if s.cfg.StatusListen != "" {
		in, err := s.bindHTTP("status", s.cfg.StatusListen, s.status, nil, maxStatusConns)
		if err != nil {
			return err
		}
		s.inputs = append(s.inputs, in)
	}
	for _, b := range []struct {
		name string
		cfg  *CarbonInput
		bind func(string, *CarbonInput) (*input, error)
	}{{"line", s.cfg.Line, s.bindLine}, {"pickle", s.cfg.Pickle, s.bindPickle}, {"udp", s.cfg.UDP, s.bindUDP}} {
		if b.cfg == nil {
			continue
		}
		in, err := b.bind(b.name, b.cfg)
		if err != nil {
			return err
		}
		s.inputs = append(s.inputs, in)
	}
	return nil
}

// ListenError is returned by New for an address that cannot be listened on.
type ListenError struct {
	Input string // as Server.Addr has it
	Addr  string
	Err   error
}

func (e *ListenError) Error() string {
	return fmt.Sprintf("flux: %s input cannot listen on %s: %v", e.Input, e.Addr, e.Err)
}

func (e *ListenError) Unwrap() error { return e.Err }

func (s *Server) bindHTTP(name, addr string, handler http.Handler, secure *tls.Config, maxConns int) (*input, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, &ListenError{name, addr, err}
	}
	l = limitListener(l, maxConns)
	serve := func(srv *http.Server) error { return srv.Serve(l) }
	if secure != nil {
		serve = func(srv *http.Server) error { return srv.ServeTLS(l, "", "") }
	}
	// HTTP/2 would put hundreds of requests in one connection: connections alone are what is counted.
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	srv := &http.Server{
		Protocols: &protocols,
		Handler:   handler, TLSConfig: secure, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout,
		WriteTimeout:   readTimeout + s.cfg.longestWait() + answerTimeout,
		MaxHeaderBytes: maxHeaderBytes, ErrorLog: log.New(&httpLog{s.log}, "", 0),
	}
	return &input{
		name:    name,
		addr:    l.Addr,
		close:   func() { l.Close(); srv.Close() },
		rejects: func() map[string]uint64 { return nil },
		serve: func(ctx context.Context) error {
			failed := make(chan error, 1)
			go func() { failed <- serve(srv) }()
			select {
			case err := <-failed:
				return err
			case <-ctx.Done():
			}
			// What is being kept is kept within moments; a body that is still arriving was promised nothing.
			grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(maxGrace, s.cfg.DrainTimeout/2))
			defer cancel()
			if err := srv.Shutdown(grace); err != nil {
				s.log.Warn("requests that were still arriving are cut off", "error", err)
				srv.Close()
			}
			<-failed
			return nil
		},
	}, nil
}

// listen opens the listener of a carbon input.
func (s *Server) listen(name string, cfg *CarbonInput) (net.Listener, error) {
	ep, err := graphite.ParseListen(cfg.Listen)
	if err != nil {
		return nil, configError("%s input: %w", name, err)
	}
	l, err := ep.Listen(context.Background())
	if err != nil {
		return nil, &ListenError{name, cfg.Listen, err}
	}
	return l, nil
}

func (s *Server) bindLine(name string, cfg *CarbonInput) (*input, error) {
	l, err := s.listen(name, cfg)
	if err != nil {
		return nil, err
	}
	r := &graphite.LineReceiver{
		MaxConns: cfg.MaxConns, MaxLine: cfg.MaxLine, AllowInf: cfg.AllowInf, Strict: cfg.Strict,
		DrainTimeout: s.cfg.DrainTimeout / 2, Now: s.cfg.Now, Logger: s.log, Sync: s.door.out.sync,
	}
	return &input{
		name: name, addr: l.Addr, close: func() { l.Close() }, rejects: labels(r.Stats),
		serve: func(ctx context.Context) error { return r.Serve(ctx, l, s.handlerFor(cfg, false)) },
	}, nil
}

func (s *Server) bindPickle(name string, cfg *CarbonInput) (*input, error) {
	l, err := s.listen(name, cfg)
	if err != nil {
		return nil, err
	}
	r := &graphite.PickleReceiver{
		MaxConns: cfg.MaxConns, MaxFrame: cfg.MaxFrame, AllowInf: cfg.AllowInf, Strict: cfg.Strict,
		DrainTimeout: s.cfg.DrainTimeout / 2, Now: s.cfg.Now, Logger: s.log, Sync: s.door.out.sync,
	}
	return &input{
		name: name, addr: l.Addr, close: func() { l.Close() }, rejects: labels(r.Stats),
		serve: func(ctx context.Context) error { return r.Serve(ctx, l, s.handlerFor(cfg, false)) },
	}, nil
}

func (s *Server) bindUDP(name string, cfg *CarbonInput) (*input, error) {
	ep, err := graphite.ParseListen(cfg.Listen)
	if err != nil {
		return nil, configError("%s input: %w", name, err)
	}
	c, err := ep.ListenPacket(context.Background())
	if err != nil {
		return nil, &ListenError{name, cfg.Listen, err}
	}
	r := &graphite.UDPReceiver{
		MaxLine: cfg.MaxLine, AllowInf: cfg.AllowInf, Strict: cfg.Strict,
		DrainTimeout: s.cfg.DrainTimeout / 2, Now: s.cfg.Now, Logger: s.log,
	}
	return &input{
		name: name, addr: c.LocalAddr, close: func() { c.Close() }, rejects: labels(r.Stats),
		serve: func(ctx context.Context) error { return r.Serve(ctx, c, s.handlerFor(cfg, true)) },
	}, nil
}

// labels returns a receiver's rejects by their labels.
func labels(stats func() graphite.ReceiverStats) func() map[string]uint64 {
	return func() map[string]uint64 {
		out := map[string]uint64{}
		for reason, n := range stats().Rejected {
			out[reason.String()] += n
		}
		return out
	}
}

// handlerFor returns what takes the points of a carbon input. With try they wait for no room, as datagrams must not:
// what finds none is dropped, and counted. The points are kept once the server's sync has returned.
func (s *Server) handlerFor(cfg *CarbonInput, try bool) graphite.Handler {
	e := entry{judge: s.cfg.Dedup.AllInputs, carbon: true, async: true, try: try, hold: !try}
	var stamps *stamper
	if cfg.OverwriteTimestamps {
		stamps = s.stamper
	}
	return func(ctx context.Context, pts []graphite.Point) error {
		if stamps != nil {
			stamps.stamp(pts)
		}
		for len(pts) > 0 {
			n := chunk(pts, s.chunk)
			err := s.keep(ctx, pts[:n], e)
			if errors.Is(err, ErrTooBig) { // counted; the sender could never get rid of it
				s.log.Warn("a point of a carbon input is larger than the queue takes, and is dropped", "name", fmt.Sprintf("%.100s", pts[0].Name))
			} else if err != nil {
				s.door.refuseAll(pts[n:], refusal(err))
				return err
			}
			pts = pts[n:]
		}
		return nil
	}
}

// overwrites reports whether any input overwrites timestamps.
func (c *Config) overwrites() bool {
	for _, in := range []*CarbonInput{c.Line, c.Pickle, c.UDP} {
		if in != nil && in.OverwriteTimestamps {
			return true
		}
	}
	return false
}

// chunk is how many of the points, at least one, fit in limit bytes.
func chunk(pts []graphite.Point, limit int) int {
	size := 0
	for i := range pts {
		size += len(pts[i].Name) + 32
		if size > limit && i > 0 {
			return i
		}
	}
	return len(pts)
}

func (s *Server) keep(ctx context.Context, pts []graphite.Point, e entry) error {
	if !e.judge || s.door.filter == nil {
		return s.door.pass(ctx, pts, e)
	}
	j, err := s.door.admit(ctx, pts, e)
	s.door.put(j)
	return err
}

// httpLog takes what net/http has to say: a handler's panic is an error of ours, the rest is what connections do.
type httpLog struct{ log *slog.Logger }

func (l *httpLog) Write(line []byte) (int, error) {
	text, level := strings.TrimSpace(string(line)), slog.LevelDebug
	if strings.HasPrefix(text, "http: panic ") {
		level = slog.LevelError
	}
	l.log.Log(context.Background(), level, text)
	return len(line), nil
}
