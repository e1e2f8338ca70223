package flux

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
)

// gateway serves Flux's HTTP API.
type gateway struct {
	cfg      HTTPConfig
	keys     atomic.Pointer[keyTable]
	anybody  *keyEntry // stands for the key where none is asked for
	basic    *basicAuth
	template *ingest.Template
	decoders ingest.Decoders
	door     *door
	populate *populate // nil: no history is fetched
	log      *slog.Logger
	chunk    int                       // bytes of points that are judged one by one which the door gets at once
	stall    time.Duration             // see stallTime
	pools    [len(keptSizes)]sync.Pool // *exchange
	memory   budget
	bodies   atomic.Int64 // requests with a body that are under way
	busy     atomic.Int64 // when a request found no memory last, Unix nanoseconds
	told     atomic.Int64 // when points that were left out were logged last, Unix nanoseconds
	refusals atomic.Int64 // requests refused since that was logged
	toldOf   atomic.Int64 // when it was, Unix nanoseconds
	reload   sync.Mutex   // held while keys are replaced
}

func newGateway(cfg HTTPConfig, d *door, log *slog.Logger) (*gateway, error) {
	if err := checkUsers(cfg.BasicAuth); err != nil {
		return nil, err
	}
	if t := cfg.TLS; t != nil && len(t.Certificates) == 0 && t.GetCertificate == nil && t.GetConfigForClient == nil {
		return nil, configError("TLS without a certificate: set Certificates or GetCertificate")
	}
	g := &gateway{door: d, log: log, basic: newBasicAuth(cfg.BasicAuth), stall: stallTime, chunk: gatewayChunk}
	g.memory.most = cfg.MaxBodies
	g.keys.Store(newKeyTable(cfg.Keys, &cfg, nil))
	cfg.Keys, cfg.BasicAuth = nil, nil // from here on there are digests alone
	g.cfg = cfg
	g.anybody = &keyEntry{Key: Key{Rights: RightIngest | RightFill | RightPopulate, MaxBody: cfg.MaxBody}}
	if cfg.TelegrafTemplate != "" {
		t, err := ingest.ParseTemplate(cfg.TelegrafTemplate)
		if err != nil {
			return nil, configError("TelegrafTemplate: %w", err)
		}
		g.template = t
	}
	return g, nil
}

// routes returns the API by its paths.
func (g *gateway) routes() map[string]http.HandlerFunc {
	routes := map[string]http.HandlerFunc{}
	for _, prefix := range []string{"/flux", ""} { // a proxy may strip the prefix
		routes[prefix+"/metric_data"] = g.only(http.MethodGet, g.get)
		routes[prefix+"/metric_data_post"] = g.only(http.MethodPost, g.post)
		routes[prefix+"/lines"] = g.only(http.MethodPost, g.lines)
		routes[prefix+"/trace"] = g.only(http.MethodGet, g.trace)
	}
	return routes
}

func noSuchPath(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusNotFound, "no such path - points go to GET /flux/metric_data, POST /flux/metric_data_post or POST /flux/lines")
}

// only lets requests of one method, that name a user where one is asked for, through to h.
func (g *gateway) only(method string, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method != method:
			w.Header().Set("Allow", method)
			reply(w, http.StatusMethodNotAllowed, fmt.Sprintf("%s takes %s, not %s", r.URL.Path, method, r.Method))
		case !g.basic.lets(r, g.bearsKey):
			w.Header().Set("WWW-Authenticate", `Basic realm="flux", charset="UTF-8"`)
			reply(w, http.StatusUnauthorized, "a user and a password are asked for here - curl -u USER:PASSWORD")
		default:
			h(w, r)
		}
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
	g.handle(w, r, x, req, nil, err)
}

// post takes Flux's JSON. Telegraf's is told by its header, and as with the original by its key, which must not stand in
// the body: so a stranger's body costs little memory.
func (g *gateway) post(w http.ResponseWriter, r *http.Request) {
	g.parse(w, r, func(x *exchange) (*ingest.Request, error) {
		if !x.known || header(r, "Telegraf") == "" {
			return x.parser.JSON(x.body)
		}
		x.quiet = !g.cfg.TelegrafReport
		return x.parser.Telegraf(x.body, ingest.Telegraf{
			Prefix: header(r, "Prefix"), Template: g.template, Unit: g.cfg.TelegrafUnit,
		})
	})
}

func (g *gateway) lines(w http.ResponseWriter, r *http.Request) {
	g.parse(w, r, func(x *exchange) (*ingest.Request, error) { return x.parser.Lines(x.body) })
}

// header is the first value of a header, whose name is in canonical form.
func header(r *http.Request, name string) string {
	if v := r.Header[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// parse reads a body and has it handled. A key that stands outside the body is looked at first.
func (g *gateway) parse(w http.ResponseWriter, r *http.Request, parse func(*exchange) (*ingest.Request, error)) {
	defer g.bodies.Add(-1)
	if g.bodies.Add(1) > int64(g.cfg.MaxConns) { // by HTTP/2, in a server that is not ours
		g.busy.Store(g.door.now().UnixNano())
		g.handle(w, r, nil, nil, nil, errBusy)
		return
	}
	asked, err := askedBy(r.URL.RawQuery)
	if asked.status {
		g.handle(w, r, nil, &ingest.Request{Status: true}, nil, err)
		return
	}
	var key *keyEntry
	if err == nil {
		key, err = g.keyBeside(r, asked)
	}
	if err != nil {
		g.handle(w, r, nil, nil, nil, err)
		return
	}
	if asked.validate && key != nil {
		g.handle(w, r, nil, &ingest.Request{ValidateKey: true}, key, nil)
		return
	}
	x := g.exchangeFor(r, key != nil)
	defer g.put(x)
	var req *ingest.Request
	if err = g.read(w, r, x); err == nil {
		req, err = parse(x)
	}
	if err == nil {
		asked.apply(req, &x.parser)
	}
	g.handle(w, r, x, req, key, err)
}

// handle answers a request that was parsed, or could not be: then nobody knows how many points it held. The key is nil
// where it must be looked for yet.
func (g *gateway) handle(w http.ResponseWriter, r *http.Request, x *exchange, req *ingest.Request, key *keyEntry, err error) {
	if err != nil {
		g.door.refuseRequest(unread(err))
		g.fail(w, r, err)
		return
	}
	if req.Status { // before the key is looked at, as the original does
		g.say(w, `{"status": "ok"}`)
		return
	}
	dry := req.Test || req.ValidateKey || header(r, "X-Test-Only") != ""
	if key == nil {
		key, err = g.authenticateKey(r, req.Key, req.HasKey)
	}
	if err == nil && req.ValidateKey {
		g.say(w, `{"status": "key valid"}`)
		return
	}
	if err == nil {
		g.accept(x)
		err = g.check(x, req, key)
	}
	switch {
	case err != nil && dry:
		g.fail(w, r, err)
	case err != nil:
		g.refuse(x, req, key, asRefusal(err))
		g.fail(w, r, err)
	case dry:
		g.answerTest(w, r, req, key.Prefix)
	default:
		g.ingest(w, r, x, req, key)
	}
}

// say answers 200.
func (g *gateway) say(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, body)
}

// ingest hands the points of a request that is in order to the door: all at once, or where points are judged one by one
// as many at a time as fit in any queue, the oldest first. Each of them is counted once: as left out, as over the quota,
// or by the door.
func (g *gateway) ingest(w http.ResponseWriter, r *http.Request, x *exchange, req *ingest.Request, key *keyEntry) {
	if key.rate != nil {
		if wait := key.take(len(req.Items), g.door.now()); wait > 0 {
			g.refuse(x, req, key, &ingest.Error{Item: -1, Reason: reasonRate})
			g.tooFast(w, r, key, wait)
			return
		}
	}
	x.kept, x.over = 0, x.over[:0]
	var err error
	for items := req.Items; len(items) > 0 && err == nil; {
		run := items
		if req.OneByOne {
			run = items[:g.fits(items)]
		}
		g.choose(x, run, key, req.Fill)
		if err = g.admit(r.Context(), x); err == nil {
			x.kept += len(x.pts)
			items = items[len(run):]
			continue
		}
		key.giveBack(len(items))
		for i := range items[len(run):] {
			g.door.traceRefused(items[len(run)+i].Name, refusal(err))
		}
		g.door.refuse(refusal(err), len(items)-len(run))
	}
	g.leftOut(x, req, key) // they were received whatever became of the others
	if err != nil {
		g.failPartly(w, r, err, x.kept)
		return
	}
	g.answer(w, x, req, key)
}

// gatewayChunk bounds what a request whose points are judged one by one hands to the door at once, in bytes. A small
// queue makes it less.
const gatewayChunk = 4 << 20

// fits is how many of the items, at least one, go to the door at once.
func (g *gateway) fits(items []ingest.Item) int {
	size := 0
	for i := range items {
		size += len(items[i].Name) + 32
		if (size > g.chunk || i == g.cfg.MaxPoints) && i > 0 {
			return i
		}
	}
	return len(items)
}

// check validates the request's points, and holds them against the key's rights and limits.
func (g *gateway) check(x *exchange, req *ingest.Request, key *keyEntry) error {
	switch {
	case key.Rights&(RightIngest|RightFill) == 0:
		return forbidden("this key may not send points")
	case req.Fill && key.Rights&RightFill == 0:
		return forbidden("this key may not fill - send the points without fill")
	case key.MaxPoints > 0 && req.Points > key.MaxPoints:
		return tooMuch("%d points, and this key may send %d a request - send fewer", req.Points, key.MaxPoints)
	case key.MaxBody > 0 && int64(len(x.body)) > key.MaxBody:
		return tooMuch("a body of %d bytes, and this key may send %d a request - send fewer points", len(x.body), key.MaxBody)
	}
	err := x.parser.Validate(ingest.Rules{MaxAge: max(0, g.cfg.MaxAge), MaxFuture: max(0, g.cfg.MaxFuture), Now: g.door.now()}, key.Prefix)
	if err != nil || key.Rights&RightIngest != 0 {
		return err
	}
	for i := range req.Items {
		if !req.Items[i].Fill {
			return forbidden("this key may only fill - send the points with fill")
		}
	}
	return nil
}

// choose puts the points that the key's quota of names allows in x.pts, and adds the names of the others to x.over. fills
// tells that there are fills.
func (g *gateway) choose(x *exchange, items []ingest.Item, key *keyEntry, fills bool) {
	before := len(x.over)
	x.fill = x.fill[:0]
	pts, n := slices.Grow(x.pts[:0], len(items))[:len(items)], 0
	for i := range items {
		it := &items[i]
		if key.names != nil && !key.names.use(it.Name, key.MaxMetrics) {
			x.over = append(x.over, string(it.Name))
			continue
		}
		p := &pts[n] // member by member, which is three times as fast as a whole Point
		p.Name, p.Timestamp, p.Value = it.Name, it.Timestamp, it.Value
		n++
		if fills {
			x.fill = append(x.fill, it.Fill)
		}
	}
	x.pts = pts[:n]
	g.door.refuse(reasonQuota, len(x.over)-before)
	for _, name := range x.over[before:] {
		g.door.traceRefused([]byte(name), reasonQuota)
	}
}

// admit hands the points in x to the door. It waits for room for a moment.
func (g *gateway) admit(ctx context.Context, x *exchange) error {
	if len(x.pts) == 0 {
		return nil
	}
	e := entry{judge: true, room: g.cfg.RoomWait}
	if len(x.fill) > 0 {
		e.fill = x.fill
	}
	j, err := g.door.admit(ctx, x.pts, e)
	g.door.put(j)
	return err
}

// leftOut counts the points that were left out while others of their request were taken.
func (g *gateway) leftOut(x *exchange, req *ingest.Request, key *keyEntry) {
	if len(req.Rejected) == 0 {
		return
	}
	for i := range req.Rejected {
		r := &req.Rejected[i]
		g.door.refuse(string(r.Reason), 1)
		if name, err := x.parser.Name(r.Metric, key.Prefix); err == nil {
			g.door.traceRefused(name, string(r.Reason))
		}
	}
	if everySecond(&g.told, g.door.now) {
		first := string(req.Rejected[0].Reason)
		if x.quiet { // nobody else is told; text of another kind of request might hold a key
			first = req.Rejected[0].Message()
		}
		level := slog.LevelInfo
		if len(req.Rejected) == req.Points {
			level = slog.LevelWarn
		}
		g.log.Log(context.Background(), level, "points of a request were left out", "points", len(req.Rejected), "of", req.Points, "first", first)
	}
}

// Labels of points that are refused by the gateway itself, beside those of package ingest.
const (
	reasonNoKey   = "no_key"  // no key came along
	reasonKey     = "key"     // a key that is not known
	reasonRight   = "right"   // a key that may not do this
	reasonLimit   = "limit"   // more than the key may send at once
	reasonRate    = "rate"    // more than the key may send in a second
	reasonQuota   = "quota"   // a name beyond those that the key may use
	reasonSibling = "sibling" // a good point of an array that held a bad one
)

// refuse counts the points of a request that is refused whole: the one that broke a rule by that, the rest as siblings.
// key is nil for a request that has none, of which the trace is told nothing.
func (g *gateway) refuse(x *exchange, req *ingest.Request, key *keyEntry, why *ingest.Error) {
	reason := func(i int) string {
		if why.Item < 0 || why.Item == i {
			return string(why.Reason)
		}
		return reasonSibling
	}
	if why.Item < 0 {
		g.door.refuse(string(why.Reason), req.Points)
	} else {
		g.door.refuse(string(why.Reason), 1)
		g.door.refuse(reasonSibling, req.Points-1)
	}
	if key == nil || g.door.tracer == nil {
		return
	}
	if req.Items == nil {
		x.parser.Names(key.Prefix, func(i int, name []byte) { g.door.traceRefused(name, reason(i)) })
		return
	}
	for i := range req.Items {
		g.door.traceRefused(req.Items[i].Name, reason(i))
	}
}
