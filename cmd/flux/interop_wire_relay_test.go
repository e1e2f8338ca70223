//go:build interop

package main_test

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/rig"
)

const (
	wireMetrics = 250
	wireTimes   = 400 // of each metric
	wireFirst   = 1_700_000_000
)

// wirePoint names a point. Times are Unix milliseconds.
type wirePoint struct {
	metric string
	at     int64
}

// wireTable has 100,000 points.
func wireTable(at, value func(n int) float64) (text string, want map[wirePoint]float64) {
	var b strings.Builder
	want = map[wirePoint]float64{}
	for n := range wireMetrics * wireTimes {
		p, v := wirePoint{fmt.Sprintf("wire.m%d", n%wireMetrics), int64(at(n) * 1000)}, value(n)
		want[p] = v
		fmt.Fprintf(&b, "%s %s %s\n", p.metric, strconv.FormatFloat(v, 'g', -1, 64), strconv.FormatFloat(at(n), 'f', -1, 64))
	}
	return b.String(), want
}

func wholeSeconds(n int) float64 { return float64(wireFirst + n/wireMetrics) }
func fractions(n int) float64    { return wholeSeconds(n) + float64(n%1000)/1000 }

// anyFloat is hard to write down without loss.
func anyFloat(n int) float64 {
	switch v := values[n%len(values)]; {
	case math.Abs(v) > 1e200 || math.Abs(v) < 1e-200:
		return v
	default:
		return v * float64(n+1)
	}
}

// tenDecimals is a number that "%.10f" writes down without loss.
func tenDecimals(n int) float64 {
	v, _ := strconv.ParseFloat(fmt.Sprintf("%d.%010d", n%9000, n*7919), 64)
	if n%3 == 0 {
		return -v
	}
	return v
}

// requireWired waits until the sink has read exactly the wanted points, each once.
func requireWired(t *testing.T, sink *rig.Sink, want map[wirePoint]float64) {
	t.Helper()
	rig.WaitFor(t, patience, "all points read", func() error {
		if n := sink.Count(); n < len(want) {
			return fmt.Errorf("%d of %d", n, len(want))
		}
		return nil
	})
	got := sink.Points()
	require.Len(t, got, len(want))
	for _, p := range got {
		v, ok := want[wirePoint{p.Name, int64(math.Round(p.Timestamp * 1000))}]
		if !ok || math.Float64bits(v) != math.Float64bits(p.Value) {
			require.Fail(t, "changed, or twice", "%v, which was sent as %v", p, v)
		}
		delete(want, wirePoint{p.Name, int64(math.Round(p.Timestamp * 1000))})
	}
	require.Empty(t, want)
}

func writeAll(t *testing.T, addr, text string) {
	t.Helper()
	conn := dial(t, addr)
	_, err := io.WriteString(conn, text)
	require.NoError(t, err)
	require.NoError(t, conn.CloseWrite())
}

// requireWiredAccount stops a gateway that must have had the points, and each once.
func requireWiredAccount(t *testing.T, gw *gateway) {
	t.Helper()
	const n = wireMetrics * wireTimes
	a := stop(t, gw.Process)
	require.Equal(t, []int{n, n, n, 0}, []int{a.Received, a.Accepted, a.Delivered, a.Resent})
}

// TestInteropWireFromCarbonRelay takes pickles with fractions of seconds, and the line client's lines, which end with
// CRLF and keep whole seconds and ten decimals.
func TestInteropWireFromCarbonRelay(t *testing.T) {
	withBoth(t, func(t *testing.T, protocol string) {
		sink := rig.StartSink(t, rig.SinkOptions{})
		gw := startServe(t, address(sink, protocol), "--no-auth", "--carbon-protocol", protocol)
		to, at, value := gw.Pickle, fractions, anyFloat
		if protocol == "line" {
			to, at, value = gw.Line, wholeSeconds, tenDecimals
		}
		text, want := wireTable(at, value)
		relay := rig.CarbonRelay(t, rig.RelayOptions{Destinations: []string{to}, Protocol: protocol})
		writeAll(t, relay.Line, text)
		requireWired(t, sink, want)
		requireWiredAccount(t, gw)
	})
}

// TestInteropWireThroughCarbonCRelay has carbon-c-relay in front of flux and behind it.
func TestInteropWireThroughCarbonCRelay(t *testing.T) {
	t.Parallel()
	sink := rig.StartSink(t, rig.SinkOptions{})
	behind := rig.CarbonCRelay(t, sink.Line)
	gw := startServe(t, behind.Line, "--no-auth", "--carbon-protocol", "line")
	before := rig.CarbonCRelay(t, gw.Line)
	text, want := wireTable(wholeSeconds, anyFloat)
	writeAll(t, before.Line, text)
	requireWired(t, sink, want)
	requireWiredAccount(t, gw)
}
