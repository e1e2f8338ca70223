package blueflood

import (
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fluxmetrics/fluxkit/internal/queue"
)

const (
	// MaxLimit is the longest request body, after inflation, that Blueflood answers at all.
	MaxLimit = 1_048_576
	// MaxTTL is the longest time to live that Cassandra takes, 20 years of 365 days.
	MaxTTL = 630_720_000 * time.Second

	// DefaultURL and DefaultQueryURL are where a Blueflood on this host listens.
	DefaultURL      = "http://localhost:19000"
	DefaultQueryURL = "http://localhost:20000"

	defaultTTL       = 86_400 * time.Second
	defaultInterval  = 30 * time.Second
	defaultTimeout   = 30 * time.Second
	defaultUserAgent = "fluxkit"
	minLimit         = 128 // a row with a name of some bytes

	// The window of time that a Blueflood with its default settings takes, around its own clock.
	serverPast   = 72 * time.Hour
	serverFuture = 10 * time.Minute
)

// EndpointConfig configures an Endpoint. Only Tenant is required; the zero value of every other field means its
// default.
type EndpointConfig struct {
	// URL is the server's base address; /v2.0/TENANT/ingest is appended, and slashes at its end do not matter. A user
	// and password in it are sent as basic authentication. Default DefaultURL.
	URL string
	// Tenant is whose metrics these are. It is percent-encoded into the path. It cannot hold a slash; with a dot in it
	// Blueflood takes the part before the dot for the tenant in its roll-ups, so that is logged as a warning.
	Tenant string
	// Prefix, unless empty, is put in front of every name, with a dot between.
	Prefix string
	// TTL is how long the server keeps a point that names no TTL of its own: whole seconds, 1 s to MaxTTL. Default
	// 86,400 s.
	TTL time.Duration
	// Limit is the longest request body in bytes, before compression: 128 to MaxLimit. Default MaxLimit.
	Limit int
	// Interval is the longest that a request which is not full waits for more points. Full requests, and a backlog, go
	// at once. Default 30 s.
	Interval time.Duration
	// Gzip compresses request bodies.
	Gzip bool

	// Timeout bounds one request, from connecting to the end of the answer. Blueflood itself may take 5 s to answer, so
	// it is well above that unless the server is known. Default 30 s.
	Timeout time.Duration
	// Transport makes the requests. Default: one of the endpoint's own that keeps connections alive, honours the proxy
	// variables of the environment, and is closed by Close. Redirects are never followed: they would turn a POST into
	// something else.
	Transport http.RoundTripper
	// Auth adds credentials to requests. Default none.
	Auth Authenticator
	// UserAgent is sent with each request. Default "fluxkit".
	UserAgent string

	// PastLimit and FutureLimit give up points that are further from now than that before they are sent, with
	// ReasonTooOld and ReasonInFuture. Zero leaves the first judgement to the server; a point that was part of a failed
	// or refused request once is then still checked before it is sent again, against the window of a Blueflood with
	// default settings: 72 h back, 10 min ahead. So no point is tried for longer than until it is that old. Negative turns
	// that off too, and a point is tried for as long as it takes.
	PastLimit, FutureLimit time.Duration

	// MemoryMax bounds the buffer, in bytes of encoded points and book-keeping, when it is kept in memory. Default 16 MiB.
	MemoryMax int64
	// SpoolDir is a directory that keeps the buffer, created where it is missing, so that what a Send has kept outlives
	// the process and a loss of power. One endpoint at a time can have it, and NewEndpoint delivers what the last one left
	// there; what was on its way when a process was killed is stored twice. It is for one tenant: while it holds points of
	// another, NewEndpoint refuses it. Empty: the buffer is kept in memory.
	SpoolDir string
	// SpoolMax bounds the files in SpoolDir, in bytes: 64 KiB at least. Default 8 GiB.
	SpoolMax int64
	// DropOldest makes a Send that finds no room drop the oldest points that are not on their way, a file of up to a
	// sixteenth of SpoolMax at a time, instead of waiting. Where there are none, its own are dropped. All are counted as
	// Dropped.
	DropOldest bool
	// Recovered is called by NewEndpoint, before anything is delivered, with the points that SpoolDir held, oldest first,
	// a run at a time, under the rules of Delivered. Damaged ones are left out.
	Recovered func([]Metric)
	// DeadLetter is a file to which points that were given up are appended, a JSON object a line, before Failed is told
	// of them; its folder must exist. While that fails the endpoint keeps them, and sends nothing else. DeadLetterMax
	// bounds it, in bytes: the oldest are dropped first, and counted. Default 64 MiB.
	DeadLetter    string
	DeadLetterMax int64
	// BackoffMin and BackoffMax bound the wait after a failed request, which doubles each time. Defaults 100 ms, 30 s.
	BackoffMin, BackoffMax time.Duration

	// Delivered is called with points that the server stored. The slice and the names are valid during the call. It is
	// called from the endpoint's own goroutine: delivery waits for it. It must not call Flush or Close. Points of
	// Ingest are not reported here.
	Delivered func([]Metric)
	// Failed is called, under the same rules, with points that were given up, before Delivered is with those that were
	// stored by the same request. The second slice says why: its element i is about point i. After an error the endpoint
	// keeps them all, sends nothing else, and calls Failed again after a backoff, with the same points.
	Failed func([]Metric, []Failure) error

	// Logger receives what an operator should know. nil is silent.
	Logger *slog.Logger
	// Now is the clock that points are judged by. Default time.Now.
	Now func() time.Time
}

// ConfigError is returned for a field of a configuration that cannot be used.
type ConfigError struct {
	Field  string // of EndpointConfig or QueryConfig
	Value  string // what it holds, without a password
	Reason string // what is wrong and what to put there
}

func (e *ConfigError) Error() string {
	return fmt.Sprintf("blueflood: %s %q: %s", e.Field, e.Value, e.Reason)
}

// withDefaults returns c with its zero fields filled in, or a *ConfigError.
func (c EndpointConfig) withDefaults() (EndpointConfig, error) {
	if c.TTL == 0 {
		c.TTL = defaultTTL
	}
	if c.Limit == 0 {
		c.Limit = MaxLimit
	}
	if c.Interval == 0 {
		c.Interval = defaultInterval
	}
	if c.MemoryMax == 0 {
		c.MemoryMax = queue.DefaultMaxBytes
	}
	if c.SpoolMax == 0 {
		c.SpoolMax = queue.DefaultDirMaxBytes
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, c.check()
}

func (c *EndpointConfig) check() error {
	switch {
	case !validTTL(c.TTL):
		return &ConfigError{"TTL", c.TTL.String(), "must be whole seconds from 1 s to 630720000 s (20 years), the most that Cassandra takes"}
	case c.Limit < minLimit || c.Limit > MaxLimit:
		return &ConfigError{"Limit", fmt.Sprint(c.Limit), fmt.Sprintf(
			"must be %d to %d bytes: Blueflood never answers a longer body; 0 means %d", minLimit, MaxLimit, MaxLimit)}
	case c.Interval < 0:
		return &ConfigError{"Interval", c.Interval.String(), "must not be negative; 1ms sends at once, 0 means 30s"}
	case !utf8.ValidString(c.Prefix):
		return &ConfigError{"Prefix", c.Prefix, "is not UTF-8"}
	case strings.HasSuffix(c.Prefix, "."):
		return &ConfigError{"Prefix", c.Prefix, fmt.Sprintf(
			"ends with a dot, and a dot is put behind it anyway; use %q", strings.TrimRight(c.Prefix, "."))}
	case len(c.Prefix) > c.Limit/4:
		return &ConfigError{"Prefix", c.Prefix[:32] + "...", fmt.Sprintf(
			"has %d bytes, which leaves too little of the limit of %d", len(c.Prefix), c.Limit)}
	case c.BackoffMin < 0 || c.BackoffMax < 0 || c.BackoffMax != 0 && c.BackoffMax < c.BackoffMin:
		return &ConfigError{"BackoffMax", c.BackoffMax.String(), "must not be negative nor less than BackoffMin"}
	}
	return c.checkQueue()
}

// validTTL reports whether d can be sent as ttlInSeconds and stored.
func validTTL(d time.Duration) bool {
	return d >= time.Second && d <= MaxTTL && d%time.Second == 0
}

// tenantURL returns the escaped address of the tenant, without a slash at its end: BASE/v2.0/TENANT.
func tenantURL(base, fallback, tenant string) (*url.URL, error) {
	if base == "" {
		base = fallback
	}
	u, err := url.Parse(base)
	switch {
	case err != nil:
		return nil, &ConfigError{"URL", "", "cannot be parsed; use something like " + fallback}
	case u.Scheme != "http" && u.Scheme != "https" || u.Opaque != "":
		return nil, &ConfigError{"URL", u.Redacted(), "does not start with http:// or https://; use something like " + fallback}
	case u.Hostname() == "":
		return nil, &ConfigError{"URL", u.Redacted(), "names no host; use something like " + fallback}
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return nil, &ConfigError{"URL", u.Redacted(), "has a query or a fragment; give the base address only"}
	case strings.Contains(u.Path+"/", "/v2.0/"):
		return nil, &ConfigError{"URL", u.Redacted(), "holds /v2.0, which is appended with the tenant; give the base address only"}
	}
	if err := checkTenant(tenant); err != nil {
		return nil, err
	}
	escaped := strings.TrimRight(u.EscapedPath(), "/") + "/v2.0/" + url.PathEscape(tenant)
	out := *u
	if out.Path, err = url.PathUnescape(escaped); err != nil {
		return nil, &ConfigError{"URL", u.Redacted(), "has a path that cannot be escaped"}
	}
	out.RawPath = escaped
	return &out, nil
}

func checkTenant(tenant string) error {
	switch {
	case tenant == "":
		return &ConfigError{"Tenant", tenant, "is empty; name the tenant to write to"}
	case strings.Contains(tenant, "/"):
		return &ConfigError{"Tenant", tenant, "holds a slash, which Blueflood cannot route; use a tenant without one"}
	case tenant == "." || tenant == "..":
		return &ConfigError{"Tenant", tenant, "is a relative path; use a tenant of letters and digits"}
	case !utf8.ValidString(tenant):
		return &ConfigError{"Tenant", tenant, "is not UTF-8"}
	}
	return nil
}

// window is the span of time that points may have, in Unix milliseconds, both ends included.
type window struct{ oldest, newest int64 }

// window returns the span for a first sending, or for a further one.
func (c *EndpointConfig) window(again bool) window {
	past, future := c.PastLimit, c.FutureLimit
	if again && past == 0 {
		past = serverPast
	}
	if again && future == 0 {
		future = serverFuture
	}
	w := window{math.MinInt64, math.MaxInt64}
	now := c.Now().UnixMilli()
	if past > 0 {
		w.oldest = now - past.Milliseconds()
	}
	if future > 0 {
		w.newest = now + future.Milliseconds()
	}
	return w
}
