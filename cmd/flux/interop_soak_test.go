//go:build soak

package main_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Twenty seconds are longer than flux's longest pause between two attempts, and than the time after which it calls a
// destination slow.
const long = 20 * time.Second

func TestSoakServeSurvivesLongOutages(t *testing.T) {
	for _, protocol := range []string{"pickle", "line"} {
		t.Run(protocol, func(t *testing.T) {
			surviveOutages(t, protocol, clients(10*time.Millisecond), stopped(long), paused(long), killed(long))
		})
	}
}

// TestSoakServeSurvivesFullQueue has clients that send as fast as they can, so that the queue is full before carbon is
// back: HTTP is answered 503, lines wait.
func TestSoakServeSurvivesFullQueue(t *testing.T) {
	full := stopped(long)
	full.hurry = true
	require.Positive(t, surviveOutages(t, "pickle", clients(10*time.Millisecond), full))
}
