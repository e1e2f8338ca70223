package flux

import (
	"context"
	"fmt"
	"net/http"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/graphite"
)

// probe is a point that is never sent.
var probe = []graphite.Point{{Name: []byte("flux.ready"), Timestamp: 1}}

// Ready returns nil when a new point would be accepted now, and else why not: the queue of a required destination is
// full (ErrFull), the disk of its spool fails (ErrSpool), the dedup store does not answer (ErrStore), the server is
// closed (ErrClosed). A destination that is merely down is no reason: its queue takes points. It waits for room, in turn
// with those who have points, for as long as a request would, HTTPConfig.RoomWait, and no longer for the store.
func (s *Server) Ready(ctx context.Context) error {
	if s.closing.Err() != nil {
		return ErrClosed
	}
	wait := DefaultRoomWait
	if s.cfg.HTTP != nil {
		wait = s.cfg.HTTP.RoomWait
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if s.door.filter != nil && !s.door.instant && s.cfg.Dedup.Away != AwayDeliver {
		if err := s.cfg.Dedup.Store.Last(ctx, []dedup.Mark{{Metric: probe[0].Name}}); err != nil {
			return fmt.Errorf("%w: %w", ErrStore, err)
		}
	}
	for _, o := range s.door.out.outlets {
		if !o.required {
			continue
		}
		r, err := o.client.reserve(ctx, probe, nil)
		if err != nil {
			return fmt.Errorf("%w: destination %s", err, o.name)
		}
		r.Cancel()
	}
	return nil
}

// readiness is the body of /readyz.
type readiness struct {
	Status       string          `json:"status"` // "ok" or "unavailable"
	Reason       string          `json:"reason,omitempty"`
	Warning      string          `json:"warning,omitempty"`
	Destinations []destinationUp `json:"destinations"`
}

// destinationUp is a destination in the body of /readyz.
type destinationUp struct {
	Name          string  `json:"name"`
	Tenant        string  `json:"tenant,omitempty"`
	Required      bool    `json:"required"`
	Up            bool    `json:"up"`
	Pending       int64   `json:"pending"`
	OldestSeconds float64 `json:"oldest_seconds"`
}

// healthz answers as long as the process serves at all.
func healthz(w http.ResponseWriter, _ *http.Request) {
	replyJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// readyz answers 503 only when a new point would be refused: a balancer that took every gateway out because Carbon is
// down would do so just when their queues are needed. Errors are in the log; the answer names no address.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	body, code := readiness{Status: "ok"}, http.StatusOK
	if err := s.Ready(r.Context()); err != nil {
		body.Status, body.Reason, code = "unavailable", refusal(err), http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
		if everySecond(&s.unready, s.cfg.Now) {
			s.log.Warn("not ready: new points would be refused", "error", err)
		}
	}
	if s.gateway != nil {
		body.Warning = s.gateway.warning()
	}
	for _, d := range s.door.out.stats() {
		body.Destinations = append(body.Destinations, destinationUp{
			Name: d.Name, Tenant: d.Tenant, Required: d.Required, Up: !d.Down, Pending: d.Pending, OldestSeconds: d.Oldest.Seconds(),
		})
	}
	replyJSON(w, code, body)
}

// warning tells that large requests find no memory, which is no reason to send none: small ones do, and those whose key
// stands in a header mostly do.
func (g *gateway) warning() string {
	at, now := g.busy.Load(), g.door.now().UnixNano()
	if at == 0 || now-at > int64(busyFor) {
		return ""
	}
	return "in the last 10 seconds requests of more than 16 KiB were refused, since others took the memory for them"
}
