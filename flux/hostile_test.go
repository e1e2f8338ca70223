package flux_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux"
)

// squeeze compresses a body.
func squeeze(t testing.TB, encoding string, body io.Reader) []byte {
	t.Helper()
	var z bytes.Buffer
	var w io.WriteCloser
	switch encoding {
	case "gzip":
		w = gzip.NewWriter(&z)
	case "deflate":
		w = zlib.NewWriter(&z)
	default:
		w, _ = flate.NewWriter(&z, 9)
	}
	_, err := io.Copy(w, body)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return z.Bytes()
}

// zeros reads n bytes of '0'.
func zeros(n int64) io.Reader {
	return io.LimitReader(readerFunc(func(p []byte) (int, error) {
		for i := range p {
			p[i] = '0'
		}
		return len(p), nil
	}), n)
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestHostileBodies sends, over a connection, what is made to cost much.
func TestHostileBodies(t *testing.T) {
	noLeaks(t)
	r := newRig(t, func(c *flux.Config) {
		c.HTTP.Listen = "127.0.0.1:0"
		c.HTTP.MaxBody, c.HTTP.MaxBodies = 1<<20, 4<<20
	})
	r.run()
	url := "http://" + r.server.Addr("http").String() + "/flux/metric_data_post"
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	bombs := map[string][]byte{}
	for _, encoding := range []string{"gzip", "deflate", "raw"} {
		bombs[encoding] = squeeze(t, encoding, zeros(16<<20))
	}
	send := func(body io.Reader, header ...string) (int, string) {
		req, err := http.NewRequest("POST", url, body)
		require.NoError(t, err)
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := client.Do(req)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(answer)
	}
	f := func(want int, text string, body []byte, header ...string) {
		t.Helper()
		code, answer := send(bytes.NewReader(body), header...)
		require.Equal(t, want, code, answer)
		require.Contains(t, answer, text)
		code, answer = send(struct{ io.Reader }{bytes.NewReader(body)}, header...) // in chunks
		require.Equal(t, want, code, answer)
		require.Contains(t, answer, text)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f(413, "more than 1048576 bytes", bombs["gzip"], "Content-Encoding", "gzip")
	f(413, "more than 1048576 bytes", bombs["deflate"], "Content-Encoding", "deflate")
	f(413, "more than 1048576 bytes", bombs["raw"], "Content-Encoding", "deflate")
	f(415, "not known", squeeze(t, "gzip", bytes.NewReader(bombs["gzip"])), "Content-Encoding", "gzip, gzip")
	f(413, "more than 1048576 bytes", bytes.Repeat([]byte(" "), 1<<20+1))
	f(400, "deep", []byte(`{"x":`+strings.Repeat("[", 500_000)))
	f(400, "invalid json", []byte(strings.Repeat(`{"a":`, 200_000)))
	f(400, "UTF-8", []byte(`{"metric":"a`+"\xff\xfe"+`","timestamp":1,"value":1,"key":"`+testKey+`"}`))
	f(400, "cut short", squeeze(t, "gzip", strings.NewReader(single("a", now(), 1)))[:40], "Content-Encoding", "gzip")
	f(413, "too many points", []byte(`{"metrics":[`+strings.Repeat(`{},`, 20_000)+`{}]}`))
	f(400, "", bytes.Repeat([]byte("\x00"), 1<<20))
	f(400, "twice", []byte(`{"key":"`+testKey+`","key":"x"}`))
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(96<<20), "of 24 requests that unfold to far more")
	require.Zero(t, r.account().Received)
	code, answer := send(strings.NewReader(single("alive", now(), 1)))
	require.Equal(t, 204, code, answer)
	require.Equal(t, map[string]uint64{"too_large": 8, "encoding": 4, "json": 10, "too_many": 2}, r.server.Stats().Unread)
}

// TestSlowClients opens connections that never say enough, or never read: others are served meanwhile.
func TestSlowClients(t *testing.T) {
	noLeaks(t)
	r := newRig(t, func(c *flux.Config) {
		c.HTTP.Listen = "127.0.0.1:0"
		c.DrainTimeout = 100 * time.Millisecond
	})
	r.run()
	addr := r.server.Addr("http").String()
	var conns sync.WaitGroup
	defer conns.Wait()
	for i, text := range []string{
		"", "P", "POST /flux/metric_data_post HTTP/1.1\r\nHost: x\r\nX: ", "POST /flux/metric_data_post HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n{",
		strings.Repeat("GET /flux/metrics HTTP/1.1\r\nHost: x\r\n\r\n", 100),
	} {
		for range 20 {
			c, err := net.Dial("tcp", addr)
			require.NoError(t, err, i)
			defer c.Close()
			_, err = io.WriteString(c, text)
			require.NoError(t, err)
		}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer c.Close()
	in := bufio.NewReader(c)
	for i := range 20 {
		body := single(fmt.Sprint("m", i), now(), 1)
		_, err = fmt.Fprintf(c, "POST /flux/metric_data_post HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		require.NoError(t, err)
		resp, err := http.ReadResponse(in, nil)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, 204, resp.StatusCode)
	}
	runtime.ReadMemStats(&after)
	require.Less(t, int64(after.HeapInuse)-int64(before.HeapInuse), int64(64<<20))
	long := strings.Repeat("x", 100<<10)
	_, err = fmt.Fprintf(c, "GET /flux/metric_data?key=%s HTTP/1.1\r\nHost: x\r\n\r\n", long)
	if err == nil {
		resp, err := http.ReadResponse(in, nil)
		if err == nil { // or it hung up before it was all sent
			resp.Body.Close()
			require.Equal(t, 431, resp.StatusCode)
		}
	}
}

// TestHTTP2IsNotServed asks for it: it would put hundreds of requests in each of the connections that are counted.
func TestHTTP2IsNotServed(t *testing.T) {
	noLeaks(t)
	lender := httptest.NewUnstartedServer(nil)
	lender.EnableHTTP2 = true
	lender.StartTLS()
	defer lender.Close()
	r := newRig(t, func(c *flux.Config) {
		c.HTTP.Listen, c.HTTP.TLS = "127.0.0.1:0", lender.TLS.Clone()
	})
	r.run()
	client := lender.Client()
	defer client.CloseIdleConnections()
	resp, err := client.Post("https://"+r.server.Addr("http").String()+"/flux/metric_data_post", "", strings.NewReader(single("a", now(), 1)))
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, 204, resp.StatusCode)
	require.Equal(t, "HTTP/1.1", resp.Proto)
}

// TestRequestsUnderWayAreBounded mounts the handler in a server that speaks HTTP/2.
func TestRequestsUnderWayAreBounded(t *testing.T) {
	noLeaks(t)
	r := newRig(t, func(c *flux.Config) { c.HTTP.MaxConns = 3 })
	s := httptest.NewUnstartedServer(r.server.Handler())
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	client := s.Client()
	defer client.CloseIdleConnections()
	var open sync.WaitGroup
	var bodies []io.Closer
	defer open.Wait()
	defer func() {
		for _, b := range bodies {
			b.Close()
		}
	}()
	eventually(t, "one more is refused", func() bool {
		body, more := io.Pipe()
		bodies = append(bodies, more)
		open.Go(func() {
			resp, err := client.Post(s.URL+"/flux/lines?key="+testKey, "", body)
			if err == nil {
				resp.Body.Close()
			}
		})
		_, _ = io.WriteString(more, "a 1 ") // one that comes too late for a place is refused, too
		resp, err := client.Post(s.URL+"/flux/metric_data_post", "", strings.NewReader(single("a", now(), 1)))
		require.NoError(t, err)
		defer resp.Body.Close()
		require.Equal(t, "HTTP/2.0", resp.Proto)
		return resp.StatusCode == 503 && resp.Header.Get("Retry-After") == "1"
	})
}

// unfinished opens requests that are never sent to their end, and returns once all was written. What was refused
// meanwhile is fine.
func unfinished(t *testing.T, addr string, n int, header string, body []byte) {
	t.Helper()
	for range n {
		c, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		_, _ = fmt.Fprintf(c, "POST /flux/metric_data_post HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s", header, len(body)+1, body)
	}
}

// large is an array of 450 points, larger than what a request takes for nothing.
func large() string {
	var names []string
	for i := range 450 {
		names = append(names, fmt.Sprintf("servers.web-%d.cpu.user", i))
	}
	return array(testKey, now(), names...)
}

// TestUnfinishedGzipHoldsNothing has bodies that unfold to far more than there is memory for, but for their last bytes.
func TestUnfinishedGzipHoldsNothing(t *testing.T) {
	noLeaks(t)
	r := newRig(t, func(c *flux.Config) {
		c.HTTP.Listen = "127.0.0.1:0"
		c.HTTP.MaxBody, c.HTTP.MaxBodies = 1<<20, 4<<20
		c.DrainTimeout = 100 * time.Millisecond
	})
	r.run()
	z := squeeze(t, "gzip", strings.NewReader(strings.Repeat(" ", 1000<<10)))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	unfinished(t, r.server.Addr("http").String(), 40, "Content-Encoding: gzip\r\n", z[:len(z)-20])
	runtime.ReadMemStats(&after)
	code, answer := r.post(large())
	require.Equal(t, 204, code, answer)
	require.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(16<<20))
}

// TestStrangersLeaveRoomForKeys takes all memory that those without a key may have, and holds it.
func TestStrangersLeaveRoomForKeys(t *testing.T) {
	noLeaks(t)
	var mu sync.Mutex
	var log bytes.Buffer
	r := newRig(t, func(c *flux.Config) {
		c.HTTP.Listen = "127.0.0.1:0"
		c.HTTP.MaxBody, c.HTTP.MaxBodies = 1<<20, 4<<20
		c.DrainTimeout = 100 * time.Millisecond
		c.Logger = slog.New(slog.NewTextHandler(lockedWriter{&mu, &log}, nil))
	})
	r.run()
	_, ready := r.do("GET", "/readyz", "")
	require.NotContains(t, ready, "warning")
	addr := r.server.Addr("http").String()
	for size := 900 << 10; size > 8<<10; size /= 2 {
		unfinished(t, addr, 6, "", bytes.Repeat([]byte(" "), size))
	}
	body := large()
	eventually(t, "a stranger's large body is refused", func() bool {
		code, answer := r.post(body)
		return code == 503 && strings.Contains(answer, "too many large requests")
	})
	code, answer := r.do("POST", "/flux/metric_data_post", body, "Key", testKey)
	require.Equal(t, 204, code, answer)
	code, answer = r.do("POST", "/flux/metric_data_post?key="+testKey, body)
	require.Equal(t, 204, code, answer)
	code, answer = r.do("POST", "/flux/metric_data_post", body, "Authorization", "Bearer "+testKey)
	require.Equal(t, 204, code, answer)
	code, ready = r.do("GET", "/readyz", "")
	require.Equal(t, 200, code)
	require.Contains(t, ready, "requests of more than 16 KiB were refused")
	mu.Lock()
	defer mu.Unlock()
	require.Contains(t, log.String(), "level=WARN msg=\"requests are refused\" requests=1 path=/flux/metric_data_post code=503 reason=busy")
}

// TestTelegrafOfAStrangerCostsLittle sends tags that would take sixteen times what they are, without a key.
func TestTelegrafOfAStrangerCostsLittle(t *testing.T) {
	noLeaks(t)
	r := newRig(t, nil)
	var tags strings.Builder
	for i := range 2500 {
		fmt.Fprintf(&tags, `,"%x":""`, i)
	}
	object := `{"fields":{"a":1},"name":"m","timestamp":1,"tags":{` + tags.String()[1:] + `}}`
	body := squeeze(t, "gzip", strings.NewReader(`{"metrics":[`+strings.Repeat(object+",", 250)+object+`]}`))
	require.Less(t, len(body), 256<<10)
	f := func(want int, text string, most uint64, header ...string) {
		t.Helper()
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		code, answer := r.do("POST", "/flux/metric_data_post", string(body), append(header, "Telegraf", "1", "Content-Encoding", "gzip")...)
		runtime.ReadMemStats(&after)
		require.Equal(t, want, code, answer)
		require.Contains(t, answer, text)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, most)
	}
	f(400, "no key passed", 32<<20)
	f(401, "invalid key", 1<<20, "Key", "wrong-wrong-wrong-wrong")
	f(413, "bytes of memory", 160<<20, "Key", testKey)
	require.Equal(t, map[string]uint64{"key": 1, "too_many": 1}, r.server.Stats().Unread)
}
