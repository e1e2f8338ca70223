package bluefloodtest

import (
	"encoding/json"
	"net/http"
	"strings"
)

// authRequest is the body of a token request.
type authRequest struct {
	Auth *struct {
		APIKey *struct {
			Username string `json:"username"`
			APIKey   string `json:"apiKey"`
		} `json:"RAX-KSKEY:apiKeyCredentials"`
		Password *struct {
			Username string `json:"username"`
			Password string `json:"password"`
		} `json:"passwordCredentials"`
		TenantID   string `json:"tenantId"`
		TenantName string `json:"tenantName"`
	} `json:"auth"`
}

// keystoneFault is an error as Keystone sends it.
func keystoneFault(status int, message string) *response {
	name := "identityFault"
	switch status {
	case http.StatusBadRequest:
		name = "badRequest"
	case http.StatusUnauthorized:
		name = "unauthorized"
	case http.StatusForbidden:
		name = "userDisabled"
	case http.StatusNotFound:
		name = "itemNotFound"
	case http.StatusMethodNotAllowed:
		name = "badMethod"
	case http.StatusRequestEntityTooLarge:
		name = "overLimit"
	case http.StatusUnsupportedMediaType:
		name = "badMediaType"
	case http.StatusServiceUnavailable:
		name = "serviceUnavailable"
	}
	return keystoneJSON(status, map[string]any{name: map[string]any{"code": status, "message": message}})
}

func keystoneJSON(status int, v any) *response {
	body, err := json.Marshal(v)
	if err != nil {
		return &response{status: http.StatusInternalServerError, body: []byte(err.Error())}
	}
	return &response{status: status, body: body}
}

// answer is the genuine answer to a request whose body was read, or was not for the error.
func (k *Keystone) answer(r *http.Request, body []byte, err error) *response {
	switch {
	case strings.TrimSuffix(r.URL.Path, "/") != tokensPath:
		return keystoneFault(http.StatusNotFound, "Resource Not Found")
	case r.Method != http.MethodPost:
		return keystoneFault(http.StatusMethodNotAllowed, "Method Not Allowed")
	case err != nil:
		return keystoneFault(http.StatusRequestEntityTooLarge, "Request Too Large")
	case !strings.HasPrefix(strings.ToLower(r.Header.Get("Content-Type")), "application/json"):
		return keystoneFault(http.StatusUnsupportedMediaType, "Unsupported Media Type")
	}
	var q authRequest
	if json.Unmarshal(body, &q) != nil || q.Auth == nil || (q.Auth.APIKey == nil) == (q.Auth.Password == nil) ||
		q.Auth.TenantID != "" && q.Auth.TenantName != "" {
		return keystoneFault(http.StatusBadRequest, "Invalid Request Body")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	u, ok := k.known(&q)
	switch {
	case !ok:
		return keystoneFault(http.StatusUnauthorized, "Unable to Authenticate")
	case u.Disabled:
		return keystoneFault(http.StatusForbidden, "User Is Disabled")
	}
	return tokenResponse(k.give(u), u)
}

// known returns the user whose credentials are in the request. The caller holds mu.
func (k *Keystone) known(q *authRequest) (KeystoneUser, bool) {
	var u KeystoneUser
	var ok bool
	if c := q.Auth.APIKey; c != nil {
		u = k.users[c.Username]
		ok = u.APIKey != "" && u.APIKey == c.APIKey
	} else {
		u = k.users[q.Auth.Password.Username]
		ok = u.Password != "" && u.Password == q.Auth.Password.Password
	}
	return u, ok && (q.Auth.TenantID == "" || q.Auth.TenantID == u.TenantID) &&
		(q.Auth.TenantName == "" || q.Auth.TenantName == u.TenantName)
}

func tokenResponse(t KeystoneToken, u KeystoneUser) *response {
	token := map[string]any{"id": t.ID, "expires": t.Expires.Format("2006-01-02T15:04:05.000Z")}
	if u.TenantID != "" {
		token["tenant"] = map[string]any{"id": u.TenantID, "name": u.TenantName}
	}
	return keystoneJSON(http.StatusOK, map[string]any{"access": map[string]any{
		"token":          token,
		"serviceCatalog": []any{},
		"user":           map[string]any{"id": u.Name, "name": u.Name, "roles": []any{}},
	}})
}

// guard is the proxy in front of a server: it refuses a request without a valid token of the Keystone.
func (s *Server) guard(h http.Header) *response {
	if s.opts.Keystone == nil {
		return nil
	}
	if _, ok := s.opts.Keystone.Token(h.Get("X-Auth-Token")); ok {
		return nil
	}
	if s.opts.Forbid {
		return &response{status: http.StatusForbidden}
	}
	return &response{
		status: http.StatusUnauthorized,
		header: http.Header{"Www-Authenticate": {"Keystone uri=" + s.opts.Keystone.URL()}},
	}
}
