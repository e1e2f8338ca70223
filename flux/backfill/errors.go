package backfill

import (
	"errors"
	"strconv"
)

// Errors of a Manager.
var (
	// ErrFull is returned by Submit when Config.MaxJobs jobs are unfinished. The caller answers 503.
	ErrFull = errors.New("backfill: too many unfinished jobs")
	// ErrClosed is returned once Close was called.
	ErrClosed = errors.New("backfill: the manager is closed")
	// ErrNoJob is returned for an id that no job has.
	ErrNoJob = errors.New("backfill: no such job")
	// ErrLocked is wrapped by New's error when another Manager has Config.Dir.
	ErrLocked = errors.New("backfill: the directory of jobs is in use")
)

// RequestError says what is wrong with a request: which field, which value, which rule. The caller answers 400. The key
// is never part of it.
type RequestError struct {
	Field string // the member of the JSON object; empty for the body as a whole
	Value string // what it holds, quoted and cut; may be empty
	Rule  string
}

func (e *RequestError) Error() string { return "backfill: " + e.Message() }

// Message is the error without the name of the package, for a client.
func (e *RequestError) Message() string {
	text := e.Rule
	if e.Value != "" {
		text = e.Value + ": " + text
	}
	if e.Field != "" {
		text = "invalid " + e.Field + ": " + text
	}
	return text
}

// OriginError is returned for an URL that must not be fetched: its origin is not listed, or the listed name resolves to
// an address that is not allowed. The caller answers 403.
type OriginError struct {
	Origin  string // scheme://host[:port]
	Address string // what the name resolved to; empty when the origin is not listed
}

func (e *OriginError) Error() string {
	if e.Address != "" {
		return "backfill: " + e.Origin + " resolves to " + e.Address + ", which is not allowed"
	}
	return "backfill: origin " + quote(e.Origin) + " is not listed"
}

// cited is how many bytes of somebody's text a message cites.
const cited = 100

// quote cites text: quoted, on one line, in ASCII, and cut.
func quote[T ~string | ~[]byte](s T) string {
	if len(s) > cited {
		return strconv.QuoteToASCII(string(s[:cited])) + "..."
	}
	return strconv.QuoteToASCII(string(s))
}
