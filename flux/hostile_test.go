package flux_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"io"
	"net"
	"net/http"
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
