package dedup

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// redisTarget is what a URL tells.
type redisTarget struct {
	network, addr  string
	tls            bool
	user, password string
	db             int
}

// parseRedisURL reads the forms that NewRedis documents. Its errors never
// repeat the URL, which may hold a password.
func parseRedisURL(raw string) (t redisTarget, err error) {
	u, err := url.Parse(raw)
	if err != nil {
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err
		}
		var escape url.EscapeError
		var host url.InvalidHostError
		if errors.As(err, &escape) || errors.As(err, &host) || strings.Contains(raw, "@") {
			err = errors.New("not a URL; user and password must be percent-encoded")
		}
		return t, fmt.Errorf("dedup: redis URL: %w", err)
	}
	t.user = u.User.Username()
	t.password, _ = u.User.Password()
	if u.Fragment != "" || u.Opaque != "" {
		return t, errors.New("dedup: redis URL: want redis://host:port/db, rediss://host:port/db or unix:///path?db=N; a # in a password is %23")
	}
	db := ""
	switch u.Scheme {
	case "redis", "rediss":
		t.network, t.tls = "tcp", u.Scheme == "rediss"
		if u.RawQuery != "" {
			return t, fmt.Errorf("dedup: redis URL: %s: takes no query; the database is the path, as in /2", u.Scheme)
		}
		if u.Hostname() == "" {
			return t, fmt.Errorf("dedup: redis URL: %s: no host", u.Scheme)
		}
		port := u.Port()
		if port == "" {
			port = "6379"
		}
		t.addr = net.JoinHostPort(u.Hostname(), port)
		db = strings.TrimPrefix(u.Path, "/")
	case "unix":
		t.network, t.addr = "unix", u.Path
		if u.Host != "" || u.Path == "" {
			return t, errors.New("dedup: redis URL: unix: want an absolute path, as in unix:///run/redis.sock")
		}
		q, err := url.ParseQuery(u.RawQuery)
		if err != nil || len(q) > 1 || len(q) == 1 && len(q["db"]) != 1 {
			return t, errors.New("dedup: redis URL: unix: the query may hold db=N only")
		}
		db = q.Get("db")
	default:
		return t, fmt.Errorf("dedup: redis URL: scheme %q: want redis, rediss or unix", u.Scheme)
	}
	if db != "" {
		if t.db, err = strconv.Atoi(db); err != nil || t.db < 0 {
			return t, fmt.Errorf("dedup: redis URL: database %q: want a number from 0", db)
		}
	}
	return t, nil
}
