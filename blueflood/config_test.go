package blueflood_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood"
)

func TestConfigRefused(t *testing.T) {
	for _, c := range []struct {
		name  string
		cfg   blueflood.EndpointConfig
		field string
		says  string
	}{
		{"no tenant", blueflood.EndpointConfig{Tenant: ""}, "Tenant", "name the tenant"},
		{"slash in tenant", blueflood.EndpointConfig{Tenant: "a/b"}, "Tenant", "slash"},
		{"relative tenant", blueflood.EndpointConfig{Tenant: ".."}, "Tenant", "letters"},
		{"tenant not UTF-8", blueflood.EndpointConfig{Tenant: "\xff"}, "Tenant", "UTF-8"},
		{"no scheme", blueflood.EndpointConfig{URL: "localhost:19000"}, "URL", "http://localhost:19000"},
		{"bare host", blueflood.EndpointConfig{URL: "blueflood"}, "URL", "http://localhost:19000"},
		{"other scheme", blueflood.EndpointConfig{URL: "ftp://x"}, "URL", "http://"},
		{"no host", blueflood.EndpointConfig{URL: "http://:19000"}, "URL", "host"},
		{"query", blueflood.EndpointConfig{URL: "http://x?a=b"}, "URL", "base address"},
		{"whole address", blueflood.EndpointConfig{URL: "http://x/v2.0/ten/ingest"}, "URL", "base address"},
		{"unparsable, with a password", blueflood.EndpointConfig{URL: "http://u:secret@x:port"}, "URL", "http://localhost:19000"},
		{"TTL of a fraction", blueflood.EndpointConfig{TTL: 1500 * time.Millisecond}, "TTL", "whole seconds"},
		{"negative TTL", blueflood.EndpointConfig{TTL: -time.Second}, "TTL", "630720000"},
		{"long TTL", blueflood.EndpointConfig{TTL: blueflood.MaxTTL + time.Second}, "TTL", "630720000"},
		{"long limit", blueflood.EndpointConfig{Limit: blueflood.MaxLimit + 1}, "Limit", "1048576"},
		{"short limit", blueflood.EndpointConfig{Limit: 127}, "Limit", "128"},
		{"negative limit", blueflood.EndpointConfig{Limit: -1}, "Limit", "128"},
		{"negative interval", blueflood.EndpointConfig{Interval: -1}, "Interval", "1ms"},
		{"prefix with dot", blueflood.EndpointConfig{Prefix: "a."}, "Prefix", `"a"`},
		{"prefix not UTF-8", blueflood.EndpointConfig{Prefix: "\xff"}, "Prefix", "UTF-8"},
		{"long prefix", blueflood.EndpointConfig{Prefix: string(bytes.Repeat([]byte("x"), 50)), Limit: 128}, "Prefix", "128"},
		{"backoff", blueflood.EndpointConfig{BackoffMin: 2, BackoffMax: 1}, "BackoffMax", "BackoffMin"},
		{"memory", blueflood.EndpointConfig{MemoryMax: 1}, "MemoryMax", "65536"},
		{"little spool", blueflood.EndpointConfig{SpoolDir: t.TempDir(), SpoolMax: 1 << 10}, "SpoolMax", "65536"},
		{"negative spool", blueflood.EndpointConfig{SpoolMax: -1}, "SpoolMax", "65536"},
		{"little dead letter", blueflood.EndpointConfig{DeadLetterMax: 1}, "DeadLetterMax", "65536"},
		{"no dead letter", blueflood.EndpointConfig{DeadLetter: "/dev/null/x"}, "DeadLetter", "/dev/null"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.field != "Tenant" {
				c.cfg.Tenant = "ten"
			}
			_, err := blueflood.NewEndpoint(c.cfg)
			var bad *blueflood.ConfigError
			require.ErrorAs(t, err, &bad)
			require.Equal(t, c.field, bad.Field)
			require.Contains(t, err.Error(), c.says)
			require.NotContains(t, err.Error(), "secret")
		})
	}
}

// TestAddress makes requests and looks where they go.
func TestAddress(t *testing.T) {
	for _, c := range []struct{ url, tenant, want string }{
		{"", "ten", "http://localhost:19000/v2.0/ten/ingest"},
		{"http://h:1", "ten", "http://h:1/v2.0/ten/ingest"},
		{"http://h:1///", "ten", "http://h:1/v2.0/ten/ingest"},
		{"https://h/base/", "ten", "https://h/base/v2.0/ten/ingest"},
		{"http://h/a%2Fb", "te n", "http://h/a%2Fb/v2.0/te%20n/ingest"},
		{"http://h", "50%?#é", "http://h/v2.0/50%25%3F%23%C3%A9/ingest"},
		{"http://[::1]:19000", "a.b", "http://[::1]:19000/v2.0/a.b/ingest"},
	} {
		var got string
		e, _ := start(t, blueflood.EndpointConfig{URL: c.url, Tenant: c.tenant, Transport: transport(func(_ []byte, r *http.Request) *http.Response {
			got = r.URL.String()
			return reply(200, "")
		})})
		_, err := e.Ingest(context.Background(), points(1))
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
}

func TestTenantWithDotIsWarnedAbout(t *testing.T) {
	for tenant, warnings := range map[string]int{"ten": 0, "te.n": 1} {
		var log bytes.Buffer
		e, _ := start(t, blueflood.EndpointConfig{Tenant: tenant, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		require.NoError(t, e.Close(context.Background()))
		require.Equal(t, warnings, bytes.Count(log.Bytes(), []byte("level=WARN")))
	}
}
