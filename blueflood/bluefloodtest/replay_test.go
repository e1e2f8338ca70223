package bluefloodtest_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood/bluefloodtest"
)

// recordedAt is the time of the genuine server when the record was made.
const recordedAt = 1795294480913

// recorded is one request and what the genuine server answered. An absent Content-Type means application/json, an
// empty one none.
type recorded struct {
	Name, Method, Path string
	Header             map[string]string
	Encode             string // how Body is packed: "", "gzip", "zlib"
	Body               string
	Status             int
	Allow              string
	Length             int
	Answer             string
	Stored             []string // TENANT.METRIC t=TIME ttl=TTL v=VALUE KIND; may be cut
}

func (r *recorded) body(t *testing.T) []byte {
	s := strings.NewReplacer("{100KB}", strings.Repeat("x", 100_000), "{ff}", "\xff", "{fe}", "\xfe").Replace(r.Body)
	var b bytes.Buffer
	var w io.WriteCloser
	switch r.Encode {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "zlib":
		w = zlib.NewWriter(&b)
	default:
		return []byte(s)
	}
	_, err := w.Write([]byte(s))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

// storageOfRecord fails for the names that made the storage of the record fail.
func storageOfRecord(p bluefloodtest.Point) bluefloodtest.StorageResult {
	return map[string]bluefloodtest.StorageResult{
		"PFAIL": bluefloodtest.StoreFailed, "PSLOW": bluefloodtest.StoreTimedOut, "PTHROW": bluefloodtest.StoreThrew,
	}[p.Metric]
}

func TestAnswersAsRecorded(t *testing.T) {
	data, err := os.ReadFile("testdata/answers.json")
	require.NoError(t, err)
	var all []recorded
	require.NoError(t, json.Unmarshal(data, &all))
	require.Greater(t, len(all), 80)
	for _, r := range all {
		t.Run(r.Name, func(t *testing.T) {
			var stored []string
			s := bluefloodtest.RunWith(t, bluefloodtest.Options{
				Storage: storageOfRecord,
				OnPoint: func(p bluefloodtest.Point) { stored = append(stored, storeLine(p)) },
			})
			s.SetTime(time.UnixMilli(recordedAt))

			c, err := net.Dial("tcp", strings.TrimPrefix(s.IngestURL(), "http://"))
			require.NoError(t, err)
			defer c.Close()
			body := r.body(t)
			fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: x\r\n", r.Method, r.Path)
			if _, set := r.Header["Content-Type"]; !set {
				fmt.Fprintf(c, "Content-Type: application/json\r\n")
			}
			for name, value := range r.Header {
				if value != "" {
					fmt.Fprintf(c, "%s: %s\r\n", name, value)
				}
			}
			fmt.Fprintf(c, "Content-Length: %d\r\n\r\n%s", len(body), body)

			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			require.NoError(t, err)
			answer, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			require.Equal(t, r.Status, res.StatusCode, "%s", answer)
			require.Equal(t, r.Answer, string(answer))
			require.EqualValues(t, r.Length, res.ContentLength)
			require.Equal(t, r.Allow, res.Header.Get("Allow"))
			require.Empty(t, res.Header.Get("Date")+res.Header.Get("Content-Type")+res.Header.Get("Server"))
			if r.Status != http.StatusOK && r.Status != http.StatusMultiStatus {
				require.Empty(t, stored)
				return
			}
			require.Len(t, stored, len(r.Stored))
			for i := range stored {
				require.True(t, strings.HasPrefix(stored[i], r.Stored[i]), "%s\n%s", stored[i], r.Stored[i])
			}
		})
	}
}

// storeLine writes a point as the record does: doubles in Java's manner.
func storeLine(p bluefloodtest.Point) string {
	v := fmt.Sprintf("%d", int64(p.Value))
	if p.Kind == "Double" {
		switch {
		case p.Value > 1e300:
			v = "Infinity"
		case p.Value >= 1e7:
			v = strings.Replace(fmt.Sprintf("%E", p.Value), "E+", "E", 1)
			mantissa, exp, _ := strings.Cut(v, "E")
			v = strings.TrimRight(mantissa, "0")
			if p.Value == 1<<63 {
				v = "9.223372036854776"
			}
			if strings.HasSuffix(v, ".") {
				v += "0"
			}
			v += "E" + strings.TrimLeft(exp, "0")
		default:
			v = fmt.Sprintf("%.1f", p.Value)
		}
	}
	return fmt.Sprintf("%s.%s t=%d ttl=%d v=%s %s", p.Tenant, p.Metric, p.Timestamp, p.TTL, v, p.Kind)
}

// TestConnectionsAsRecorded sends bytes and compares the bytes of the answer. "<open>" says that the connection was
// open afterwards, "<eof>" that the server closed it.
func TestConnectionsAsRecorded(t *testing.T) {
	const (
		head = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
		ok   = head + "Connection: keep-alive\r\n\r\n"
	)
	now := time.UnixMilli(recordedAt)
	row := fmt.Sprintf(`{"collectionTime":%d,"metricName":"a.b","metricValue":1.0,"ttlInSeconds":60}`, recordedAt)
	padded := func(n int) string { return "[" + row + strings.Repeat(" ", n-len(row)-2) + "]" }
	packed := func(n int) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = io.WriteString(w, padded(n))
		_ = w.Close()
		return b.String()
	}
	post := func(header, body string) string {
		return fmt.Sprintf("POST /v2.0/ten/ingest HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s", header, len(body), body)
	}
	small := "[" + row + "]"
	badRequest := `{"errors":[{"tenantId":"ten","timestamp":null,"metricName":"","source":null,"message":"Cannot parse content"}]}`
	for _, c := range []struct{ name, send, want string }{
		{"exact limit", post("", padded(1_048_576)), ok + "<open>"},
		{"one byte more, then a good one", post("", padded(1_048_577)) + post("", small), ok + "<open>"},
		{"one byte more, inflated", post("Content-Encoding: gzip\r\n", packed(1_048_577)) + post("", small), ok + "<open>"},
		{"exact limit, inflated", post("Content-Encoding: gzip\r\n", packed(1_048_576)), ok + "<open>"},
		{"x-gzip", post("Content-Encoding: x-gzip\r\n", packed(500)), ok + "<open>"},
		{
			"too long, expecting 100",
			"POST /v2.0/ten/ingest HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1048577\r\n\r\n",
			"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n<open>",
		},
		{"small, expecting 100", post("Expect: 100-continue\r\n", small), "HTTP/1.1 100 Continue\r\n\r\n" + ok + "<open>"},
		{
			"chunked",
			fmt.Sprintf("POST /v2.0/ten/ingest HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(small), small) +
				post("", small),
			ok + ok + "<open>",
		},
		{"three in a row", strings.Repeat(post("", small), 3), ok + ok + ok + "<open>"},
		{"connection close", post("Connection: close\r\n", small), head + "\r\n<eof>"},
		{"HTTP/1.0", strings.Replace(post("", small), "HTTP/1.1", "HTTP/1.0", 1), head + "\r\n<eof>"},
		{
			"HTTP/1.0 keep-alive",
			strings.Replace(post("Connection: keep-alive\r\n", small), "HTTP/1.1", "HTTP/1.0", 1), ok + "<open>",
		},
		{
			"long start line", strings.Replace(post("", small), "/ingest", "/ingest?"+strings.Repeat("a", 5000), 1),
			"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n<eof>",
		},
		{
			"big header", post("X-Big: "+strings.Repeat("a", 9000)+"\r\n", small),
			"HTTP/1.1 400 Bad Request\r\nContent-Length: 111\r\nConnection: keep-alive\r\n\r\n" + badRequest + "<open>",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := bluefloodtest.Run(t)
			s.SetTime(now)
			conn, err := net.Dial("tcp", strings.TrimPrefix(s.IngestURL(), "http://"))
			require.NoError(t, err)
			defer conn.Close()
			_, err = io.WriteString(conn, c.send)
			require.NoError(t, err)

			want, open := strings.CutSuffix(c.want, "<open>")
			want = strings.TrimSuffix(want, "<eof>")
			got := make([]byte, len(want))
			_, err = io.ReadFull(conn, got)
			require.NoError(t, err)
			require.Equal(t, want, string(got))
			if open { // another request is answered
				_, err = io.WriteString(conn, post("", small))
				require.NoError(t, err)
				got = make([]byte, len(ok))
				_, err = io.ReadFull(conn, got)
				require.NoError(t, err)
				require.Equal(t, ok, string(got))
				return
			}
			rest, _ := io.ReadAll(conn) // a reset, for what the server had not read, ends it too
			require.Empty(t, string(rest))
		})
	}
}
