package blueflood_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/blueflood/bluefloodtest"
)

// guarded returns a Blueflood that wants tokens, its Keystone, and an endpoint with alice's key.
func guarded(t *testing.T, o bluefloodtest.Options, cfg blueflood.EndpointConfig, kc blueflood.KeystoneConfig) (
	*bluefloodtest.Server, *bluefloodtest.Keystone, *blueflood.Endpoint, *account,
) {
	t.Helper()
	ks := bluefloodtest.RunKeystone(t, alice)
	o.Keystone = ks
	s := bluefloodtest.RunWith(t, o)
	kc.URL = ks.URL()
	cfg.URL, cfg.Auth = s.IngestURL(), newKeystone(t, kc)
	e, a := start(t, cfg)
	return s, ks, e, a
}

func TestKeystoneEndpoint(t *testing.T) {
	noLeaks(t)
	s, ks, e, a := guarded(t, bluefloodtest.Options{}, blueflood.EndpointConfig{}, blueflood.KeystoneConfig{})
	require.NoError(t, e.Send(within(t), points(3)))
	require.NoError(t, e.Close(within(t)))
	require.Len(t, a.delivered, 3)
	require.Equal(t, 3, s.Received())
	require.Equal(t, 1, ks.Count())
	require.Len(t, s.Requests(), 1)
	require.Equal(t, "836986", s.Requests()[0].Header.Get("X-Tenant-Id"))
}

// TestKeystoneFailsFirst: one failure of Keystone, of any kind, delays the points and no more.
func TestKeystoneFailsFirst(t *testing.T) {
	for name, fault := range map[string]bluefloodtest.Reply{
		"500": {Status: 500}, "503": {Status: 503}, "401": {Status: 401}, "403": {Status: 403}, "404": {Status: 404},
		"307": {Status: 307}, "malformed": {Status: 200, Body: "{"}, "no token": {Status: 200, Body: "{}"},
		"hang": {Hang: true}, "reset": {Reset: true}, "answered, lost": {Reset: true, Store: true},
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			ks := bluefloodtest.RunKeystone(t, alice)
			ks.Queue(fault)
			s := bluefloodtest.RunWith(t, bluefloodtest.Options{Keystone: ks})
			timeout := 10 * time.Second
			if fault.Hang {
				timeout = 200 * time.Millisecond
			}
			k := newKeystone(t, blueflood.KeystoneConfig{URL: ks.URL(), Timeout: timeout})
			e, a := start(t, blueflood.EndpointConfig{URL: s.IngestURL(), Auth: k})
			require.NoError(t, e.Send(within(t), points(5)))
			require.NoError(t, e.Flush(within(t)))
			require.Len(t, a.delivered, 5)
			require.Empty(t, a.failed)
			require.Equal(t, 5, s.Received())
			require.GreaterOrEqual(t, ks.Count(), 2)
			require.Len(t, s.Requests(), 1, "nothing was sent without a token")
			require.False(t, e.Stats().Down)
		})
	}
}

// TestKeystoneReplay: a request that is refused for its token goes again at once with a new one, byte for byte.
func TestKeystoneReplay(t *testing.T) {
	for _, compress := range []bool{false, true} {
		for _, forbid := range []bool{false, true} {
			t.Run(fmt.Sprintf("gzip=%v 403=%v", compress, forbid), func(t *testing.T) {
				s, ks, e, a := guarded(t, bluefloodtest.Options{Forbid: forbid},
					blueflood.EndpointConfig{Gzip: compress, BackoffMin: time.Hour, BackoffMax: time.Hour}, blueflood.KeystoneConfig{})
				require.NoError(t, e.Send(within(t), points(2)))
				require.NoError(t, e.Flush(within(t)))
				ks.RevokeAll()
				ms := points(500)
				for i := range ms {
					ms[i].Name = fmt.Appendf(nil, "n%03d", i)
				}
				require.NoError(t, e.Send(within(t), ms))
				require.NoError(t, e.Flush(within(t)))
				require.Len(t, a.delivered, 502)
				require.Equal(t, 502, s.Received())
				require.Equal(t, 2, ks.Count())
				r := s.Requests()
				require.Len(t, r, 3)
				require.Equal(t, map[bool]int{false: 401, true: 403}[forbid], r[1].Status)
				require.Equal(t, 200, r[2].Status)
				require.Equal(t, r[1].Body, r[2].Body)
				require.Equal(t, r[1].Wire, r[2].Wire)
				require.NotEmpty(t, r[2].Body)
				require.NotEqual(t, r[1].Header.Get("X-Auth-Token"), r[2].Header.Get("X-Auth-Token"))
				require.Zero(t, e.Stats().Resent)
			})
		}
	}
}

// TestKeystoneRefusedForGood has a server that takes no token of anybody for ten minutes.
func TestKeystoneRefusedForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := always(time.Hour)
		k := newKeystone(t, blueflood.KeystoneConfig{Transport: f, BackoffMin: time.Second, BackoffMax: time.Minute})
		var requests atomic.Int32
		began := time.Now()
		e, a := start(t, blueflood.EndpointConfig{Auth: k, Interval: time.Second, BackoffMin: time.Second, BackoffMax: 10 * time.Second,
			Transport: transport(func([]byte, *http.Request) *http.Response {
				if requests.Add(1); time.Since(began) < 10*time.Minute {
					return reply(403, "")
				}
				return reply(200, "")
			}),
		})
		require.NoError(t, e.Send(t.Context(), points(3)))
		time.Sleep(9 * time.Minute)
		synctest.Wait()
		st := e.Stats()
		require.True(t, st.Down)
		require.Contains(t, st.LastError, "check the credentials")
		require.EqualValues(t, 3, st.PendingPoints)
		require.Greater(t, requests.Load(), int32(9*6))
		require.Less(t, f.asked.Load(), int32(25), "about one a minute")
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		require.Len(t, a.delivered, 3)
		require.NoError(t, e.Close(t.Context()))
	})
}

// TestKeystoneDown has Keystone fail in every way, and tokens revoked, while points come in. The account adds up.
func TestKeystoneDown(t *testing.T) {
	noLeaks(t)
	var log bytes.Buffer
	s, ks, e, a := guarded(t, bluefloodtest.Options{}, blueflood.EndpointConfig{Interval: time.Millisecond, Limit: 2000},
		blueflood.KeystoneConfig{Timeout: 250 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	faults := []bluefloodtest.Reply{
		{Status: 503}, {Status: 500}, {Status: 401}, {Status: 403}, {Reset: true}, {Status: 200, Body: "{"}, {Hang: true},
		{Status: 302}, {Reset: true, Store: true}, {Status: 200, Body: `{"access":{"token":{"id":"of another","expires":"2999-01-01T00:00:00Z"}}}`},
	}
	const senders, batches, size = 4, 25, 10
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			for j := range batches {
				var ms []blueflood.Metric
				for n := range size {
					ms = append(ms, point(fmt.Sprintf("s%d.b%d.p%d", i, j, n), 1))
				}
				if err := e.Send(within(t), ms); err != nil {
					t.Error(err)
				}
				if i == 0 { // the one who makes trouble, and waits until it has shown
					ks.Fallback(faults[j%len(faults)])
					ks.RevokeAll()
					before := ks.Count()
					for deadline := time.Now().Add(20 * time.Second); ks.Count() == before && time.Now().Before(deadline); {
						_ = e.Send(within(t), []blueflood.Metric{point("more", 1)})
						time.Sleep(time.Millisecond)
					}
				}
			}
		})
	}
	wg.Wait()
	st := e.Stats()
	require.Equal(t, st.Accepted, st.Delivered+uint64(st.PendingPoints))
	require.Positive(t, st.PendingPoints)
	ks.Fallback(bluefloodtest.Reply{})
	require.NoError(t, e.Flush(within(t)))
	st = e.Stats()
	require.Zero(t, st.PendingPoints)
	require.Equal(t, st.Accepted, st.Delivered)
	require.Empty(t, st.Rejected)
	require.Len(t, a.delivered, senders*batches*size+1)
	for name, n := range a.delivered {
		if name != "more" {
			require.Equal(t, 1, n, name)
			require.Len(t, s.Points("ten", name), 1, name)
		}
	}
	require.Equal(t, 1, s.MaxInFlight())
	require.NoError(t, e.Close(within(t)))
	require.NotContains(t, log.String(), alice.APIKey)
	require.Contains(t, log.String(), "retry_in=")
}

// TestKeystoneHangsAtClose: the endpoint's end is not held up, and nothing of the token request is left after Close.
func TestKeystoneHangsAtClose(t *testing.T) {
	noLeaks(t)
	ks := bluefloodtest.RunKeystone(t, alice)
	ks.Fallback(bluefloodtest.Reply{Hang: true})
	k := newKeystone(t, blueflood.KeystoneConfig{URL: ks.URL(), Timeout: time.Hour})
	e, _ := start(t, blueflood.EndpointConfig{Auth: k, Interval: time.Millisecond})
	require.NoError(t, e.Send(within(t), points(7)))
	require.Eventually(t, func() bool { return ks.Count() > 0 }, 10*time.Second, time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	var lost *blueflood.UndeliveredError
	require.ErrorAs(t, e.Close(ctx), &lost)
	require.EqualValues(t, 7, lost.Points)
	k.Close()
}

// TestKeystoneSharedByTenants: one tenant's 403 leaves the others with their token, though Keystone is down by then.
func TestKeystoneSharedByTenants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &tokens{next: func(n int) *http.Response {
			if n == 1 {
				return access("T1", time.Now().Add(24*time.Hour))
			}
			return nil
		}}
		k := newKeystone(t, blueflood.KeystoneConfig{Transport: f, BackoffMin: time.Second, BackoffMax: time.Minute})
		var refused atomic.Int32
		bluefloods := transport(func(_ []byte, r *http.Request) *http.Response {
			if strings.Contains(r.URL.Path, "/bad/") || r.Header.Get("X-Auth-Token") != "T1" {
				refused.Add(1)
				return reply(403, "")
			}
			return reply(200, "")
		})
		cfg := blueflood.EndpointConfig{Auth: k, Transport: bluefloods, Tenant: "good"}
		good, _ := start(t, cfg)
		cfg.Tenant, cfg.BackoffMin, cfg.BackoffMax = "bad", time.Second, time.Second
		bad, _ := start(t, cfg)
		ingest := func(e *blueflood.Endpoint) error {
			_, err := e.Ingest(t.Context(), points(1))
			return err
		}
		require.NoError(t, ingest(good))
		require.NoError(t, bad.Send(t.Context(), points(1)))
		began := time.Now()
		for time.Since(began) < time.Hour {
			before := time.Now()
			require.NoError(t, ingest(good))
			require.Zero(t, time.Since(before))
			time.Sleep(time.Second)
		}
		require.Positive(t, refused.Load())
		require.Less(t, f.asked.Load(), int32(130), "no more often than once a backoff")
		require.EqualValues(t, 1, bad.Stats().PendingPoints)
	})
}

// TestKeystoneSaysWhen: while Keystone fails, the endpoint waits until it is asked again.
func TestKeystoneSaysWhen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &tokens{next: func(n int) *http.Response {
			if n <= 2 {
				return reply(503, "", "Retry-After", "600")
			}
			return access("T", time.Now().Add(time.Hour))
		}}
		auth := &countingAuth{Authenticator: newKeystone(t, blueflood.KeystoneConfig{Transport: f})}
		e, a := start(t, blueflood.EndpointConfig{Auth: auth, Interval: time.Second, Transport: transport(func([]byte, *http.Request) *http.Response {
			return reply(200, "")
		})})
		require.NoError(t, e.Send(t.Context(), points(2)))
		time.Sleep(19 * time.Minute)
		synctest.Wait()
		require.Zero(t, e.Stats().Delivered)
		require.EqualValues(t, 2, auth.asked.Load())
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		require.Len(t, a.delivered, 2)
		require.EqualValues(t, 3, auth.asked.Load())
	})
}

// countingAuth counts the requests that want credentials.
type countingAuth struct {
	blueflood.Authenticator
	asked atomic.Int32
}

func (c *countingAuth) Authorize(r *http.Request) error {
	c.asked.Add(1)
	return c.Authenticator.Authorize(r)
}

func TestKeystoneQuery(t *testing.T) {
	ks := bluefloodtest.RunKeystone(t, alice)
	s := bluefloodtest.RunWith(t, bluefloodtest.Options{Keystone: ks})
	k := newKeystone(t, blueflood.KeystoneConfig{URL: ks.URL(), BackoffMin: 1})
	q, err := blueflood.NewQuery(blueflood.QueryConfig{URL: s.QueryURL(), Tenant: "ten", Auth: k})
	require.NoError(t, err)
	defer q.Close()
	for range 2 { // the second with a token that was revoked
		_, err = q.MultiByPoints(within(t), []string{"a", "b"}, time.Now().Add(-time.Hour), time.Now(), 10)
		require.NoError(t, err)
		ks.RevokeAll()
	}
	require.Equal(t, 2, ks.Count())
	ks.SetUser(bluefloodtest.KeystoneUser{Name: "alice", APIKey: "another"})
	_, err = q.Search(within(t), "*")
	require.ErrorContains(t, err, "no credentials")
	require.True(t, strings.Contains(err.Error(), "check User and APIKey"), err)
}
