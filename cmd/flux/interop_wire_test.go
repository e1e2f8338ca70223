//go:build interop

package main_test

import (
	"testing"
	"time"
)

// withBoth runs a test with each of carbon's protocols, at the same time.
func withBoth(t *testing.T, test func(t *testing.T, protocol string)) {
	t.Parallel()
	for _, protocol := range []string{"pickle", "line"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			test(t, protocol)
		})
	}
}

func TestInteropWireDestinationKilled(t *testing.T) {
	withBoth(t, func(t *testing.T, protocol string) { surviveKills(t, protocol, 5) })
}

func TestInteropWireConnectionReset(t *testing.T) { withBoth(t, surviveResets) }

func TestInteropWireDestinationStopsReading(t *testing.T) {
	withBoth(t, func(t *testing.T, protocol string) { surviveStop(t, protocol, 4*time.Second) })
}

func TestInteropWirePacketsLost(t *testing.T) {
	withBoth(t, func(t *testing.T, protocol string) { surviveLostPackets(t, protocol, 3*time.Second) })
}

func TestInteropWireFailover(t *testing.T) {
	withBoth(t, func(t *testing.T, protocol string) { surviveFailover(t, protocol, 2) })
}

func TestInteropWireCarbonRestarts(t *testing.T) {
	t.Parallel()
	surviveCarbonRestarts(t, "line", 2)
}
