package backfill

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/graphite"
)

const benchPoints = 90 * 1440

// history is 90 days of a metric with a value a minute, as a Graphite on the loopback answers.
func history(b *testing.B) (server *httptest.Server, body []byte, now int64) {
	now = floorMinute(time.Now().UnixMilli())
	var out bytes.Buffer
	out.WriteString(`[{"target": "web.cpu", "tags": {"name": "web.cpu"}, "datapoints": [`)
	for i := range benchPoints {
		if i > 0 {
			out.WriteString(", ")
		}
		fmt.Fprintf(&out, "[%v, %d]", float64(i*7919%100_003)/1000, now/1000-int64(benchPoints-i)*60)
	}
	out.WriteString("]}]")
	body = out.Bytes()
	first, _, _ := bytes.Cut(body[bytes.IndexByte(body, ':'):], []byte(fmt.Sprintf(", [%v,", float64(10*7919%100_003)/1000)))
	first = slices.Concat([]byte(`[{"target"`), first, []byte("]}]")) // ten minutes
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		until, _ := strconv.ParseInt(r.FormValue("until"), 10, 64)
		if until > 0 && until < now/1000-int64(benchPoints)*60+600 { // what is at the end of the archive
			_, _ = w.Write(first)
			return
		}
		_, _ = w.Write(body)
	}))
	b.Cleanup(server.Close)
	return server, body, now
}

type counting struct{ n int }

func (c *counting) Send(_ context.Context, pts []graphite.Point) error {
	c.n += len(pts)
	return nil
}

// BenchmarkNinetyDays is a whole job: fetched from the loopback, resampled, delivered in process, marks raised.
func BenchmarkNinetyDays(b *testing.B) {
	for _, durable := range []bool{false, true} {
		b.Run(fmt.Sprintf("durable=%v", durable), func(b *testing.B) {
			server, body, now := history(b)
			to := &counting{}
			cfg := Config{
				Sink: to, Rate: -1, Origins: []Origin{origin(b, server.URL)}, Marks: &dedup.Memory{},
				Now: func() time.Time { return time.UnixMilli(now) },
			}
			if durable {
				cfg.Dir = b.TempDir()
			}
			m, err := New(cfg)
			require.NoError(b, err)
			defer func() { _ = m.Close(context.Background()) }()
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				s, _, err := m.Submit(context.Background(), &Request{HostType: Graphite, Metric: fmt.Sprintf("m%d", i), URLs: []string{server.URL + "/render?from=-90days&target=web.cpu"}})
				require.NoError(b, err)
				s, err = m.Wait(context.Background(), s.ID)
				require.NoError(b, err)
				require.EqualValues(b, benchPoints, s.Sent, s.Error)
			}
		})
	}
}

// BenchmarkNinetyDaysReadAndParsed is what a job is measured by: its bytes read, and parsed with encoding/json.
func BenchmarkNinetyDaysReadAndParsed(b *testing.B) {
	server, body, _ := history(b)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		resp, err := http.Get(server.URL)
		require.NoError(b, err)
		got, err := io.ReadAll(resp.Body)
		require.NoError(b, err)
		resp.Body.Close()
		var series []struct {
			Target     string
			Datapoints [][2]*float64
		}
		require.NoError(b, json.Unmarshal(got, &series))
		require.Len(b, series[0].Datapoints, benchPoints)
	}
}

func BenchmarkDecode(b *testing.B) {
	_, body, _ := history(b)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		a, err := decode(bytes.NewReader(body), Graphite, "", generous)
		require.NoError(b, err)
		require.Len(b, a.samples, benchPoints)
	}
}

func BenchmarkLiveNote(b *testing.B) {
	l := &Live{}
	l.watch("other", newLiveMetric("1", nil))
	pts := make([]graphite.Point, 500)
	for i := range pts {
		pts[i] = graphite.Point{Name: []byte("servers.web-01.cpu.user"), Timestamp: int64(i) * 1000}
	}
	for b.Loop() {
		l.Note(pts)
	}
}
