//go:build interop

package flux_test

import (
	"testing"
	"time"
)

func TestInteropSoak(t *testing.T) { surviveTrouble(t, 30_000, 20*time.Second, 400*time.Millisecond) }

func TestInteropSoakReturn(t *testing.T) { surviveAbsence(t, 20_000, 3*time.Second, time.Minute) }

func TestInteropSoakDeadNeighbour(t *testing.T) { withAndWithoutSpool(t, 20_000, time.Second) }
