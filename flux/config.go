package flux

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/graphite"
)

// Defaults of the fields of Config, which apply where a field is zero.
const (
	DefaultMaxAge          = time.Hour
	DefaultMaxFuture       = time.Minute
	DefaultMaxFutureCarbon = 24 * time.Hour
	DefaultMaxBody         = 8 << 20
	DefaultMaxBodies       = 64 << 20
	DefaultMaxHTTPConns    = 4096
	DefaultMaxPoints       = 10_000
	DefaultRoomWait        = time.Second
	DefaultDrainTimeout    = 30 * time.Second
)

// ExampleKey is the API key of the original's documentation. Since everybody knows it, it is refused as a key unless
// HTTPConfig.AllowExampleKey is set.
const ExampleKey = "YOURown32charSkylineAPIkeySecret"

// Config says what a Server listens to, how it judges, and where points go. The zero value of each field means its
// default. A Server keeps no reference to it.
type Config struct {
	// HTTP is the gateway; nil: none.
	HTTP *HTTPConfig
	// Line, Pickle and UDP are carbon's inputs; nil: none. An address is host:port or a Twisted endpoint description
	// such as tcp:2004:interface=127.0.0.1 or unix:/run/flux.sock; UDP takes host:port alone.
	Line, Pickle, UDP *CarbonInput

	// Destination is where every accepted point goes.
	Destination Destination
	// Dedup says which points are duplicates.
	Dedup DedupConfig

	// DrainTimeout bounds how long Run waits, once its context has ended, for inputs to hand on what they have read.
	DrainTimeout time.Duration
	// Logger receives what an operator should know. nil is silent.
	Logger *slog.Logger
	// Now is the clock that points are judged by. nil means time.Now.
	Now func() time.Time
}

// HTTPConfig configures the gateway.
type HTTPConfig struct {
	// Listen is the host:port to serve. Empty: nothing is served, and Server.Handler is there to be mounted.
	Listen string
	// Keys may send points. There must be one unless NoAuth is set.
	Keys []Key
	// NoAuth lets anybody send, whatever key comes along.
	NoAuth bool
	// AllowExampleKey lets ExampleKey be one of Keys.
	AllowExampleKey bool
	// NoGet turns the GET endpoint off, whose key ends up in the logs of every proxy on the way.
	NoGet bool
	// MaxAge and MaxFuture bound how far a timestamp may be from now. Negative: no bound.
	MaxAge, MaxFuture time.Duration
	// MaxBody bounds a request's body, in bytes after decompression.
	MaxBody int64
	// MaxBodies bounds the memory of all bodies of more than 16 KiB that are being read and handled, in bytes. What finds
	// no room there is answered 503.
	MaxBodies int64
	// MaxConns bounds the connections served at one time; more wait.
	MaxConns int
	// MaxPoints bounds the points of one request.
	MaxPoints int
	// RoomWait is how long a request waits for room in a full queue before it is answered 503.
	RoomWait time.Duration
}

// Key is an API key. Prefix, if not empty, is put before the names of all metrics sent with it.
type Key struct {
	Secret string
	Prefix string
}

// CarbonInput configures one of carbon's inputs.
type CarbonInput struct {
	// Listen is the address.
	Listen string
	// OverwriteTimestamps replaces each point's timestamp by the time at which it was read.
	OverwriteTimestamps bool
	// AllowInf keeps infinite values.
	AllowInf bool
	// Strict reproduces exactly the points that carbon hands on.
	Strict bool
	// MaxConns bounds the connections served at one time, MaxLine a line and MaxFrame a pickle, in bytes. 0 means
	// graphite's defaults.
	MaxConns, MaxLine, MaxFrame int
}

// Destination is where points go: exactly one of its fields is set. Their Delivered and Failed may be set; they are
// called after the server's own.
type Destination struct {
	Carbon    *graphite.ClientConfig
	Blueflood *blueflood.EndpointConfig
}

// DedupConfig says which points are judged and where marks are kept.
type DedupConfig struct {
	// Off turns judging off: every point is accepted.
	Off bool
	// Store keeps the high-water marks. nil means a dedup.Memory of the server's own.
	Store dedup.Store
	// AllInputs judges the points of carbon's inputs too, not those of HTTP and Ingest alone.
	AllInputs bool
	// LateDeliver delivers points that are older than their metric's mark, instead of discarding them.
	LateDeliver bool
	// MaxFutureCarbon bounds how far ahead of now a point of a carbon input may be when AllInputs is set, since its
	// mark would mute the metric until then. Negative: no bound.
	MaxFutureCarbon time.Duration
}

// withDefaults returns c with its zero fields filled in and pointers to copies.
func (c Config) withDefaults() Config {
	if c.HTTP != nil {
		h := *c.HTTP
		h.MaxAge = orDefault(h.MaxAge, DefaultMaxAge)
		h.MaxFuture = orDefault(h.MaxFuture, DefaultMaxFuture)
		h.MaxBody = orDefault(h.MaxBody, DefaultMaxBody)
		h.MaxBodies = orDefault(h.MaxBodies, max(DefaultMaxBodies, 4*h.MaxBody))
		h.MaxConns = orDefault(h.MaxConns, DefaultMaxHTTPConns)
		h.MaxPoints = orDefault(h.MaxPoints, DefaultMaxPoints)
		h.RoomWait = orDefault(h.RoomWait, DefaultRoomWait)
		c.HTTP = &h
	}
	c.Dedup.MaxFutureCarbon = orDefault(c.Dedup.MaxFutureCarbon, DefaultMaxFutureCarbon)
	c.DrainTimeout = orDefault(c.DrainTimeout, DefaultDrainTimeout)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// ErrConfig is wrapped by every error that New returns for a Config that cannot work.
var ErrConfig = errors.New("flux: configuration")

func configError(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrConfig, fmt.Errorf(format, args...))
}

func (c Config) check() error {
	if (c.Destination.Carbon == nil) == (c.Destination.Blueflood == nil) {
		return configError("a server needs exactly one destination, Carbon or Blueflood")
	}
	for what, in := range map[string]*CarbonInput{"Line": c.Line, "Pickle": c.Pickle, "UDP": c.UDP} {
		if in == nil {
			continue
		}
		if in.Listen == "" {
			return configError("%s input without an address to listen on", what)
		}
		if in.MaxConns < 0 || in.MaxLine < 0 || in.MaxFrame < 0 {
			return configError("%s input's limits cannot be negative: %d connections, lines of %d bytes, frames of %d bytes",
				what, in.MaxConns, in.MaxLine, in.MaxFrame)
		}
	}
	if c.HTTP == nil {
		return nil
	}
	if h := c.HTTP; h.MaxBody < 0 || h.MaxBodies < h.MaxBody || h.MaxConns < 0 || h.MaxPoints < 0 || h.RoomWait < 0 {
		return configError("HTTP limits cannot be negative, nor all bodies' less than one's: body %d bytes, all bodies %d, %d connections, %d points, wait %v",
			h.MaxBody, h.MaxBodies, h.MaxConns, h.MaxPoints, h.RoomWait)
	}
	return c.HTTP.checkKeys()
}

var keyForm = regexp.MustCompile(`^[A-Za-z0-9_-]{16,128}$`)

// ErrNoKey is wrapped by the error for a gateway without any key.
var ErrNoKey = errors.New("no API key, so anybody could send")

// ErrExampleKey is wrapped by the error for ExampleKey among the keys.
var ErrExampleKey = errors.New("the key of the original's documentation is known to everybody")

// checkKeys never repeats a key in an error: errors are logged.
func (h *HTTPConfig) checkKeys() error {
	if len(h.Keys) == 0 && !h.NoAuth {
		return fmt.Errorf("%w: %w", ErrConfig, ErrNoKey)
	}
	seen := map[string]int{}
	for i, k := range h.Keys {
		if !keyForm.MatchString(k.Secret) {
			return configError("key %d has %d characters, and a key is 16 to 128 of A-Z a-z 0-9 _ and -", i+1, len(k.Secret))
		}
		if k.Secret == ExampleKey && !h.AllowExampleKey {
			return fmt.Errorf("%w: %w", ErrConfig, ErrExampleKey)
		}
		if j, dup := seen[k.Secret]; dup {
			return configError("keys %d and %d are the same", j+1, i+1)
		}
		seen[k.Secret] = i
		if strings.HasPrefix(k.Prefix, "=") || strings.HasSuffix(k.Prefix, "=") {
			return configError("prefix of key %d begins or ends with =, as if the key were cut at its own =; keys hold none", i+1)
		}
		if k.Prefix != "" && !prefixForm.MatchString(k.Prefix) {
			return configError("prefix %q of key %d is not a metric name: elements of A-Z a-z 0-9 + - %% _ = : joined by dots", k.Prefix, i+1)
		}
	}
	return nil
}

var prefixForm = regexp.MustCompile(`^[A-Za-z0-9+\-%_=:]+(\.[A-Za-z0-9+\-%_=:]+)*$`)
