package flux

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"regexp"
	"strings"
	"time"
)

// Rights are what a key may do.
type Rights uint8

// The rights. A key has RightIngest and RightFill unless it says otherwise.
const (
	RightIngest   Rights = 1 << iota // send points
	RightFill                        // send points as a fill, which no age and no high-water mark keeps out
	RightPopulate                    // have history fetched
)

var rightNames = []string{"ingest", "fill", "populate"}

// ParseRights reads a list of ingest, fill and populate, separated by commas.
func ParseRights(s string) (Rights, error) {
	var r Rights
next:
	for _, word := range strings.Split(s, ",") {
		for i, name := range rightNames {
			if strings.TrimSpace(word) == name {
				r |= 1 << i
				continue next
			}
		}
		return 0, fmt.Errorf("flux: %.40q is no right: a list of ingest, fill and populate, separated by commas", word)
	}
	return r, nil
}

// String returns what ParseRights reads.
func (r Rights) String() string {
	var words []string
	for i, name := range rightNames {
		if r&(1<<i) != 0 {
			words = append(words, name)
		}
	}
	return strings.Join(words, ",")
}

// Key is an API key: who has it may send points.
type Key struct {
	// Secret is what clients send: 16 to 128 of A-Z a-z 0-9 _ -. It is never logged.
	Secret string
	// Prefix, unless empty, confines the key: it is put, with a dot, before every metric's name that does not begin with
	// it. Several keys may share one.
	Prefix string
	// Rights are what the key may do. 0 means RightIngest and RightFill.
	Rights Rights
	// Rate is how many points a second the key may send on average, with a second's worth at once and a single request
	// beyond that; more is answered 429. 0 means no limit.
	Rate float64
	// MaxPoints and MaxBody bound one request, in points and in decoded bytes, within what HTTPConfig's do. MaxPoints
	// counts telegraf's fields and lines too. 0 means HTTPConfig's.
	MaxPoints int
	MaxBody   int64
	// MaxMetrics bounds the distinct names that the key may use in the life of the server. A name counts once it was
	// let in, whatever became of its point. 0 means HTTPConfig's KeyMaxMetrics.
	MaxMetrics int
}

// String tells all of a key but its secret, so that one which is printed or logged by mistake gives nothing away.
func (k Key) String() string {
	return fmt.Sprintf("key of prefix %q with rights %v", k.Prefix, orDefault(k.Rights, RightIngest|RightFill))
}

// GoString is String.
func (k Key) GoString() string { return k.String() }

// LogValue is String, for log/slog.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

var (
	keyForm    = regexp.MustCompile(`^[A-Za-z0-9_-]{16,128}$`)
	prefixForm = regexp.MustCompile(`^[A-Za-z0-9+\-%_=:]+(\.[A-Za-z0-9+\-%_=:]+)*$`)
)

// ErrNoKey is wrapped by the error for a gateway without any key.
var ErrNoKey = errors.New("no API key, so anybody could send")

// ErrExampleKey is wrapped by the error for ExampleKey among the keys.
var ErrExampleKey = errors.New("the key of the original's documentation is known to everybody")

// checkKeys never repeats a key in an error: errors are logged.
func (h *HTTPConfig) checkKeys(keys []Key) error {
	if len(keys) == 0 && !h.NoAuth {
		return fmt.Errorf("%w: %w", ErrConfig, ErrNoKey)
	}
	seen := map[string]int{}
	for i, k := range keys {
		if j, dup := seen[k.Secret]; dup {
			return configError("keys %d and %d are the same", j+1, i+1)
		}
		seen[k.Secret] = i
		if k.Secret == ExampleKey && !h.AllowExampleKey {
			return fmt.Errorf("%w: %w", ErrConfig, ErrExampleKey)
		}
		if err := k.check(i + 1); err != nil {
			return err
		}
	}
	return nil
}

func (k *Key) check(n int) error {
	switch {
	case !keyForm.MatchString(k.Secret):
		return configError("key %d has %d characters, and a key is 16 to 128 of A-Z a-z 0-9 _ and -", n, len(k.Secret))
	case strings.HasPrefix(k.Prefix, "=") || strings.HasSuffix(k.Prefix, "="):
		return configError("prefix of key %d begins or ends with =, as if the key were cut at its own =; keys hold none", n)
	case k.Prefix != "" && !prefixForm.MatchString(k.Prefix):
		return configError("prefix %q of key %d is not a metric name: elements of A-Z a-z 0-9 + - %% _ = : joined by dots", k.Prefix, n)
	case k.Rights >= 1<<len(rightNames):
		return configError("key %d has rights that do not exist: %d", n, k.Rights)
	case k.Rate < 0 || math.IsNaN(k.Rate) || math.IsInf(k.Rate, 0):
		return configError("rate of key %d is %v points a second; give a number above 0, or 0 for no limit", n, k.Rate)
	case k.MaxPoints < 0 || k.MaxBody < 0 || k.MaxMetrics < 0:
		return configError("limits of key %d cannot be negative: %d points, %d bytes, %d metrics", n, k.MaxPoints, k.MaxBody, k.MaxMetrics)
	}
	return nil
}

// keyTable finds a key without comparing secrets byte for byte: what is looked up and compared are digests salted
// with random bytes of this process, so that neither the table nor the time of a look-up tells about a key. It does not
// change once it is made.
type keyTable struct {
	salt [32]byte
	keys map[[32]byte]*keyEntry
}

// keyEntry is a key in a table. What it counts outlives the table.
type keyEntry struct {
	Key
	digest [32]byte
	rate   *bucket // nil: no limit
	names  *quota  // nil: no limit
}

// newKeyTable makes a table. Keys that stand in the former one, which may be nil, keep what was counted for them.
func newKeyTable(keys []Key, h *HTTPConfig, former *keyTable) *keyTable {
	t := &keyTable{keys: make(map[[32]byte]*keyEntry, len(keys))}
	if former != nil {
		t.salt = former.salt
	} else {
		rand.Read(t.salt[:])
	}
	for _, k := range keys {
		e := &keyEntry{Key: k, digest: t.digest([]byte(k.Secret))}
		e.Secret = ""
		e.Rights = orDefault(e.Rights, RightIngest|RightFill)
		e.MaxBody = orDefault(e.MaxBody, h.MaxBody)
		e.MaxMetrics = orDefault(e.MaxMetrics, h.KeyMaxMetrics)
		var old keyEntry
		if former != nil && former.keys[e.digest] != nil {
			old = *former.keys[e.digest]
		}
		if e.Rate > 0 {
			e.rate = old.rate.orNew()
		}
		if e.MaxMetrics > 0 {
			e.names = old.names.orNew()
		}
		t.keys[e.digest] = e
	}
	return t
}

func (t *keyTable) digest(secret []byte) [32]byte {
	var buf [32 + 128]byte
	n := copy(buf[:], t.salt[:])
	n += copy(buf[n:], secret)
	return sha256.Sum256(buf[:n])
}

// find returns the entry of a key, nil when it is not known. A key longer than a key can be is not.
func (t *keyTable) find(secret []byte) *keyEntry {
	if len(secret) > 128 {
		return nil
	}
	d := t.digest(secret)
	if e := t.keys[d]; e != nil && subtle.ConstantTimeCompare(d[:], e.digest[:]) == 1 {
		return e
	}
	return nil
}

// giveBack is for n points of those taken that were refused after all.
func (k *keyEntry) giveBack(n int) {
	if k.rate != nil {
		k.rate.give(n, k.Rate)
	}
}

// take takes n points from what the key may send, and returns 0, or how long it must wait.
func (k *keyEntry) take(n int, now time.Time) time.Duration {
	if k.rate == nil {
		return 0
	}
	return k.rate.take(n, k.Rate, now)
}
