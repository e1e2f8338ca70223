//go:build soak

package main_test

import "testing"

func TestSoakPopulateKilled(t *testing.T) { populateThroughKills(t, 50, 400) }
