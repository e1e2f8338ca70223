//go:build soak

package main_test

import (
	"testing"
	"time"
)

func withEach(t *testing.T, test func(t *testing.T, protocol string)) {
	for _, protocol := range []string{"pickle", "line"} {
		t.Run(protocol, func(t *testing.T) { test(t, protocol) })
	}
}

func TestSoakWireDestinationKilled(t *testing.T) {
	withEach(t, func(t *testing.T, protocol string) { surviveKills(t, protocol, 20) })
}

func TestSoakWireConnectionReset(t *testing.T) { withEach(t, surviveResets) }

func TestSoakWireDestinationStopsReading(t *testing.T) {
	withEach(t, func(t *testing.T, protocol string) { surviveStop(t, protocol, 10*time.Second) })
}

func TestSoakWirePacketsLost(t *testing.T) {
	withEach(t, func(t *testing.T, protocol string) { surviveLostPackets(t, protocol, 15*time.Second) })
}

func TestSoakWireFailover(t *testing.T) {
	withEach(t, func(t *testing.T, protocol string) { surviveFailover(t, protocol, 10) })
}

func TestSoakWireCarbonRestarts(t *testing.T) {
	withEach(t, func(t *testing.T, protocol string) { surviveCarbonRestarts(t, protocol, 5) })
}
