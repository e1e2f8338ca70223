package blueflood

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// DefaultKeystoneURL is where Rackspace's identity service gives tokens.
	DefaultKeystoneURL = "https://identity.api.rackspacecloud.com/v2.0/tokens"

	defaultKeystoneTimeout = 10 * time.Second
	defaultRefreshBefore   = 5 * time.Minute
	defaultTokenBackoffMin = time.Second
	defaultTokenBackoffMax = time.Minute

	redacted = "[redacted]"
)

// KeystoneConfig configures a Keystone. User and one of APIKey and Password are required; the zero value of every other
// field means its default. Formatted or logged, it shows neither key nor password.
type KeystoneConfig struct {
	// URL is the whole address that gives tokens, /v2.0/tokens at its end. Default DefaultKeystoneURL.
	URL string
	// User is who asks for tokens.
	User string
	// APIKey and Password are the two kinds of credentials, of which one is given: Rackspace's extension
	// RAX-KSKEY:apiKeyCredentials, or Keystone's own passwordCredentials.
	APIKey, Password string
	// Tenant and TenantName ask for a token of that tenant, by its id or by its name; one at most. A user of several
	// tenants may need it. Default: Keystone picks the user's own.
	Tenant, TenantName string

	// Timeout bounds one token request, from connecting to the end of the answer. Default 10 s.
	Timeout time.Duration
	// Transport makes the token requests. Default: one of its own that honours the proxy variables of the environment
	// and keeps no connection. Redirects are never followed: they would carry the credentials elsewhere.
	Transport http.RoundTripper
	// UserAgent is sent with each token request. Default "fluxkit".
	UserAgent string

	// RefreshBefore is how long before its expiry a token is replaced by a new one, but never more than a quarter of the
	// time it had left when it was given. Default 5 min.
	RefreshBefore time.Duration
	// BackoffMin and BackoffMax bound the wait after a failed token request, which doubles each time and is drawn at
	// random from its upper half; a longer Retry-After goes before it. They bound in the same way how soon one token
	// that the server refuses follows another. Defaults 1 s, 1 min.
	BackoffMin, BackoffMax time.Duration

	// Logger receives what an operator should know. nil is silent.
	Logger *slog.Logger
	// Now is the clock that expiry and backoff are judged by. Default time.Now.
	Now func() time.Time
}

// String shows the configuration without its secrets.
func (c KeystoneConfig) String() string {
	s := fmt.Sprintf("KeystoneConfig{URL: %q, User: %q", redactedURL(c.URL), c.User)
	for _, f := range [...]struct{ name, value string }{
		{"APIKey", hidden(c.APIKey)}, {"Password", hidden(c.Password)}, {"Tenant", c.Tenant}, {"TenantName", c.TenantName},
	} {
		if f.value != "" {
			s += fmt.Sprintf(", %s: %q", f.name, f.value)
		}
	}
	return s + "}"
}

// GoString is String, for %#v.
func (c KeystoneConfig) GoString() string { return c.String() }

// Format is String, for every verb.
func (c KeystoneConfig) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, c.String()) }

// LogValue is String, for slog.
func (c KeystoneConfig) LogValue() slog.Value { return slog.StringValue(c.String()) }

func hidden(secret string) string {
	if secret == "" {
		return ""
	}
	return redacted
}

// redactedURL is the address without a password. One that cannot be parsed may hold one anywhere.
func redactedURL(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Opaque != "" {
		return hidden(address)
	}
	u.RawQuery = hidden(u.RawQuery)
	return u.Redacted()
}

// withDefaults returns c with its zero fields filled in, or a *ConfigError.
func (c KeystoneConfig) withDefaults() (KeystoneConfig, error) {
	if c.URL == "" {
		c.URL = DefaultKeystoneURL
	}
	if c.Timeout == 0 {
		c.Timeout = defaultKeystoneTimeout
	}
	if c.UserAgent == "" {
		c.UserAgent = defaultUserAgent
	}
	if c.RefreshBefore == 0 {
		c.RefreshBefore = defaultRefreshBefore
	}
	if c.BackoffMin == 0 {
		c.BackoffMin = defaultTokenBackoffMin
		if c.BackoffMax > 0 {
			c.BackoffMin = min(c.BackoffMin, c.BackoffMax)
		}
	}
	if c.BackoffMax == 0 {
		c.BackoffMax = max(c.BackoffMin, defaultTokenBackoffMax)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c, c.check()
}

func (c *KeystoneConfig) check() error {
	if err := checkTokenURL(c.URL); err != nil {
		return err
	}
	switch {
	case c.User == "":
		return &ConfigError{"User", "", "is empty; name the Keystone user that the key or the password is of"}
	case c.APIKey == "" && c.Password == "":
		return &ConfigError{"APIKey", "", "is empty, and so is Password; give the credentials of the Keystone user in one of the two"}
	case c.APIKey != "" && c.Password != "":
		return &ConfigError{"Password", redacted, "is given beside APIKey; Keystone takes one of the two, leave the other empty"}
	case c.Tenant != "" && c.TenantName != "":
		return &ConfigError{"TenantName", c.TenantName, "is given beside Tenant; Keystone takes one of the two, leave the other empty"}
	case c.Timeout < 0:
		return &ConfigError{"Timeout", c.Timeout.String(), "must not be negative; 0 means 10s"}
	case c.RefreshBefore < 0:
		return &ConfigError{"RefreshBefore", c.RefreshBefore.String(), "must not be negative; 0 means 5m"}
	case c.BackoffMin < 0 || c.BackoffMax < c.BackoffMin:
		return &ConfigError{"BackoffMax", c.BackoffMax.String(), "must not be negative nor less than BackoffMin"}
	}
	return c.checkText()
}

// checkText refuses text that JSON cannot carry, and the line break that a key read from a file brings with it.
func (c *KeystoneConfig) checkText() error {
	for _, f := range [...]struct{ name, value, shown string }{
		{"User", c.User, c.User}, {"APIKey", c.APIKey, redacted}, {"Password", c.Password, redacted},
		{"Tenant", c.Tenant, c.Tenant}, {"TenantName", c.TenantName, c.TenantName},
	} {
		switch {
		case !utf8.ValidString(f.value):
			return &ConfigError{f.name, f.shown, "is not UTF-8"}
		case strings.ContainsAny(f.value, "\r\n\x00"):
			return &ConfigError{f.name, f.shown, "holds a line break or a zero byte; was it read from a file with its last line's end?"}
		}
	}
	return nil
}

func checkTokenURL(address string) error {
	const use = "give Keystone's token address, something like " + DefaultKeystoneURL
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return &ConfigError{"URL", "", "cannot be parsed; " + use}
	case u.Scheme != "http" && u.Scheme != "https" || u.Opaque != "":
		return &ConfigError{"URL", redactedURL(address), "does not start with http:// or https://; " + use}
	case u.Hostname() == "":
		return &ConfigError{"URL", redactedURL(address), "names no host; " + use}
	case u.User != nil:
		return &ConfigError{"URL", redactedURL(address), "holds a user; Keystone's user and key have fields of their own"}
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return &ConfigError{"URL", redactedURL(address), "has a query or a fragment; " + use}
	}
	return nil
}

// inClear reports whether the credentials would cross a network unencrypted.
func inClear(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Scheme == "http" && u.Hostname() != "localhost" && !net.ParseIP(u.Hostname()).IsLoopback()
}
