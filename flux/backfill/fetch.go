package backfill

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// FetchConfig says how sources are asked. The zero value of every field means its default.
type FetchConfig struct {
	DialTimeout time.Duration // of a connection, TLS included. Default 5 s
	Timeout     time.Duration // of one request, its body included. Default 60 s
	MaxBody     int64         // longest answer, in bytes after decompression; a slice with more comes in parts. Default 64 MiB
	MaxPoints   int           // most datapoints of an answer, nulls included; likewise: see Config.Workers. Default 4,000,000
	PerHost     int           // requests at a time to one origin, and jobs at a time that are fetched from it; 1 until it answers. Default 2
	TLS         *tls.Config   // nil: the system's certificates
	UserAgent   string        // default fluxkit

	transport http.RoundTripper // of a test
}

func (c FetchConfig) withDefaults() FetchConfig {
	if c.DialTimeout <= 0 {
		c.DialTimeout = 5 * time.Second
	}
	if c.Timeout <= 0 {
		c.Timeout = time.Minute
	}
	if c.MaxBody <= 0 {
		c.MaxBody = 64 << 20
	}
	if c.MaxPoints <= 0 {
		c.MaxPoints = 4_000_000
	}
	if c.PerHost <= 0 {
		c.PerHost = 2
	}
	if c.UserAgent == "" {
		c.UserAgent = "fluxkit"
	}
	return c
}

// fetchError is why a slice is not there.
type fetchError struct {
	Err        error
	Permanent  bool          // asking again changes nothing
	TooLarge   bool          // asking again is dear
	RetryAfter time.Duration // what the server asks for
}

func (e *fetchError) Error() string { return e.Err.Error() }
func (e *fetchError) Unwrap() error { return e.Err }

// fetcher asks sources. Only listed origins are dialled.
type fetcher struct {
	cfg     FetchConfig
	origins origins
	now     func() time.Time
	client  *http.Client
	count   *counters
	mended  func() // called when an origin answers that did not; may be nil

	mu    sync.Mutex
	hosts map[string]*host // origins of jobs
}

// host is an origin.
type host struct {
	busy chan struct{} // holds one for each request
	standing
}

// standing is what is known of an origin.
type standing struct {
	answers bool      // its last request did not fail for a reason that may pass; false before the first one
	tried   time.Time // when a job was last taken up that is fetched from it
}

// doubtful reports whether an origin was tried and is not known to answer.
func (s standing) doubtful() bool { return !s.answers && !s.tried.IsZero() }

func newFetcher(cfg FetchConfig, list origins, now func() time.Time) *fetcher {
	f := &fetcher{cfg: cfg.withDefaults(), origins: list, now: now, count: &counters{}, hosts: map[string]*host{}}
	f.client = &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy: nil, DialContext: f.dial, TLSClientConfig: cfg.TLS.Clone(), TLSHandshakeTimeout: f.cfg.DialTimeout,
			MaxIdleConnsPerHost: f.cfg.PerHost, MaxIdleConns: 32, IdleConnTimeout: 30 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		},
	}
	if cfg.transport != nil {
		f.client.Transport = cfg.transport
	}
	return f
}

func (f *fetcher) close() { f.client.CloseIdleConnections() }

// originKey carries the origin of a request to dial.
type originKey struct{}

// dial connects to a listed origin. The address is checked after the name was resolved, right before the connection.
func (f *fetcher) dial(ctx context.Context, network, address string) (net.Conn, error) {
	o, ok := ctx.Value(originKey{}).(Origin)
	if !ok || net.JoinHostPort(o.Host, o.Port) != address {
		return nil, &OriginError{Origin: address}
	}
	d := net.Dialer{Timeout: f.cfg.DialTimeout, Control: func(_, address string, _ syscall.RawConn) error {
		return o.control(address)
	}}
	return d.DialContext(ctx, network, address)
}

// control refuses an address, host:port, that the origin must not resolve to.
func (o Origin) control(address string) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil || !o.allows(a.Addr()) {
		return &OriginError{Origin: o.String(), Address: address}
	}
	return nil
}

// fetch gets one slice. The error is a *fetchError, or the context's.
func (f *fetcher) fetch(ctx context.Context, s slice, host HostType, want string) (answer, error) {
	u, err := url.Parse(s.URL)
	if err != nil {
		return answer{}, &fetchError{Err: err, Permanent: true}
	}
	o, err := originOf(u)
	if err == nil {
		o, err = f.origins.find(o) // the list may have changed since the job was accepted
	}
	if err != nil {
		return answer{}, &fetchError{Err: err, Permanent: true}
	}
	free, err := f.enter(ctx, o)
	if err != nil {
		return answer{}, err
	}
	defer free()
	limited, cancel := context.WithTimeout(context.WithValue(ctx, originKey{}, o), f.cfg.Timeout)
	defer cancel()
	f.count.fetches.Add(1)
	a, err := f.get(limited, u, o, host, want, limits{bytes: f.cfg.MaxBody, points: f.cfg.MaxPoints, low: s.low, high: s.high})
	if err != nil && ctx.Err() != nil {
		return answer{}, ctx.Err()
	}
	if err != nil {
		f.count.fetchErrors.Add(1)
	}
	f.heard(o, err)
	return a, err
}

// heard notes how a request ended.
func (f *fetcher) heard(o Origin, err error) {
	e := (*fetchError)(nil)
	answers := err == nil || errors.As(err, &e) && (e.Permanent || e.TooLarge)
	f.mu.Lock()
	h := f.host(o.String())
	mended := answers && !h.answers
	h.answers = answers
	f.mu.Unlock()
	if mended && f.mended != nil {
		f.mended()
	}
}

// host is the origin of that name. The lock is held.
func (f *fetcher) host(origin string) *host {
	h := f.hosts[origin]
	if h == nil {
		h = &host{busy: make(chan struct{}, f.cfg.PerHost)}
		f.hosts[origin] = h
	}
	return h
}

func (f *fetcher) standing(origin string) standing {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.host(origin).standing
}

// try notes that a job is taken up that is fetched from the origin.
func (f *fetcher) try(origin string, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.host(origin).tried = now
}

// enter waits until the origin has a request less than PerHost.
func (f *fetcher) enter(ctx context.Context, o Origin) (free func(), err error) {
	f.mu.Lock()
	busy := f.host(o.String()).busy
	f.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case busy <- struct{}{}:
		return func() { <-busy }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (f *fetcher) get(ctx context.Context, u *url.URL, o Origin, host HostType, want string, l limits) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return answer{}, &fetchError{Err: err, Permanent: true}
	}
	req.URL.Host = net.JoinHostPort(o.Host, o.Port) // so that what is dialled is the origin as it is listed
	req.Host = u.Host
	req.Header.Set("User-Agent", f.cfg.UserAgent)
	req.Header.Set("Accept", "application/json")
	resp, err := f.client.Do(req)
	if err != nil {
		refused := (*OriginError)(nil)
		return answer{}, &fetchError{Err: plain(err), Permanent: errors.As(err, &refused)}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return answer{}, f.refused(resp)
	}
	a, err := decode(countedReader{resp.Body, &f.count.fetchedBytes}, host, want, l)
	if err != nil {
		return answer{}, &fetchError{Err: err, TooLarge: errors.Is(err, errTooLarge), Permanent: errors.Is(err, errSeries)}
	}
	return a, nil
}

// refused is the error for an answer that is not 200.
func (f *fetcher) refused(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	e := &fetchError{Err: fmt.Errorf("status %s: %s", resp.Status, quote(text))}
	switch c := resp.StatusCode; {
	case c == http.StatusTooManyRequests, c == http.StatusRequestTimeout, c >= 500:
		e.RetryAfter = f.retryAfter(resp.Header.Get("Retry-After"))
	case c >= 300 && c < 400:
		e.Err = fmt.Errorf("status %s: redirects are not followed, this one goes to %s", resp.Status, quote(resp.Header.Get("Location")))
		e.Permanent = true
	default:
		e.Permanent = true
	}
	return e
}

// retryAfter reads the header of RFC 9110: seconds, or a date.
func (f *fetcher) retryAfter(text string) time.Duration {
	const most = time.Hour
	if n, err := strconv.ParseUint(text, 10, 32); err == nil {
		return min(time.Duration(n)*time.Second, most)
	}
	if t, err := http.ParseTime(text); err == nil {
		return min(max(0, t.Sub(f.now())), most)
	}
	return 0
}

// plain takes the URL off an error: it stands beside it already, and is long.
func plain(err error) error {
	if e := (*url.Error)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}
