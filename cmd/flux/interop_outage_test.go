//go:build interop

package main_test

import (
	"testing"
	"time"
)

// pace is how often each client of a load sends.
const pace = 10 * time.Millisecond

func TestInteropServeSurvivesCarbonStopped(t *testing.T) {
	t.Parallel()
	surviveOutages(t, "pickle", clients(pace), stopped(5*time.Second), paused(4*time.Second))
}

func TestInteropServeSurvivesCarbonKilled(t *testing.T) {
	t.Parallel()
	surviveOutages(t, "line", clients(pace), killed(2*time.Second), paused(3*time.Second))
}
