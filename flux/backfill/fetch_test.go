package backfill

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// serve runs a source on the loopback and a fetcher that may ask it.
func serve(t *testing.T, cfg FetchConfig, answer http.HandlerFunc) (*fetcher, slice) {
	t.Helper()
	noLeaks(t)
	srv := httptest.NewServer(answer)
	t.Cleanup(srv.Close)
	f := newFetcher(cfg, origins{origin(t, srv.URL)}, time.Now)
	t.Cleanup(f.close)
	return f, slice{URL: srv.URL + "/render/?target=a&format=json"}
}

const onePoint = `[{"target":"a","datapoints":[[1,60]]}]`

func TestFetch(t *testing.T) {
	f, s := serve(t, FetchConfig{}, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "gzip" || r.Method != "GET" || r.URL.RawQuery != "target=a&format=json" {
			http.Error(w, "not as expected", 500)
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, onePoint)
		_ = z.Close()
	})
	a, err := f.fetch(limit(t), s, Graphite, "")
	require.NoError(t, err)
	require.Len(t, a.samples, 1)
}

func TestFetchErrors(t *testing.T) {
	for name, c := range map[string]struct {
		answer    http.HandlerFunc
		cfg       FetchConfig
		says      string
		permanent bool
		tooLarge  bool
		after     time.Duration
	}{
		"500": {answer: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "oops", 500) }, says: `500 Internal Server Error: "oops\n"`},
		"429": {answer: func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Retry-After", "90"); w.WriteHeader(429) }, says: "429", after: 90 * time.Second},
		"503 long": {answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "9000000")
			w.WriteHeader(503)
		}, says: "503", after: time.Hour},
		"503 odd": {answer: func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Retry-After", "-5"); w.WriteHeader(503) }, says: "503"},
		"400":     {answer: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "bad query", 400) }, says: "bad query", permanent: true},
		"404":     {answer: http.NotFound, says: "404", permanent: true},
		"204":     {answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, says: "204", permanent: true},
		"redirect": {answer: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		}, says: "not followed", permanent: true},
		"html":      {answer: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, says: "not what was asked for"},
		"cut":       {answer: cut, says: "unexpected EOF"},
		"cut gzip":  {answer: cutGzip, says: "unexpected EOF"},
		"large":     {answer: flood(false), cfg: FetchConfig{MaxBody: 1 << 20}, says: "too large", tooLarge: true},
		"bomb":      {answer: flood(true), cfg: FetchConfig{MaxBody: 1 << 20}, says: "too large", tooLarge: true},
		"points":    {answer: flood(false), cfg: FetchConfig{MaxPoints: 1000}, says: "1000 datapoints", tooLarge: true},
		"hangs":     {answer: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, cfg: FetchConfig{Timeout: 50 * time.Millisecond}, says: "deadline"},
		"long head": {answer: func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) }, says: "header"},
	} {
		t.Run(name, func(t *testing.T) {
			f, s := serve(t, c.cfg, c.answer)
			_, err := f.fetch(limit(t), s, Graphite, "")
			var e *fetchError
			require.ErrorAs(t, err, &e)
			require.Contains(t, err.Error(), c.says)
			require.Equal(t, c.permanent, e.Permanent)
			require.Equal(t, c.tooLarge, e.TooLarge)
			require.Equal(t, c.after, e.RetryAfter)
		})
	}
}

// cut promises more than it sends.
func cut(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "1000")
	_, _ = io.WriteString(w, onePoint)
}

func cutGzip(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Encoding", "gzip")
	z := gzip.NewWriter(w)
	_, _ = io.WriteString(z, onePoint)
	_ = z.Flush() // without the end
}

// flood sends 1 GB, or until nobody reads any more.
func flood(zip bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		out := io.Writer(w)
		if zip {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			defer z.Close()
			out = z
		}
		block := strings.Repeat("[1,60],", 10_000)
		_, err := io.WriteString(out, `[{"target":"a","datapoints":[`)
		for n := 0; n < 1<<30 && err == nil; n += len(block) {
			_, err = io.WriteString(out, block)
		}
	}
}

func TestFetchRefusesAddresses(t *testing.T) {
	noLeaks(t)
	asked := atomic.Int32{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = io.WriteString(w, onePoint)
	}))
	defer srv.Close()
	_, port, err := net.SplitHostPort(srv.Listener.Addr().String())
	require.NoError(t, err)
	get := func(listed string) error {
		f := newFetcher(FetchConfig{}, origins{origin(t, listed)}, time.Now)
		defer f.close()
		_, err := f.fetch(limit(t), slice{URL: "http://localhost:" + port + "/render?target=a"}, Graphite, "")
		return err
	}
	var refused *OriginError
	var e *fetchError
	err = get("http://localhost:" + port)
	require.ErrorAs(t, err, &refused, "a name must not resolve to the loopback")
	require.ErrorAs(t, err, &e)
	require.True(t, e.Permanent)
	require.Contains(t, err.Error(), "not allowed")
	require.ErrorAs(t, get("localhost:"+port+"=10.0.0.0/8"), &refused)
	require.ErrorAs(t, get("http://127.0.0.1:"+port), &refused, "the list may have changed since the job was accepted")
	require.Zero(t, asked.Load())
	require.NoError(t, get("localhost:"+port+"=127.0.0.0/8,::1/128"))
	require.EqualValues(t, 1, asked.Load())
}

func TestFetchBoundsRequestsToAHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &source{}
		var now, most atomic.Int32
		src.fault = func(int, *http.Request) (*http.Response, error) {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(time.Second)
			now.Add(-1)
			return respond(200, onePoint), nil
		}
		f := newFetcher(FetchConfig{PerHost: 3, transport: src}, origins{origin(t, "http://a"), origin(t, "http://b")}, time.Now)
		errs := make(chan error)
		for i := range 12 {
			go func() {
				_, err := f.fetch(t.Context(), slice{URL: fmt.Sprintf("http://%c/render?target=x", 'a'+i%2)}, Graphite, "")
				errs <- err
			}()
		}
		for range 12 {
			require.NoError(t, <-errs)
		}
		require.EqualValues(t, 6, most.Load())
		require.EqualValues(t, 2, time.Now().Unix()-began/1000)

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := f.fetch(ctx, slice{URL: "http://a/render?target=x"}, Graphite, "")
		require.ErrorIs(t, err, context.Canceled)
	})
}

// Whatever a source does, the job ends complete once it has come round.
func TestFaultsOfASourceEndComplete(t *testing.T) {
	endless := func() *http.Response {
		resp := respond(200, "")
		resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(`[{"target":"a","datapoints":[`), io.LimitReader(&repeat{text: "[1,60],"}, 1<<30)))
		return resp
	}
	for name, fault := range map[string]func(r *http.Request) (*http.Response, error){
		"500": func(*http.Request) (*http.Response, error) { return respond(500, ""), nil },
		"429": func(*http.Request) (*http.Response, error) {
			resp := respond(429, "")
			resp.Header.Set("Retry-After", "600")
			return resp, nil
		},
		"refused": func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") },
		"hangs":   func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() },
		"cut":     func(*http.Request) (*http.Response, error) { return respond(200, onePoint[:20]), nil },
		"1 GB":    func(*http.Request) (*http.Response, error) { return endless(), nil },
		"html": func(*http.Request) (*http.Response, error) {
			return respond(200, "<html>down for maintenance</html>"), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.cfg.Fetch.MaxBody = 1 << 20
				r.source.samples = every(began-3*86400_000, began, 60_000)
				r.source.fault = func(n int, q *http.Request) (*http.Response, error) {
					if n%3 != 2 && n < 9 {
						return fault(q)
					}
					return nil, nil
				}
				r.start()
				s := r.wait(r.submit(request("a", "from=-3days&until=-24hours", "from=-24hours&until=-6hours", "from=-6hours")).ID)
				r.close()
				require.Equal(t, Done, s.State, s.Error)
				require.Equal(t, means(r.source.samples, began-3*86400_000, began), r.sink.last("a"))
				if name != "1 GB" { // such a slice is asked for again in parts
					require.GreaterOrEqual(t, s.Errors, int64(4))
				}
				if name == "429" {
					require.GreaterOrEqual(t, s.Finished.Sub(s.Accepted), 40*time.Minute)
				}
			})
		})
	}
}

func TestSourceThatStaysBroken(t *testing.T) {
	for name, c := range map[string]struct {
		answer *http.Response
		says   string
		errors int64
	}{
		"refuses the query": {respond(400, "no such function"), "no such function", 1},
		"several series":    {respond(200, `[{"target":"a","datapoints":[]},{"target":"b","datapoints":[]}]`), `"a", "b"`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.source.fault = func(int, *http.Request) (*http.Response, error) { return c.answer, nil }
				r.start()
				s := r.wait(r.submit(request("a", "from=-1h")).ID)
				r.close()
				require.Equal(t, Failed, s.State)
				require.Contains(t, s.Error, c.says)
				require.Equal(t, c.errors, s.Errors)
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.source.fault = func(int, *http.Request) (*http.Response, error) { return respond(500, ""), nil }
		r.cfg.GiveUp = 2 * time.Hour
		r.start()
		s := r.wait(r.submit(request("a", "from=-1h")).ID)
		r.close()
		require.Equal(t, Failed, s.State)
		require.Contains(t, s.Error, "it failed for 2h0m0s")
		require.Less(t, s.Errors, int64(70))
	})
}
