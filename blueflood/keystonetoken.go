package blueflood

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	maxTokenAnswer = 1 << 20 // longest answer of Keystone that is read; a catalogue has some ten kilobytes
	maxTokenFault  = 64 << 10
	maxTokenID     = 64 << 10 // some hold the whole catalogue
	maxTenantID    = 1 << 10

	// defaultTokenLife is how long a token is used whose expiry cannot be told.
	defaultTokenLife = time.Hour

	tokenHeader  = "X-Auth-Token"
	tenantHeader = "X-Tenant-Id"
)

// token is what Keystone gave. It is not changed.
type token struct {
	id, tenant string
	refresh    time.Time // from which on a new one is asked for
	expires    time.Time // from which on it is not used
}

// set puts the token in a request: its id, and the tenant that it is of.
func (t *token) set(h http.Header) {
	h[tokenHeader] = []string{t.id}
	if t.tenant != "" {
		h[tenantHeader] = []string{t.tenant}
	}
}

// The request of Keystone v2.0, and what is read of its answer.
type (
	tokenRequest struct {
		Auth tokenAuth `json:"auth"`
	}
	tokenAuth struct {
		APIKey     *apiKeyCredentials   `json:"RAX-KSKEY:apiKeyCredentials,omitempty"`
		Password   *passwordCredentials `json:"passwordCredentials,omitempty"`
		TenantID   string               `json:"tenantId,omitempty"`
		TenantName string               `json:"tenantName,omitempty"`
	}
	apiKeyCredentials struct {
		Username string `json:"username"`
		APIKey   string `json:"apiKey"`
	}
	passwordCredentials struct {
		Username string `json:"username"`
		Password string `json:"password"`
	}
	tokenAnswer struct {
		Access struct {
			Token struct {
				ID      string          `json:"id"`
				Expires json.RawMessage `json:"expires"`
				Tenant  struct {
					ID string `json:"id"`
				} `json:"tenant"`
			} `json:"token"`
		} `json:"access"`
	}
)

// requestBody is the token request as JSON.
func (c *KeystoneConfig) requestBody() ([]byte, error) {
	r := tokenRequest{tokenAuth{TenantID: c.Tenant, TenantName: c.TenantName}}
	if c.APIKey != "" {
		r.Auth.APIKey = &apiKeyCredentials{c.User, c.APIKey}
	} else {
		r.Auth.Password = &passwordCredentials{c.User, c.Password}
	}
	return json.Marshal(r)
}

// ask makes one token request. The error lacks Next.
func (k *Keystone) ask(ctx context.Context) (*token, *KeystoneError) {
	ctx, cancel := context.WithTimeout(ctx, k.cfg.Timeout)
	defer cancel()
	now := k.cfg.Now() // before the request: what it takes is not counted as life of the token
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, k.cfg.URL, bytes.NewReader(k.body))
	if err != nil {
		return nil, k.noAnswer(ctx, err)
	}
	r.Header = http.Header{"Content-Type": {jsonType}, "Accept": {jsonType}, "User-Agent": {k.cfg.UserAgent}}
	res, err := k.client.Do(r)
	if err != nil {
		return nil, k.noAnswer(ctx, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusNonAuthoritativeInfo {
		return nil, k.fault(res)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, maxTokenAnswer+1))
	if err != nil {
		return nil, k.noAnswer(ctx, err)
	}
	t, err := k.parse(data, now)
	if err != nil {
		return nil, &KeystoneError{
			URL: k.cfg.URL, Code: res.StatusCode, Err: err, Hint: "check URL: it must be that of a Keystone v2.0",
		}
	}
	return t, nil
}

// noAnswer is the error of a request that failed on the way.
func (k *Keystone) noAnswer(ctx context.Context, err error) *KeystoneError {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err // the address is said already
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("no answer within the Timeout of %v: %w", k.cfg.Timeout, context.DeadlineExceeded)
	}
	if repeats(err.Error(), k.cfg.APIKey+k.cfg.Password) { // the reason may quote what came
		err = errors.New("no answer; the reason is not shown, for it repeats a piece of the credentials")
	}
	return &KeystoneError{URL: k.cfg.URL, Err: err}
}

// fault is the error of an answer other than 200 and 203.
func (k *Keystone) fault(res *http.Response) *KeystoneError {
	data, _ := io.ReadAll(io.LimitReader(res.Body, maxTokenFault))
	return &KeystoneError{
		URL: k.cfg.URL, Code: res.StatusCode, Message: k.faultMessage(data), Hint: k.cfg.hint(res.StatusCode),
		RetryAfter: retryAfter(res.Header.Get("Retry-After"), k.cfg.Now),
	}
}

// faultMessage is the message of a fault, {"unauthorized": {"code": 401, "message": "..."}}: one whose name does not
// matter. It is shown when it is plain text that repeats no piece of the credentials; in other text they might stand
// escaped.
func (k *Keystone) faultMessage(data []byte) string {
	var faults map[string]json.RawMessage
	if json.Unmarshal(data, &faults) != nil {
		return ""
	}
	for _, raw := range faults {
		var f struct {
			Message string `json:"message"`
		}
		if json.Unmarshal(raw, &f) == nil && plainText(f.Message) && !repeats(f.Message, k.cfg.APIKey+k.cfg.Password) {
			return f.Message[:min(len(f.Message), excerpt)]
		}
	}
	return ""
}

// plainText reports whether s is made of words alone.
func plainText(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(" .,:;!?'()-_/", r))
	}) < 0
}

// repeats reports whether text holds the secret, or six bytes in a row of it.
func repeats(text, secret string) bool {
	piece := min(len(secret), 6)
	for i := 0; i+piece <= len(secret); i++ {
		if strings.Contains(text, secret[i:i+piece]) {
			return true
		}
	}
	return false
}

// parse reads a token that was asked for at the time now. Its errors quote nothing of the answer.
func (k *Keystone) parse(data []byte, now time.Time) (*token, error) {
	if len(data) > maxTokenAnswer {
		return nil, fmt.Errorf("the answer is longer than %d bytes", maxTokenAnswer)
	}
	var a tokenAnswer
	if err := json.Unmarshal(data, &a); err != nil {
		return nil, errors.New("the answer is not JSON, or not of the form of a token")
	}
	t := &token{id: a.Access.Token.ID, tenant: a.Access.Token.Tenant.ID}
	if t.tenant == "" && visible(k.cfg.Tenant) {
		t.tenant = k.cfg.Tenant
	}
	switch {
	case t.id == "":
		return nil, errors.New("the answer holds no access.token.id")
	case len(t.id) > maxTokenID || !visible(t.id):
		return nil, errors.New("the answer's access.token.id cannot stand in a header")
	case len(t.tenant) > maxTenantID || !visible(t.tenant):
		return nil, errors.New("the answer's access.token.tenant.id cannot stand in a header")
	}
	k.setLife(t, a.Access.Token.Expires, now)
	return t, nil
}

// setLife says until when the token is used.
func (k *Keystone) setLife(t *token, expires json.RawMessage, now time.Time) {
	now = now.Round(0) // the wall's time, as the answer's is
	var text string
	_ = json.Unmarshal(expires, &text) // what is no text is no time
	at, ok := parseExpires(text)
	switch {
	case !ok:
		at = now.Add(defaultTokenLife)
		k.log.Warn("blueflood: keystone does not say when the token expires", "url", k.cfg.URL, "used_for", defaultTokenLife)
	case !at.After(now):
		k.log.Warn("blueflood: keystone gave a token that has expired by the clock of this host; is that right?",
			"url", k.cfg.URL, "expires", at.UTC(), "now", now.UTC(), "used_for", defaultTokenLife)
		at = now.Add(defaultTokenLife)
	}
	t.expires = at
	t.refresh = at.Add(-min(k.cfg.RefreshBefore, at.Sub(now)/4))
}

// parseExpires reads a time of RFC 3339. Some Keystones leave its zone out: it is UTC then.
func parseExpires(s string) (time.Time, bool) {
	for _, layout := range [...]string{time.RFC3339, "2006-01-02T15:04:05"} {
		if at, err := time.Parse(layout, s); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}

// visible reports whether s is made of ASCII that a header carries unchanged.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
