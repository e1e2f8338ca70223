package flux

import (
	"fmt"
	"net/http"
	"path"
	"strings"
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
	routes := g.routes()
	for path, h := range routes {
		mux.HandleFunc(path, h)
	}
	mux.HandleFunc("/", noSuchPath)
	if p := s.cfg.Populate; p == nil || p.Listen == "" {
		g.populateRoutes(mux)
	}
	s.statusRoutes(mux)
	s.gateway, s.handler = g, direct(routes, cleaned(mux))
	return nil
}

// direct serves the paths of routes as they stand there, and has a mux serve the others: to find a path in one costs more
// than to find it here.
func direct(routes map[string]http.HandlerFunc, mux http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := routes[r.URL.Path]
		if h == nil || r.URL.RawPath != "" { // which may hold an escaped slash
			mux.ServeHTTP(w, r)
			return
		}
		r.Pattern = r.URL.Path
		h(w, r)
	})
}

// cleaned serves a path with empty or dotted elements as the one that it stands for. A mux would redirect, which clients
// that send points do not follow.
func cleaned(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := r.URL.Path; strings.Contains(p, "//") || strings.Contains(p, "/.") {
			clean := path.Clean("/" + p)
			if strings.HasSuffix(p, "/") && clean != "/" {
				clean += "/"
			}
			u := *r.URL
			u.Path, u.RawPath = clean, ""
			r = r.WithContext(r.Context())
			r.URL = &u
		}
		h.ServeHTTP(w, r)
	})
}

// statusRoutes puts on mux what operators ask. None of it tells a metric's name, an address or a key.
func (s *Server) statusRoutes(mux *http.ServeMux) {
	metrics := s.metricsHandler()
	for _, prefix := range []string{"/flux", ""} {
		mux.Handle(prefix+"/healthz", toRead(http.HandlerFunc(healthz)))
		mux.Handle(prefix+"/readyz", toRead(http.HandlerFunc(s.readyz)))
		mux.Handle(prefix+"/metrics", toRead(metrics))
	}
}

// toRead lets GET and HEAD through to h.
func toRead(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			reply(w, http.StatusMethodNotAllowed, fmt.Sprintf("%s takes GET, not %s", r.URL.Path, r.Method))
			return
		}
		h.ServeHTTP(w, r)
	})
}
