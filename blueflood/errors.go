package blueflood

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// ErrFull is wrapped by the error of a Send that found no room in the buffer before its context ended.
var ErrFull = errors.New("blueflood: the endpoint's buffer is full")

// ErrTooBig is wrapped by the error of a Send whose points would not even fit in an empty buffer.
var ErrTooBig = errors.New("blueflood: more points in one Send than the endpoint's buffer can hold")

// ErrSpool is wrapped, with the cause, by the error of a call for which the disk of the spool failed. Points of a Send
// that returned it are not kept, save by a SendAsync or a Reservation, which may keep them later.
var ErrSpool = errors.New("blueflood: the spool's disk fails")

// ErrClosed is wrapped by the error of a call on an endpoint that was closed.
var ErrClosed = errors.New("blueflood: the endpoint is closed")

// UndeliveredError is returned by Close when points were left behind.
type UndeliveredError struct {
	Points   int64  // accepted or recovered, neither stored nor given up
	SpoolDir string // where they stay for the next endpoint; empty when they are lost
	Err      error  // why: the context's error
}

func (e *UndeliveredError) Error() string {
	text := fmt.Sprintf("blueflood: closed with %d points undelivered, which are lost", e.Points)
	if e.SpoolDir != "" {
		text = fmt.Sprintf("blueflood: closed with %d points undelivered, which stay in %s", e.Points, e.SpoolDir)
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the reason why the endpoint stopped waiting.
func (e *UndeliveredError) Unwrap() error { return e.Err }

// SpoolTenantError is returned by NewEndpoint when SpoolDir holds points of another tenant than EndpointConfig names.
type SpoolTenantError struct {
	SpoolDir string
	Points   int64
	Tenant   string // whose they are
	Instead  string // who would get them
}

func (e *SpoolTenantError) Error() string {
	return fmt.Sprintf("blueflood: SpoolDir %q holds %d points of the tenant %q, which would go to %q: name that tenant again until they are delivered, use another SpoolDir, or deliver them with flux spool replay",
		e.SpoolDir, e.Points, e.Tenant, e.Instead)
}

// ErrorEntry is one entry of an error list, as Blueflood sends it.
type ErrorEntry struct {
	TenantID   string `json:"tenantId"`
	Timestamp  *int64 `json:"timestamp"` // the point's, Unix milliseconds; nil when the entry is about no point
	MetricName string `json:"metricName"`
	Source     string `json:"source"` // the field that is at fault; empty when the entry is about no point
	Message    string `json:"message"`
}

// StatusError is an answer that does not say that all is well.
type StatusError struct {
	Method, URL string // the URL without a password
	Code        int
	Errors      []ErrorEntry  // what the answer listed, if anything
	Body        string        // the start of an answer that was no list
	RetryAfter  time.Duration // what the server asked for, 0 when nothing
	Points      int           // in the request; 0 for a query
}

func (e *StatusError) Error() string {
	var s strings.Builder
	fmt.Fprintf(&s, "blueflood: %s %s: %d %s", e.Method, e.URL, e.Code, http.StatusText(e.Code))
	switch {
	case len(e.Errors) > 0:
		fmt.Fprintf(&s, ": %q", e.Errors[0].Message)
		if n := len(e.Errors) - 1; n > 0 {
			fmt.Fprintf(&s, " and %d more", n)
		}
	case e.Body != "":
		fmt.Fprintf(&s, ": %q", e.Body)
	}
	if hint := statusHint(e.Code); hint != "" {
		s.WriteString(" (" + hint + ")")
	}
	if e.Points > 0 {
		fmt.Fprintf(&s, "; %d points in the request", e.Points)
	}
	return s.String()
}

// statusHint says what an operator can do about a status that will not go away by itself.
func statusHint(code int) string {
	switch {
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return "check the credentials"
	case code == http.StatusNotFound || code == http.StatusMethodNotAllowed || code == http.StatusNotImplemented:
		return "check the URL and the tenant: nothing like that is served there"
	case code == http.StatusUnsupportedMediaType:
		return "something between here and the server changes the headers"
	case code >= 300 && code < 400:
		return "redirects are not followed: use the address it points to"
	case code == http.StatusAccepted:
		return "the server's store did not answer in time"
	}
	return ""
}
