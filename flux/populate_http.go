package flux

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/flux/backfill"
	"github.com/fluxmetrics/fluxkit/flux/ingest"
)

const (
	populatePath   = "/populate_metric"
	populateBusy   = 60 * time.Second // after which a client may ask again that found too many jobs
	populateFailed = 10 * time.Second // likewise, where a store or a disk failed
)

// populateRoutes puts the endpoint for history on mux.
func (g *gateway) populateRoutes(mux *http.ServeMux) {
	for _, prefix := range []string{"/flux", ""} {
		mux.HandleFunc(prefix+populatePath, func(w http.ResponseWriter, r *http.Request) {
			switch r.Method {
			case http.MethodPost:
				g.only(http.MethodPost, g.populatePost)(w, r)
			case http.MethodGet:
				g.only(http.MethodGet, g.populateList)(w, r)
			default:
				w.Header().Set("Allow", "GET, POST")
				reply(w, http.StatusMethodNotAllowed, r.URL.Path+" takes GET and POST, not "+r.Method)
			}
		})
		mux.HandleFunc(prefix+populatePath+"/{id}", func(w http.ResponseWriter, r *http.Request) {
			switch r.Method {
			case http.MethodGet:
				g.only(http.MethodGet, g.populateGet)(w, r)
			case http.MethodDelete:
				g.only(http.MethodDelete, g.populateCancel)(w, r)
			default:
				w.Header().Set("Allow", "GET, DELETE")
				reply(w, http.StatusMethodNotAllowed, r.URL.Path+" takes GET and DELETE, not "+r.Method)
			}
		})
	}
}

// populateMux serves the endpoint alone, for PopulateConfig.Listen.
func (g *gateway) populateMux() http.Handler {
	mux := http.NewServeMux()
	g.populateRoutes(mux)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		reply(w, http.StatusNotFound, "no such path - requests for history go to POST /flux/populate_metric")
	})
	return mux
}

// populateKey returns the key of a request about history, which must have the right to it.
func (g *gateway) populateKey(r *http.Request, inBody string) (*keyEntry, error) {
	if inBody == "" && r.URL.RawQuery != "" {
		inBody = r.URL.Query().Get("key")
	}
	key, err := g.authenticateKey(r, []byte(inBody), inBody != "")
	if bad := asRefusal(err); bad != nil && bad.Reason == reasonNoKey {
		return nil, &ingest.Error{Code: http.StatusUnauthorized, Message: bad.Message, Item: -1, Reason: reasonNoKey}
	}
	if err != nil {
		return nil, err
	}
	if key.Rights&RightPopulate == 0 {
		return nil, forbidden("this key may not have history fetched - that is the right populate")
	}
	if g.populate == nil {
		return nil, forbidden("no history is fetched here - the server names what may be fetched from with --populate-allow ORIGIN")
	}
	return key, nil
}

// populatePost takes a request for a metric's history.
func (g *gateway) populatePost(w http.ResponseWriter, r *http.Request) {
	req, key, err := g.populateRequest(w, r)
	if err == nil {
		err = g.populateMay(req, key)
	}
	if err != nil {
		g.populateRefuse(w, r, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), g.populate.wait)
	defer cancel()
	job, joined, err := g.populate.Submit(ctx, req)
	if err != nil {
		g.populateRefuse(w, r, err)
		return
	}
	h := w.Header()
	h.Set("X-Flux-Job", job.ID)
	h.Set("Location", strings.TrimSuffix(r.URL.Path, "/")+"/"+job.ID)
	if job.Warning != "" {
		h.Set("Warning", `299 flux "`+job.Warning+`"`)
	}
	if joined {
		h.Set("X-Flux-Job-Joined", "true")
	}
	w.WriteHeader(http.StatusNoContent)
}

// populateRequest reads a request and finds its key.
func (g *gateway) populateRequest(w http.ResponseWriter, r *http.Request) (*backfill.Request, *keyEntry, error) {
	x := g.exchange()
	defer g.put(x)
	if err := g.read(w, r, x); err != nil {
		return nil, nil, err
	}
	req, wrong := backfill.ParseRequest(x.body)
	if req == nil {
		return nil, nil, wrong
	}
	key, err := g.populateKey(r, req.Key)
	if err != nil {
		return nil, nil, err
	}
	if key.MaxBody > 0 && int64(len(x.body)) > key.MaxBody {
		return nil, nil, tooMuch("a body of %d bytes, and this key may send %d a request", len(x.body), key.MaxBody)
	}
	return req, key, wrong
}

// populateMay holds a request against its key: the prefix, and the names that it may use, of which one that is refused for
// another reason takes none.
func (g *gateway) populateMay(req *backfill.Request, key *keyEntry) error {
	if err := req.Under(key.Prefix); err != nil {
		return forbidden(err.(*backfill.RequestError).Message())
	}
	if err := g.populate.Check(req); err != nil {
		return err
	}
	if key.names != nil && !key.names.use([]byte(req.Metric), key.MaxMetrics) {
		return forbidden("over quota - this key may use " + strconv.Itoa(key.MaxMetrics) + " metrics, and this is another one")
	}
	return nil
}

// populateRefuse answers a request for history that makes no job.
func (g *gateway) populateRefuse(w http.ResponseWriter, r *http.Request, err error) {
	var wrong *backfill.RequestError
	var origin *backfill.OriginError
	again := func(after time.Duration, message string) {
		w.Header().Set("Retry-After", strconv.Itoa(int(after.Seconds())))
		reply(w, http.StatusServiceUnavailable, message)
	}
	switch {
	case errors.As(err, &wrong):
		reply(w, http.StatusBadRequest, wrong.Message())
	case errors.As(err, &origin):
		reply(w, http.StatusForbidden, strings.TrimPrefix(origin.Error(), "backfill: ")+" - the server lists what may be fetched from with --populate-allow")
	case errors.Is(err, backfill.ErrFull):
		again(populateBusy, "too many jobs have not ended - ask again later")
	case errors.Is(err, backfill.ErrClosed):
		again(populateFailed, "the server is stopping - ask again later")
	case r.Context().Err() != nil: // nobody is there to read an answer
	case errors.Is(err, dedup.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		again(populateFailed, "the dedup store does not tell what the metric has - ask again later")
	case asRefusal(err) != nil, errors.Is(err, errBody), errors.Is(err, errBusy), isTooLarge(err):
		g.fail(w, r, err)
	default:
		g.log.Error("a populate job could not be kept", "error", err)
		again(populateFailed, "the job could not be kept - ask again later")
	}
}

func isTooLarge(err error) bool {
	var e *http.MaxBytesError
	return errors.As(err, &e)
}

// sees reports whether a key may see a job.
func (k *keyEntry) sees(s backfill.Status) bool {
	return (&backfill.Request{Metric: s.Metric}).Under(k.Prefix) == nil
}

// populateJob finds the job that a request names. Where it is not to be seen the request is answered.
func (g *gateway) populateJob(w http.ResponseWriter, r *http.Request) (s backfill.Status, ok bool) {
	key, err := g.populateKey(r, "")
	if err != nil {
		g.fail(w, r, err)
		return s, false
	}
	s, ok = g.populate.Get(r.PathValue("id"))
	if ok = ok && key.sees(s); !ok {
		noSuchJob(w)
	}
	return s, ok
}

func noSuchJob(w http.ResponseWriter) {
	reply(w, http.StatusNotFound, "no such job - it never was, or ended long ago, or belongs to others")
}

// populateGet tells how a job stands.
func (g *gateway) populateGet(w http.ResponseWriter, r *http.Request) {
	if s, ok := g.populateJob(w, r); ok {
		replyJSON(w, http.StatusOK, s)
	}
}

// populateCancel ends a job, and tells how it stands: 200 once it has ended, 202 while it is being ended. One that has
// ended before stays as it was. What is confirmed stays.
func (g *gateway) populateCancel(w http.ResponseWriter, r *http.Request) {
	s, ok := g.populateJob(w, r)
	if !ok {
		return
	}
	err := g.populate.Cancel(s.ID)
	if errors.Is(err, backfill.ErrNoJob) { // it was forgotten meanwhile
		noSuchJob(w)
		return
	}
	if err != nil {
		g.populateRefuse(w, r, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), g.populate.wait)
	defer cancel()
	s, err = g.populate.Wait(ctx, s.ID)
	switch {
	case err == nil:
		replyJSON(w, http.StatusOK, s)
	case errors.Is(err, backfill.ErrNoJob):
		noSuchJob(w)
	default:
		replyJSON(w, http.StatusAccepted, s)
	}
}

// populateList tells how all jobs stand that the key may see.
func (g *gateway) populateList(w http.ResponseWriter, r *http.Request) {
	key, err := g.populateKey(r, "")
	if err != nil {
		g.fail(w, r, err)
		return
	}
	jobs := []backfill.Status{}
	for _, s := range g.populate.List() {
		if key.sees(s) {
			jobs = append(jobs, s)
		}
	}
	replyJSON(w, http.StatusOK, map[string]any{"jobs": jobs})
}
