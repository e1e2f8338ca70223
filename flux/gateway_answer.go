package flux

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
)

// simple is the body of most responses that have one.
type simple struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func reply(w http.ResponseWriter, code int, message string) {
	replyJSON(w, code, simple{code, message})
}

func replyJSON(w http.ResponseWriter, code int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		code, b = http.StatusInternalServerError, []byte(`{"code": 500, "message": "the answer could not be written"}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(code)
	_, _ = w.Write(b)
}

func forbidden(message string) error {
	return &ingest.Error{Code: http.StatusForbidden, Message: message, Item: -1, Reason: reasonRight}
}

func tooMuch(format string, args ...any) error {
	return &ingest.Error{Code: http.StatusRequestEntityTooLarge, Message: fmt.Sprintf(format, args...), Item: -1, Reason: reasonLimit}
}

// asRefusal returns the *ingest.Error that err is or wraps, nil when there is none.
func asRefusal(err error) *ingest.Error {
	var e *ingest.Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// answer tells that the request's points are kept, and which were left out, if any.
func (g *gateway) answer(w http.ResponseWriter, x *exchange, req *ingest.Request, key *keyEntry) {
	switch {
	case len(x.over) > 0:
		g.answerQuota(w, x, req, key)
	case len(req.Rejected) > 0 && !x.quiet:
		replyJSON(w, http.StatusMultiStatus, req.Report())
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// listedBytes bounds the names that an answer lists: telegraf's can come to far more than its body.
const listedBytes = 1 << 20

// listing lists names as long as there is room.
type listing struct {
	names []string
	size  int
}

func (l *listing) add(name string) bool {
	if l.size += len(name); l.size > listedBytes {
		return false
	}
	l.names = append(l.names, name)
	return true
}

// quotaItem is a point in the answer to a request with more names than the key may use.
type quotaItem struct {
	Metric string `json:"metric"`
	Status int    `json:"status"`
	Reason string `json:"reason,omitempty"` // of a point that broke a rule
}

// answerQuota answers as today's Flux does: 207, or 400 where the request held one point.
func (g *gateway) answerQuota(w http.ResponseWriter, x *exchange, req *ingest.Request, key *keyEntry) {
	if len(req.Items) == 1 && !req.Array && !req.OneByOne {
		replyJSON(w, http.StatusBadRequest, map[string]any{
			"code": http.StatusBadRequest, "rejected metric": bare(x.over[0], key.Prefix),
			"error": fmt.Sprintf("over quota - this account is allowed %d metrics and an additional metric was posted that has been rejected", key.MaxMetrics),
		})
		return
	}
	over := map[string]bool{}
	for _, name := range x.over {
		over[name] = true
	}
	all, processed, rejected := listing{}, listing{names: []string{}}, listing{names: []string{}}
	data := make([]quotaItem, 0, len(req.Items))
	told := map[string]bool{}
	for i := range req.Items {
		name := string(req.Items[i].Name)
		item := quotaItem{Metric: bare(name, key.Prefix), Status: http.StatusNoContent}
		if !all.add(item.Metric) {
			break
		}
		switch {
		case !over[name]:
			processed.add(item.Metric)
		case !told[name]:
			told[name] = true
			rejected.add(item.Metric)
			fallthrough
		default:
			item.Status = http.StatusBadRequest
		}
		data = append(data, item)
	}
	for _, bad := range req.Report().Data {
		data = append(data, quotaItem(bad))
	}
	code, kept, left := http.StatusMultiStatus, x.kept, len(x.over)+len(req.Rejected)
	if req.Points == 1 {
		code = http.StatusBadRequest
	}
	replyJSON(w, code, map[string]any{
		"code": code, "data": data,
		"error": fmt.Sprintf("over quota - this account is allowed %d metrics and an additional %d new metrics were posted that have been rejected",
			key.MaxMetrics, len(over)),
		"message":          fmt.Sprintf("%d metrics were processed and %d metrics were rejected", kept, left),
		"rejected metrics": rejected.names, "rejected metrics count": left,
		"processed metrics": processed.names, "processed metrics count": kept,
		"submitted metrics count": req.Points, "defined skipped_metrics count": 0,
	})
}

// bare is a name without the prefix of its key.
func bare(name, prefix string) string {
	if prefix == "" {
		return name
	}
	return strings.TrimPrefix(name, prefix+".")
}

// tooFast answers a key that sends more than it may.
func (g *gateway) tooFast(w http.ResponseWriter, r *http.Request, key *keyEntry, wait time.Duration) {
	g.tell(r, http.StatusTooManyRequests, reasonRate)
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	reply(w, http.StatusTooManyRequests, fmt.Sprintf("this key may send %g points a second - nothing was kept, send it again in %v", key.Rate, wait.Round(time.Millisecond)))
}

// answerTest tells what would have been kept, in the form that today's Flux has: lists are texts as Python writes them,
// and the names of a GET have the prefix of their key, those of a POST have not.
func (g *gateway) answerTest(w http.ResponseWriter, r *http.Request, req *ingest.Request, prefix string) {
	names, dropped := listing{}, listing{}
	for i := range req.Items {
		name := string(req.Items[i].Name)
		if r.Method == http.MethodPost {
			name = bare(name, prefix)
		}
		if !names.add(name) {
			break
		}
	}
	for i := range req.Rejected {
		if !dropped.add(req.Rejected[i].Message()) {
			break
		}
	}
	if prefix == "" {
		prefix = "None"
	}
	replyJSON(w, http.StatusOK, map[string]any{
		"namespace": prefix, "message": "metric ingestion test, no metrics were ingested only counts are reported",
		"ingest_count": len(req.Items), "drop_count": len(req.Rejected), "metrics": names.python(), "dropped": dropped.python(),
	})
}

// python is the list as Python writes it.
func (l *listing) python() string {
	var b strings.Builder
	for i, name := range l.names {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(name) + "'")
	}
	return "[" + b.String() + "]"
}

// tell logs requests that are refused, once a second.
func (g *gateway) tell(r *http.Request, code int, reason string) {
	g.refusals.Add(1)
	if everySecond(&g.toldOf, g.door.now) {
		g.log.Warn("requests are refused", "requests", g.refusals.Swap(0), "path", r.URL.Path, "code", code, "reason", reason)
	}
}

// fail answers a request that is refused.
func (g *gateway) fail(w http.ResponseWriter, r *http.Request, err error) { g.failPartly(w, r, err, 0) }

// failPartly answers a request of which so many points were kept before it failed.
func (g *gateway) failPartly(w http.ResponseWriter, r *http.Request, err error, kept int) {
	code, reason, message := failure(err, kept)
	switch {
	case code == 0 && r.Context().Err() != nil: // nobody is there to read an answer
		return
	case code == 0:
		g.log.Error("request failed", "path", r.URL.Path, "error", err)
		reply(w, http.StatusInternalServerError, "the points could not be kept")
		return
	case code == http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	case code == http.StatusRequestTimeout:
		w.Header().Set("Connection", "close")
	}
	g.tell(r, code, reason)
	reply(w, code, message)
}

// failure is what a client is told of an error, and its label; code is 0 for one that is none of its business.
func failure(err error, kept int) (code int, reason, message string) {
	var tooLarge *http.MaxBytesError
	switch bad := asRefusal(err); {
	case bad != nil:
		return bad.Code, string(bad.Reason), bad.Message
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge, unread(err), fmt.Sprintf("body of more than %d bytes - send fewer points a request", tooLarge.Limit)
	case errors.Is(err, errBody) && errors.Is(err, os.ErrDeadlineExceeded):
		return http.StatusRequestTimeout, unread(err), fmt.Sprintf("the body did not arrive within %v, or %d KiB of a large one not within %v - nothing was kept, send it again",
			readTimeout, stallBytes>>10, stallTime)
	case errors.Is(err, errBody):
		return http.StatusBadRequest, unread(err), "the body could not be read to its end - nothing was kept"
	case errors.Is(err, ErrTooBig):
		return http.StatusRequestEntityTooLarge, refusal(err), "more points at once than the queue can hold - send fewer points a request"
	case errors.Is(err, ErrFull), errors.Is(err, ErrStore), errors.Is(err, ErrClosed), errors.Is(err, ErrSpool):
		return http.StatusServiceUnavailable, refusal(err), unavailable(err, kept)
	}
	return 0, "", ""
}

// unread is the label for a request that could not be read.
func unread(err error) string {
	var tooLarge *http.MaxBytesError
	switch bad := asRefusal(err); {
	case bad != nil:
		return string(bad.Reason)
	case errors.As(err, &tooLarge):
		return "too_large"
	}
	return "body"
}

func unavailable(err error, kept int) string {
	again := "nothing was kept, send it again"
	if kept > 0 {
		again = fmt.Sprintf("%d points of this request were kept, send all of it again", kept)
	}
	switch {
	case errors.Is(err, ErrStore):
		return "points cannot be judged, the dedup store does not answer - " + again
	case errors.Is(err, ErrSpool):
		return "the disk of the spool takes nothing at present - send the points again"
	case errors.Is(err, ErrClosed):
		return "the server is stopping - " + again
	}
	return "no room for more points until the destination takes some - " + again
}
