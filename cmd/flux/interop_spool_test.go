//go:build interop

package main_test

import "testing"

func TestInteropSpoolKilled(t *testing.T) { withWeathers(t, 5) }

func TestInteropSpoolDamaged(t *testing.T) {
	t.Parallel()
	surviveDamage(t, 8)
}

func TestInteropSpoolFull(t *testing.T) {
	for name, small := range map[string]bool{"disk": true, "bound": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			surviveFullDisk(t, small, 1)
		})
	}
}
