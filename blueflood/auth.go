package blueflood

import "net/http"

// Authenticator adds credentials to requests. Its methods may be called from many goroutines.
type Authenticator interface {
	// Authorize adds what the server, or the proxy in front of it, wants to see. The request's context bounds it. An
	// error keeps the request from being made; the points stay, and are tried again after a backoff.
	Authorize(r *http.Request) error
	// Refused is told that r, which Authorize had prepared, was answered with the status 401 or 403. It returns true
	// when Authorize would now add something else, so that the same request is worth sending a second time at once.
	Refused(r *http.Request, status int) bool
}

// HeaderAuth is an Authenticator that sets fixed headers: a bearer token, a key of a proxy.
type HeaderAuth http.Header

// Authorize implements Authenticator.
func (h HeaderAuth) Authorize(r *http.Request) error {
	for name, values := range h {
		r.Header[http.CanonicalHeaderKey(name)] = append([]string(nil), values...)
	}
	return nil
}

// Refused implements Authenticator: there is nothing else to try.
func (h HeaderAuth) Refused(*http.Request, int) bool { return false }
