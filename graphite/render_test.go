package graphite_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
)

// api answers requests with what answer returns, and closes itself.
func api(t *testing.T, answer http.HandlerFunc) *graphite.RenderClient {
	srv := httptest.NewServer(answer)
	c := &graphite.RenderClient{BaseURL: srv.URL}
	t.Cleanup(srv.Close)
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func TestRenderAgainstTheDouble(t *testing.T) {
	s := graphitetest.Run(t)
	s.SetTime(time.Unix(1700000000, 0))
	conn, err := net.Dial("tcp", s.LineAddr)
	require.NoError(t, err)
	defer conn.Close()
	fmt.Fprintf(conn, "web.a 1 1699999900\nweb.a 2 1699999960\nweb.b inf 1699999960\nweb.c;x=%%2F+ü&y= 4 1699999999\nold 5 1699000000\n")
	require.NoError(t, s.Wait(limit(t), 5))
	c := &graphite.RenderClient{BaseURL: s.RenderURL + "/"}
	defer c.CloseIdleConnections()

	series, err := c.Render(limit(t), []string{"web.*", "web.a", "nothing"}, time.Unix(1699999900, 0), time.Unix(1700000000, 0))
	require.NoError(t, err)
	require.Len(t, series, 4)
	require.Equal(t, graphite.Series{Target: "web.a", Points: []graphite.Point{{Timestamp: 1699999960000, Value: 2}}}, series[0])
	require.True(t, math.IsInf(series[1].Points[0].Value, 1))
	require.Equal(t, "web.a", series[3].Target)

	p, ok, err := c.Last(limit(t), "web.c;x=%2F+ü&y=")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "web.c;x=%2F+ü&y= 1699999999000 4", fmt.Sprintf("%s %d %v", p.Name, p.Timestamp, p.Value))

	p, ok, err = c.Last(limit(t), "old")
	require.NoError(t, err)
	require.True(t, ok)
	require.EqualValues(t, 1699000000000, p.Timestamp)

	_, ok, err = c.Last(limit(t), "nothing")
	require.NoError(t, err)
	require.False(t, ok)

	many := make([]string, 1000) // too long for a URL
	for i := range many {
		many[i] = "web.a"
	}
	series, err = c.Render(limit(t), many, time.Time{}, time.Time{})
	require.NoError(t, err)
	require.Len(t, series, 1000)
	require.Len(t, series[0].Points, 2)

	_, err = c.Render(limit(t), []string{"sum(web.*)"}, time.Time{}, time.Time{})
	var re *graphite.RenderError
	require.ErrorAs(t, err, &re)
	require.Equal(t, 400, re.Status)
	require.Contains(t, re.Body, "not supported")
}

func TestRenderRequest(t *testing.T) {
	var got *http.Request
	c := api(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		says(200, `[]`)(w, r)
	})
	c.BaseURL += "/graphite/"
	c.User, c.Password = "user", "pass:word"
	c.Header = http.Header{"x-token": {"secret"}, "Host": {"graphite.example"}}
	_, err := c.Render(limit(t), []string{"a+b c", "x&y"}, time.Unix(10, 5), time.Time{})
	require.NoError(t, err)
	require.Equal(t, "/graphite/render", got.URL.Path)
	require.Equal(t, []string{"a+b c", "x&y"}, got.URL.Query()["target"])
	require.Equal(t, "10", got.URL.Query().Get("from"))
	require.False(t, got.URL.Query().Has("until"))
	require.Equal(t, "json", got.URL.Query().Get("format"))
	user, pass, _ := got.BasicAuth()
	require.Equal(t, "user pass:word", user+" "+pass)
	require.Equal(t, "secret", got.Header.Get("X-Token"))
	require.Equal(t, "graphite.example", got.Host)
}

func TestRenderAnswers(t *testing.T) {
	for body, want := range map[string]string{
		`[]`:         `[]`,
		" \n[ ]\r\n": `[]`,
		`[{"target":"a","tags":{"name":"a"},"datapoints":[[null,60],[1.5,120],[ -2 , 180.25 ],[null,240]]}]`: `[{a [{[] 120000 1.5} {[] 180250 -2}]}]`,
		`[{"target":"a","datapoints":[]},{"target":"b","datapoints":[[1e9999,1],[-1e9999,2]]}]`:              `[{a []} {b [{[] 1000 +Inf} {[] 2000 -Inf}]}]`,
	} {
		series, err := api(t, says(200, body)).Render(limit(t), []string{"a"}, time.Time{}, time.Time{})
		require.NoError(t, err, body)
		require.Equal(t, want, fmt.Sprint(series), body)
	}
	for _, body := range []string{
		``, `null`, `{}`, `<html>`, `[`, `[1]`, `[{"target":"a","datapoints":[[1]]}]`, `[{"target":"a","datapoints":[["x",1]]}]`,
		`[{"target":"a","datapoints":[[1,null]]}]`, `[{"target":"a","datapoints":[1]}]`, `[{"target":"a","datapoints":[[1,2]]}] trailing`,
		`[{"target":"a","datapoints":[[1,1e300]]}]`, `[{"target":"a","datapoints":[[NaN,1]]}]`, `[{"target":"a","datapoints":[[1,2],null]}]`,
	} {
		c := api(t, says(200, body))
		_, err := c.Render(limit(t), []string{"a"}, time.Time{}, time.Time{})
		var re *graphite.RenderError
		require.ErrorAs(t, err, &re, body)
		require.Equal(t, 200, re.Status)
		_, ok, err := c.Last(limit(t), "a")
		require.Error(t, err, "an error is never no data")
		require.False(t, ok)
	}
}

func TestRenderErrors(t *testing.T) {
	t.Run("status", func(t *testing.T) {
		for _, status := range []int{204, 400, 401, 404, 500, 503} {
			_, _, err := api(t, says(status, "")).Last(limit(t), "a")
			var re *graphite.RenderError
			require.ErrorAs(t, err, &re)
			require.Equal(t, status, re.Status)
		}
	})
	t.Run("a later window fails", func(t *testing.T) {
		n := 0
		c := api(t, func(w http.ResponseWriter, r *http.Request) {
			if n++; n == 3 {
				says(502, "bad gateway")(w, r)
				return
			}
			says(200, `[{"target":"a","datapoints":[[null,60]]}]`)(w, r)
		})
		_, ok, err := c.Last(limit(t), "a")
		require.ErrorContains(t, err, `render "a": status 502 Bad Gateway: "bad gateway"`)
		require.False(t, ok)
	})
	t.Run("no series", func(t *testing.T) {
		for _, answer := range []string{`[null]`, `[{}]`, `[{"error":"boom"}]`, `[{"target":"a","datapoints":null}]`} {
			_, ok, err := api(t, says(200, answer)).Last(limit(t), "a")
			require.ErrorContains(t, err, "no series with datapoints", answer)
			require.False(t, ok)
		}
	})
	t.Run("a redirect that loses the query", func(t *testing.T) {
		c := api(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				http.Redirect(w, r, "/elsewhere", http.StatusFound)
				return
			}
			says(200, `[]`)(w, r)
		})
		_, err := c.Render(limit(t), []string{strings.Repeat("a", 5000)}, time.Time{}, time.Time{})
		require.ErrorContains(t, err, "loses the query")
	})
	t.Run("too large", func(t *testing.T) {
		c := api(t, says(200, "["+strings.Repeat(" ", 100)+"]"))
		c.MaxBody = 101
		_, err := c.Render(limit(t), []string{"a"}, time.Time{}, time.Time{})
		require.ErrorIs(t, err, graphite.ErrRenderTooLarge)
		c.MaxBody = 102
		_, err = c.Render(limit(t), []string{"a"}, time.Time{}, time.Time{})
		require.NoError(t, err)
	})
	t.Run("cut", func(t *testing.T) {
		c := api(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "[]")
		})
		_, err := c.Render(limit(t), []string{"a"}, time.Time{}, time.Time{})
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	})
	t.Run("timeout", func(t *testing.T) {
		c := api(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		c.Timeout = time.Millisecond
		_, err := c.Render(limit(t), []string{"a"}, time.Time{}, time.Time{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
	t.Run("refused", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.NoError(t, l.Close())
		c := &graphite.RenderClient{BaseURL: "http://user:secret@" + l.Addr().String()}
		_, err = c.Render(limit(t), []string{"a"}, time.Time{}, time.Time{})
		require.True(t, errors.Is(err, syscall.ECONNREFUSED), err)
		require.NotContains(t, err.Error(), "secret")
	})
	t.Run("configuration", func(t *testing.T) {
		for _, base := range []string{"", "graphite.example", "http://", "http://[::1"} {
			_, err := (&graphite.RenderClient{BaseURL: base}).Render(limit(t), []string{"a"}, time.Time{}, time.Time{})
			require.ErrorContains(t, err, "BaseURL", base)
		}
		_, err := (&graphite.RenderClient{BaseURL: "http://a"}).Render(limit(t), nil, time.Time{}, time.Time{})
		require.ErrorContains(t, err, "no target")
	})
}

func TestRenderOverTLS(t *testing.T) {
	srv := httptest.NewTLSServer(says(200, "[]"))
	defer srv.Close()
	c := &graphite.RenderClient{BaseURL: srv.URL, TLS: srv.Client().Transport.(*http.Transport).TLSClientConfig}
	defer c.CloseIdleConnections()
	_, err := c.Render(limit(t), []string{"a"}, time.Time{}, time.Time{})
	require.NoError(t, err)
	c = &graphite.RenderClient{BaseURL: srv.URL}
	_, err = c.Render(limit(t), []string{"a"}, time.Time{}, time.Time{})
	require.ErrorContains(t, err, "certificate")
}
