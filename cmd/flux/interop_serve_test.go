//go:build interop

package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/rig"
)

// values are hard to write down without loss.
var values = []float64{
	0.1, -2.5e17, 1.0 / 3, 123456789.12345679, 42, 0, math.MaxFloat64, math.SmallestNonzeroFloat64, 1e-300, -1,
}

// table is metrics × times points, one a second from first on.
func table(prefix string, metrics, times int, first int64) points {
	pts := points{}
	for m := range metrics {
		for i := range times {
			pts.add(fmt.Sprintf("%s.m%d", prefix, m), first+int64(i), values[(m+i)%len(values)]+float64(m*times+i))
		}
	}
	return pts
}

func TestInteropServeDelivers(t *testing.T) {
	t.Parallel()
	for _, run := range []struct {
		protocol string
		args     []string
	}{
		{"pickle", nil}, // the default
		{"line", []string{"--carbon-protocol", "line"}},
	} {
		t.Run(run.protocol, func(t *testing.T) {
			t.Parallel()
			carbon := rig.CarbonCache(t, rig.CarbonOptions{CountItself: true})
			graphite := rig.GraphiteWeb(t, carbon)
			addr := map[string]string{"pickle": carbon.Pickle, "line": carbon.Line}[run.protocol]
			gw := startServe(t, addr, append(run.args, "--key", apiKey)...)
			want, sent := sendEveryWay(t, gw)

			now := time.Now().Unix()
			for range 2 {
				gw.postPoint(t, "in.twice", now, 1)
			}
			conn := dial(t, gw.Line)
			for range 2 {
				fmt.Fprintf(conn, "in.twice.by.line 2 %d\n", now)
			}
			finish(t, conn)
			want.add("in.twice", now, 1)
			want.add("in.twice.by.line", now, 2)
			requireStored(t, graphite, want)
			gw.postPoint(t, "in.twice", now, 1) // once more, now that it was delivered
			require.Equal(t, sent+1+2, graphite.Received(t),
				"each point reaches Carbon once; one that was sent twice by line twice, and by POST once")

			a := stop(t, gw.Process)
			require.Equal(t, account{
				Received: sent + 5, Accepted: sent + 3, Duplicate: 2, Rejected: map[string]int{},
				destinationAccount: destinationAccount{Delivered: sent + 3, GivenUp: a.GivenUp},
			}, a)
			require.Zero(t, sum(a.GivenUp))
		})
	}
}

// sendEveryWay sends a point by GET, one by POST, 450 in one POST, and 10,000 each by line, by Python's pickles, and by
// flux send over line, pickle and HTTP.
func sendEveryWay(t *testing.T, gw *gateway) (want points, sent int) {
	t.Helper()
	now := time.Now().Unix()
	want = points{"in.get": {now: 0.1}, "in.post": {now: -2.5e17}}
	code, answer := gw.get(t, "metric", "in.get", "timestamp", fmt.Sprint(now), "value", "0.1", "key", apiKey)
	require.Equal(t, 204, code, answer)
	gw.postPoint(t, "in.post", now, -2.5e17)

	many := table("in.many", 450, 1, now)
	code, answer = gw.post(t, array(t, many))
	require.Equal(t, 204, code, answer)

	line := table("in.line", 200, 50, now-7200)
	conn := dial(t, gw.Line)
	_, err := io.WriteString(conn, lines(line))
	require.NoError(t, err)
	finish(t, conn)

	python := table("in.python", 100, 100, now-7200)
	pickleByPython(t, gw.Pickle, python)

	ours := table("in.ours", 10, 1000, now-7200)
	require.Equal(t, fmt.Sprintf("10000 points sent to pickle://%s, 0 refused\n", gw.Pickle),
		output(t, lines(ours), rig.BuildFlux(t), "send", "--to", "pickle://"+gw.Pickle))

	byHTTP := table("in.http", 100, 100, now-100)
	keyFile := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(keyFile, []byte(apiKey+"\n"), 0o600))
	require.Equal(t, fmt.Sprintf("10000 points sent to %s/metric_data_post, 0 refused\n", gw.URL),
		output(t, lines(byHTTP), rig.BuildFlux(t), "send", "--to", gw.URL+"/metric_data_post", "--key-file", keyFile))

	for _, pts := range []points{many, line, python, ours, byHTTP} {
		maps.Copy(want, pts)
	}
	return want, 2 + 450 + 4*10_000
}

// array is the body of one POST with all points.
func array(t *testing.T, pts points) string {
	t.Helper()
	type point struct {
		Metric    string  `json:"metric"`
		Timestamp int64   `json:"timestamp"`
		Value     float64 `json:"value"`
	}
	body := struct {
		Key     string  `json:"key"`
		Metrics []point `json:"metrics"`
	}{Key: apiKey}
	pts.each(func(metric string, at int64, value float64) {
		body.Metrics = append(body.Metrics, point{metric, at, value})
	})
	b, err := json.Marshal(body)
	require.NoError(t, err)
	return string(b)
}

func TestInteropServeMarksInRedis(t *testing.T) {
	t.Parallel()
	const at = 1478021700
	server := rig.Redis(t)
	carbon := rig.CarbonCache(t, rig.CarbonOptions{Retentions: "60s:30y"})
	graphite := rig.GraphiteWeb(t, carbon)
	for name, store := range map[string]string{"tcp": server.URL, "unix": server.SocketURL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := redis.Dial("unix", server.Socket)
			require.NoError(t, err)
			t.Cleanup(func() { conn.Close() })
			args := []string{"--key", apiKey, "--max-age", "0", "--dedup", store}
			gw := startServe(t, carbon.Pickle, args...)
			metric := "redis." + name
			gw.postPoint(t, metric, at, 1)
			requireStored(t, graphite, points{metric: {at: 1}})
			requireMark(t, conn, metric, "[1478021700, 1.0]")

			// A mark that Skyline left counts too.
			_, err = conn.Do("SET", "flux.last."+metric+".skyline", "[1478021760, 5.5]")
			require.NoError(t, err)
			gw.postPoint(t, metric+".skyline", at, 2)        // late
			gw.postPoint(t, metric+".skyline", at+60, 2)     // duplicate
			gw.postPoint(t, metric+".skyline", at+120, 0.25) // new
			requireStored(t, graphite, points{metric + ".skyline": {at + 120: 0.25}})
			requireMark(t, conn, metric+".skyline", "[1478021820, 0.25]")
			a := stop(t, gw.Process)
			require.Equal(t, []int{2, 1, 1}, []int{a.Delivered, a.Duplicate, a.Late})

			// Another gateway on the same Redis knows what this one delivered.
			gw = startServe(t, carbon.Pickle, args...)
			gw.postPoint(t, metric, at, 1)
			gw.postPoint(t, metric, at+60, 3e16)
			requireMark(t, conn, metric, "[1478021760, 3e+16]")
			a = stop(t, gw.Process)
			require.Equal(t, []int{1, 1, 0}, []int{a.Delivered, a.Duplicate, a.Late})
		})
	}
}

// requireMark waits until Redis holds exactly that text for the metric, without an expiry.
func requireMark(t *testing.T, conn redis.Conn, metric, want string) {
	t.Helper()
	rig.WaitFor(t, patience, "mark in Redis", func() error {
		got, err := redis.String(conn.Do("GET", "flux.last."+metric))
		if err == nil && got != want {
			err = fmt.Errorf("flux.last.%s is %s, not %s", metric, got, want)
		}
		return err
	})
	ttl, err := redis.Int(conn.Do("TTL", "flux.last."+metric))
	require.NoError(t, err)
	require.Equal(t, -1, ttl)
}

// The requests of the original's documentation, letter by letter.
const (
	exampleKey   = "YOURown32charSkylineAPIkeySecret"
	exampleQuery = "/metric_data?metric=vista.nodes.skyline-1.cpu.user&timestamp=1478021700&value=1.0&key=YOURown32charSkylineAPIkeySecret"
	exampleBody  = `{"metric":"vista.nodes.skyline-1.cpu.user","timestamp":"1478021700","value":"1.0","key":"YOURown32charSkylineAPIkeySecret"}`
)

func TestInteropServeOriginalRequests(t *testing.T) {
	t.Parallel()
	carbon := rig.CarbonCache(t, rig.CarbonOptions{Retentions: "60s:30y"})
	graphite := rig.GraphiteWeb(t, carbon)
	const metric, at = "vista.nodes.skyline-1.cpu.user", 1478021700
	requests := map[string]func(gw *gateway) []string{
		"GET": func(gw *gateway) []string { return []string{gw.URL + exampleQuery} },
		"POST": func(gw *gateway) []string {
			return []string{"-X", "POST", "-H", "Content-Type: application/json", "-d", exampleBody, gw.URL + "/metric_data_post"}
		},
	}
	for name, request := range requests {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.RemoveAll(filepath.Join(carbon.WhisperDir, "vista")))
			gw := startServe(t, carbon.Pickle, "--key", exampleKey, "--allow-example-key")
			code, answer := curl(t, request(gw)...)
			require.Equal(t, 400, code)
			require.Contains(t, answer, "timestamp is too old, older than 3600 seconds")
			a := stop(t, gw.Process)
			require.Equal(t, []int{1, 1}, []int{a.Received, sum(a.Rejected)})
			require.Nil(t, graphite.Render(t, metric, at-60, at))

			gw = startServe(t, carbon.Pickle, "--key", exampleKey, "--allow-example-key", "--max-age", "0")
			code, answer = curl(t, request(gw)...)
			require.Equal(t, 204, code)
			require.Empty(t, answer)
			requireStored(t, graphite, points{metric: {at: 1}})
			require.Equal(t, 1, stop(t, gw.Process).Delivered)
		})
	}
}

func TestInteropServeRefusesToStart(t *testing.T) {
	t.Parallel()
	for _, f := range []struct {
		args []string
		says []string
	}{
		{[]string{"--key", exampleKey}, []string{"--allow-example-key", "openssl rand -hex 16"}},
		{[]string{"--key", exampleKey + "=prefix"}, []string{"--allow-example-key"}},
		{nil, []string{"--key KEY", "--keys-file FILE", "--no-auth", "openssl rand -hex 16"}},
		{[]string{"--key", "short"}, []string{"16"}},
	} {
		flux := rig.StartFlux(t, append([]string{"serve", "--listen", rig.FreeAddr(t)}, f.args...)...)
		require.Equal(t, 2, flux.Wait(patience), flux.Output())
		for _, text := range f.says {
			require.Contains(t, flux.Output(), text)
		}
	}
}
