//go:build soak

package main_test

import (
	"testing"
	"time"
)

// Fifty kills during one job of a point a minute.
func TestSoakPopulateKilled(t *testing.T) {
	began := time.Now()
	samples := map[int64]float64{}
	for n := range 90 * 1440 {
		if at := began.Unix()/60*60 - int64(n)*60; n%17 != 5 {
			samples[at] = reading(n, at)
		}
	}
	killing{
		kills: 50, from: newPlace(t, "60s:95d", points{"web.load": samples}), began: began, rate: 900, within: 1500 * time.Millisecond,
		resolutions: []string{"90days", "80days", "70days", "60days", "50days", "40days", "30days", "20days", "10days"},
	}.run(t)
}
