package blueflood

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"
)

// Keystone is an Authenticator that gets tokens from a Keystone v2.0, as the proxy in front of Rackspace's Blueflood
// wants them: X-Auth-Token holds the token's id, X-Tenant-Id the tenant that the token is of. The tenant in the path is
// the endpoint's; whether the two agree is the proxy's to judge.
//
// One token request is under way at a time, however many requests wait for it, each no longer than its own context
// allows. One that gives up leaves the token request to the others.
//
// A token is replaced before it expires, in the background, while the old one is still in use. One without a time of
// expiry that makes sense is used for an hour. A token that the server refuses, with 401 or 403, is replaced once, and
// the request sent again. Other requests use the old one until the new one is there: what refuses it may be one tenant of
// many. When the new one is refused too, it stays in use, and the next one is asked for after a backoff.
//
// While Keystone fails, requests that need a token get a *KeystoneError at once until its Next; nothing is sent and
// nothing is lost. It may serve several endpoints and queries.
type Keystone struct {
	cfg    KeystoneConfig
	log    *slog.Logger
	body   []byte // of a token request
	client http.Client
	ctx    context.Context // of token requests; ends with Close
	stop   context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	token   *token // nil: none yet
	refused bool   // the token was, and another is to be had
	flight  *flight

	failed *KeystoneError // why the last token request failed; nil when it did not
	fails  int            // in a row
	next   time.Time      // before which no token request is made

	renewals  int       // of refused tokens, one after the other
	renewed   time.Time // when the last of them was
	renewFrom time.Time // before which a refused token stays in use
}

// flight is a token request under way. The result is there once done is closed.
type flight struct {
	done  chan struct{}
	token *token
	err   error
}

// NewKeystone checks cfg. It does not connect. What cannot be used in cfg gives a *ConfigError.
func NewKeystone(cfg KeystoneConfig) (*Keystone, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	body, err := cfg.requestBody()
	if err != nil {
		return nil, fmt.Errorf("blueflood: token request: %w", err)
	}
	rt := cfg.Transport
	if rt == nil {
		rt = &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: cfg.Timeout}).DialContext,
			ForceAttemptHTTP2:   true,
			TLSHandshakeTimeout: cfg.Timeout,
			DisableKeepAlives:   true,
		}
	}
	if inClear(cfg.URL) {
		cfg.Logger.Warn("blueflood: the Keystone credentials go over the network in clear; use https", "url", cfg.URL)
	}
	k := &Keystone{cfg: cfg, log: cfg.Logger, body: body, client: http.Client{
		Transport:     rt,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	k.ctx, k.stop = context.WithCancel(context.Background())
	return k, nil
}

// Authorize implements Authenticator. It waits when there is no token, and then returns the context's error, a
// *KeystoneError, or one that wraps ErrKeystoneClosed. Likewise it waits for another token when the header holds the one
// that was refused.
func (k *Keystone) Authorize(r *http.Request) error {
	t, f, err := k.get(r.Header.Get(tokenHeader))
	if err != nil {
		return err
	}
	if t == nil {
		select {
		case <-f.done:
		case <-r.Context().Done():
			return fmt.Errorf("blueflood: gave up waiting for a token from %s: %w", k.cfg.URL, r.Context().Err())
		}
		if f.err != nil {
			return f.err
		}
		t = f.token
	}
	t.set(r.Header)
	return nil
}

// get returns a token that can be used, or the token request to wait for. It begins one where that is due. A request that
// had the refused token wants another.
func (k *Keystone) get(had string) (*token, *flight, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil, nil, ErrKeystoneClosed
	}
	now := k.cfg.Now()
	if k.flight == nil && !now.Before(k.next) && (k.token == nil || k.refused || !now.Before(k.token.refresh)) {
		k.flight = &flight{done: make(chan struct{})}
		k.wg.Add(1)
		go k.fly(k.flight)
	}
	switch {
	case k.token != nil && now.Before(k.token.expires) && !(k.refused && k.token.id == had):
		return k.token, nil, nil
	case k.flight != nil:
		return nil, k.flight, nil
	}
	return nil, nil, k.failed
}

// fly makes a token request. It ends with its Timeout, or with Close.
func (k *Keystone) fly(f *flight) {
	defer k.wg.Done()
	t, failed := k.ask(k.ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	defer close(f.done)
	k.flight = nil
	switch {
	case failed == nil:
		f.token, k.token, k.refused = t, t, false
		k.fails, k.failed, k.next = 0, nil, time.Time{}
		k.log.Info("blueflood: new token", "url", k.cfg.URL, "user", k.cfg.User, "tenant", t.tenant, "expires", t.expires.UTC())
	case k.closed:
		f.err = ErrKeystoneClosed
	default:
		wait := max(k.wait(k.fails), failed.RetryAfter)
		k.fails++
		k.next = k.cfg.Now().Add(wait)
		failed.Next = k.next
		f.err, k.failed = failed, failed
		k.log.Warn("blueflood: no token", "error", failed, "user", k.cfg.User, "retry_in", wait.Round(time.Millisecond))
	}
}

// Refused implements Authenticator. It returns true when another token than that of r is there or can be asked for.
func (k *Keystone) Refused(r *http.Request, status int) bool {
	id := r.Header.Get(tokenHeader)
	if id == "" || status != http.StatusUnauthorized && status != http.StatusForbidden {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.cfg.Now()
	waits := k.flight == nil && now.Before(k.next)
	switch {
	case k.closed:
		return false
	case k.token == nil || k.token.id != id: // somebody else was told before
		return k.token != nil || !waits
	case waits: // it may be taken again sooner than there is another
		return false
	case k.refused:
		return true
	case now.Before(k.renewFrom):
		return false
	}
	k.refused = true
	if now.Sub(k.renewed) > 2*k.cfg.BackoffMax {
		k.renewals = 0
	}
	k.renewed, k.renewFrom = now, now.Add(k.wait(k.renewals))
	k.renewals++
	k.log.Info("blueflood: token refused, a new one is asked for", "host", r.URL.Host, "code", status)
	return true
}

// wait is the time after so many failures in a row before this one.
func (k *Keystone) wait(fails int) time.Duration {
	d := k.cfg.BackoffMax
	if fails < 30 && k.cfg.BackoffMin<<fails>>fails == k.cfg.BackoffMin {
		d = min(d, k.cfg.BackoffMin<<fails)
	}
	return d/2 + rand.N(d/2+1)
}

// Close ends a token request that is under way, and waits for its end. Requests that need a token get ErrKeystoneClosed
// from then on; close endpoints and queries first. Without Close such a request ends by its Timeout.
func (k *Keystone) Close() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.stop()
	k.wg.Wait()
}

// String shows where tokens come from and for whom, without the secrets.
func (k *Keystone) String() string { return "Keystone " + k.cfg.String() }

// GoString is String, for %#v.
func (k *Keystone) GoString() string { return k.String() }

// Format is String, for every verb.
func (k *Keystone) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, k.String()) }

// LogValue is String, for slog.
func (k *Keystone) LogValue() slog.Value { return slog.StringValue(k.String()) }
