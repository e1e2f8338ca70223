package flux

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
)

// trace tells what became of a metric's points: GET /flux/trace?metric=NAME. The key decides which names can be asked
// for: those under its prefix, which may be left out.
func (g *gateway) trace(w http.ResponseWriter, r *http.Request) {
	q, err := url.ParseQuery(strings.ReplaceAll(r.URL.RawQuery, ";", "%3B")) // a semicolon is one of a name with tags
	if err != nil {
		g.fail(w, r, &ingest.Error{Code: http.StatusBadRequest, Message: "invalid query string - " + err.Error(), Item: -1, Reason: ingest.ReasonQuery})
		return
	}
	key, err := g.authenticateKey(r, []byte(q.Get("key")), q.Has("key"))
	if err != nil {
		g.fail(w, r, err)
		return
	}
	if !q.Has("metric") {
		g.fail(w, r, &ingest.Error{Code: http.StatusBadRequest, Message: "no metric parameter passed - ask /flux/trace?metric=NAME", Item: -1, Reason: ingest.ReasonQuery})
		return
	}
	var p ingest.Parser
	name, err := p.Name([]byte(q.Get("metric")), key.Prefix)
	if err != nil { // no point of that name can have been kept
		g.fail(w, r, err)
		return
	}
	t, known := g.door.tracer.look(string(name))
	if !known {
		reply(w, http.StatusNotFound, fmt.Sprintf("nothing is known of this metric - it has not been seen since the server started, or so many others have since that it was forgotten: the trace is made for %d", TraceMetrics))
		return
	}
	replyJSON(w, http.StatusOK, t)
}
