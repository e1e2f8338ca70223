package bluefloodtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	tokensPath    = "/v2.0/tokens"
	maxAuthBody   = 1 << 20
	tokenLifetime = 24 * time.Hour
)

// KeystoneUser is somebody who gets tokens.
type KeystoneUser struct {
	Name string
	// APIKey and Password are the credentials that are taken; an empty one is not.
	APIKey, Password string
	// TenantID and TenantName are of the tenant that the tokens are of; without an id they are of none.
	TenantID, TenantName string
	// Disabled users are answered 403.
	Disabled bool
}

// KeystoneOptions configure a Keystone. The zero value of every field means its default.
type KeystoneOptions struct {
	// Addr is where to listen, host:port. Default: a free port of 127.0.0.1.
	Addr string
	// Users are those known from the start.
	Users []KeystoneUser
	// Lifetime is how long tokens are valid. Default 24 h.
	Lifetime time.Duration
	// SameToken answers a user who has a valid token with that one, as Rackspace's identity service does.
	SameToken bool
	// KeepRequests bounds what is remembered; the oldest is dropped. Default 1,000. Negative keeps none.
	KeepRequests int
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Keystone is an identity service of version 2.0 that runs inside a test or a program: POST /v2.0/tokens, with API keys
// and with passwords. A Server with Options.Keystone takes its tokens alone. Its methods may be called from many
// goroutines.
//
// Queue and Fallback make faults as those of Server do. Store then gives a token all the same, which is answered under
// the Status unless there is a Message or a Body: Reply{Status: 203, Store: true} is another success of Keystone's.
type Keystone struct {
	opts   KeystoneOptions
	ln     net.Listener
	server http.Server
	done   chan struct{}
	wg     sync.WaitGroup // of requests, and of the listener

	mu       sync.Mutex
	closed   bool
	now      time.Time // zero: the clock of the options
	lifetime time.Duration
	users    map[string]KeystoneUser
	tokens   map[string]KeystoneToken
	faults   faults
	requests []Request
	count    int
	issued   int
	inFlight int
	maxIn    int
}

// KeystoneToken is a token that was given.
type KeystoneToken struct {
	ID       string
	User     string
	TenantID string
	Expires  time.Time
}

// RunKeystone starts a Keystone with one user that lasts as long as the test.
func RunKeystone(t TB, u KeystoneUser) *Keystone {
	t.Helper()
	return RunKeystoneWith(t, KeystoneOptions{Users: []KeystoneUser{u}})
}

// RunKeystoneWith is RunKeystone with options.
func RunKeystoneWith(t TB, o KeystoneOptions) *Keystone {
	t.Helper()
	k, err := StartKeystone(o)
	if err != nil {
		t.Fatalf("%v", err)
		return nil
	}
	t.Cleanup(k.Close)
	return k
}

// StartKeystone starts a Keystone, which Close ends.
func StartKeystone(o KeystoneOptions) (*Keystone, error) {
	if o.Lifetime == 0 {
		o.Lifetime = tokenLifetime
	}
	if o.KeepRequests == 0 {
		o.KeepRequests = defaultKeepRequests
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	k := &Keystone{
		opts: o, done: make(chan struct{}), lifetime: o.Lifetime,
		users: map[string]KeystoneUser{}, tokens: map[string]KeystoneToken{},
	}
	for _, u := range o.Users {
		k.users[u.Name] = u
	}
	var err error
	if k.ln, err = listen("Addr", o.Addr); err != nil {
		return nil, err
	}
	k.server.Handler = http.HandlerFunc(k.serve)
	k.wg.Go(func() { _ = k.server.Serve(k.ln) }) // ends with Close
	return k, nil
}

// Close stops listening, breaks all connections and waits until every request has ended.
func (k *Keystone) Close() {
	k.mu.Lock()
	if !k.closed {
		k.closed = true
		close(k.done)
	}
	k.mu.Unlock()
	k.server.Close()
	k.wg.Wait()
}

// URL is the address that gives tokens.
func (k *Keystone) URL() string { return "http://" + k.ln.Addr().String() + tokensPath }

// SetTime stops the clock at t. The zero time makes it run again.
func (k *Keystone) SetTime(t time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.now = t
}

// SetUser adds a user, or changes the one of that name. Tokens that were given stay valid.
func (k *Keystone) SetUser(u KeystoneUser) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.users[u.Name] = u
}

// SetLifetime sets how long tokens given from now on are valid.
func (k *Keystone) SetLifetime(d time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lifetime = d
}

// Queue sets the answers to the next token requests, one each, behind those that are queued already.
func (k *Keystone) Queue(replies ...Reply) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.faults.queue = append(k.faults.queue, replies...)
}

// Fallback sets the answer to all token requests that find the queue empty. Reply{} makes them genuine again.
func (k *Keystone) Fallback(r Reply) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.faults.fallback = r
}

// Revoke ends a token. Of one that is not valid it knows nothing.
func (k *Keystone) Revoke(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.tokens, id)
}

// RevokeAll ends every token.
func (k *Keystone) RevokeAll() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.tokens)
}

// Token returns the token with that id, or false when it is not valid, or no longer.
func (k *Keystone) Token(id string) (KeystoneToken, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	t, ok := k.tokens[id]
	return t, ok && k.time().Before(t.Expires)
}

// Issued is the number of tokens given so far. One that was given again counts again.
func (k *Keystone) Issued() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.issued
}

// Count is the number of requests so far, those that were not answered included.
func (k *Keystone) Count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.count
}

// MaxInFlight is the largest number of requests that were being dealt with at one time.
func (k *Keystone) MaxInFlight() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.maxIn
}

// Requests returns the requests so far, oldest first. They hold credentials.
func (k *Keystone) Requests() []Request {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]Request(nil), k.requests...)
}

func (k *Keystone) time() time.Time {
	if !k.now.IsZero() {
		return k.now
	}
	return k.opts.Now()
}

// begin counts a request in, and says how it is to be answered. False means that the Keystone is closed.
func (k *Keystone) begin() (Reply, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return Reply{}, false
	}
	k.wg.Add(1)
	k.count++
	k.inFlight++
	k.maxIn = max(k.maxIn, k.inFlight)
	return k.faults.next(), true
}

func (k *Keystone) end(seen Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.inFlight--
	if k.opts.KeepRequests >= 0 {
		k.requests = append(k.requests, seen)
		if len(k.requests) > k.opts.KeepRequests {
			k.requests = k.requests[1:]
		}
	}
	k.wg.Done()
}

// give makes a token of the user, or finds the one there is. The caller holds mu.
func (k *Keystone) give(u KeystoneUser) KeystoneToken {
	k.issued++
	now := k.time()
	for id, t := range k.tokens {
		if !now.Before(t.Expires) {
			delete(k.tokens, id)
		} else if k.opts.SameToken && t.User == u.Name && t.TenantID == u.TenantID {
			return t
		}
	}
	t := KeystoneToken{
		ID: fmt.Sprintf("%d-%s", k.issued, rand.Text()), User: u.Name, TenantID: u.TenantID,
		Expires: now.Add(k.lifetime).UTC().Truncate(time.Millisecond),
	}
	k.tokens[t.ID] = t
	return t
}

// serve answers one request, genuinely or as a Reply has it.
func (k *Keystone) serve(w http.ResponseWriter, r *http.Request) {
	f, ok := k.begin()
	if !ok {
		panic(http.ErrAbortHandler)
	}
	seen := Request{Method: r.Method, Target: r.RequestURI, Header: r.Header}
	defer func() { k.end(seen) }()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAuthBody))
	seen.Body, seen.Wire = body, len(body)
	if !k.delay(r.Context(), f.Delay) {
		panic(http.ErrAbortHandler)
	}
	var res *response
	if f.genuine() || f.Store {
		res = k.answer(r, body, err)
	}
	switch {
	case f.Status != 0 && f.Message != "":
		res = keystoneFault(f.Status, f.Message)
	case f.Status != 0 && (f.Body != "" || res == nil):
		res = &response{status: f.Status, body: []byte(f.Body)}
	case f.Status != 0:
		res.status = f.Status
	}
	switch {
	case f.Hang:
		k.delay(r.Context(), 1<<62)
		panic(http.ErrAbortHandler)
	case f.Reset:
		if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
			(&conn{Conn: c}).reset()
		}
		return
	}
	seen.Status = res.status
	w.Header().Set("Content-Type", "application/json")
	for name, values := range f.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(res.status)
	_, _ = w.Write(res.body) // a peer that went away does not want it
}

// delay passes the time, and reports whether the peer and the Keystone are still there then.
func (k *Keystone) delay(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
	case <-k.done:
	}
	return false
}
