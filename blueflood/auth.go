package blueflood

import (
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Authenticator adds credentials to requests. Its methods may be called from many goroutines.
type Authenticator interface {
	// Authorize sets the headers that the server, or the proxy in front of it, wants to see. A request that is sent a
	// second time comes with those of the first. The request's context bounds it. An error keeps the request from being
	// made; the points stay, and are tried again after a backoff.
	Authorize(r *http.Request) error
	// Refused is told that r, which Authorize had prepared, was answered with the status 401 or 403. It returns true
	// when Authorize would now add something else, so that the same request is worth sending a second time at once.
	Refused(r *http.Request, status int) bool
}

// HeaderAuth is an Authenticator that sets fixed headers: a bearer token, a key of a proxy. Formatted or logged, it
// shows their names alone.
type HeaderAuth http.Header

// BasicAuth is a HeaderAuth with a user and a password (RFC 7617). The user cannot hold a colon.
func BasicAuth(user, password string) HeaderAuth {
	return HeaderAuth{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))}}
}

// BearerAuth is a HeaderAuth with a token (RFC 6750).
func BearerAuth(token string) HeaderAuth {
	return HeaderAuth{"Authorization": {"Bearer " + token}}
}

// Authorize implements Authenticator.
func (h HeaderAuth) Authorize(r *http.Request) error {
	for name, values := range h {
		r.Header[http.CanonicalHeaderKey(name)] = append([]string(nil), values...)
	}
	return nil
}

// Refused implements Authenticator: there is nothing else to try.
func (h HeaderAuth) Refused(*http.Request, int) bool { return false }

// String names the headers, without their values.
func (h HeaderAuth) String() string {
	return "HeaderAuth(" + strings.Join(slices.Sorted(maps.Keys(h)), ", ") + ")"
}

// GoString is String, for %#v.
func (h HeaderAuth) GoString() string { return h.String() }

// Format is String, for every verb.
func (h HeaderAuth) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, h.String()) }

// LogValue is String, for slog.
func (h HeaderAuth) LogValue() slog.Value { return slog.StringValue(h.String()) }
