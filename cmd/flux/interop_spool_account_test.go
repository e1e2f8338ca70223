//go:build interop || soak

package main_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/rig"
)

// spoolAccount is what flux logs last of one destination.
type spoolAccount struct {
	Accepted  int            `json:"accepted"`
	Recovered int            `json:"recovered"`
	Delivered int            `json:"delivered"`
	GivenUp   map[string]int `json:"given_up"`
	Dropped   map[string]int `json:"dropped"`
	Pending   int            `json:"pending"`
	Resent    int            `json:"resent"`
}

// requireSpoolAccount returns the last account that flux logged, of its one destination. Its sums must be right.
func requireSpoolAccount(t *testing.T, flux *rig.Process) spoolAccount {
	t.Helper()
	for _, line := range slices.Backward(strings.Split(flux.Output(), "\n")) {
		var a struct {
			Msg          string                  `json:"msg"`
			Received     int                     `json:"received"`
			Accepted     int                     `json:"accepted"`
			Duplicate    int                     `json:"duplicate"`
			Late         int                     `json:"late"`
			Rejected     map[string]int          `json:"rejected"`
			Destinations map[string]spoolAccount `json:"destinations"`
		}
		if json.Unmarshal([]byte(line), &a) != nil || a.Msg != "account" {
			continue
		}
		require.Equal(t, a.Received, a.Accepted+a.Duplicate+a.Late+sum(a.Rejected), line)
		require.Len(t, a.Destinations, 1)
		for _, d := range a.Destinations {
			require.Equal(t, a.Accepted, d.Accepted, line)
			require.Equal(t, d.Accepted+d.Recovered, d.Delivered+sum(d.GivenUp)+sum(d.Dropped)+d.Pending, line)
			return d
		}
	}
	require.Fail(t, "no account was logged", flux.Output())
	return spoolAccount{}
}

// stopSpooled stops flux, which must deliver everything, and returns its account.
func stopSpooled(t *testing.T, flux *rig.Process) spoolAccount {
	t.Helper()
	require.Zero(t, flux.Stop(), flux.Output())
	a := requireSpoolAccount(t, flux)
	require.Zero(t, a.Pending)
	return a
}
