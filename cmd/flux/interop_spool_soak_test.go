//go:build soak

package main_test

import "testing"

func TestSoakSpoolKilled(t *testing.T) { withWeathers(t, 100) }

func TestSoakSpoolDamaged(t *testing.T) { surviveDamage(t, 200) }

func TestSoakSpoolFull(t *testing.T) {
	for name, small := range map[string]bool{"disk": true, "bound": false} {
		t.Run(name, func(t *testing.T) { surviveFullDisk(t, small, 10) })
	}
}
