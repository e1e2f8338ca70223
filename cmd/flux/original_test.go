package main

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/blueflood/bluefloodtest"
)

// The tests of blueflood-carbon-forwarder, each under its own name, on flux forward and the packages behind it. Some of
// the originals assert nothing; these assert what they meant.

// ago is a Unix time of this minute, in whole seconds.
func ago(seconds int) float64 { return float64(time.Now().Unix() - int64(seconds)) }

// linesOf are n points, each a second older than the one before.
func linesOf(n int, name func(int) string) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "%s %d %.0f\n", name(i), i, ago(i))
	}
	return text.String()
}

func same(int) string { return "foo.bar.baz" }

// TestOriginalProtocols is tests/test_protocols.py.
func TestOriginalProtocols(t *testing.T) {
	t.Run("test_lineReceiver", func(t *testing.T) {
		s := bluefloodtest.RunWith(t, bluefloodtest.Options{Past: 100 * 365 * 24 * time.Hour})
		f := forwarded(t, s)
		f.send("line", "foo.bar.baz 22.2 124357823\n")
		arrive(t, s, 1)
		p := s.Points("ten", "foo.bar.baz")
		require.Len(t, p, 1)
		require.Equal(t, 22.2, p[0].Value)
		require.EqualValues(t, 124357823_000, p[0].Timestamp)
		f.stop()
	})
	t.Run("test_pickleReceiver", func(t *testing.T) {
		s := bluefloodtest.Run(t)
		f := forwarded(t, s)
		body := "(l" // protocol 0, with integers
		for i := range 5 {
			body += fmt.Sprintf("(S'foo.bar.baz'\n(I%.0f\nI%d\ntta", ago(5-i), i)
		}
		f.send("pickle", framed(body+"."))
		arrive(t, s, 5)
		require.Equal(t, 4.0, s.Points("ten", "foo.bar.baz")[4].Value)
		f.stop()
	})
	t.Run("test_datagramReceiver", func(t *testing.T) {
		s := bluefloodtest.Run(t)
		f := forwarded(t, s, "--udp-listen", "127.0.0.1:0")
		c, err := net.Dial("udp", f.addr["udp"])
		require.NoError(t, err)
		defer c.Close()
		_, err = c.Write([]byte(strings.TrimSpace(linesOf(5, same))))
		require.NoError(t, err)
		arrive(t, s, 5)
		require.Equal(t, 4.0, s.Points("ten", "foo.bar.baz")[0].Value, "the oldest is the last one")
		f.stop()
	})
}

// TestOriginalCollect is tests/test_collect.py.
func TestOriginalCollect(t *testing.T) {
	t.Run("test_collect_and_flush", func(t *testing.T) {
		s := bluefloodtest.Run(t)
		f := forwarded(t, s, "-i", "3600")
		f.send("line", linesOf(10, same))
		require.Empty(t, s.Requests(), "they are collected")
		require.Equal(t, 10, f.stop().Destinations["blueflood"].Delivered)
		require.Len(t, s.Points("ten", "foo.bar.baz"), 10)
	})
	t.Run("test_file_flish", func(t *testing.T) { // into a file go points that are given up
		s := bluefloodtest.Run(t)
		path := t.TempDir() + "/dead"
		f := forwarded(t, s, "--past-limit", "60", "--dead-letter", path)
		var old string
		for i := range 10 {
			old += fmt.Sprintf("foo.bar.baz %d %.0f\n", i, ago(3600-i))
		}
		f.send("line", old)
		require.Equal(t, 10, f.stop().Destinations["blueflood"].GivenUp["too_old"])
		require.Equal(t, old, fluxRun("spool", "export", path).stdout)
	})
	t.Run("test_blueflood_flush", func(t *testing.T) {
		s := bluefloodtest.Run(t)
		f := forwarded(t, s, "-i", "3600")
		f.send("line", linesOf(10, same))
		f.stop()
		require.Len(t, s.Requests(), 1, "one request has them all")
	})
	t.Run("test_blueflood_flush_with_limits", func(t *testing.T) {
		s := bluefloodtest.Run(t)
		f := forwarded(t, s, "-i", "3600", "--limit", "600")
		f.send("line", linesOf(10, same))
		f.stop()
		require.Len(t, s.Requests(), 2, "one request holds no more than its limit")
		require.Len(t, s.Points("ten", "foo.bar.baz"), 10)
	})
}

// TestOriginalBlueflood is tests/test_blueflood.py.
func TestOriginalBlueflood(t *testing.T) {
	metric := func(i int) blueflood.Metric {
		return blueflood.Metric{Name: []byte("example.metric.one"), Timestamp: time.Now().Add(time.Duration(-i) * time.Second).UnixMilli(), Value: float64(i)}
	}
	open := func(t *testing.T, s *bluefloodtest.Server, limit int) *blueflood.Endpoint {
		e, err := blueflood.NewEndpoint(blueflood.EndpointConfig{URL: s.IngestURL(), Tenant: "ten", Limit: limit, Interval: time.Hour})
		require.NoError(t, err)
		t.Cleanup(func() { _ = e.Close(ended()) })
		return e
	}
	query := func(t *testing.T, url string) *blueflood.Query {
		q, err := blueflood.NewQuery(blueflood.QueryConfig{URL: url, Tenant: "ten"})
		require.NoError(t, err)
		t.Cleanup(q.Close)
		return q
	}
	from, to := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	t.Run("testSingleIngest", func(t *testing.T) {
		v, err := open(t, bluefloodtest.Run(t), 0).Ingest(t.Context(), []blueflood.Metric{metric(1)})
		require.NoError(t, err)
		require.Equal(t, blueflood.Stored, v[0].Outcome)
	})
	t.Run("testListIngest", func(t *testing.T) { // times and values that do not match cannot be said in Go
		s := bluefloodtest.Run(t)
		_, err := open(t, s, 0).Ingest(t.Context(), []blueflood.Metric{metric(1), metric(2)})
		require.NoError(t, err)
		require.Len(t, s.Points("ten", "example.metric.one"), 2)
	})
	t.Run("testMultipleIngest", func(t *testing.T) {
		s := bluefloodtest.Run(t)
		_, err := open(t, s, 0).Ingest(t.Context(), []blueflood.Metric{metric(1), metric(2), metric(3), metric(4), metric(5)})
		require.NoError(t, err)
		v, err := query(t, s.QueryURL()).ViewsByResolution(t.Context(), "example.metric.one", from, to, blueflood.Full)
		require.NoError(t, err)
		require.Len(t, v.Values, 5)
	})
	t.Run("testRetrieveByResolution and testRetrieveByPoints", func(t *testing.T) {
		s := bluefloodtest.Run(t)
		_, err := open(t, s, 0).Ingest(t.Context(), []blueflood.Metric{metric(7)})
		require.NoError(t, err)
		byResolution, err := query(t, s.QueryURL()).ViewsByResolution(t.Context(), "example.metric.one", from, to, blueflood.Full)
		require.NoError(t, err)
		byPoints, err := query(t, s.QueryURL()).ViewsByPoints(t.Context(), "example.metric.one", from, to, 200)
		require.NoError(t, err)
		for _, v := range []*blueflood.View{byResolution, byPoints} {
			require.Len(t, v.Values, 1)
			text, err := json.Marshal(v.Values[0])
			require.NoError(t, err)
			require.Contains(t, string(text), `"numPoints":1`)
			require.Contains(t, string(text), `"average":7`)
		}
	})
	t.Run("testNoConnection", func(t *testing.T) {
		s := bluefloodtest.Run(t)
		e, q := open(t, s, 0), query(t, s.QueryURL())
		s.Close()
		_, err := e.Ingest(t.Context(), []blueflood.Metric{metric(1)})
		require.ErrorContains(t, err, "refused")
		_, err = q.ViewsByPoints(t.Context(), "a", from, to, 5)
		require.Error(t, err)
		_, err = q.ViewsByResolution(t.Context(), "a", from, to, blueflood.Full)
		require.Error(t, err)
	})
	t.Run("testLimitIngestion", func(t *testing.T) { // what does not fit goes into another request, in no error
		s := bluefloodtest.Run(t)
		_, err := open(t, s, 0).Ingest(t.Context(), []blueflood.Metric{metric(7)})
		require.NoError(t, err)
		one := len(s.Requests()[0].Body)
		e := open(t, s, 5*one)
		require.NoError(t, e.Send(t.Context(), []blueflood.Metric{metric(1), metric(2), metric(3), metric(4), metric(5), metric(6)}))
		require.NoError(t, e.Close(t.Context()))
		require.Len(t, s.Requests(), 3, "five fit, since there is no -1 and no +1 in the arithmetic")
		require.Len(t, s.Points("ten", "example.metric.one"), 7)
	})
}

// TestOriginalServer is tests/test_bluefloodserver.py.
func TestOriginalServer(t *testing.T) {
	t.Run("test_service", func(t *testing.T) {
		_, err := configOf("forward", "-t", "tenant")
		require.NoError(t, err, "there is no default for the tenant; all else has one")
	})
	t.Run("test_service_simple_agent", func(t *testing.T) {
		s := bluefloodtest.Run(t)
		f := forwarded(t, s)
		f.send("line", linesOf(1, same))
		arrive(t, s, 1)
		require.Empty(t, s.Requests()[0].Header.Get("X-Auth-Token"))
		f.stop()
	})
	t.Run("test_service_auth_agent", func(t *testing.T) {
		cfg, err := configOf("forward", "-t", "tenant", "--user", "user", "--key", "key")
		require.NoError(t, err)
		require.IsType(t, &blueflood.Keystone{}, cfg.Destination.Blueflood.Auth)
	})
	t.Run("test_factory and test_send_blueflood", func(t *testing.T) {
		s := bluefloodtest.Run(t)
		f := forwarded(t, s)
		f.send("line", fmt.Sprintf("foo.bar.baz 123 %.0f\n", ago(0)))
		arrive(t, s, 1)
		f.stop()
		require.Len(t, s.Requests(), 1)
		require.Equal(t, "POST", s.Requests()[0].Method)
		require.Equal(t, "/v2.0/ten/ingest", s.Requests()[0].Target)
		require.Equal(t, 123.0, s.Points("ten", "foo.bar.baz")[0].Value)
	})
}

// TestOriginalIntegration is tests/test_integration.py.
func TestOriginalIntegration(t *testing.T) {
	t.Run("test_noauth", func(t *testing.T) {
		s := bluefloodtest.Run(t)
		f := forwarded(t, s, "-i", "0.05", "--limit", "1024")
		at := ago(0)
		f.send("pickle", frame(item("foo.bar.baz", at, 123)))
		arrive(t, s, 1)
		require.Len(t, s.Requests(), 1)
		p := s.Points("ten", "foo.bar.baz")[0]
		require.EqualValues(t, at, p.Timestamp/1000)
		require.Equal(t, 123.0, p.Value)
		f.stop() // and that with the exit code 0
	})
	t.Run("test_auth", func(t *testing.T) {
		ks := bluefloodtest.RunKeystone(t, bluefloodtest.KeystoneUser{Name: "user", APIKey: "key", TenantID: "ten"})
		s := bluefloodtest.RunWith(t, bluefloodtest.Options{Keystone: ks})
		f := forwarded(t, s, "-u", "user", "-k", "key", "--auth_url", ks.URL())
		f.send("pickle", frame(item("foo.bar.baz", ago(0), 123)))
		arrive(t, s, 1)
		require.Equal(t, 1, ks.Count())
		token, known := ks.Token(s.Requests()[0].Header.Get("X-Auth-Token"))
		require.True(t, known)
		require.Equal(t, "user", token.User)
		f.stop()
	})
	t.Run("test_splitting_payload", func(t *testing.T) {
		s := bluefloodtest.Run(t)
		f := forwarded(t, s, "-i", "3600", "--limit", "1024")
		var items []string
		for i := range 12 {
			items = append(items, item("foo.bar.baz", ago(i), float64(i)))
		}
		f.send("pickle", frame(items...))
		f.stop()
		require.Greater(t, len(s.Requests()), 1)
		for _, r := range s.Requests() {
			require.LessOrEqual(t, len(r.Body), 1024)
		}
		require.NotEqual(t, len(s.Requests()[0].Body), len(s.Requests()[1].Body))
		require.Len(t, s.Points("ten", "foo.bar.baz"), 12)
	})
}
