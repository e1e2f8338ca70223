package bluefloodtest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood/bluefloodtest"
)

var carol = bluefloodtest.KeystoneUser{Name: "carol", APIKey: "k", Password: "p", TenantID: "7", TenantName: "seven"}

const carolsKey = `{"auth":{"RAX-KSKEY:apiKeyCredentials":{"username":"carol","apiKey":"k"}}}`

// access is what Keystone answers, error or not.
type access struct {
	Access struct {
		Token struct {
			ID, Expires string
			Tenant      *struct{ ID, Name string }
		}
		User struct{ Name string }
	}
}

func ask(t *testing.T, k *bluefloodtest.Keystone, body string) (int, access) {
	t.Helper()
	status, text, err := post(t, http.DefaultClient, k.URL(), body)
	require.NoError(t, err)
	var a access
	require.NoError(t, json.Unmarshal([]byte(text), &a))
	return status, a
}

func TestKeystoneTokens(t *testing.T) {
	k := bluefloodtest.RunKeystone(t, carol)
	k.SetTime(time.Unix(1418597689, 574e6))
	status, a := ask(t, k, carolsKey)
	require.Equal(t, 200, status)
	require.Equal(t, "2014-12-15T22:54:49.574Z", a.Access.Token.Expires)
	require.Equal(t, "7", a.Access.Token.Tenant.ID)
	require.Equal(t, "seven", a.Access.Token.Tenant.Name)
	require.Equal(t, "carol", a.Access.User.Name)
	first := a.Access.Token.ID
	got, valid := k.Token(first)
	require.True(t, valid)
	require.Equal(t, "carol", got.User)

	k.SetLifetime(time.Minute)
	status, a = ask(t, k, `{"auth":{"passwordCredentials":{"username":"carol","password":"p"},"tenantName":"seven"}}`)
	require.Equal(t, 200, status)
	second := a.Access.Token.ID
	require.NotEqual(t, first, second)
	k.SetTime(time.Unix(1418597689+60, 574e6))
	_, valid = k.Token(second)
	require.False(t, valid, "it expired")
	k.Revoke(first)
	_, valid = k.Token(first)
	require.False(t, valid)
	_, valid = k.Token("")
	require.False(t, valid)
	require.Equal(t, 2, k.Issued())
	require.Equal(t, 2, k.Count())
	require.Equal(t, carolsKey, string(k.Requests()[0].Body))
	require.Equal(t, 200, k.Requests()[0].Status)
}

func TestKeystoneRefusals(t *testing.T) {
	k := bluefloodtest.RunKeystone(t, carol)
	k.SetUser(bluefloodtest.KeystoneUser{Name: "dave", Password: "p", Disabled: true})
	key := func(user, key, more string) string {
		return fmt.Sprintf(`{"auth":{"RAX-KSKEY:apiKeyCredentials":{"username":%q,"apiKey":%q}%s}}`, user, key, more)
	}
	password := func(user, word string) string {
		return fmt.Sprintf(`{"auth":{"passwordCredentials":{"username":%q,"password":%q}}}`, user, word)
	}
	for _, c := range []struct {
		body   string
		status int
	}{
		{"", 400}, {"{", 400}, {"[]", 400}, {`{"auth":{}}`, 400}, {`{}`, 400},
		{key("carol", "k", `,"passwordCredentials":{}`), 400},
		{key("carol", "k", `,"tenantId":"7","tenantName":"seven"`), 400},
		{key("carol", "p", ""), 401}, {password("carol", "k"), 401}, {key("erin", "k", ""), 401}, {key("erin", "", ""), 401},
		{key("dave", "", ""), 401}, {password("dave", "x"), 401}, {password("dave", "p"), 403},
		{key("carol", "k", `,"tenantId":"8"`), 401}, {key("carol", "k", `,"tenantName":"eight"`), 401},
		{key("carol", "k", `,"tenantId":"7"`), 200},
		{strings.Repeat(" ", 2<<20), 413},
	} {
		status, _ := ask(t, k, c.body)
		require.Equal(t, c.status, status, "%.100s", c.body)
	}
	require.Equal(t, 1, k.Issued())

	status, _ := get(t, k.URL())
	require.Equal(t, 405, status)
	status, _, err := post(t, http.DefaultClient, strings.Replace(k.URL(), "v2.0", "v3", 1), carolsKey)
	require.NoError(t, err)
	require.Equal(t, 404, status)
	res, err := http.Post(k.URL(), "text/plain", strings.NewReader(carolsKey))
	require.NoError(t, err)
	res.Body.Close()
	require.Equal(t, 415, res.StatusCode)
}

func TestKeystoneFaults(t *testing.T) {
	noLeaks(t)
	k := bluefloodtest.RunKeystone(t, carol)
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for i, f := range []struct {
		reply  bluefloodtest.Reply
		status int // 0: no answer
		issued int
		body   string
	}{
		{bluefloodtest.Reply{}, 200, 1, `"token"`},
		{bluefloodtest.Reply{Status: 203, Store: true}, 203, 1, `"token"`},
		{bluefloodtest.Reply{Status: 200, Body: "{"}, 200, 0, "{"},
		{bluefloodtest.Reply{Status: 503}, 503, 0, ""},
		{bluefloodtest.Reply{Status: 401, Message: "no"}, 401, 0, `{"unauthorized":{"code":401,"message":"no"}}`},
		{bluefloodtest.Throttled(time.Second), 429, 0, ""},
		{bluefloodtest.Reply{Delay: time.Millisecond}, 200, 1, `"token"`},
		{bluefloodtest.Reply{Delay: time.Hour}, 0, 0, ""},
		{bluefloodtest.Reply{Hang: true}, 0, 0, ""},
		{bluefloodtest.Reply{Hang: true, Store: true}, 0, 1, ""},
		{bluefloodtest.Reply{Reset: true}, 0, 0, ""},
		{bluefloodtest.Reply{Reset: true, Store: true}, 0, 1, ""},
	} {
		before := k.Issued()
		k.Queue(f.reply)
		if c.Timeout = 0; f.reply.Hang || f.reply.Delay > time.Minute {
			c.Timeout = 100 * time.Millisecond
		}
		status, body, err := post(t, c, k.URL(), carolsKey)
		require.Equal(t, f.status == 0, err != nil, i)
		require.Equal(t, f.status, status, i)
		require.Contains(t, body, f.body, i)
		require.Eventually(t, func() bool { return k.Issued()-before == f.issued }, 10*time.Second, time.Millisecond, i)
	}
	require.Equal(t, 12, k.Count())
}

func TestKeystoneSameToken(t *testing.T) {
	k := bluefloodtest.RunKeystoneWith(t, bluefloodtest.KeystoneOptions{
		Users: []bluefloodtest.KeystoneUser{carol, {Name: "erin", APIKey: "e"}}, SameToken: true, Lifetime: time.Minute,
	})
	k.SetTime(time.Unix(1418597689, 0))
	_, a := ask(t, k, carolsKey)
	_, b := ask(t, k, carolsKey)
	require.Equal(t, a, b)
	_, e := ask(t, k, strings.NewReplacer("carol", "erin", `"k"`, `"e"`).Replace(carolsKey))
	require.NotEqual(t, a.Access.Token.ID, e.Access.Token.ID)
	require.Nil(t, e.Access.Token.Tenant)
	k.SetTime(time.Unix(1418597689+60, 0))
	_, b = ask(t, k, carolsKey)
	require.NotEqual(t, a.Access.Token.ID, b.Access.Token.ID)
}

// TestGuard has a server that takes tokens alone, on both of its APIs.
func TestGuard(t *testing.T) {
	for _, forbid := range []bool{false, true} {
		k := bluefloodtest.RunKeystone(t, carol)
		s := bluefloodtest.RunWith(t, bluefloodtest.Options{Keystone: k, Forbid: forbid})
		s.Queue(bluefloodtest.Reply{}, bluefloodtest.Reply{Status: 503})
		_, a := ask(t, k, carolsKey)
		send := func(url, token string) int {
			r, err := http.NewRequest(http.MethodPost, url, strings.NewReader(rows(s.Time().UnixMilli(), "m")))
			require.NoError(t, err)
			r.Header.Set("X-Auth-Token", token)
			res, err := http.DefaultClient.Do(r)
			require.NoError(t, err)
			res.Body.Close()
			require.Equal(t, res.StatusCode == 401, res.Header.Get("WWW-Authenticate") != "")
			return res.StatusCode
		}
		refused := map[bool]int{false: 401, true: 403}[forbid]
		ingest, query := s.IngestURL()+"/v2.0/t/ingest", s.QueryURL()+"/v2.0/t/views?from=1&to=2&points=1"
		for _, url := range []string{ingest, query} {
			require.Equal(t, refused, send(url, ""))
			require.Equal(t, refused, send(url, "another"))
		}
		require.Equal(t, 200, send(ingest, a.Access.Token.ID))
		require.Equal(t, 400, send(query, a.Access.Token.ID), "that is no list of names, says the server")
		k.RevokeAll()
		require.Equal(t, refused, send(ingest, a.Access.Token.ID))
		_, a = ask(t, k, carolsKey)
		require.Equal(t, 503, send(ingest, a.Access.Token.ID), "refusals use up no reply")
		require.Equal(t, 1, s.Received())
		require.Len(t, s.Requests(), 5)
		require.Equal(t, refused, s.Requests()[0].Status)
	}
}

func TestKeystoneClose(t *testing.T) {
	noLeaks(t)
	k := bluefloodtest.RunKeystone(t, carol)
	k.Fallback(bluefloodtest.Reply{Hang: true})
	done := make(chan error)
	go func() {
		_, err := http.Post(k.URL(), "application/json", bytes.NewReader([]byte(carolsKey)))
		done <- err
	}()
	require.Eventually(t, func() bool { return k.Count() == 1 }, 10*time.Second, time.Millisecond)
	k.Close()
	err := <-done
	require.True(t, errors.Is(err, io.EOF) || strings.Contains(err.Error(), "reset"), err)
	k.Close()

	_, err = bluefloodtest.StartKeystone(bluefloodtest.KeystoneOptions{Addr: "127.0.0.1:99999"})
	require.ErrorContains(t, err, "Addr")
}

// noLeaks fails the test when a goroutine of a double outlives it. Call it first.
func noLeaks(t *testing.T) {
	t.Cleanup(func() {
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			left := ""
			buf := make([]byte, 1<<20)
			for _, s := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
				if strings.Contains(s, "fluxkit/") && !strings.Contains(s, "testing.") {
					left += s + "\n\n"
				}
			}
			if left == "" {
				return
			}
			if time.Now().After(deadline) {
				t.Errorf("goroutines left:\n%s", left)
				return
			}
		}
	})
}

func ExampleKeystone() {
	identity, err := bluefloodtest.StartKeystone(bluefloodtest.KeystoneOptions{
		Users: []bluefloodtest.KeystoneUser{{Name: "alice", Password: "open sesame", TenantID: "836986"}},
	})
	if err != nil {
		panic(err)
	}
	defer identity.Close()
	identity.Queue(bluefloodtest.Reply{Status: 503}) // the first request fails
	for range 2 {
		res, err := http.Post(identity.URL(), "application/json", strings.NewReader(
			`{"auth":{"passwordCredentials":{"username":"alice","password":"open sesame"}}}`))
		if err != nil {
			panic(err)
		}
		res.Body.Close()
		fmt.Println(res.StatusCode)
	}
	fmt.Println(identity.Issued())
	// Output:
	// 503
	// 200
	// 1
}
