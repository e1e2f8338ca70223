package blueflood_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood"
)

func TestKeystoneConfigRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*blueflood.KeystoneConfig)
		field  string
		says   string
	}{
		{"no user", func(c *blueflood.KeystoneConfig) { c.User = "" }, "User", "name the Keystone user"},
		{"no credentials", func(c *blueflood.KeystoneConfig) { c.APIKey = "" }, "APIKey", "and so is Password"},
		{"both", func(c *blueflood.KeystoneConfig) { c.Password = "secret" }, "Password", "beside APIKey"},
		{"both tenants", func(c *blueflood.KeystoneConfig) { c.Tenant, c.TenantName = "1", "a" }, "TenantName", "beside Tenant"},
		{"no scheme", func(c *blueflood.KeystoneConfig) { c.URL = "localhost:5000/v2.0/tokens" }, "URL", "http://"},
		{"other scheme", func(c *blueflood.KeystoneConfig) { c.URL = "ftp://h/v2.0/tokens" }, "URL", "http://"},
		{"bare path", func(c *blueflood.KeystoneConfig) { c.URL = "/v2.0/tokens" }, "URL", "http://"},
		{"no host", func(c *blueflood.KeystoneConfig) { c.URL = "http:///v2.0/tokens" }, "URL", "host"},
		{"user in address", func(c *blueflood.KeystoneConfig) { c.URL = "http://u:secret@h/v2.0/tokens" }, "URL", "fields of their own"},
		{"password in a bad address", func(c *blueflood.KeystoneConfig) { c.URL = "http://u:secret@h:port" }, "URL", "parsed"},
		{"password in a bare address", func(c *blueflood.KeystoneConfig) { c.URL = "u:secret@h" }, "URL", "http://"},
		{"query", func(c *blueflood.KeystoneConfig) { c.URL = "http://h/v2.0/tokens?key=secret" }, "URL", "query"},
		{"key with the line's end", func(c *blueflood.KeystoneConfig) { c.APIKey = "secret\n" }, "APIKey", "line break"},
		{"key not UTF-8", func(c *blueflood.KeystoneConfig) { c.APIKey = "secret\xff" }, "APIKey", "UTF-8"},
		{"password with the line's end", func(c *blueflood.KeystoneConfig) { c.APIKey, c.Password = "", "secret\r\n" }, "Password", "line break"},
		{"user not UTF-8", func(c *blueflood.KeystoneConfig) { c.User = "\xff" }, "User", "UTF-8"},
		{"tenant not UTF-8", func(c *blueflood.KeystoneConfig) { c.Tenant = "\xff" }, "Tenant", "UTF-8"},
		{"timeout", func(c *blueflood.KeystoneConfig) { c.Timeout = -1 }, "Timeout", "negative"},
		{"margin", func(c *blueflood.KeystoneConfig) { c.RefreshBefore = -1 }, "RefreshBefore", "negative"},
		{"backoff", func(c *blueflood.KeystoneConfig) { c.BackoffMin, c.BackoffMax = 2, 1 }, "BackoffMax", "BackoffMin"},
		{"negative backoff", func(c *blueflood.KeystoneConfig) { c.BackoffMin = -1 }, "BackoffMax", "negative"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := blueflood.KeystoneConfig{User: "alice", APIKey: "secret"}
			c.change(&cfg)
			_, err := blueflood.NewKeystone(cfg)
			var bad *blueflood.ConfigError
			require.ErrorAs(t, err, &bad)
			require.Equal(t, c.field, bad.Field)
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), "secret")
			require.NotContains(t, cfg.String(), "secret")
		})
	}
	for _, cfg := range []blueflood.KeystoneConfig{
		{}, {BackoffMax: time.Millisecond}, {BackoffMin: time.Hour}, {URL: "http://[::1]:5000/v2.0/tokens/"},
	} {
		cfg.User, cfg.Password = "alice", " spaces may be part of it "
		k, err := blueflood.NewKeystone(cfg)
		require.NoError(t, err)
		k.Close()
	}
}

// TestKeystoneSecrets looks for the secrets wherever something is formatted or logged.
func TestKeystoneSecrets(t *testing.T) {
	var out bytes.Buffer
	for _, handler := range []slog.Handler{
		slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}),
		slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}),
	} {
		for _, word := range []string{"s3cr3t-0f-alice", `q"uo\te<ï>&`} {
			for _, key := range []bool{true, false} {
				cfg := blueflood.KeystoneConfig{User: "alice", APIKey: word, Logger: slog.New(handler), URL: "http://keystone.example/v2.0/tokens"}
				if !key {
					cfg.APIKey, cfg.Password = "", word
				}
				leakAll(t, &out, cfg)
				for _, piece := range []string{"s3cr3t", "t-0f-a", "uo", "tok-of-keystone"} {
					if at := strings.Index(out.String(), piece); at >= 0 {
						t.Fatalf("%q in %q", piece, out.String()[max(0, at-500):at+50])
					}
				}
				require.True(t, strings.Contains(out.String(), "alice") && strings.Contains(out.String(), "[redacted]"))
				out.Reset()
			}
		}
	}
}

// leakAll formats everything there is, and has a server that says the credentials back in every way.
func leakAll(t *testing.T, out *bytes.Buffer, cfg blueflood.KeystoneConfig) {
	answers := []func(body []byte) *http.Response{
		func(body []byte) *http.Response { return reply(400, string(body)) },
		func(body []byte) *http.Response {
			return reply(400, fmt.Sprintf(`{"badRequest":{"message":%q}}`, body))
		},
		func(body []byte) *http.Response {
			return reply(401, `{"unauthorized":{"message":"key s3cr3t-0f-alice or q\"uo\\te<ï>& is wrong"}}`)
		},
		func(body []byte) *http.Response {
			return reply(401, `{"unauthorized":{"message":"bad key near cr3t-0f-a or uo\\te<"}}`)
		},
		func(body []byte) *http.Response { return reply(200, string(body)) },
		func(body []byte) *http.Response {
			return reply(200, `{"access":{"token":{"id":"tok-of-keystone","expires":"s3cr3t-0f-alice"}}}`)
		},
	}
	cfg.BackoffMin, cfg.BackoffMax = time.Nanosecond, time.Nanosecond
	for _, a := range answers {
		cfg.Transport = transport(func(body []byte, _ *http.Request) *http.Response { return a(body) })
		k := newKeystone(t, cfg)
		r := request(t, t.Context())
		err := k.Authorize(r)
		k.Refused(r, 401)
		type nested struct {
			Config blueflood.KeystoneConfig
			Auth   blueflood.Authenticator
		}
		for _, v := range []any{cfg, &cfg, k, nested{cfg, k}, err} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
				fmt.Fprintf(out, verb+"\n", v)
			}
			cfg.Logger.Info("x", "v", v)
		}
		fmt.Fprintln(out, cfg.String(), cfg.GoString(), k.String(), k.GoString())
	}
}

// failing is a transport that fails with what it was to send.
type failing struct{}

func (failing) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	r.Body.Close()
	return nil, fmt.Errorf("cannot send %s", body)
}

func TestKeystoneSecretInTransportError(t *testing.T) {
	err := newKeystone(t, blueflood.KeystoneConfig{APIKey: "s3cr3t-0f-alice", Transport: failing{}}).Authorize(request(t, t.Context()))
	require.ErrorContains(t, err, "the reason is not shown")
	require.NotContains(t, err.Error(), "s3cr3t")
}

func TestKeystoneInClearIsWarnedAbout(t *testing.T) {
	for url, warnings := range map[string]int{
		"": 0, "https://h/v2.0/tokens": 0, "http://localhost:5000/v2.0/tokens": 0, "http://127.0.0.1/v2.0/tokens": 0,
		"http://[::1]/v2.0/tokens": 0, "http://h/v2.0/tokens": 1, "http://10.0.0.1/v2.0/tokens": 1,
	} {
		var log bytes.Buffer
		newKeystone(t, blueflood.KeystoneConfig{URL: url, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		require.Equal(t, warnings, strings.Count(log.String(), "level=WARN"), url)
	}
}
