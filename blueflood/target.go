package blueflood

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	maxErrorList = 4 << 20   // longest answer that is searched for an error list
	maxDrain     = 64 << 10  // most of an answer that is read only to keep the connection
	maxWait      = time.Hour // longest Retry-After that is honoured
	excerpt      = 200       // bytes of an answer that an error shows
	jsonType     = "application/json"
)

// target makes requests to one tenant of one server. It may be used from many goroutines.
type target struct {
	base    *url.URL // .../v2.0/TENANT
	ingest  *url.URL // .../v2.0/TENANT/ingest
	client  http.Client
	own     *http.Transport // to be closed; nil when the caller brought one
	timeout time.Duration
	auth    Authenticator
	agent   string

	requests, bodyBytes, wireBytes, resent atomic.Uint64
}

func newTarget(base *url.URL, timeout time.Duration, rt http.RoundTripper, auth Authenticator, agent string) *target {
	t := &target{base: base, ingest: base.JoinPath("ingest"), timeout: timeout, auth: auth, agent: agent}
	if t.timeout <= 0 {
		t.timeout = defaultTimeout
	}
	if t.agent == "" {
		t.agent = defaultUserAgent
	}
	if rt == nil {
		t.own = &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
			ForceAttemptHTTP2:     true,
			MaxIdleConnsPerHost:   4,
			IdleConnTimeout:       90 * time.Second,
			TLSHandshakeTimeout:   10 * time.Second,
			ExpectContinueTimeout: time.Second,
		}
		rt = t.own
	}
	t.client = http.Client{Transport: rt, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	return t
}

func (t *target) close() {
	if t.own != nil {
		t.own.CloseIdleConnections()
	}
}

// body is what a request carries. Its bytes may be changed once idle returns true.
type body struct {
	data     []byte // as sent
	plain    int    // length before compression
	encoding string // Content-Encoding, empty for none
	readers  atomic.Int32
}

// idle reports whether no transport reads the body any more. One may do so after it returned an answer.
func (b *body) idle() bool { return b.readers.Load() == 0 }

func (b *body) open() io.ReadCloser {
	b.readers.Add(1)
	return &bodyReader{Reader: bytes.NewReader(b.data), body: b}
}

type bodyReader struct {
	*bytes.Reader
	body   *body
	closed atomic.Bool
}

func (r *bodyReader) Close() error {
	if !r.closed.Swap(true) {
		r.body.readers.Add(-1)
	}
	return nil
}

// answer is what came of one request.
type answer struct {
	code       int          // 0 when there was no answer
	entries    []ErrorEntry // the error list; nil when there was none
	text       string       // the start of an answer that was no list
	retryAfter time.Duration
	err        error // why there was no answer
	timeout    bool  // it did not come in time
}

// post sends the body once, or a second time with new credentials when those it had were refused. The answer is read
// to its end and closed.
func (t *target) post(ctx context.Context, b *body, now func() time.Time) answer {
	h := t.header()
	h["Content-Type"] = []string{jsonType}
	if b.encoding != "" {
		h["Content-Encoding"] = []string{b.encoding}
	}
	a, renewed := t.postOnce(ctx, b, h, now)
	if renewed {
		a, _ = t.postOnce(ctx, b, h.Clone(), now) // the first may still be read
	}
	return a
}

// postOnce sends the body once. The credentials are put in h, which must not be changed any more.
func (t *target) postOnce(ctx context.Context, b *body, h http.Header, now func() time.Time) (a answer, renewed bool) {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	r := (&http.Request{
		Method: http.MethodPost, URL: t.ingest, Host: t.ingest.Host, Header: h,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(b.data)),
	}).WithContext(ctx)
	if t.auth != nil {
		if err := t.auth.Authorize(r); err != nil {
			a.err = fmt.Errorf("blueflood: no credentials: %w", err)
			if failed, ok := errors.AsType[*KeystoneError](err); ok {
				a.retryAfter = min(max(0, failed.Next.Sub(now())), maxWait)
			}
			return a, false
		}
	}
	r.Body = b.open()
	r.GetBody = func() (io.ReadCloser, error) { return b.open(), nil }
	t.requests.Add(1)
	t.bodyBytes.Add(uint64(b.plain))
	t.wireBytes.Add(uint64(len(b.data)))
	res, err := t.client.Do(r)
	if err != nil {
		return answer{err: fmt.Errorf("blueflood: no answer: %w", err), timeout: timedOut(err)}, false
	}
	defer res.Body.Close()
	a = readAnswer(res, now)
	if t.auth != nil && (a.code == http.StatusUnauthorized || a.code == http.StatusForbidden) {
		renewed = t.auth.Refused(r, a.code)
	}
	return a, renewed
}

func (t *target) header() http.Header {
	return http.Header{"Accept": {jsonType}, "User-Agent": {t.agent}}
}

// readAnswer takes what matters from an answer and reads it to its end, within bounds, so that the connection lives.
func readAnswer(res *http.Response, now func() time.Time) answer {
	a := answer{code: res.StatusCode, retryAfter: retryAfter(res.Header.Get("Retry-After"), now)}
	switch a.code {
	case http.StatusOK, http.StatusCreated, http.StatusNoContent:
	default:
		data, err := io.ReadAll(io.LimitReader(res.Body, maxErrorList+1))
		if err == nil && len(data) <= maxErrorList {
			a.entries = parseErrorList(data)
		}
		if a.entries == nil {
			a.text = string(data[:min(len(data), excerpt)])
		}
	}
	_, _ = io.CopyN(io.Discard, res.Body, maxDrain)
	return a
}

// timedOut reports whether err says that time ran out, the request's own or the connection's.
func timedOut(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// retryAfter reads the header of that name: seconds, or a date (RFC 9110, 10.2.3). It is 0 when there is none.
func retryAfter(h string, now func() time.Time) time.Duration {
	if h == "" {
		return 0
	}
	if s, err := strconv.ParseUint(h, 10, 31); err == nil {
		return min(time.Duration(s)*time.Second, maxWait)
	}
	at, err := http.ParseTime(h)
	if err != nil {
		return 0
	}
	return min(max(0, at.Sub(now())), maxWait)
}

// error is the answer as an error for a request of so many points.
func (a *answer) error(t *target, points int) error {
	if a.err != nil {
		return fmt.Errorf("%w; %d points in the request", a.err, points)
	}
	return &StatusError{
		Method: http.MethodPost, URL: t.ingest.Redacted(), Code: a.code, Errors: a.entries, Body: a.text,
		RetryAfter: a.retryAfter, Points: points,
	}
}
