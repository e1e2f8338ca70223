package blueflood

import (
	"context"
	"fmt"
	"net/http"

	"github.com/fluxmetrics/fluxkit/internal/deliver"
	"github.com/fluxmetrics/fluxkit/internal/record"
)

// Outcome is what became of one point of an Ingest.
type Outcome uint8

const (
	// Unsent: the request had no room for the point. It can go with the next one.
	Unsent Outcome = iota
	// Stored: the server took the point.
	Stored
	// Rejected: the point will never be taken. The verdict's Reason and Detail say why.
	Rejected
	// Unknown: the request failed, was refused whole or was not confirmed. The point may be stored, and can be sent
	// again without harm.
	Unknown
)

// String returns the outcome in lower case.
func (o Outcome) String() string {
	switch o {
	case Unsent:
		return "unsent"
	case Stored:
		return "stored"
	case Rejected:
		return "rejected"
	case Unknown:
		return "unknown"
	}
	return fmt.Sprintf("Outcome(%d)", uint8(o))
}

// Verdict is what became of one point. Reason and Detail are empty unless it was rejected.
type Verdict struct {
	Outcome Outcome
	Failure
}

// Ingest makes one request with the points, as far as they fit within the limit, and returns a verdict for each. It
// keeps nothing and retries nothing: Send does. The error is nil when the server's answer gave every point of the
// request its verdict; a *StatusError is an answer that did not, and says whether and when to try again.
func (e *Endpoint) Ingest(ctx context.Context, ms []Metric) ([]Verdict, error) {
	if e.closed.Load() {
		return nil, ErrClosed
	}
	if len(ms) == 0 {
		return nil, nil
	}
	var w writer
	if err := w.encode(ms); err != nil {
		return nil, err
	}
	b, err := record.Decode(w.record.Bytes())
	if err != nil {
		return nil, fmt.Errorf("blueflood: points not sent: %w", err)
	}
	req := newRequest(e.rows, e.cfg.Limit, e.cfg.Gzip)
	req.fill(b, 0, e.cfg.window(false))
	verdicts := make([]Verdict, len(ms))
	if req.rows == 0 {
		req.settle(verdicts, req.local, Unsent)
		return verdicts, nil
	}
	a := e.target.post(ctx, req.body, e.cfg.Now)
	return verdicts, e.verdicts(req, &a, verdicts)
}

// verdicts fills in what the answer says about the points of the request.
func (e *Endpoint) verdicts(req *request, a *answer, out []Verdict) error {
	switch a.fate(req.body.plain) {
	case fateStored:
		req.settle(out, req.local, Stored)
		return nil
	case fateListed:
		x := newErrorIndex(a.entries, e.cfg.Now().UnixMilli(), e.cfg.window(true))
		rejected, rest, ok := req.match(x)
		if ok && a.code == http.StatusMultiStatus {
			req.settle(out, rejected, Stored)
			return nil
		}
		if ok {
			req.settle(out, rejected, Unknown)
			if len(rest) == 0 {
				return nil
			}
			return a.error(e.target, req.rows)
		}
	}
	req.settle(out, req.local, Unknown)
	return a.error(e.target, req.rows)
}

// settle gives the rejected points of the request their reasons and all others the outcome.
func (r *request) settle(out []Verdict, rejected []deliver.Rejected, others Outcome) {
	for i := range r.batch.Len() {
		out[i].Outcome = others
	}
	for _, p := range rejected {
		out[p.Index] = Verdict{Rejected, Failure{p.Reason, p.Detail}}
	}
}
