package blueflood_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
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

// alice is a user of the Keystone double.
var alice = bluefloodtest.KeystoneUser{
	Name: "alice", APIKey: "0123456789abcdef", Password: `p"a\ss<ï>`, TenantID: "836986", TenantName: "acme",
}

// newKeystone returns a Keystone that is closed with the test, with short backoffs and alice's key unless cfg says
// otherwise.
func newKeystone(t *testing.T, cfg blueflood.KeystoneConfig) *blueflood.Keystone {
	t.Helper()
	if cfg.User == "" {
		cfg.User = alice.Name
	}
	if cfg.APIKey == "" && cfg.Password == "" {
		cfg.APIKey = alice.APIKey
	}
	if cfg.BackoffMin == 0 {
		cfg.BackoffMin, cfg.BackoffMax = time.Millisecond, 4*time.Millisecond
	}
	k, err := blueflood.NewKeystone(cfg)
	require.NoError(t, err)
	t.Cleanup(k.Close)
	return k
}

// tokens is a Keystone without a network, for tests under a fake clock. It answers as next says, and counts.
type tokens struct {
	asked atomic.Int32
	next  func(n int) *http.Response // nil: no answer
}

func (f *tokens) RoundTrip(r *http.Request) (*http.Response, error) {
	n := int(f.asked.Add(1))
	return transport(func([]byte, *http.Request) *http.Response { return f.next(n) }).RoundTrip(r)
}

// access is the answer with a token.
func access(id string, expires time.Time) *http.Response {
	return reply(200, fmt.Sprintf(`{"access":{"token":{"id":%q,"expires":%q,"tenant":{"id":"836986","name":"acme"}}}}`,
		id, expires.UTC().Format("2006-01-02T15:04:05.000Z")))
}

// always gives a new token each time, T1, T2 and so on, that lasts so long.
func always(life time.Duration) *tokens {
	return &tokens{next: func(n int) *http.Response { return access(fmt.Sprint("T", n), time.Now().Add(life)) }}
}

func request(t *testing.T, ctx context.Context) *http.Request {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://blueflood.example/v2.0/ten/ingest", nil)
	require.NoError(t, err)
	return r
}

// tokenOf authorizes a request and returns its token.
func tokenOf(t *testing.T, k *blueflood.Keystone) string {
	t.Helper()
	r := request(t, t.Context())
	require.NoError(t, k.Authorize(r))
	return r.Header.Get("X-Auth-Token")
}

func TestKeystoneRequest(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  blueflood.KeystoneConfig
		want string
	}{
		{"key", blueflood.KeystoneConfig{APIKey: alice.APIKey},
			`{"auth": {"RAX-KSKEY:apiKeyCredentials": {"username": "alice", "apiKey": "0123456789abcdef"}}}`},
		{"password", blueflood.KeystoneConfig{Password: alice.Password},
			`{"auth": {"passwordCredentials": {"username": "alice", "password": "p\"a\\ss<ï>"}}}`},
		{"tenant", blueflood.KeystoneConfig{Tenant: "836986"},
			`{"auth": {"RAX-KSKEY:apiKeyCredentials": {"username": "alice", "apiKey": "0123456789abcdef"}, "tenantId": "836986"}}`},
		{"tenant's name", blueflood.KeystoneConfig{TenantName: "acme"},
			`{"auth": {"RAX-KSKEY:apiKeyCredentials": {"username": "alice", "apiKey": "0123456789abcdef"}, "tenantName": "acme"}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			ks := bluefloodtest.RunKeystone(t, alice)
			c.cfg.URL = ks.URL()
			k := newKeystone(t, c.cfg)
			r := request(t, t.Context())
			require.NoError(t, k.Authorize(r))
			require.Equal(t, "836986", r.Header.Get("X-Tenant-Id"))
			token, valid := ks.Token(r.Header.Get("X-Auth-Token"))
			require.True(t, valid)
			require.Equal(t, "alice", token.User)

			require.NoError(t, k.Authorize(request(t, t.Context())))
			require.Equal(t, 1, ks.Count(), "the token is used again")
			seen := ks.Requests()[0]
			require.Equal(t, "POST", seen.Method)
			require.Equal(t, "/v2.0/tokens", seen.Target)
			require.Equal(t, "application/json", seen.Header.Get("Content-Type"))
			require.Equal(t, "application/json", seen.Header.Get("Accept"))
			require.Equal(t, "close", seen.Header.Get("Connection"), "no connection is kept for the next, hours later")
			require.Equal(t, "fluxkit", seen.Header.Get("User-Agent"))
			require.JSONEq(t, c.want, string(seen.Body))
		})
	}
}

// TestKeystoneAnswers gives each answer once, and then a genuine one.
func TestKeystoneAnswers(t *testing.T) {
	huge := `{"access":{"token":{"id":"` + strings.Repeat("x", 2<<20) + `"}}}`
	token := func(id, tenant string) string {
		return fmt.Sprintf(`{"access":{"token":{"id":%q,"expires":"2999-01-01T00:00:00Z","tenant":{"id":%q}}}}`, id, tenant)
	}
	for _, c := range []struct {
		name  string
		reply bluefloodtest.Reply
		code  int
		says  string // empty: it is a success
	}{
		{"200", bluefloodtest.Reply{Status: 200, Store: true}, 200, ""},
		{"203", bluefloodtest.Reply{Status: 203, Store: true}, 203, ""},
		{"201", bluefloodtest.Reply{Status: 201, Store: true}, 201, "Keystone v2.0"},
		{"300", bluefloodtest.Reply{Status: 300, Body: `{"versions":[]}`}, 300, "put the address that gives tokens in URL"},
		{"302", bluefloodtest.Reply{Status: 302, Header: http.Header{"Location": {"/v2.0/tokens"}}}, 302, "not followed"},
		{"307", bluefloodtest.Reply{Status: 307, Header: http.Header{"Location": {"/v2.0/tokens"}}}, 307, "not followed"},
		{"400", bluefloodtest.Reply{Status: 400}, 400, "kind of credentials, APIKey"},
		{"401", bluefloodtest.Reply{Status: 401, Message: "Unable to Authenticate"}, 401, `"Unable to Authenticate" (Keystone knows no such credentials: check User and APIKey)`},
		{"403", bluefloodtest.Reply{Status: 403}, 403, "check User"},
		{"404", bluefloodtest.Reply{Status: 404}, 404, "check URL"},
		{"405", bluefloodtest.Reply{Status: 405}, 405, "check URL"},
		{"413", bluefloodtest.Reply{Status: 413}, 413, "413 Request Entity Too Large"},
		{"429", bluefloodtest.Throttled(0), 429, "429 Too Many Requests"},
		{"500", bluefloodtest.Reply{Status: 500, Body: "<html>"}, 500, "500 Internal Server Error"},
		{"503", bluefloodtest.Reply{Status: 503}, 503, "503 Service Unavailable"},
		{"no answer", bluefloodtest.Reply{Hang: true}, 0, "within the Timeout of 300ms"},
		{"reset", bluefloodtest.Reply{Reset: true}, 0, "reset"},
		{"empty", bluefloodtest.Reply{Status: 200}, 200, "not JSON"},
		{"cut short", bluefloodtest.Reply{Status: 200, Body: `{"access":{"token":{"id":"x"`}, 200, "not JSON"},
		{"another form", bluefloodtest.Reply{Status: 200, Body: `{"access":[]}`}, 200, "form of a token"},
		{"no token", bluefloodtest.Reply{Status: 200, Body: `{"access":{}}`}, 200, "no access.token.id"},
		{"a web page", bluefloodtest.Reply{Status: 200, Body: `<html>`}, 200, "not JSON"},
		{"huge", bluefloodtest.Reply{Status: 200, Body: huge}, 200, "longer than 1048576 bytes"},
		{"line break in token", bluefloodtest.Reply{Status: 200, Body: token("a\r\nb", "t")}, 200, "cannot stand in a header"},
		{"tenant not ASCII", bluefloodtest.Reply{Status: 200, Body: token("a", "ï")}, 200, "cannot stand in a header"},
	} {
		t.Run(c.name, func(t *testing.T) {
			noLeaks(t)
			ks := bluefloodtest.RunKeystone(t, alice)
			ks.Queue(c.reply)
			cfg := blueflood.KeystoneConfig{URL: ks.URL(), BackoffMin: 50 * time.Millisecond, BackoffMax: 50 * time.Millisecond}
			if c.reply.Hang {
				cfg.Timeout = 300 * time.Millisecond
			}
			k := newKeystone(t, cfg)
			err := k.Authorize(request(t, t.Context()))
			if c.says == "" {
				require.NoError(t, err)
				return
			}
			var failed *blueflood.KeystoneError
			require.ErrorAs(t, err, &failed)
			require.Equal(t, c.code, failed.Code)
			require.Equal(t, ks.URL(), failed.URL)
			require.ErrorContains(t, err, c.says)
			require.ErrorContains(t, err, failed.Next.UTC().Format("15:04:05"))
			require.NotContains(t, err.Error(), alice.APIKey)
			require.NotContains(t, err.Error(), "xxxx")
			require.Equal(t, c.reply.Hang, errors.Is(err, context.DeadlineExceeded))

			require.Eventually(t, func() bool { return k.Authorize(request(t, t.Context())) == nil }, 20*time.Second, 5*time.Millisecond)
			require.GreaterOrEqual(t, ks.Count(), 2)
			if !c.reply.Hang { // of which the server learns late that nobody waits any more
				require.Equal(t, 1, ks.MaxInFlight())
			}
		})
	}
}

func TestKeystoneWrongCredentials(t *testing.T) {
	ks := bluefloodtest.RunKeystoneWith(t, bluefloodtest.KeystoneOptions{Users: []bluefloodtest.KeystoneUser{
		alice, {Name: "bob", Password: "hunter2", Disabled: true},
	}})
	for _, c := range []struct {
		cfg  blueflood.KeystoneConfig
		code int
		says string
	}{
		{blueflood.KeystoneConfig{User: "alice", APIKey: "wrong-key"}, 401, "check User and APIKey"},
		{blueflood.KeystoneConfig{User: "alice", Password: "wrong-word"}, 401, "check User and Password"},
		{blueflood.KeystoneConfig{User: "alice", Password: alice.APIKey}, 401, "check User and Password"},
		{blueflood.KeystoneConfig{User: "nobody", APIKey: alice.APIKey}, 401, "check User and APIKey"},
		{blueflood.KeystoneConfig{User: "alice", APIKey: alice.APIKey, Tenant: "other"}, 401, "check User and APIKey; and Tenant"},
		{blueflood.KeystoneConfig{User: "alice", APIKey: alice.APIKey, TenantName: "other"}, 401, "check User and APIKey; and TenantName"},
		{blueflood.KeystoneConfig{User: "bob", Password: "hunter2"}, 403, "it is enabled"},
		{blueflood.KeystoneConfig{User: "alice", APIKey: alice.APIKey, URL: "/v2.0"}, 404, "check URL"},
	} {
		c.cfg.URL = strings.TrimSuffix(ks.URL(), "/v2.0/tokens") + c.cfg.URL
		if !strings.HasSuffix(c.cfg.URL, "/v2.0") {
			c.cfg.URL = ks.URL()
		}
		err := newKeystone(t, c.cfg).Authorize(request(t, t.Context()))
		var failed *blueflood.KeystoneError
		require.ErrorAs(t, err, &failed)
		require.Equal(t, c.code, failed.Code)
		require.ErrorContains(t, err, c.says)
	}
}

func TestKeystoneUnreachable(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ln.Close()
	k := newKeystone(t, blueflood.KeystoneConfig{URL: "http://" + ln.Addr().String() + "/v2.0/tokens"})
	err = k.Authorize(request(t, t.Context()))
	var failed *blueflood.KeystoneError
	require.ErrorAs(t, err, &failed)
	require.Zero(t, failed.Code)
	require.ErrorContains(t, err, "refused")
	require.Equal(t, 1, strings.Count(err.Error(), ln.Addr().String()+"/"), "the address is said once")
	var op *net.OpError
	require.ErrorAs(t, err, &op)
}

// TestKeystoneBackoff counts token requests while Keystone fails and somebody asks all the time.
func TestKeystoneBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var up atomic.Bool
		f := &tokens{next: func(n int) *http.Response {
			if up.Load() {
				return access("T", time.Now().Add(time.Hour))
			}
			return reply(500, "")
		}}
		k := newKeystone(t, blueflood.KeystoneConfig{Transport: f, BackoffMin: time.Second, BackoffMax: time.Minute})
		began, last, wait := time.Now(), time.Time{}, time.Second
		for time.Since(began) < time.Hour {
			before := f.asked.Load()
			err := k.Authorize(request(t, t.Context()))
			var failed *blueflood.KeystoneError
			require.ErrorAs(t, err, &failed)
			require.True(t, failed.Next.After(time.Now()))
			if f.asked.Load() > before {
				got := time.Until(failed.Next)
				require.LessOrEqual(t, got, wait)
				require.GreaterOrEqual(t, got, wait/2)
				wait = min(2*wait, time.Minute)
				last = failed.Next
			}
			require.Equal(t, last, failed.Next)
			time.Sleep(100 * time.Millisecond)
		}
		require.Less(t, f.asked.Load(), int32(135), "about 80 of 36,000")
		up.Store(true)
		time.Sleep(time.Minute)
		require.Equal(t, "T", tokenOf(t, k))
	})
}

func TestKeystoneRetryAfter(t *testing.T) {
	for header, want := range map[string]time.Duration{"90": 90 * time.Second, "999999": time.Hour, "0": time.Second, "soon": time.Second} {
		synctest.Test(t, func(t *testing.T) {
			f := &tokens{next: func(int) *http.Response { return reply(503, "", "Retry-After", header) }}
			k := newKeystone(t, blueflood.KeystoneConfig{Transport: f, BackoffMin: time.Second})
			began := time.Now()
			err := k.Authorize(request(t, t.Context()))
			var failed *blueflood.KeystoneError
			require.ErrorAs(t, err, &failed)
			require.LessOrEqual(t, failed.Next.Sub(began), want)
			require.GreaterOrEqual(t, failed.Next.Sub(began), want/2)
			if want > time.Second {
				require.Equal(t, want, failed.RetryAfter)
				time.Sleep(want - time.Nanosecond)
				require.Error(t, k.Authorize(request(t, t.Context())))
				require.EqualValues(t, 1, f.asked.Load())
				time.Sleep(time.Nanosecond)
				require.Error(t, k.Authorize(request(t, t.Context())))
				require.EqualValues(t, 2, f.asked.Load())
			}
		})
	}
}

// TestKeystoneRefresh follows a token through its life, and counts what is asked for.
func TestKeystoneRefresh(t *testing.T) {
	for _, c := range []struct {
		name             string
		life, before     time.Duration
		refresh          time.Duration // after which a new one is asked for
		expires          string        // in place of what life says
		refreshesInAWeek int32
	}{
		{"a day", 24 * time.Hour, 0, 24*time.Hour - 5*time.Minute, "", 8},
		{"ten minutes", 10 * time.Minute, 0, 450 * time.Second, "", 1344},
		{"own margin", 24 * time.Hour, time.Hour, 23 * time.Hour, "", 8},
		{"margin too long", time.Hour, 24 * time.Hour, 45 * time.Minute, "", 224},
		{"no expiry", 0, 0, 55 * time.Minute, "null", 184},
		{"no time", 0, 0, 55 * time.Minute, `"tomorrow"`, 184},
		{"a number", 0, 0, 55 * time.Minute, "1467123456", 184},
		{"past by this clock", 0, 0, 55 * time.Minute, `"1999-12-31T23:59:59Z"`, 184},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := always(c.life)
				if c.expires != "" {
					f.next = func(n int) *http.Response {
						return reply(200, fmt.Sprintf(`{"access":{"token":{"id":"T%d","expires":%s}}}`, n, c.expires))
					}
				}
				k := newKeystone(t, blueflood.KeystoneConfig{Transport: f, RefreshBefore: c.before})
				began := time.Now()
				require.Equal(t, "T1", tokenOf(t, k))
				time.Sleep(c.refresh - time.Second)
				require.Equal(t, "T1", tokenOf(t, k))
				synctest.Wait()
				require.EqualValues(t, 1, f.asked.Load())
				time.Sleep(time.Second)
				require.Equal(t, "T1", tokenOf(t, k), "the old one is used while a new one is asked for")
				synctest.Wait()
				require.EqualValues(t, 2, f.asked.Load())
				require.Equal(t, "T2", tokenOf(t, k))

				for time.Since(began) < 7*24*time.Hour {
					tokenOf(t, k)
					time.Sleep(10 * time.Second)
				}
				require.InDelta(t, c.refreshesInAWeek, f.asked.Load(), 4)
			})
		})
	}
}

// TestKeystoneInjectedClock has a clock of its own, which stands unless it is moved.
func TestKeystoneInjectedClock(t *testing.T) {
	var now atomic.Int64
	clock := func() time.Time { return time.Unix(now.Load(), 0) }
	now.Store(1418500000)
	ks := bluefloodtest.RunKeystoneWith(t, bluefloodtest.KeystoneOptions{
		Users: []bluefloodtest.KeystoneUser{alice}, Lifetime: time.Hour, Now: clock,
	})
	k := newKeystone(t, blueflood.KeystoneConfig{URL: ks.URL(), Now: clock})
	first := tokenOf(t, k)
	now.Add(54 * 60)
	require.Equal(t, first, tokenOf(t, k))
	require.Equal(t, 1, ks.Count())
	now.Add(60)
	require.Equal(t, first, tokenOf(t, k))
	require.Eventually(t, func() bool { return tokenOf(t, k) != first }, 10*time.Second, time.Millisecond)
	require.Equal(t, 2, ks.Count())
	now.Add(2 * 3600)
	_, valid := ks.Token(tokenOf(t, k))
	require.True(t, valid, "an expired token is not used")
	require.Equal(t, 3, ks.Count())
}

// TestKeystoneSameTokenAgain has a Keystone that gives a user the token that is still valid.
func TestKeystoneSameTokenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		expires := time.Time{}
		f := &tokens{}
		f.next = func(n int) *http.Response {
			if !time.Now().Before(expires) {
				expires = time.Now().Add(time.Hour)
			}
			return access(fmt.Sprint(expires.Unix()), expires)
		}
		k := newKeystone(t, blueflood.KeystoneConfig{Transport: f})
		for range 3_600 {
			tokenOf(t, k)
			time.Sleep(time.Second)
		}
		require.Less(t, f.asked.Load(), int32(10), "not one for each request before the expiry")
	})
}

// TestKeystoneRefreshFails: the old token is used up to its expiry while Keystone fails.
func TestKeystoneRefreshFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &tokens{next: func(n int) *http.Response {
			if n == 1 {
				return access("T1", time.Now().Add(time.Hour))
			}
			return nil
		}}
		k := newKeystone(t, blueflood.KeystoneConfig{Transport: f, BackoffMin: time.Second, BackoffMax: time.Minute})
		began := time.Now()
		for time.Since(began) < time.Hour {
			asked := time.Now()
			require.Equal(t, "T1", tokenOf(t, k))
			require.Zero(t, time.Since(asked), "nobody waits for the refresh")
			time.Sleep(time.Second)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var failed *blueflood.KeystoneError
		require.ErrorAs(t, k.Authorize(request(t, ctx)), &failed)
		require.Greater(t, f.asked.Load(), int32(4))
		require.Less(t, f.asked.Load(), int32(15))
	})
}

// TestKeystoneOneRequest has fifty who want a token at once. Some give up; the others get it.
func TestKeystoneOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &tokens{next: func(n int) *http.Response {
			time.Sleep(5 * time.Second)
			return access(fmt.Sprint("T", n), time.Now().Add(time.Hour))
		}}
		k := newKeystone(t, blueflood.KeystoneConfig{Transport: f})
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				ctx, began := t.Context(), time.Now()
				patient := i%5 > 0
				if !patient { // the first to ask among them, maybe
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, time.Duration(1+i)*time.Millisecond)
					defer cancel()
				}
				r := request(t, ctx)
				err := k.Authorize(r)
				switch {
				case patient && (err != nil || r.Header.Get("X-Auth-Token") != "T1" || time.Since(began) != 5*time.Second):
					t.Error(i, err, r.Header, time.Since(began))
				case !patient && (!errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Duration(1+i)*time.Millisecond):
					t.Error(i, err, time.Since(began))
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 1, f.asked.Load())
	})
}

// TestKeystoneAllGiveUp: a token request that is slower than every request is patient still ends with a token.
func TestKeystoneAllGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &tokens{next: func(n int) *http.Response {
			time.Sleep(5 * time.Second)
			return access(fmt.Sprint("T", n), time.Now().Add(time.Hour))
		}}
		k := newKeystone(t, blueflood.KeystoneConfig{Transport: f})
		for i := range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			err := k.Authorize(request(t, ctx))
			cancel()
			if i < 2 {
				require.ErrorIs(t, err, context.DeadlineExceeded)
			} else {
				require.NoError(t, err)
			}
		}
		require.EqualValues(t, 1, f.asked.Load())
	})
}

// TestKeystoneRefused has many requests refused at once, then the new token too.
func TestKeystoneRefused(t *testing.T) {
	for _, status := range []int{401, 403} {
		synctest.Test(t, func(t *testing.T) {
			f := always(time.Hour)
			k := newKeystone(t, blueflood.KeystoneConfig{Transport: f, BackoffMin: 8 * time.Second, BackoffMax: time.Minute})
			var old []*http.Request
			for range 50 {
				r := request(t, t.Context())
				require.NoError(t, k.Authorize(r))
				old = append(old, r)
			}
			require.False(t, k.Refused(old[0], 500))
			require.False(t, k.Refused(request(t, t.Context()), status), "no token of ours")
			var wg sync.WaitGroup
			for _, r := range old {
				wg.Go(func() {
					if !k.Refused(r, status) {
						t.Error("not sent again")
					}
					if k.Authorize(r) != nil || r.Header.Get("X-Auth-Token") != "T2" {
						t.Error(r.Header)
					}
				})
			}
			wg.Wait()
			require.EqualValues(t, 2, f.asked.Load())

			asked := 0
			for range 600 { // a minute of refusals
				r := request(t, t.Context())
				require.NoError(t, k.Authorize(r), "the refused token stays in use")
				if k.Refused(r, status) {
					require.NoError(t, k.Authorize(r))
					asked++
				}
				time.Sleep(100 * time.Millisecond)
			}
			require.GreaterOrEqual(t, asked, 2)
			require.LessOrEqual(t, asked, 4, "after 8, 16 and 32 s, or half of that each")
			require.EqualValues(t, 2+asked, f.asked.Load())

			time.Sleep(3 * time.Minute) // calm
			for range 2 {               // the backoff has begun anew
				r := request(t, t.Context())
				require.NoError(t, k.Authorize(r))
				require.True(t, k.Refused(r, status))
				require.NoError(t, k.Authorize(r))
				time.Sleep(8 * time.Second)
			}
		})
	}
}

// TestKeystoneRefusedWhileItFails: a token that the server refuses is kept until another can be had.
func TestKeystoneRefusedWhileItFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &tokens{next: func(n int) *http.Response {
			if n == 2 || n == 3 {
				return reply(503, "", "Retry-After", "60")
			}
			return access(fmt.Sprint("T", n), time.Now().Add(time.Hour))
		}}
		k := newKeystone(t, blueflood.KeystoneConfig{Transport: f})
		tokenOf(t, k)
		time.Sleep(56 * time.Minute)
		r := request(t, t.Context())
		require.NoError(t, k.Authorize(r))
		synctest.Wait() // the refresh failed
		require.False(t, k.Refused(r, 401))
		require.Equal(t, "T1", tokenOf(t, k))
		time.Sleep(time.Minute)
		require.True(t, k.Refused(r, 401))
		require.Error(t, k.Authorize(r))
		require.False(t, k.Refused(r, 401), "there is none, and none to be had")
		require.Equal(t, "T1", tokenOf(t, k), "others use it")
		time.Sleep(time.Minute)
		require.True(t, k.Refused(r, 401), "one can be asked for")
		require.NoError(t, k.Authorize(r))
		require.Equal(t, "T4", r.Header.Get("X-Auth-Token"))
		r.Header.Set("X-Auth-Token", "T1")
		require.True(t, k.Refused(r, 401), "another is there already")
	})
}

// TestKeystoneRefusedToken is still valid for others until there is another, and not after its expiry.
func TestKeystoneRefusedToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &tokens{next: func(n int) *http.Response {
			switch {
			case n == 2:
				time.Sleep(5 * time.Second)
				return nil
			case time.Now().Before(time.Date(2000, 1, 1, 2, 0, 0, 0, time.UTC)):
				return access(fmt.Sprint("T", n), time.Now().Add(time.Hour))
			}
			return reply(503, "")
		}}
		k := newKeystone(t, blueflood.KeystoneConfig{Transport: f, BackoffMin: time.Minute, BackoffMax: time.Minute})
		r := request(t, t.Context())
		require.NoError(t, k.Authorize(r))
		require.True(t, k.Refused(r, 403))
		began := time.Now()
		require.Equal(t, "T1", tokenOf(t, k), "a request is under way")
		require.Zero(t, time.Since(began))
		require.Error(t, k.Authorize(r), "the one that was refused waits for another")
		require.NotZero(t, time.Since(began))
		require.Equal(t, "T1", tokenOf(t, k), "the request failed")
		time.Sleep(time.Minute)
		require.Equal(t, "T1", tokenOf(t, k))
		synctest.Wait()
		require.Equal(t, "T3", tokenOf(t, k), "asked for without anybody who waits")
		require.EqualValues(t, 3, f.asked.Load())

		time.Sleep(2 * time.Minute)
		r = request(t, t.Context())
		require.NoError(t, k.Authorize(r))
		time.Sleep(2 * time.Hour)
		require.Error(t, k.Authorize(request(t, t.Context())), "it has expired")
	})
}

func TestKeystoneClose(t *testing.T) {
	noLeaks(t)
	ks := bluefloodtest.RunKeystone(t, alice)
	ks.Queue(bluefloodtest.Reply{Hang: true})
	k := newKeystone(t, blueflood.KeystoneConfig{URL: ks.URL(), Timeout: time.Hour})
	waits := make(chan error)
	go func() { waits <- k.Authorize(request(t, t.Context())) }()
	require.Eventually(t, func() bool { return ks.Count() == 1 }, 10*time.Second, time.Millisecond)
	k.Close()
	require.ErrorIs(t, <-waits, blueflood.ErrKeystoneClosed)
	require.ErrorIs(t, k.Authorize(request(t, t.Context())), blueflood.ErrKeystoneClosed)
	k.Close()
	require.Equal(t, 1, ks.Count())
}

// TestKeystoneTenant: the tenant of the token goes along, that of the configuration when the token has none.
func TestKeystoneTenant(t *testing.T) {
	unscoped := &tokens{next: func(int) *http.Response { return reply(203, `{"access":{"token":{"id":"T"}}}`) }}
	for tenant, want := range map[string][]string{"": nil, "836986": {"836986"}, "not äscii": nil} {
		r := request(t, t.Context())
		require.NoError(t, newKeystone(t, blueflood.KeystoneConfig{Transport: unscoped, Tenant: tenant}).Authorize(r))
		require.Equal(t, want, r.Header.Values("X-Tenant-Id"))
	}
}

func FuzzKeystoneAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"access":{"token":{"id":"x","expires":"2014-12-14T22:54:49.574Z","tenant":{"id":"836986","name":"836986"}},"serviceCatalog":[],"user":{}}}`,
		`{"access":{"token":{"id":"x","expires":"2014-12-14T22:54:49.574-06:00"}}}`,
		`{"access":{"token":{"id":"x","expires":-1,"tenant":null}}}`,
		`{"access":{"token":{"id":"x","expires":"9999-12-31T23:59:59"}}}`,
		`{"unauthorized":{"code":401,"message":"no 0123456789abcdef"}}`, `{"a":[],"b":{"message":"ï\n"}}`, "[", "",
	} {
		f.Add(seed, uint16(200))
		f.Add(seed, uint16(401))
	}
	f.Fuzz(func(t *testing.T, body string, status uint16) {
		res := &http.Response{StatusCode: int(status), Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
		k := newKeystone(t, blueflood.KeystoneConfig{Transport: &tokens{next: func(int) *http.Response { return res }}})
		r := request(t, t.Context())
		if err := k.Authorize(r); err != nil {
			require.NotContains(t, err.Error(), alice.APIKey)
			return
		}
		require.True(t, json.Valid([]byte(body)))
		require.NoError(t, r.Write(io.Discard))
		require.NotEmpty(t, r.Header.Get("X-Auth-Token"))
	})
}
