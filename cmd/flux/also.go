package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/flux"
	"github.com/fluxmetrics/fluxkit/graphite"
)

// parseAlso reads a further destination. Its errors do not show the text, which may hold a password.
func parseAlso(text string, base blueflood.EndpointConfig) (d flux.Destination, err error) {
	u, err := url.Parse(text)
	if err != nil {
		return d, errors.New("is not a URL: write pickle://HOST:PORT, line://HOST:PORT or blueflood+http://HOST:PORT/TENANT")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil || u.Fragment != "" {
		return d, errors.New("what stands behind its ? cannot be read: write ?name=NAME&required, and %23 for a #, %26 for an &")
	}
	if err := checkAlso(u.Scheme, query); err != nil {
		return d, err
	}
	if d.Name = query.Get("name"); query.Has("name") && !destinationName.MatchString(d.Name) {
		return d, fmt.Errorf("name %.40q is not 1 to 64 of letters, digits, - and _", d.Name)
	}
	if query.Has("required") {
		d.Required = true
		if v := query.Get("required"); v != "" {
			if d.Required, err = parseBool(v); err != nil {
				return d, fmt.Errorf("required: %w", err)
			}
		}
	}
	if strings.HasPrefix(u.Scheme, "blueflood") {
		d.Blueflood, err = alsoBlueflood(u, query, base)
	} else {
		d.Carbon, err = alsoCarbon(u, query)
	}
	return d, err
}

var destinationName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// checkAlso checks that a URL of that scheme takes what stands behind its ?.
func checkAlso(scheme string, query url.Values) error {
	allowed := []string{"name", "required"}
	var filled []string // not without a value
	switch scheme {
	case "pickle", "line":
	case "pickle+tls", "line+tls":
		filled = []string{"ca", "cert", "key"}
	case "blueflood+http", "blueflood+https":
		allowed = append(allowed, "prefix", "ttl")
		filled = []string{"password_file", "user", "key_file", "auth_url"}
	default:
		return fmt.Errorf("%.20q is not known: use pickle://, line://, pickle+tls://, line+tls://, blueflood+http:// or blueflood+https://", scheme)
	}
	allowed = append(allowed, filled...)
	for name, values := range query {
		switch {
		case !slices.Contains(allowed, name):
			return fmt.Errorf("it has no %s: it takes %s behind its ?", shown(name), strings.Join(allowed, ", "))
		case len(values) > 1:
			return fmt.Errorf("%s stands there twice", name)
		case values[0] == "" && slices.Contains(filled, name):
			return fmt.Errorf("%s is empty", name)
		}
	}
	return nil
}

func alsoCarbon(u *url.URL, query url.Values) (*graphite.ClientConfig, error) {
	if u.Hostname() == "" || u.Port() == "" || u.User != nil || u.Path != "" && u.Path != "/" {
		return nil, fmt.Errorf("%s destination is not %s://HOST:PORT; Carbon's ports are 2004 for pickle and 2003 for line", u.Scheme, u.Scheme)
	}
	c := &graphite.ClientConfig{Addrs: []string{u.Host}, Protocol: graphite.Pickle}
	protocol, secure := strings.CutSuffix(u.Scheme, "+tls")
	if protocol == "line" {
		c.Protocol = graphite.Line
	}
	if !secure {
		return c, nil
	}
	var err error
	c.TLS, err = tlsFiles{ca: query.Get("ca"), cert: query.Get("cert"), key: query.Get("key")}.config()
	return c, err
}

func alsoBlueflood(u *url.URL, query url.Values, base blueflood.EndpointConfig) (*blueflood.EndpointConfig, error) {
	path := strings.TrimRight(u.EscapedPath(), "/")
	slash := strings.LastIndexByte(path, '/')
	if u.Hostname() == "" || slash < 0 || slash == len(path)-1 {
		return nil, errors.New("blueflood destination is not blueflood+http://HOST:PORT/TENANT; Blueflood's port for ingest is 19000")
	}
	tenant, err := url.PathUnescape(path[slash+1:])
	if err != nil {
		return nil, errors.New("its tenant is not percent-encoded as it should be")
	}
	address := *u
	address.Scheme = strings.TrimPrefix(u.Scheme, "blueflood+")
	address.RawQuery, address.ForceQuery = "", false
	if address.Path, err = url.PathUnescape(path[:slash]); err != nil {
		return nil, errors.New("its path is not percent-encoded as it should be")
	}
	address.RawPath = path[:slash]
	e := base
	e.Tenant, e.Prefix, e.TTL = tenant, query.Get("prefix"), 24*time.Hour
	if e.URL, err = withPassword(address.String(), "its URL", "password_file", query.Get("password_file")); err != nil {
		return nil, err
	}
	if e.Auth, err = alsoKeystone(query, base.Logger); err != nil {
		return nil, err
	}
	if query.Has("ttl") {
		var ttl span
		if err := ttl.UnmarshalText([]byte(query.Get("ttl"))); err != nil {
			return nil, fmt.Errorf("ttl: %w", err)
		}
		if e.TTL = time.Duration(ttl); !validTTL(e.TTL) {
			return nil, fmt.Errorf("ttl %v must be whole seconds, from 1 to %d", e.TTL, int64(blueflood.MaxTTL/time.Second))
		}
	}
	return &e, nil
}

// alsoKeystone is what adds tokens to a further Blueflood's requests, nil where there is no user.
func alsoKeystone(query url.Values, log *slog.Logger) (blueflood.Authenticator, error) {
	user, file := query.Get("user"), query.Get("key_file")
	switch {
	case user == "" && file == "" && !query.Has("auth_url"):
		return nil, nil
	case user == "" || file == "":
		return nil, errors.New("a Keystone needs both: user=USER, and key_file=FILE with the user's API key")
	}
	key, err := readPassword(file)
	if err != nil {
		return nil, fmt.Errorf("key_file: %w", err)
	}
	k, err := blueflood.NewKeystone(blueflood.KeystoneConfig{
		URL: cmp.Or(query.Get("auth_url"), blueflood.DefaultKeystoneURL), User: user, APIKey: key, Logger: log,
	})
	if err != nil {
		return nil, fmt.Errorf("auth_url, user and key_file: %w", err)
	}
	return k, nil
}

func validTTL(d time.Duration) bool {
	return d >= time.Second && d <= blueflood.MaxTTL && d%time.Second == 0
}
