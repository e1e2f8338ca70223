package flux

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

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
