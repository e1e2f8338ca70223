package flux

import (
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"strings"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
)

// bearer returns the token of an Authorization header of that kind (RFC 6750).
func bearer(r *http.Request) (token string, ok bool) {
	const scheme = "Bearer "
	h := header(r, "Authorization")
	if len(h) < len(scheme) || !strings.EqualFold(h[:len(scheme)], scheme) {
		return "", false
	}
	return strings.TrimLeft(h[len(scheme):], " "), true
}

func checkUsers(users map[string]string) error {
	for user, password := range users {
		switch {
		case user == "" || strings.ContainsFunc(user, func(c rune) bool { return c == ':' || c < ' ' || c == 0x7f }):
			return configError("user %q cannot be sent by basic authentication: it is empty, or has a colon or a control character", user)
		case password == "":
			return configError("user %q has no password", user)
		}
	}
	return nil
}

// basicAuth knows users by salted digests of their names and passwords, so that the time of a look-up tells nothing.
type basicAuth struct {
	salt  [32]byte
	users map[[32]byte]struct{}
}

// newBasicAuth returns nil when nobody has to name a user.
func newBasicAuth(users map[string]string) *basicAuth {
	if len(users) == 0 {
		return nil
	}
	b := &basicAuth{users: map[[32]byte]struct{}{}}
	rand.Read(b.salt[:])
	for user, password := range users {
		b.users[b.digest(user, password)] = struct{}{}
	}
	return b
}

// digest stands for a user and a password. A user has no colon.
func (b *basicAuth) digest(user, password string) [32]byte {
	h := sha256.New()
	h.Write(b.salt[:])
	h.Write([]byte(user))
	h.Write([]byte{':'})
	h.Write([]byte(password))
	return [32]byte(h.Sum(nil))
}

// lets reports whether the request names a user, or need not. A key that comes as a bearer token stands for a user.
func (b *basicAuth) lets(r *http.Request, bearsKey func(*http.Request) bool) bool {
	if b == nil {
		return true
	}
	if _, token := bearer(r); token {
		return bearsKey(r)
	}
	user, password, ok := r.BasicAuth()
	if !ok {
		return false
	}
	_, known := b.users[b.digest(user, password)]
	return known
}

// bearsKey reports whether a key that is valid comes as a bearer token. Where anybody may send there is none.
func (g *gateway) bearsKey(r *http.Request) bool {
	token, _ := bearer(r)
	return !g.cfg.NoAuth && g.keys.Load().find([]byte(token)) != nil
}

// headerKey is the key in a header: in Authorization, else in Key.
func headerKey(r *http.Request) (key string, given bool) {
	if token, ok := bearer(r); ok {
		return token, true
	}
	h := header(r, "Key")
	return h, h != ""
}

// keyBeside returns the key that stands beside the body: in a header, else in the query. It is nil where none does.
func (g *gateway) keyBeside(r *http.Request, asked asked) (*keyEntry, error) {
	if g.cfg.NoAuth {
		return g.anybody, nil
	}
	key, given := headerKey(r)
	if !given {
		key, given = asked.key, asked.hasKey
	}
	if !given {
		return nil, nil
	}
	return g.find([]byte(key))
}

// authenticateKey returns the key of a request that may hold one besides its headers, which count first.
func (g *gateway) authenticateKey(r *http.Request, key []byte, given bool) (*keyEntry, error) {
	if g.cfg.NoAuth {
		return g.anybody, nil
	}
	if h, ok := headerKey(r); ok {
		key, given = []byte(h), true
	}
	if !given {
		return nil, &ingest.Error{Code: http.StatusBadRequest, Message: "no key passed", Item: -1, Reason: reasonNoKey}
	}
	return g.find(key)
}

func (g *gateway) find(key []byte) (*keyEntry, error) {
	k := g.keys.Load().find(key)
	if k == nil {
		return nil, &ingest.Error{Code: http.StatusUnauthorized, Message: "invalid key", Item: -1, Reason: reasonKey}
	}
	return k, nil
}

// SetKeys replaces the gateway's keys. Keys that stay keep their counts. Requests under way go on with the key that they
// came with. An error wraps ErrConfig, and nothing is changed.
func (s *Server) SetKeys(keys []Key) error {
	if s.gateway == nil {
		return configError("a server without HTTP has no keys")
	}
	if err := s.cfg.HTTP.checkKeys(keys); err != nil {
		return err
	}
	g := s.gateway
	g.reload.Lock()
	defer g.reload.Unlock()
	g.keys.Store(newKeyTable(keys, &g.cfg, g.keys.Load()))
	return nil
}
