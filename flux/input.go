package flux

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"github.com/fluxmetrics/fluxkit/graphite"
)

// chunkBytes bounds what a carbon input hands to the door at once: a pickle can name one long metric a thousand times
// in few bytes, and each naming becomes a copy in the queue. A small queue makes it less.
const chunkBytes = 256 << 10

// chunkFor is chunkBytes, or what a record of the destination's queue may hold, with a margin.
func (s *Server) chunkFor() int {
	memory := int64(0)
	if c := s.cfg.Destination.Carbon; c != nil {
		memory = c.MemoryMax
	} else if b := s.cfg.Destination.Blueflood; b != nil {
		memory = b.MemoryMax
	}
	if memory == 0 {
		return chunkBytes
	}
	return int(min(chunkBytes, memory/4))
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
		in, err := s.bindHTTP(h.Listen)
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
	Input string // "http", "line", "pickle" or "udp"
	Addr  string
	Err   error
}

func (e *ListenError) Error() string {
	return fmt.Sprintf("flux: %s input cannot listen on %s: %v", e.Input, e.Addr, e.Err)
}

func (e *ListenError) Unwrap() error { return e.Err }

func (s *Server) bindHTTP(addr string) (*input, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, &ListenError{"http", addr, err}
	}
	l = limitListener(l, s.cfg.HTTP.MaxConns)
	srv := &http.Server{
		Handler: s.handler, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	return &input{
		name:    "http",
		addr:    l.Addr,
		close:   func() { l.Close(); srv.Close() },
		rejects: func() map[string]uint64 { return nil },
		serve: func(ctx context.Context) error {
			failed := make(chan error, 1)
			go func() { failed <- srv.Serve(l) }()
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
		DrainTimeout: s.cfg.DrainTimeout / 2, Now: s.cfg.Now, Logger: s.log,
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
		DrainTimeout: s.cfg.DrainTimeout / 2, Now: s.cfg.Now, Logger: s.log,
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
// what finds none is dropped, and counted.
func (s *Server) handlerFor(cfg *CarbonInput, try bool) graphite.Handler {
	e := entry{judge: s.cfg.Dedup.AllInputs, carbon: true, try: try, hold: !try}
	limit := s.chunkFor()
	return func(ctx context.Context, pts []graphite.Point) error {
		if cfg.OverwriteTimestamps {
			now := s.cfg.Now().UnixMilli()
			for i := range pts {
				pts[i].Timestamp = now
			}
		}
		for len(pts) > 0 {
			n := chunk(pts, limit)
			err := s.keep(ctx, pts[:n], e)
			if errors.Is(err, ErrTooBig) { // counted; the sender could never get rid of it
				s.log.Warn("a point of a carbon input is larger than the queue takes, and is dropped", "name", fmt.Sprintf("%.100s", pts[0].Name))
			} else if err != nil {
				return err
			}
			pts = pts[n:]
		}
		return nil
	}
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
