//go:build interop

package main_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/rig"
)

// curl runs curl and returns the status and the body that it was answered.
func curl(t *testing.T, args ...string) (code int, body string) {
	t.Helper()
	return curlFrom(t, "", args...)
}

// curlFrom gives curl something to read, for an argument of @-.
func curlFrom(t *testing.T, stdin string, args ...string) (code int, body string) {
	t.Helper()
	out := output(t, stdin, rig.Tool(t, "/usr/bin/curl", "curl"), append([]string{"-sS", "-w", `\n%{http_code}`}, args...)...)
	body, status := cutLast(out)
	code, err := strconv.Atoi(status)
	require.NoError(t, err, out)
	return code, body
}

// get asks for /metric_data with parameters, name and value in turn.
func (g *gateway) get(t *testing.T, parameters ...string) (code int, body string) {
	t.Helper()
	query := ""
	for i := 0; i < len(parameters); i += 2 {
		query += "&" + parameters[i] + "=" + url.QueryEscape(parameters[i+1])
	}
	return curl(t, g.URL+"/metric_data?"+strings.TrimPrefix(query, "&"))
}

// post sends a body to /metric_data_post.
func (g *gateway) post(t *testing.T, body string) (code int, answer string) {
	t.Helper()
	return curlFrom(t, body, "-H", "Content-Type: application/json", "--data-binary", "@-", g.URL+"/metric_data_post")
}

// postPoint sends one point, which must be taken.
func (g *gateway) postPoint(t *testing.T, metric string, at int64, value float64) {
	t.Helper()
	code, answer := g.post(t, single(metric, at, value))
	require.Equal(t, 204, code, answer)
}

// single is the JSON of one point with its key.
func single(metric string, at int64, value float64) string {
	return fmt.Sprintf(`{"metric": %q, "timestamp": %d, "value": %v, "key": %q}`, metric, at, value, apiKey)
}

// output runs a program that must succeed, and must end, and returns what it wrote to its standard output.
func output(t *testing.T, stdin, path string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		require.NoError(t, err, "%s %s\n%s%s", path, strings.Join(args, " "), out, failed.Stderr)
	}
	require.NoError(t, err)
	return string(out)
}

// cutLast splits off the last line.
func cutLast(s string) (before, line string) {
	s = strings.TrimRight(s, "\n")
	if i := strings.LastIndexByte(s, '\n'); i >= 0 {
		return s[:i], s[i+1:]
	}
	return "", s
}

// pickler sends what stands on its standard input, [metric, timestamp, value] a line of JSON, to host and port as
// carbon pickles of 500 points, in every protocol that pickle has, in turn. It waits until the other end has closed.
const pickler = `
import json, pickle, socket, struct, sys
points = [(m, (t, v)) for m, t, v in map(json.loads, sys.stdin)]
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 60) as s:
    for i in range(0, len(points), 500):
        payload = pickle.dumps(points[i:i+500], protocol=i // 500 % (pickle.HIGHEST_PROTOCOL + 1))
        s.sendall(struct.pack('!L', len(payload)) + payload)
    s.shutdown(socket.SHUT_WR)
    if s.recv(1):
        sys.exit('the other end said something')
`

// pickleByPython sends the points to an input by Python's own pickle module.
func pickleByPython(t *testing.T, addr string, pts points) {
	t.Helper()
	var in strings.Builder
	pts.each(func(metric string, at int64, value float64) {
		line, err := json.Marshal([]any{metric, at, value})
		require.NoError(t, err)
		in.Write(append(line, '\n'))
	})
	host, port, _ := strings.Cut(addr, ":")
	output(t, in.String(), rig.Tool(t, "/usr/bin/python3", "python3"), "-c", pickler, host, port)
}

// lines are the points in carbon's line protocol.
func lines(pts points) string {
	var b strings.Builder
	pts.each(func(metric string, at int64, value float64) {
		fmt.Fprintf(&b, "%s %s %d\n", metric, strconv.FormatFloat(value, 'g', -1, 64), at)
	})
	return b.String()
}

// each calls f with every point, the oldest first.
func (p points) each(f func(metric string, at int64, value float64)) {
	type point struct {
		metric string
		at     int64
	}
	var order []point
	for metric, samples := range p {
		for at := range samples {
			order = append(order, point{metric, at})
		}
	}
	slices.SortFunc(order, func(a, b point) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.metric, b.metric)) })
	for _, o := range order {
		f(o.metric, o.at, p[o.metric][o.at])
	}
}

// requireStored waits until Graphite shows exactly the wanted points of the wanted metrics, bit for bit.
func requireStored(t *testing.T, g *rig.Graphite, want points) {
	t.Helper()
	requireStoredOf(t, g, want, want)
}
