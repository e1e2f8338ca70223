package flux

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
	"github.com/fluxmetrics/fluxkit/graphite"
)

// gateway serves Flux's HTTP API.
type gateway struct {
	cfg  HTTPConfig
	keys *keyTable
	door *door
	log  *slog.Logger
	pool sync.Pool    // *exchange
	body atomic.Int64 // bytes that the bodies being read and handled take
}

// exchange is what one request needs, kept for the next.
type exchange struct {
	parser ingest.Parser
	body   []byte
	held   int64 // of the gateway's bytes for bodies
	pts    []graphite.Point
}

// answer is the body of every response that has one.
type answer struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func newGateway(cfg HTTPConfig, d *door, log *slog.Logger) http.Handler {
	g := &gateway{cfg: cfg, keys: newKeyTable(cfg.Keys), door: d, log: log}
	mux := http.NewServeMux()
	for _, prefix := range []string{"/flux", ""} { // a proxy may strip the prefix
		mux.HandleFunc(prefix+"/metric_data", g.only(http.MethodGet, g.get))
		mux.HandleFunc(prefix+"/metric_data_post", g.only(http.MethodPost, g.post))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		reply(w, http.StatusNotFound, "no such path - points go to GET /flux/metric_data or POST /flux/metric_data_post")
	})
	return mux
}

func reply(w http.ResponseWriter, code int, message string) {
	b, err := json.Marshal(answer{code, message})
	if err != nil {
		b = []byte(`{}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(code)
	_, _ = w.Write(b)
}

func (g *gateway) only(method string, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method {
			w.Header().Set("Allow", method)
			reply(w, http.StatusMethodNotAllowed, fmt.Sprintf("%s takes %s, not %s", r.URL.Path, method, r.Method))
			return
		}
		h(w, r)
	}
}

func (g *gateway) exchange() *exchange {
	x, _ := g.pool.Get().(*exchange)
	if x == nil {
		x = &exchange{parser: ingest.Parser{MaxPoints: g.cfg.MaxPoints}}
	}
	return x
}

const (
	firstBody = 4 << 10 // where a body's buffer begins
	smallBody = 16 << 10
	keptBody  = 1 << 20 // a larger buffer is left to the garbage collector
)

func (g *gateway) put(x *exchange) {
	g.body.Add(-x.held)
	x.held = 0
	if cap(x.body) <= keptBody {
		x.parser.Reset()
		clear(x.pts)
		g.pool.Put(x)
	}
}

func (g *gateway) get(w http.ResponseWriter, r *http.Request) {
	if g.cfg.NoGet {
		reply(w, http.StatusForbidden, "GET is turned off here, since its key ends up in logs - POST to /flux/metric_data_post")
		return
	}
	x := g.exchange()
	defer g.put(x)
	req, err := x.parser.Query(r.URL.RawQuery)
	g.handle(w, r, x, req, err)
}

func (g *gateway) post(w http.ResponseWriter, r *http.Request) {
	x := g.exchange()
	defer g.put(x)
	var err error
	if err = g.read(w, r, x); err != nil {
		g.fail(w, r, err)
		return
	}
	req, err := x.parser.JSON(x.body)
	g.handle(w, r, x, req, err)
}

// errBody is wrapped by errors that are the client's: its body cannot be read.
var errBody = errors.New("flux: request body")

// errBusy is returned when the bodies of other requests take all the memory there is for bodies.
var errBusy = errors.New("flux: too many large requests at once")

// hold takes memory for x's body until x is put back. A small one is free, so that large ones cannot keep it out.
func (g *gateway) hold(x *exchange) error {
	more := int64(cap(x.body)) - x.held
	if cap(x.body) <= smallBody || more == 0 {
		return nil
	}
	if g.body.Add(more) > g.cfg.MaxBodies {
		g.body.Add(-more)
		return errBusy
	}
	x.held += more
	return nil
}

// read reads the decoded body of r into x. Memory is taken as bytes arrive, not as they are announced.
func (g *gateway) read(w http.ResponseWriter, r *http.Request, x *exchange) error {
	limit := g.cfg.MaxBody
	if r.ContentLength > limit {
		w.Header().Set("Connection", "close")
		return &http.MaxBytesError{Limit: limit}
	}
	var body io.Reader = http.MaxBytesReader(w, r.Body, limit)
	switch enc := strings.ToLower(r.Header.Get("Content-Encoding")); enc {
	case "", "identity":
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(body)
		if err != nil {
			return fmt.Errorf("%w: not gzip: %w", errBody, err)
		}
		body = z
	default:
		return &ingest.Error{Code: http.StatusUnsupportedMediaType, Item: -1, Message: fmt.Sprintf("Content-Encoding %.40q is not known here - send gzip or none", enc)}
	}
	x.body = x.body[:0]
	if cap(x.body) == 0 || g.hold(x) != nil { // a large buffer of an earlier request, and no room for it now
		x.body = make([]byte, 0, firstBody)
	}
	for {
		if len(x.body) == cap(x.body) {
			x.body = append(x.body, 0)[:len(x.body)]
		}
		if err := g.hold(x); err != nil {
			return err
		}
		n, err := body.Read(x.body[len(x.body):cap(x.body)])
		x.body = x.body[:len(x.body)+n]
		switch {
		case int64(len(x.body)) > limit:
			return &http.MaxBytesError{Limit: limit}
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("%w: %w", errBody, err)
		}
	}
}

// handle answers a request that was parsed, or not.
func (g *gateway) handle(w http.ResponseWriter, r *http.Request, x *exchange, req *ingest.Request, err error) {
	if err != nil {
		g.fail(w, r, err)
		return
	}
	if req.Status { // before the key is looked at, as the original does
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"status": "ok"}`)
		return
	}
	prefix, err := g.authenticate(r, req)
	if err == nil && req.ValidateKey {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"status": "key valid"}`)
		return
	}
	if err == nil {
		err = x.parser.Validate(ingest.Rules{MaxAge: max(0, g.cfg.MaxAge), MaxFuture: max(0, g.cfg.MaxFuture), Now: g.door.now()}, prefix)
	}
	if err != nil {
		g.refuse(req.Points, err)
		g.fail(w, r, err)
		return
	}
	if req.Test || r.Header.Get("X-Test-Only") != "" {
		g.answerTest(w, req, prefix)
		return
	}
	if err := g.admit(r.Context(), x, req); err != nil {
		g.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// authenticate returns the prefix of the request's key.
func (g *gateway) authenticate(r *http.Request, req *ingest.Request) (string, error) {
	if g.cfg.NoAuth {
		return "", nil
	}
	key, given := req.Key, req.HasKey
	if h := r.Header.Get("Key"); h != "" {
		key, given = []byte(h), true
	} else if h, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		key, given = []byte(h), true
	}
	if !given {
		return "", &ingest.Error{Code: http.StatusBadRequest, Message: "no key passed", Item: -1, Reason: "no_key"}
	}
	prefix, ok := g.keys.find(key)
	if !ok {
		return "", &ingest.Error{Code: http.StatusUnauthorized, Message: "invalid key", Item: -1, Reason: "key"}
	}
	return prefix, nil
}

// refuse counts the points of a request that is refused whole: the one that broke a rule by that, the rest as siblings.
func (g *gateway) refuse(points int, err error) {
	var e *ingest.Error
	if !errors.As(err, &e) || points == 0 {
		return
	}
	if e.Item < 0 {
		g.door.refuse(string(e.Reason), points)
		return
	}
	g.door.refuse(string(e.Reason), 1)
	g.door.refuse("sibling", points-1)
}

// answerTest tells what would have been kept.
func (g *gateway) answerTest(w http.ResponseWriter, req *ingest.Request, prefix string) {
	names := make([]string, len(req.Items))
	for i := range req.Items {
		names[i] = string(req.Items[i].Name)
	}
	b, err := json.Marshal(map[string]any{
		"namespace": prefix, "message": "metric ingestion test, no metrics were ingested only counts are reported",
		"ingest_count": len(names), "drop_count": 0, "metrics": names, "dropped": []string{},
	})
	if err != nil {
		reply(w, http.StatusInternalServerError, "the answer could not be written")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b)
}

// admit hands the request's points to the door. It waits for room for a moment.
func (g *gateway) admit(ctx context.Context, x *exchange, req *ingest.Request) error {
	x.pts = x.pts[:0]
	for i := range req.Items {
		it := &req.Items[i]
		x.pts = append(x.pts, graphite.Point{Name: it.Name, Timestamp: it.Timestamp, Value: it.Value})
	}
	j, err := g.door.admit(ctx, x.pts, entry{
		judge: true, room: g.cfg.RoomWait, fill: func(i int) bool { return req.Items[i].Fill },
	})
	g.door.put(j)
	return err
}

// fail answers a request that is refused.
func (g *gateway) fail(w http.ResponseWriter, r *http.Request, err error) {
	var bad *ingest.Error
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &bad):
		reply(w, bad.Code, bad.Message)
	case errors.As(err, &tooLarge):
		reply(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("body of more than %d bytes - send fewer points a request", tooLarge.Limit))
	case errors.Is(err, errBody):
		reply(w, http.StatusBadRequest, "the body could not be read - "+strings.TrimPrefix(err.Error(), errBody.Error()+": "))
	case errors.Is(err, ErrTooBig):
		reply(w, http.StatusRequestEntityTooLarge, "more points at once than the queue can hold - send fewer points a request")
	case errors.Is(err, ErrFull), errors.Is(err, ErrStore), errors.Is(err, ErrClosed), errors.Is(err, errBusy):
		w.Header().Set("Retry-After", "1")
		reply(w, http.StatusServiceUnavailable, unavailable(err))
	case r.Context().Err() != nil: // nobody is there to read an answer
	default:
		g.log.Error("request failed", "path", r.URL.Path, "error", err)
		reply(w, http.StatusInternalServerError, "the points could not be kept")
	}
}

func unavailable(err error) string {
	switch {
	case errors.Is(err, ErrStore):
		return "points cannot be judged, the dedup store does not answer - none was kept, send them again"
	case errors.Is(err, errBusy):
		return "too many large requests at once - nothing was kept, send it again"
	case errors.Is(err, ErrClosed):
		return "the server is stopping - nothing was kept, send it again"
	}
	return "no room for more points until the destination takes some - nothing was kept, send it again"
}
