package flux

import (
	"fmt"
	"net/http"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
)

// trace tells what became of a metric's points: GET /flux/trace?metric=NAME. The key decides which names can be asked
// for: those under its prefix, which may be left out.
func (g *gateway) trace(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	key, err := g.authenticateKey(r, []byte(q.Get("key")), q.Has("key"))
	if err != nil {
		g.fail(w, r, err)
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
		reply(w, http.StatusNotFound, fmt.Sprintf("nothing is known of this metric - it has not been seen since the server started, or at least %d others have since", TraceMetrics))
		return
	}
	replyJSON(w, http.StatusOK, t)
}
