//go:build interop

package main_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/rig"
)

// hugeBody is how many bytes the largest bodies have.
const hugeBody = 100 << 20

// badRequest is a request that is refused.
type badRequest struct {
	name string
	body string   // for @- in args
	args []string // for curl
	code int
	says string // in the message
}

func TestInteropServeBadInput(t *testing.T) {
	t.Parallel()
	carbon := rig.CarbonCache(t, rig.CarbonOptions{CountItself: true})
	graphite := rig.GraphiteWeb(t, carbon)
	gw := startServe(t, carbon.Pickle, "--key", apiKey)
	pid := gw.PID()

	for _, r := range badRequests(t, gw.URL, time.Now().Unix()) {
		code, body := curlFrom(t, r.body, r.args...)
		require.Equal(t, r.code, code, "%s: %s", r.name, body)
		var answer struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		}
		require.NoError(t, json.Unmarshal([]byte(body), &answer), "%s: %s", r.name, body)
		require.Equal(t, r.code, answer.Code, r.name)
		require.Contains(t, answer.Message, r.says, r.name)
		require.NotContains(t, body, apiKey, r.name)
		require.True(t, gw.Running(), "%s ended the process", r.name)
	}
	require.Less(t, peakMemory(t, pid), hugeBody, "no huge body was ever held")
	require.Zero(t, graphite.Received(t), "nothing of a refused request is stored")

	now := time.Now().Unix()
	gw.postPoint(t, "bad.good", now, 1)
	requireStored(t, graphite, points{"bad.good": {now: 1}})
	require.Equal(t, pid, gw.PID())
	require.Equal(t, 1, graphite.Received(t))
	a := stop(t, gw.Process)
	require.Equal(t, []int{1, 1}, []int{a.Accepted, a.Delivered})
	require.NotContains(t, gw.Output(), apiKey+`"`, "a key is never logged")
	require.NotContains(t, gw.Output(), `"level":"ERROR"`)
}

// peakMemory is the most memory that a process has had, in bytes.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	kilobytes := 0
	_, err = fmt.Sscan(after, &kilobytes)
	require.NoError(t, err)
	return kilobytes << 10
}

// badRequests are the requests that each have one thing wrong with them.
func badRequests(t *testing.T, url string, now int64) []badRequest {
	t.Helper()
	var list []badRequest
	get := func(name string, code int, says, query string) {
		query = strings.NewReplacer("NOW", fmt.Sprint(now), "KEY", apiKey).Replace(query)
		list = append(list, badRequest{"GET " + name, "", []string{url + "/metric_data?" + query}, code, says})
	}
	post := func(name string, code int, says, body string) {
		body = strings.NewReplacer("NOW", fmt.Sprint(now), "KEY", apiKey).Replace(body)
		list = append(list, badRequest{"POST " + name, body, []string{"--data-binary", "@-", url + "/metric_data_post"}, code, says})
	}

	get("no key", 400, "no key passed", "metric=bad.get&timestamp=NOW&value=1")
	get("empty key", 401, "invalid key", "metric=bad.get&timestamp=NOW&value=1&key=")
	get("wrong key", 401, "invalid key", "metric=bad.get&timestamp=NOW&value=1&key=KEYx")
	get("no metric", 400, "no metric", "timestamp=NOW&value=1&key=KEY")
	get("empty metric", 400, "no metric", "metric=&timestamp=NOW&value=1&key=KEY")
	get("bad name", 400, "invalid characters in name", "metric=bad.%7Bget%7D&timestamp=NOW&value=1&key=KEY")
	get("bad timestamp", 400, "timestamp is not an int", "metric=bad.get&timestamp=today&value=1&key=KEY")
	get("milliseconds", 400, "timestamp", "metric=bad.get&timestamp=NOW000&value=1&key=KEY")
	get("too old", 400, "too old", fmt.Sprintf("metric=bad.get&timestamp=%d&value=1&key=KEY", now-3700))
	get("too new", 400, "in the future", fmt.Sprintf("metric=bad.get&timestamp=%d&value=1&key=KEY", now+300))
	get("no value", 400, "no value", "metric=bad.get&timestamp=NOW&key=KEY")
	get("unknown parameter", 400, "Invalid parameter received - what", "what=1&metric=bad.get&timestamp=NOW&value=1&key=KEY")
	get("broken escape", 400, "invalid query string", "metric=bad.%zz&timestamp=NOW&value=1&key=KEY")
	for _, v := range []string{"abc", "NaN", "nan", "Inf", "-Infinity", "true", "1e999", "0x10", "1,5", ""} {
		get("value "+v, 400, "value", "metric=bad.get&timestamp=NOW&value="+v+"&key=KEY")
	}

	post("no key", 400, "no key passed", `{"metric": "bad.post", "timestamp": NOW, "value": 1}`)
	post("wrong key", 401, "invalid key", `{"metric": "bad.post", "timestamp": NOW, "value": 1, "key": "KEYx"}`)
	post("key that is no string", 401, "invalid key", `{"metric": "bad.post", "timestamp": NOW, "value": 1, "key": null}`)
	post("no metric", 400, "no metric", `{"timestamp": NOW, "value": 1, "key": "KEY"}`)
	post("empty metric", 400, "empty name", `{"metric": "", "timestamp": NOW, "value": 1, "key": "KEY"}`)
	post("metric that is no string", 400, "invalid metric", `{"metric": null, "timestamp": NOW, "value": 1, "key": "KEY"}`)
	post("bad name", 400, "invalid characters in name", `{"metric": "bad.{post}", "timestamp": NOW, "value": 1, "key": "KEY"}`)
	post("name that climbs", 400, "invalid metric", `{"metric": "bad/../../etc/passwd", "timestamp": NOW, "value": 1, "key": "KEY"}`)
	post("long name", 400, "longer than 255", `{"metric": "bad.`+strings.Repeat("x", 252)+`", "timestamp": NOW, "value": 1, "key": "KEY"}`)
	post("no timestamp", 400, "no timestamp", `{"metric": "bad.post", "value": 1, "key": "KEY"}`)
	for _, ts := range []string{`"today"`, `NOW.5`, `true`, `null`, `-1`, `[NOW]`} {
		post("timestamp "+ts, 400, "timestamp", `{"metric": "bad.post", "timestamp": `+ts+`, "value": 1, "key": "KEY"}`)
	}
	post("too old", 400, "too old", fmt.Sprintf(`{"metric": "bad.post", "timestamp": %d, "value": 1, "key": "KEY"}`, now-3700))
	post("too new", 400, "in the future", fmt.Sprintf(`{"metric": "bad.post", "timestamp": %d, "value": 1, "key": "KEY"}`, now+300))
	for _, v := range []string{`"abc"`, `"NaN"`, `"Inf"`, `"-inf"`, `true`, `false`, `null`, `1e999`, `[1]`, `{}`, `"true"`} {
		post("value "+v, 400, "value", `{"metric": "bad.post", "timestamp": NOW, "value": `+v+`, "key": "KEY"}`)
	}
	for _, v := range []string{`NaN`, `Infinity`, `abc`} {
		post("bare value "+v, 400, "invalid json data", `{"metric": "bad.post", "timestamp": NOW, "value": `+v+`, "key": "KEY"}`)
	}
	post("empty body", 400, "invalid json data", "")
	post("broken JSON", 400, "invalid json data", `{"metric": "bad.post", "timestamp": NOW, "value": 1, "key": "KEY"`)
	post("bytes that are no text", 400, "", "\x80\x02]q\x00(\xff\xfe")
	for _, body := range []string{`[1]`, `[]`, `{}`, `null`, `5`, `"x"`} {
		post(body, 400, "no POST data received", body)
	}

	const good = `{"metric": "bad.sibling", "timestamp": NOW, "value": 1}`
	for name, bad := range map[string]string{
		"value":     `{"metric": "bad.item", "timestamp": NOW, "value": "abc"}`,
		"timestamp": `{"metric": "bad.item", "timestamp": 1478021700, "value": 1}`,
		"metric":    `{"metric": "bad.{item}", "timestamp": NOW, "value": 1}`,
		"object":    `5`,
	} {
		for i := range 3 {
			items := []string{good, good, good}
			items[i] = bad
			post(fmt.Sprintf("bad %s at %d of an array", name, i), 400, fmt.Sprintf("item %d", i),
				`{"key": "KEY", "metrics": [`+strings.Join(items, ", ")+`]}`)
		}
	}
	list = append(list,
		badRequest{"PUT", "{}", []string{"-X", "PUT", "-d", "@-", url + "/metric_data_post"}, 405, "POST"},
		badRequest{"GET of POST's path", "", []string{url + "/metric_data_post"}, 405, "POST"},
		badRequest{"other path", "", []string{url + "/metrics_data"}, 404, "/flux/metric_data_post"})
	return append(list, hugeRequests(t, url, now)...)
}

// hugeRequests are 100 MB of good points, sent in several ways.
func hugeRequests(t *testing.T, url string, now int64) []badRequest {
	t.Helper()
	point := fmt.Sprintf(`{"metric": "bad.huge", "timestamp": %d, "value": 1}, `, now)
	body := `{"key": "` + apiKey + `", "metrics": [` + strings.Repeat(point, hugeBody/len(point)) + strings.TrimSuffix(point, ", ") + `]}`
	require.True(t, json.Valid([]byte(body)))
	path := filepath.Join(t.TempDir(), "huge.json")
	require.NoError(t, os.WriteFile(path, []byte(body), 0o600))
	output(t, "", "gzip", "-1", "-k", path)

	url += "/metric_data_post"
	const says = "body of more than 8388608 bytes"
	return []badRequest{
		{"100 MB", "", []string{"-X", "POST", "-T", path, url}, 413, says},
		{"100 MB at once", "", []string{"-X", "POST", "-H", "Expect:", "-T", path, url}, 413, says},
		{"100 MB in chunks", "", []string{"-X", "POST", "-H", "Expect:", "-H", "Transfer-Encoding: chunked", "-T", path, url}, 413, says},
		{"100 MB in gzip", "", []string{"--data-binary", "@" + path + ".gz", "-H", "Content-Encoding: gzip", url}, 413, says},
	}
}
