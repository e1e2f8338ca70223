//go:build soak

package graphite_test

import (
	"testing"
	"time"

	"github.com/fluxmetrics/fluxkit/graphite"
)

// TestSoakClientAfterAStall has the stall timeout that a client has by default.
func TestSoakClientAfterAStall(t *testing.T) { surviveStall(t, graphite.Pickle, time.Minute) }

func TestSoakClientFailsOverFromAStall(t *testing.T) {
	surviveStallByFailover(t, graphite.Pickle, time.Minute)
}
