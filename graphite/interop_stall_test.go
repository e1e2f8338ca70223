//go:build interop

package graphite_test

import (
	"testing"
	"time"

	"github.com/fluxmetrics/fluxkit/graphite"
)

func TestInteropClientAfterAStall(t *testing.T) {
	for _, p := range []graphite.Protocol{graphite.Pickle, graphite.Line} {
		t.Run(p.String(), func(t *testing.T) { surviveStall(t, p, 1500*time.Millisecond) })
	}
}

func TestInteropClientFailsOverFromAStall(t *testing.T) {
	for _, p := range []graphite.Protocol{graphite.Pickle, graphite.Line} {
		t.Run(p.String(), func(t *testing.T) { surviveStallByFailover(t, p, 1500*time.Millisecond) })
	}
}
