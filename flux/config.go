package flux

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/flux/ingest"
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
	DefaultAwayWait        = 5 * time.Second
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

	// Destination is where every accepted point goes. It is required: it pushes back when it is full, and marks wait for
	// it.
	Destination Destination
	// Also are further destinations, each of which is given every accepted point. A full or dead one holds nobody up,
	// unless its Required is set.
	Also []Destination
	// SpoolDir is a directory that keeps what is pending, in one subdirectory a destination, so that it outlives the
	// process. Empty: what is pending is kept in memory, and lost with the process.
	SpoolDir string
	// SpoolMax and MemoryMax bound what is pending, in bytes a destination, in SpoolDir and in memory. Defaults 8 GiB
	// and 16 MiB. What a destination's own configuration says comes first.
	SpoolMax, MemoryMax int64
	// DeadLetter is a file to which points that a destination gave up are appended, with the reason, a JSON object a
	// line. DeadLetterMax bounds it, in bytes: the oldest are dropped first, and counted. Default 64 MiB.
	DeadLetter    string
	DeadLetterMax int64
	// Dedup says which points are duplicates.
	Dedup DedupConfig
	// Populate has history fetched upon request; nil: such requests are refused.
	Populate *PopulateConfig

	// StatusListen is a host:port for /healthz, /readyz and /metrics alone. The gateway has them besides. Empty: none.
	StatusListen string

	// SelfMetrics are figures that the server sends as points of its own.
	SelfMetrics SelfMetrics

	// DrainTimeout bounds how long Run waits, once its context has ended, for inputs to hand on what they have read.
	DrainTimeout time.Duration
	// Logger receives what an operator should know. nil is silent.
	Logger *slog.Logger
	// Now is the clock that points are judged by. nil means time.Now.
	Now func() time.Time
}

// CarbonInput configures one of carbon's inputs.
type CarbonInput struct {
	// Listen is the address.
	Listen string
	// OverwriteTimestamps replaces each point's timestamp by the time at which it was read. So that a destination keeps
	// all of them, points of one series get milliseconds of their own: one behind the other, up to a minute ahead of the
	// clock when many come at once. Beyond that they share the last, counted as Stats.SharedTimestamps.
	OverwriteTimestamps bool
	// AllowInf keeps infinite values.
	AllowInf bool
	// Strict reproduces exactly the points that carbon hands on.
	Strict bool
	// MaxConns bounds the connections served at one time, MaxLine a line and MaxFrame a pickle, in bytes. 0 means
	// graphite's defaults.
	MaxConns, MaxLine, MaxFrame int
}

// DedupConfig says which points are judged and where marks are kept.
type DedupConfig struct {
	// Off turns judging off: every point is accepted.
	Off bool
	// Store keeps the high-water marks. nil means a dedup.Memory of the server's own.
	Store dedup.Store
	// AllInputs judges the points of carbon's inputs too, not those of HTTP and Ingest alone.
	AllInputs bool
	// Away says what becomes of points while Store does not answer. Default AwayHold.
	Away Away
	// AwayWait is how long AwayHold lets a request wait, and how long Store may take to answer before it counts as away.
	// Default 5 s.
	AwayWait time.Duration
	// Bypass are prefixes of names, on the boundary of an element, whose points are not judged.
	Bypass []string
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
	c.Dedup.AwayWait = orDefault(c.Dedup.AwayWait, DefaultAwayWait)
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
	if c.SpoolMax < 0 || c.MemoryMax < 0 || c.DeadLetterMax < 0 {
		return configError("bounds in bytes cannot be negative: SpoolMax %d, MemoryMax %d, DeadLetterMax %d", c.SpoolMax, c.MemoryMax, c.DeadLetterMax)
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
	if err := c.SelfMetrics.check(); err != nil {
		return err
	}
	for _, prefix := range c.Dedup.Bypass {
		if err := ingest.CheckPrefix(prefix); err != nil || prefix == "" {
			return configError("Dedup.Bypass %q is no prefix of names, without a dot at its end", prefix)
		}
	}
	if err := c.checkPopulate(); err != nil {
		return err
	}
	if c.HTTP == nil {
		return nil
	}
	if h := c.HTTP; h.MaxBody < 0 || h.MaxBodies < h.MaxBody || h.MaxConns < 0 || h.MaxPoints < 0 || h.RoomWait < 0 {
		return configError("HTTP limits cannot be negative, nor all bodies' less than one's: body %d bytes, all bodies %d, %d connections, %d points, wait %v",
			h.MaxBody, h.MaxBodies, h.MaxConns, h.MaxPoints, h.RoomWait)
	}
	return c.HTTP.checkKeys(c.HTTP.Keys)
}
