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
	code, kept, left := http.StatusMultiStatus, len(x.pts), len(x.over)+len(req.Rejected)
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
func (g *gateway) tooFast(w http.ResponseWriter, key *keyEntry, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	reply(w, http.StatusTooManyRequests, fmt.Sprintf("this key may send %g points a second - nothing was kept, send it again in %v", key.Rate, wait.Round(time.Millisecond)))
}

// answerTest tells what would have been kept.
func (g *gateway) answerTest(w http.ResponseWriter, req *ingest.Request, prefix string) {
	names, dropped := listing{names: []string{}}, listing{names: []string{}}
	for i := range req.Items {
		if !names.add(string(req.Items[i].Name)) {
			break
		}
	}
	for i := range req.Rejected {
		if !dropped.add(req.Rejected[i].Message()) {
			break
		}
	}
	replyJSON(w, http.StatusOK, map[string]any{
		"namespace": prefix, "message": "metric ingestion test, no metrics were ingested only counts are reported",
		"ingest_count": len(req.Items), "drop_count": len(req.Rejected), "metrics": names.names, "dropped": dropped.names,
	})
}

// fail answers a request that is refused.
func (g *gateway) fail(w http.ResponseWriter, r *http.Request, err error) {
	var tooLarge *http.MaxBytesError
	bad := asRefusal(err)
	switch {
	case bad != nil:
		reply(w, bad.Code, bad.Message)
	case errors.As(err, &tooLarge):
		reply(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("body of more than %d bytes - send fewer points a request", tooLarge.Limit))
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.Header().Set("Connection", "close")
		reply(w, http.StatusRequestTimeout, fmt.Sprintf("the body was not there after %v - nothing was kept, send it again", readTimeout))
	case errors.Is(err, errBody):
		reply(w, http.StatusBadRequest, "the body could not be read to its end - nothing was kept")
	case errors.Is(err, ErrTooBig):
		reply(w, http.StatusRequestEntityTooLarge, "more points at once than the queue can hold - send fewer points a request")
	case errors.Is(err, ErrFull), errors.Is(err, ErrStore), errors.Is(err, ErrClosed), errors.Is(err, ErrSpool), errors.Is(err, errBusy):
		w.Header().Set("Retry-After", "1")
		reply(w, http.StatusServiceUnavailable, unavailable(err))
	case r.Context().Err() != nil: // nobody is there to read an answer
	default:
		g.log.Error("request failed", "path", r.URL.Path, "error", err)
		reply(w, http.StatusInternalServerError, "the points could not be kept")
	}
}

// unread is the label for a request that could not be read.
func unread(err error) string {
	var tooLarge *http.MaxBytesError
	switch bad := asRefusal(err); {
	case bad != nil:
		return string(bad.Reason)
	case errors.As(err, &tooLarge):
		return "too_large"
	case errors.Is(err, errBusy):
		return "busy"
	}
	return "body"
}

func unavailable(err error) string {
	switch {
	case errors.Is(err, ErrStore):
		return "points cannot be judged, the dedup store does not answer - none was kept, send them again"
	case errors.Is(err, errBusy):
		return "too many large requests at once - nothing was kept, send it again"
	case errors.Is(err, ErrSpool):
		return "the disk of the spool takes nothing at present - send the points again"
	case errors.Is(err, ErrClosed):
		return "the server is stopping - nothing was kept, send it again"
	}
	return "no room for more points until the destination takes some - nothing was kept, send it again"
}
