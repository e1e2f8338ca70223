//go:build soak

package flux_test

import (
	"testing"
	"time"
)

func TestSoak(t *testing.T) { surviveTrouble(t, 100_000, 10*time.Minute, 1500*time.Millisecond) }

func TestSoakReturn(t *testing.T) { surviveAbsence(t, 20_000, 10*time.Minute, 3*time.Minute) }

func TestSoakDeadNeighbour(t *testing.T) { withAndWithoutSpool(t, 20_000, time.Minute) }
