package blueflood

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// ErrKeystoneClosed is wrapped by the error of a request that needed a token of a Keystone that was closed.
var ErrKeystoneClosed = errors.New("blueflood: the Keystone client is closed")

// KeystoneError says why there is no token. Until Next every Authorize that needs one returns it at once.
type KeystoneError struct {
	URL        string        // the token address
	Code       int           // of Keystone's answer, 0 when there was none
	Message    string        // what the answer said, if it is plain text without any piece of the credentials
	Hint       string        // what an operator can do, if anything: which field of the KeystoneConfig to look at
	RetryAfter time.Duration // what Keystone asked for, 0 when nothing
	Next       time.Time     // before which Keystone is not asked again
	Err        error         // why there was no answer, or none that can be used; nil when Code says it
}

func (e *KeystoneError) Error() string {
	var s strings.Builder
	fmt.Fprintf(&s, "blueflood: no token from %s", e.URL)
	if e.Code != 0 {
		fmt.Fprintf(&s, ": %d %s", e.Code, http.StatusText(e.Code))
	}
	if e.Message != "" {
		fmt.Fprintf(&s, ": %q", e.Message)
	}
	if e.Err != nil {
		fmt.Fprintf(&s, ": %v", e.Err)
	}
	if e.Hint != "" {
		s.WriteString(" (" + e.Hint + ")")
	}
	fmt.Fprintf(&s, "; Keystone is asked again from %s on", e.Next.UTC().Format("2006-01-02T15:04:05.000Z"))
	return s.String()
}

// Unwrap returns why there was no answer that can be used.
func (e *KeystoneError) Unwrap() error { return e.Err }

// hint says what to look at after such an answer of Keystone.
func (c *KeystoneConfig) hint(code int) string {
	secret := "APIKey"
	if c.Password != "" {
		secret = "Password"
	}
	switch {
	case code == http.StatusUnauthorized:
		return "Keystone knows no such credentials: check User and " + secret + c.tenantHint()
	case code == http.StatusForbidden:
		return "Keystone bars this user: check User, and that it is enabled" + c.tenantHint()
	case code == http.StatusBadRequest:
		return "Keystone does not understand the request: check URL and the kind of credentials, " + secret + c.tenantHint()
	case code == http.StatusNotFound || code == http.StatusMethodNotAllowed || code == http.StatusNotImplemented:
		return "check URL: nothing there gives tokens" + c.tenantHint()
	case code >= 300 && code < 400:
		return "redirects are not followed: put the address that gives tokens in URL"
	case code >= 200 && code < 300:
		return "check URL: it must be that of a Keystone v2.0"
	}
	return ""
}

func (c *KeystoneConfig) tenantHint() string {
	switch {
	case c.Tenant != "":
		return "; and Tenant"
	case c.TenantName != "":
		return "; and TenantName"
	}
	return ""
}
