//go:build interop || soak

package main_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/rig"
)

const (
	// patience bounds what takes a moment.
	patience = 60 * time.Second
	// apiKey is the key of every gateway here that needs one.
	apiKey = "interop_0123456789-abcdef"
)

// gateway is a running flux serve with every TCP input.
type gateway struct {
	*rig.Process
	URL          string // of the HTTP gateway, with /flux
	Line, Pickle string // addresses
}

// startServe runs flux serve in front of the Carbon at an address.
func startServe(t *testing.T, carbon string, args ...string) *gateway {
	t.Helper()
	http, line, pickle := rig.FreeAddr(t), rig.FreeAddr(t), rig.FreeAddr(t)
	g := &gateway{URL: "http://" + http + "/flux", Line: line, Pickle: pickle}
	g.Process = rig.StartFlux(t, append([]string{
		"serve", "--listen", http, "--line-listen", line, "--pickle-listen", pickle,
		"--carbon", carbon, "--log-format", "json",
	}, args...)...)
	g.WaitListening(http, line, pickle)
	return g
}

// account is what flux logs last: the door's, and that of the one destination.
type account struct {
	Received  int            `json:"received"`
	Accepted  int            `json:"accepted"`
	Duplicate int            `json:"duplicate"`
	Late      int            `json:"late"`
	Rejected  map[string]int `json:"rejected"`
	destinationAccount
}

type destinationAccount struct {
	Delivered int            `json:"delivered"`
	GivenUp   map[string]int `json:"given_up"`
	Pending   int            `json:"pending"`
	Resent    int            `json:"resent"`
}

// stop ends a server, which must succeed, and returns its account, which must add up and be settled.
func stop(t *testing.T, server *rig.Process) account {
	t.Helper()
	require.Zero(t, server.Stop(), server.Output())
	a := requireAccount(t, server)
	require.Zero(t, a.Pending)
	return a
}

// requireAccount returns the last account of a server that has ended. Its sums must be right.
func requireAccount(t *testing.T, server *rig.Process) account {
	t.Helper()
	lines := strings.Split(server.Output(), "\n")
	for _, line := range slices.Backward(lines) {
		var a struct {
			Msg string `json:"msg"`
			account
			Destinations map[string]destinationAccount `json:"destinations"`
		}
		if json.Unmarshal([]byte(line), &a) != nil || a.Msg != "account" {
			continue
		}
		require.Len(t, a.Destinations, 1, line)
		for _, d := range a.Destinations {
			a.destinationAccount = d
		}
		require.Equal(t, a.Received, a.Accepted+a.Duplicate+a.Late+sum(a.Rejected), line)
		require.Equal(t, a.Accepted, a.Delivered+sum(a.GivenUp)+a.Pending, line)
		return a.account
	}
	require.Fail(t, "no account was logged", server.Output())
	return account{}
}

func sum(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// points are values by metric and Unix second.
type points map[string]map[int64]float64

func (p points) add(metric string, at int64, value float64) {
	if p[metric] == nil {
		p[metric] = map[int64]float64{}
	}
	p[metric][at] = value
}

// renderAtOnce is how many metrics one render asks for. Graphite has 6 s for it.
const renderAtOnce = 50

// requireStoredOf waits until Graphite shows the wanted points, bit for bit, and of the same metrics at most such others
// as were sent too. Without sent, others do not matter.
func requireStoredOf(t *testing.T, g *rig.Graphite, want, sent points) {
	t.Helper()
	var left []string
	first, last := int64(math.MaxInt64), int64(math.MinInt64)
	for metric, samples := range want {
		left = append(left, metric)
		for at := range samples {
			first, last = min(first, at), max(last, at)
		}
	}
	slices.Sort(left)
	rig.WaitFor(t, patience, "complete series", func() error {
		var still []string
		wrong := ""
		for metrics := range slices.Chunk(left, renderAtOnce) {
			shown := map[string][]rig.Sample{}
			for _, s := range g.RenderMany(t, metrics, first-1, last) {
				shown[s.Target] = s.Samples
			}
			for _, metric := range metrics {
				if diff := difference(want[metric], sent[metric], shown[metric]); diff != "" {
					still = append(still, metric)
					wrong = metric + ": " + diff
				}
			}
		}
		if left = still; len(left) > 0 {
			return fmt.Errorf("%d of %d metrics differ, such as %s", len(left), len(want), wrong)
		}
		return nil
	})
}

// difference says how a series differs from what it should be, or nothing.
func difference(want, sent map[int64]float64, samples []rig.Sample) string {
	missing, extra, other := len(want), 0, ""
	for _, s := range samples {
		if s.Null {
			continue
		}
		v, wanted := want[s.Timestamp]
		if wanted {
			missing--
		} else if v, wanted = sent[s.Timestamp]; !wanted {
			extra++
			continue
		}
		if math.Float64bits(s.Value) != math.Float64bits(v) {
			other = fmt.Sprintf("; %v at %d, not %v", s.Value, s.Timestamp, v)
		}
	}
	if sent == nil {
		extra = 0
	}
	if missing+extra == 0 && other == "" {
		return ""
	}
	return fmt.Sprintf("%d points, %d missing, %d that were not sent%s", len(want), missing, extra, other)
}

// dial connects to an input.
func dial(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

// finish half-closes a connection and waits for the other end, which answers so once it has kept everything.
func finish(t *testing.T, conn *net.TCPConn) {
	t.Helper()
	require.NoError(t, conn.CloseWrite())
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
	n, err := conn.Read(make([]byte, 1))
	require.Zero(t, n)
	require.EqualError(t, err, "EOF")
}
