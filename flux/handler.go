package flux

import (
	"net/http"
)

// newHandlers makes what serves HTTP: the gateway, and for those who have none the status alone.
func (s *Server) newHandlers() error {
	status := http.NewServeMux()
	s.statusRoutes(status)
	s.status = status
	if s.cfg.HTTP == nil {
		return nil
	}
	s.door.tracer = newTracer(s.cfg.Now)
	g, err := newGateway(*s.cfg.HTTP, s.door, s.log)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	g.routes(mux)
	if p := s.cfg.Populate; p == nil || p.Listen == "" {
		g.populateRoutes(mux)
	}
	s.statusRoutes(mux)
	s.gateway, s.handler = g, mux
	return nil
}

// statusRoutes puts on mux what operators ask. None of it tells a metric's name, an address or a key.
func (s *Server) statusRoutes(mux *http.ServeMux) {
	metrics := s.metricsHandler()
	for _, prefix := range []string{"/flux", ""} {
		mux.HandleFunc("GET "+prefix+"/healthz", healthz)
		mux.HandleFunc("GET "+prefix+"/readyz", s.readyz)
		mux.Handle("GET "+prefix+"/metrics", metrics)
	}
}
