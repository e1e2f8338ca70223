package ingest

import (
	"net/http"
	"strconv"
)

// Error says why a request was refused, in the words of today's Flux where it has some. Code and Message are meant to
// be answered as {"code": 400, "message": "..."}.
//
// The message tells which item, which field, which value and which rule. What it cites of the request is quoted and
// cut to 100 bytes, so that it is one line of printable text; the key is never in it.
type Error struct {
	Code    int    // the HTTP status: 400, 413 for too many points, 415 for an unknown Content-Encoding, or Hold's
	Message string // for the client
	Item    int    // index of the point in the request; -1 if the request as a whole is refused
	Reason  Reason // a label to count by
}

// Error is the message after "ingest: ".
func (e *Error) Error() string { return "ingest: " + e.Message }

// Reason is why a request was refused, as a short label for a counter.
type Reason string

// The reasons.
const (
	ReasonEncoding   Reason = "encoding"    // a Content-Encoding that is unknown, or a body that is not in it
	ReasonJSON       Reason = "json"        // the body is not JSON, or holds no object
	ReasonQuery      Reason = "query"       // the query is not one, or has a parameter that is unknown or repeated
	ReasonForm       Reason = "form"        // metrics is no array, an item of it no object, a line not three fields
	ReasonTooMany    Reason = "too_many"    // more than MaxPoints points, or names too long for the body
	ReasonMissing    Reason = "missing"     // no metric, timestamp or value; for telegraf no name or no host
	ReasonName       Reason = "name"        // a name that cannot be stored
	ReasonTimestamp  Reason = "timestamp"   // not whole seconds
	ReasonOld        Reason = "too_old"     // older than MaxAge
	ReasonFuture     Reason = "future"      // further ahead than MaxFuture
	ReasonValue      Reason = "value"       // not a finite number
	ReasonNonNumeric Reason = "non_numeric" // a field of telegraf that is no number
)

// refused is an error about the request as a whole.
func refused(reason Reason, message string) *Error {
	return &Error{Code: http.StatusBadRequest, Message: message, Item: -1, Reason: reason}
}

// cited is how many bytes of a client's text a message cites.
const cited = 100

// quote cites text: quoted, on one line, in ASCII, and cut.
func quote[T string | []byte](s T) string {
	if len(s) > cited {
		return strconv.QuoteToASCII(string(s[:cited])) + "..."
	}
	return strconv.QuoteToASCII(string(s))
}

// show cites a value: text quoted, numbers and literals as they are, containers by their kind.
func (t token) show() string {
	switch t.kind {
	case text, bareWord:
		return quote(t.text)
	case array, object:
		return t.kind.String()
	}
	if len(t.text) > cited {
		return string(t.text[:cited]) + "..."
	}
	return string(t.text)
}

// String names the kind for a message.
func (k kind) String() string {
	return [...]string{"nothing", "null", "true", "false", "a number", "a string", "an array", "an object", "a word", "a line", "a line"}[k]
}
