//go:build soak

package dedup_test

import (
	"testing"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/internal/rig"
)

// TestSoakTwoFilters sends 200,000 points to each of two filters on one Redis,
// which dies and comes back on the way.
func TestSoakTwoFilters(t *testing.T) {
	for name, opts := range map[string]dedup.RedisOptions{"plain": {}, "hash": {SkylineHash: true}} {
		t.Run(name, func(t *testing.T) {
			srv := rig.Redis(t, "--appendonly", "yes")
			open := func(url string) *dedup.Redis { return openRedis(t, url, opts) }
			fl := newFleet(t, open(srv.URL), open(srv.SocketURL), open(srv.URL), 1000, 200)
			twice := fl.run(func() {
				srv.Kill()
				srv.Restart()
			})
			t.Logf("accepted by both, from the race window: %d of 200000", twice)
		})
	}
}
