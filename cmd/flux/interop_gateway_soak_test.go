//go:build soak

package main_test

import "testing"

func TestSoakGatewaysShareRedis(t *testing.T) {
	for _, away := range []string{"hold", "deliver", "refuse"} {
		t.Run(away, func(t *testing.T) { twoGateways(t, away, 200_000) })
	}
}
