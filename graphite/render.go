package graphite

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ErrRenderTooLarge is wrapped by the error for an answer longer than RenderClient.MaxBody.
var ErrRenderTooLarge = errors.New("answer is larger than MaxBody")

const (
	defaultRenderTimeout = 30 * time.Second
	defaultRenderBody    = 64 << 20
	longQuery            = 4 << 10 // sent as a form from here on: servers limit the length of a URL
	errorText            = 512     // of an answer that is quoted in an error
)

// lastWindows are how far Last looks back, in turn. Each is answered from the finest archive that covers it.
var lastWindows = [...]string{"-50mins", "-6hours", "-24hours", "-7days", "-30days", "-90days"}

// Series is one series of a render API's answer.
type Series struct {
	Target string
	// Points are in order of time. Where the answer had null there is no point. Names are nil.
	Points []Point
}

// RenderClient reads from a Graphite render API. BaseURL is required; the zero value of every other field means its
// default. Its methods may be called from many goroutines once its fields are set.
type RenderClient struct {
	BaseURL    string        // e.g. http://graphite.example:8080; /render is appended
	HTTPClient *http.Client  // nil: one of its own, which uses TLS
	TLS        *tls.Config   // for that one; nil: the system's certificates
	User       string        // for basic authentication, when User or Password is set
	Password   string        //
	Header     http.Header   // added to each request
	Timeout    time.Duration // of one request, the body included. Default 30 s
	MaxBody    int64         // longest answer, in bytes after decompression. Default 64 MiB

	once sync.Once
	own  *http.Client
}

// RenderError is returned for a request that got no usable answer. errors.Is finds what caused it: the context's error,
// one of package net's, ErrRenderTooLarge.
type RenderError struct {
	Target string // the first target of the request
	Status int    // HTTP status, 0 when there was no answer
	Body   string // how the answer starts, where it was not what was asked for
	Err    error
}

func (e *RenderError) Error() string {
	text := fmt.Sprintf("graphite: render %q: %v", e.Target, e.Err)
	if e.Body != "" {
		text += fmt.Sprintf(": %q", e.Body)
	}
	return text
}

// Unwrap returns the cause.
func (e *RenderError) Unwrap() error { return e.Err }

// Render fetches targets: names, patterns or function calls. from and until are sent in whole seconds; Graphite answers
// with what is later than from and not later than until. A zero time leaves it to the server: 24 hours ago, and now. A
// target that matches nothing adds no series; that is no error. Any error is a *RenderError.
func (c *RenderClient) Render(ctx context.Context, targets []string, from, until time.Time) ([]Series, error) {
	return c.render(ctx, targets, epoch(from), epoch(until))
}

// Last returns the newest datapoint of a metric: of the last 50 minutes, else of the last 6 hours, and so on up to 90
// days. ok is false when the server answered each time and had none. Any error is a *RenderError, and never means that
// there is none.
func (c *RenderClient) Last(ctx context.Context, metric string) (p Point, ok bool, err error) {
	for _, window := range lastWindows {
		series, err := c.render(ctx, []string{metric}, window, "")
		if err != nil {
			return Point{}, false, err
		}
		for _, s := range series {
			if n := len(s.Points); n > 0 && (!ok || s.Points[n-1].Timestamp > p.Timestamp) {
				p, ok = s.Points[n-1], true
			}
		}
		if ok {
			p.Name = []byte(metric)
			return p, true, nil
		}
	}
	return Point{}, false, nil
}

// CloseIdleConnections closes the connections that wait for a next request.
func (c *RenderClient) CloseIdleConnections() { c.client().CloseIdleConnections() }

func epoch(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(t.Unix(), 10)
}

func (c *RenderClient) render(ctx context.Context, targets []string, from, until string) ([]Series, error) {
	fail := &RenderError{}
	if len(targets) == 0 {
		fail.Err = errors.New("no target")
		return nil, fail
	}
	fail.Target = targets[0]
	timeout := c.Timeout
	if timeout == 0 {
		timeout = defaultRenderTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := c.request(ctx, targets, from, until)
	if err != nil {
		fail.Err = err
		return nil, fail
	}
	resp, err := c.client().Do(req)
	if err != nil {
		fail.Err = err
		return nil, fail
	}
	defer resp.Body.Close()
	fail.Status = resp.StatusCode
	if resp.Request != nil && resp.Request.Method != req.Method {
		fail.Err = fmt.Errorf("redirected to %s, which loses the query of a %s: give that address", resp.Request.URL.Redacted(), req.Method)
		return nil, fail
	}
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, errorText))
		fail.Body, fail.Err = string(text), fmt.Errorf("status %s", resp.Status)
		return nil, fail
	}
	series, body, err := c.read(resp.Body)
	if err != nil {
		fail.Body, fail.Err = string(body[:min(len(body), errorText)]), err
		return nil, fail
	}
	return series, nil
}

func (c *RenderClient) request(ctx context.Context, targets []string, from, until string) (*http.Request, error) {
	u, err := url.Parse(c.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("RenderClient.BaseURL: %w", err)
	}
	if u.Scheme == "" || u.Host == "" {
		return nil, fmt.Errorf("RenderClient.BaseURL %q lacks its scheme or its host", c.BaseURL)
	}
	u = u.JoinPath("render")
	form := url.Values{"target": targets, "format": {"json"}}
	if from != "" {
		form.Set("from", from)
	}
	if until != "" {
		form.Set("until", until)
	}
	query, method, body := form.Encode(), http.MethodGet, io.Reader(nil)
	if len(query) > longQuery {
		method, body = http.MethodPost, strings.NewReader(query)
	} else {
		u.RawQuery = query
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	for k, v := range c.Header {
		req.Header[http.CanonicalHeaderKey(k)] = v
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if c.User != "" || c.Password != "" {
		req.SetBasicAuth(c.User, c.Password)
	}
	return req, nil
}

func (c *RenderClient) client() *http.Client {
	if c.HTTPClient != nil {
		return c.HTTPClient
	}
	c.once.Do(func() {
		c.own = &http.Client{Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: c.TLS.Clone(), ForceAttemptHTTP2: true,
			MaxIdleConnsPerHost: 4, IdleConnTimeout: 90 * time.Second,
		}}
	})
	return c.own
}

// read reads an answer. With an error comes what was read of the body.
func (c *RenderClient) read(r io.Reader) ([]Series, []byte, error) {
	most := c.MaxBody
	if most == 0 {
		most = defaultRenderBody
	}
	body, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, nil, err
	}
	if int64(len(body)) > most {
		return nil, nil, fmt.Errorf("%w (%d bytes)", ErrRenderTooLarge, most)
	}
	if trimmed := bytes.TrimSpace(body); len(trimmed) == 0 || trimmed[0] != '[' {
		return nil, body, errors.New("the answer is no JSON list")
	}
	var answer []*struct {
		Target     string
		Datapoints []renderPoint
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, body, fmt.Errorf("the answer is not what a render API says: %w", err)
	}
	series := make([]Series, len(answer))
	for i, a := range answer {
		if a == nil || a.Datapoints == nil {
			return nil, body, fmt.Errorf("element %d of the answer is no series with datapoints", i)
		}
		series[i].Target = a.Target
		series[i].Points = make([]Point, 0, len(a.Datapoints))
		for _, p := range a.Datapoints {
			if !p.null {
				series[i].Points = append(series[i].Points, Point{Timestamp: p.ms, Value: p.value})
			}
		}
	}
	return series, nil, nil
}

// renderPoint is one [value, timestamp] of an answer.
type renderPoint struct {
	value float64
	ms    int64
	null  bool
}

// UnmarshalJSON reads what is known to be well-formed JSON. Graphite writes an infinite value as 1e9999.
func (p *renderPoint) UnmarshalJSON(b []byte) error {
	inner, ok := bytes.CutPrefix(b, []byte("["))
	inner, ok2 := bytes.CutSuffix(inner, []byte("]"))
	value, ts, ok3 := strings.Cut(string(inner), ",")
	if !ok || !ok2 || !ok3 {
		return fmt.Errorf("datapoint %.40q is no [value, timestamp]", b)
	}
	sec, err := strconv.ParseFloat(strings.TrimSpace(ts), 64)
	if ms := math.Round(sec * 1000); err == nil && math.Abs(ms) < 1<<62 {
		p.ms = int64(ms)
	} else {
		return fmt.Errorf("datapoint %.40q has no timestamp", b)
	}
	if value = strings.TrimSpace(value); value == "null" {
		p.null = true
		return nil
	}
	p.value, err = strconv.ParseFloat(value, 64)
	if err != nil && !math.IsInf(p.value, 0) {
		return fmt.Errorf("datapoint %.40q has no value", b)
	}
	return nil
}
