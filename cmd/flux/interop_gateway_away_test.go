//go:build interop

package main_test

import "testing"

func TestInteropGatewaysShareRedis(t *testing.T) {
	t.Parallel()
	for _, away := range []string{"hold", "deliver", "refuse"} {
		t.Run(away, func(t *testing.T) {
			t.Parallel()
			twoGateways(t, away, 12_000)
		})
	}
}
