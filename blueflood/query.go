package blueflood

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// MaxMultiMetrics is the most metrics that a Blueflood with default settings takes in one multi-view request.
	MaxMultiMetrics = 100

	defaultMaxResponse = 64 << 20
)

// QueryConfig configures a Query. Only Tenant is required; the zero value of every other field means its default.
type QueryConfig struct {
	URL         string            // base address of the query API; default DefaultQueryURL
	Tenant      string            // whose metrics to read; percent-encoded into the path
	Timeout     time.Duration     // of one request, the answer's body included; default 30 s
	Transport   http.RoundTripper // default: one of the query's own, closed by Close
	Auth        Authenticator     // default none
	UserAgent   string            // default "fluxkit"
	MaxResponse int64             // longest answer in bytes; default 64 MiB
}

// Query reads the metrics of one tenant. Its methods may be called from many goroutines. An answer other than 200 is
// a *StatusError.
type Query struct {
	target      *target
	maxResponse int64
}

// NewQuery checks cfg. What cannot be used in it gives a *ConfigError.
func NewQuery(cfg QueryConfig) (*Query, error) {
	u, err := tenantURL(cfg.URL, DefaultQueryURL, cfg.Tenant)
	if err != nil {
		return nil, err
	}
	q := &Query{target: newTarget(u, cfg.Timeout, cfg.Transport, cfg.Auth, cfg.UserAgent), maxResponse: cfg.MaxResponse}
	if q.maxResponse <= 0 {
		q.maxResponse = defaultMaxResponse
	}
	return q, nil
}

// Close lets go of idle connections.
func (q *Query) Close() { q.target.close() }

// ViewsByPoints returns about so many points of the metric between from and to, both included: the server picks the
// resolution. fields name what each point shall hold (the Field constants); none leaves it to the server.
func (q *Query) ViewsByPoints(ctx context.Context, metric string, from, to time.Time, points int, fields ...Field) (*View, error) {
	return q.view(ctx, metric, viewParams(from, to, "points", strconv.Itoa(points), fields))
}

// ViewsByResolution is ViewsByPoints with the resolution given.
func (q *Query) ViewsByResolution(ctx context.Context, metric string, from, to time.Time, r Resolution, fields ...Field) (*View, error) {
	return q.view(ctx, metric, viewParams(from, to, "resolution", string(r), fields))
}

// MultiByPoints is ViewsByPoints of several metrics in one request, MaxMultiMetrics at most.
func (q *Query) MultiByPoints(ctx context.Context, metrics []string, from, to time.Time, points int, fields ...Field) ([]MetricView, error) {
	return q.multi(ctx, metrics, viewParams(from, to, "points", strconv.Itoa(points), fields))
}

// MultiByResolution is ViewsByResolution of several metrics in one request, MaxMultiMetrics at most.
func (q *Query) MultiByResolution(ctx context.Context, metrics []string, from, to time.Time, r Resolution, fields ...Field) ([]MetricView, error) {
	return q.multi(ctx, metrics, viewParams(from, to, "resolution", string(r), fields))
}

// Search returns the metrics whose names match the glob, "servers.*.cpu". A server without an index answers 404.
func (q *Query) Search(ctx context.Context, glob string) ([]FoundMetric, error) {
	var found []FoundMetric
	err := q.get(ctx, "/metrics/search", url.Values{"query": {glob}}, &found)
	return found, err
}

// SearchNames returns the names one level deep that match the glob, "servers.*", in the server's order. A server
// without an index answers 404.
func (q *Query) SearchNames(ctx context.Context, glob string) ([]FoundName, error) {
	var raw []map[string]bool
	if err := q.get(ctx, "/metric_name/search", url.Values{"query": {glob}}, &raw); err != nil {
		return nil, err
	}
	var found []FoundName
	for _, m := range raw {
		for name, complete := range m {
			found = append(found, FoundName{Name: name, Complete: complete})
		}
	}
	return found, nil
}

func (q *Query) view(ctx context.Context, metric string, params url.Values) (*View, error) {
	if metric == "" || strings.Contains(metric, "/") {
		return nil, fmt.Errorf("blueflood: metric %q cannot stand in the path of a view; a multi view can read it", metric)
	}
	v := new(View)
	if err := q.get(ctx, "/views/"+url.PathEscape(metric), params, v); err != nil {
		return nil, err
	}
	return v, nil
}

func (q *Query) multi(ctx context.Context, metrics []string, params url.Values) ([]MetricView, error) {
	if len(metrics) == 0 {
		return nil, nil
	}
	if len(metrics) > MaxMultiMetrics {
		return nil, fmt.Errorf("blueflood: %d metrics in one multi view; a server takes %d at most", len(metrics), MaxMultiMetrics)
	}
	names, err := json.Marshal(metrics)
	if err != nil {
		return nil, fmt.Errorf("blueflood: %w", err)
	}
	var reply struct {
		Metrics []MetricView `json:"metrics"`
	}
	err = q.do(ctx, http.MethodPost, "/views", params, names, &reply)
	return reply.Metrics, err
}

func viewParams(from, to time.Time, by, value string, fields []Field) url.Values {
	v := url.Values{
		"from": {strconv.FormatInt(from.UnixMilli(), 10)},
		"to":   {strconv.FormatInt(to.UnixMilli(), 10)},
		by:     {value},
	}
	if len(fields) > 0 {
		names := make([]string, len(fields))
		for i, f := range fields {
			names[i] = string(f)
		}
		v.Set("select", strings.Join(names, ","))
	}
	return v
}

func (q *Query) get(ctx context.Context, path string, params url.Values, out any) error {
	return q.do(ctx, http.MethodGet, path, params, nil, out)
}

// do makes one request below the tenant's address, and once more when new credentials can be had.
func (q *Query) do(ctx context.Context, method, path string, params url.Values, body []byte, out any) error {
	u := *q.target.base
	escaped := u.EscapedPath() + path
	var err error
	if u.Path, err = url.PathUnescape(escaped); err != nil {
		return fmt.Errorf("blueflood: path %q: %w", path, err)
	}
	u.RawPath, u.RawQuery = escaped, params.Encode()
	h := q.target.header()
	if body != nil {
		h["Content-Type"] = []string{jsonType}
	}
	renewed, err := q.doOnce(ctx, method, &u, h, body, out)
	if renewed {
		_, err = q.doOnce(ctx, method, &u, h.Clone(), body, out) // the first may still be read
	}
	return err
}

// doOnce makes one request. The credentials are put in h, which must not be changed any more.
func (q *Query) doOnce(ctx context.Context, method string, u *url.URL, h http.Header, body []byte, out any) (renewed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, q.target.timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return false, fmt.Errorf("blueflood: %w", err)
	}
	r.Header = h
	if q.target.auth != nil {
		if err := q.target.auth.Authorize(r); err != nil {
			return false, fmt.Errorf("blueflood: no credentials: %w", err)
		}
	}
	res, err := q.target.client.Do(r)
	if err != nil {
		return false, fmt.Errorf("blueflood: no answer: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusOK {
		return false, q.decode(res.Body, u, out)
	}
	a := readAnswer(res, time.Now)
	if q.target.auth != nil && (a.code == http.StatusUnauthorized || a.code == http.StatusForbidden) {
		renewed = q.target.auth.Refused(r, a.code)
	}
	return renewed, &StatusError{
		Method: method, URL: u.Redacted(), Code: a.code, Errors: a.entries, Body: a.text, RetryAfter: a.retryAfter,
	}
}

func (q *Query) decode(body io.Reader, u *url.URL, out any) error {
	data, err := io.ReadAll(io.LimitReader(body, q.maxResponse+1))
	if err != nil {
		return fmt.Errorf("blueflood: answer of %s: %w", u.Redacted(), err)
	}
	if int64(len(data)) > q.maxResponse {
		return fmt.Errorf("blueflood: answer of %s is longer than MaxResponse of %d bytes; ask for a shorter span", u.Redacted(), q.maxResponse)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("blueflood: answer of %s: %w", u.Redacted(), err)
	}
	return nil
}
