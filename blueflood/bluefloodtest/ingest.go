package bluefloodtest

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"time"
)

const subBatch = 100 // points that the server stores at a time

// serveIngest answers the requests of one connection.
func (s *Server) serveIngest(c *conn) {
	for {
		r, err := c.readHead()
		if err != nil {
			return
		}
		if r.longLine {
			_ = c.write(&response{status: http.StatusNotFound}, false)
			return
		}
		r.settled = s.begin()
		keep := s.exchange(c, r)
		r.settled()
		if !keep {
			return
		}
	}
}

// exchange deals with one request, and reports whether the connection lives on.
func (s *Server) exchange(c *conn, r *request) bool {
	seen := Request{Method: r.Method, Target: r.RequestURI, Header: r.Header, Conn: c.id}
	if r.expect {
		if r.ContentLength > int64(s.opts.MaxContent) {
			seen.Status = http.StatusExpectationFailed
			s.remember(seen)
			return c.write(&response{status: seen.Status}, false) == nil
		}
		if _, err := io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return false
		}
	}
	wire, length, err := c.readBody(r, s.opts.MaxContent)
	if err != nil {
		return false
	}
	body, corrupt := inflate(wire, r.Header.Get("Content-Encoding"), s.opts.MaxContent)
	seen.Body, seen.Wire = body, length
	if res := s.guard(r.Header); res != nil {
		seen.Status = res.status
		s.remember(seen)
		return s.answer(c, r, res)
	}
	if length > s.opts.MaxContent || len(body) > s.opts.MaxContent {
		s.remember(seen)
		r.settled()
		return c.idle() == nil // never answered
	}
	if corrupt || r.bigHeader {
		body = nil
	}
	res, tenant := s.route(r)
	if res != nil {
		seen.Status = res.status
		s.remember(seen)
		return s.answer(c, r, res)
	}
	return s.reply(c, r, seen, tenant, body)
}

// route returns the tenant that an ingest request writes to, or the answer to one that does not get so far.
func (s *Server) route(r *request) (*response, string) {
	name, args, refusal := find(ingestRoutes[:], r.Method, r.RequestURI)
	if refusal != nil {
		return refusal, ""
	}
	if name == "ok" {
		return &response{status: http.StatusOK}, ""
	}
	if refusal := checkMedia(r); refusal != nil {
		return refusal, ""
	}
	tenant := r.Header.Get("tenantId") // a header of the client goes before the path
	if tenant == "" && len(args) > 0 {
		tenant = args[0]
	}
	return nil, tenant
}

// reply answers an ingest, genuinely or as a Reply has it.
func (s *Server) reply(c *conn, r *request, seen Request, tenant string, body []byte) bool {
	f := s.nextReply()
	if f.Delay > 0 {
		t := time.NewTimer(f.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-s.done:
			return false
		}
	}
	var res *response
	if f.genuine() || f.Store {
		path, _, _ := strings.Cut(r.RequestURI, "?")
		multi := strings.HasSuffix(path, "/multi") || strings.Contains(path, "/multitenant/")
		res = s.take(tenant, body, multi)
	}
	switch {
	case f.Status != 0 && f.Message != "":
		res = wholeError(f.Status, tenant, f.Message)
	case f.Status != 0:
		res = &response{status: f.Status, body: []byte(f.Body)}
	}
	if !f.Hang && !f.Reset {
		seen.Status = res.status
	}
	s.remember(seen)
	r.settled()
	if f.Reset {
		c.reset()
		return false
	}
	if f.Hang {
		return c.idle() == nil
	}
	if len(f.Header) > 0 {
		res.header = f.Header.Clone()
	}
	return s.answer(c, r, res)
}

func (s *Server) answer(c *conn, r *request, res *response) bool {
	if r.settled != nil {
		r.settled()
	}
	return c.write(res, r.keepAlive) == nil && r.keepAlive
}

// inflate undoes the encodings that the server knows, as far as limit+1 bytes. Others pass as they are.
func inflate(data []byte, encoding string, limit int) (out []byte, corrupt bool) {
	var src io.Reader
	var err error
	switch strings.ToLower(encoding) {
	case "gzip", "x-gzip":
		src, err = gzip.NewReader(bytes.NewReader(data))
	case "deflate":
		if src, err = zlib.NewReader(bytes.NewReader(data)); err != nil {
			src, err = flate.NewReader(bytes.NewReader(data)), nil
		}
	default:
		return data, false
	}
	if err != nil {
		return nil, true
	}
	var b bytes.Buffer
	_, err = io.Copy(&b, io.LimitReader(src, int64(limit)+1))
	return b.Bytes(), err != nil
}

// take parses, validates and stores a body, and returns the server's answer.
func (s *Server) take(tenant string, body []byte, multi bool) *response {
	metrics, err := parseBody(body, multi)
	if err != nil {
		return wholeError(http.StatusBadRequest, tenant, "Cannot parse content")
	}
	var points []Point
	var errs []errorEntry
	now := s.Time()
	var valid []*metric
	for _, m := range metrics {
		if m == nil {
			return wholeError(http.StatusInternalServerError, tenant, "Failed parsing content")
		}
		if !multi {
			m.tenant = tenant
		}
		if bad := s.validate(m, now, multi); len(bad) > 0 {
			errs = append(errs, bad...)
			continue
		}
		valid = append(valid, m)
	}
	for _, m := range valid {
		if m.value == nil || m.value[0] == 'n' {
			continue // not an error, and not stored
		}
		v, kind, ok, err := number(m.value)
		switch {
		case err != nil:
			return wholeError(http.StatusInternalServerError, tenant, "Failed parsing content")
		case !ok:
			errs = append(errs, entry(tenant, m, "metricValue", "metric value must be numeric"))
			continue
		case m.ttl == math.MaxInt32:
			return wholeError(http.StatusBadRequest, tenant, fmt.Sprintf(
				"Invalid data TTL supplied for metric is invalid. Required: 0 < ttl < 2147483647, provided: %d", m.ttl))
		}
		points = append(points, Point{
			Tenant: m.tenant, Metric: m.name, Timestamp: m.time, Value: v, Kind: kind, TTL: int(m.ttl), Unit: m.unit,
			stored: now.UnixMilli(),
		})
	}
	return s.keep(tenant, points, errs)
}

// validate returns an entry for each rule that the metric breaks.
func (s *Server) validate(m *metric, now time.Time, multi bool) (errs []errorEntry) {
	if m.name == "" {
		errs = append(errs, entry(m.tenant, m, "metricName", "may not be empty"))
	}
	if m.ttl < 1 {
		errs = append(errs, entry(m.tenant, m, "ttlInSeconds", "must be between 1 and 2147483647"))
	}
	past, future := s.opts.Past.Milliseconds(), s.opts.Future.Milliseconds()
	if at := now.UnixMilli(); m.time < at-past || m.time > at+future {
		errs = append(errs, entry(m.tenant, m, "collectionTime", fmt.Sprintf("Out of bounds. Cannot be more than %d "+
			"milliseconds into the past. Cannot be more than %d milliseconds into the future", past, future)))
	}
	if multi && m.tenant == "" {
		errs = append(errs, entry("", m, "tenantId", "may not be empty"))
	}
	return errs
}

func entry(tenant string, m *metric, source, message string) errorEntry {
	return errorEntry{TenantID: tenant, Timestamp: &m.time, MetricName: m.name, Source: &source, Message: message}
}

// keep stores the points, a hundred at a time, and makes the answer.
func (s *Server) keep(tenant string, points []Point, errs []errorEntry) *response {
	if len(points) == 0 {
		if len(errs) == 0 {
			return wholeError(http.StatusBadRequest, tenant, "No valid metrics")
		}
		return errorList(http.StatusBadRequest, errs)
	}
	worst := Stored
	var kept []Point
	for start := 0; start < len(points); start += subBatch {
		batch := points[start:min(start+subBatch, len(points))]
		result := Stored
		if s.opts.Storage != nil {
			for _, p := range batch {
				result = max(result, s.opts.Storage(p))
			}
		}
		if result == Stored {
			kept = append(kept, batch...)
		}
		worst = max(worst, result)
	}
	if worst == StoreThrew {
		return wholeError(http.StatusInternalServerError, tenant, "Error persisting metrics")
	}
	s.storePoints(kept)
	switch worst {
	case StoreFailed:
		return wholeError(http.StatusInternalServerError, tenant, "Persisted failed for metrics")
	case StoreTimedOut:
		return wholeError(http.StatusAccepted, tenant, "Timed out persisting metrics")
	}
	if len(errs) > 0 {
		return errorList(http.StatusMultiStatus, errs)
	}
	return &response{status: http.StatusOK}
}

func (s *Server) storePoints(points []Point) {
	s.mu.Lock()
	for _, p := range points {
		s.store.put(p)
	}
	if s.changed != nil && len(points) > 0 {
		close(s.changed)
		s.changed = nil
	}
	s.mu.Unlock()
	if s.opts.OnPoint != nil {
		for _, p := range points {
			s.opts.OnPoint(p)
		}
	}
}
