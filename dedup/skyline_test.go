package dedup_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/dedup"
)

func TestNoteFetched(t *testing.T) {
	mini, s := miniStore(t, dedup.RedisOptions{})
	require.NoError(t, s.NoteFetched(t.Context(), "vista.a", `up{job="a"}`, 90*time.Second))
	require.NoError(t, s.NoteFetched(t.Context(), "vista.b", "b", 900*time.Millisecond))
	require.NoError(t, s.NoteFetched(t.Context(), "vista.c", "", time.Minute))
	require.NoError(t, s.NoteFetched(t.Context(), "vista.d", "", 0))
	members, err := mini.Members("vista.fetcher.unique_metrics")
	require.NoError(t, err)
	require.ElementsMatch(t, []string{`up{job="a"}`, "b"}, members)
	seconds, err := mini.Get("vista.last.resolution.vista.a")
	require.NoError(t, err)
	require.Equal(t, "90", seconds)
	require.Equal(t, time.Hour, mini.TTL("vista.last.resolution.vista.a"))
	require.False(t, mini.Exists("vista.last.resolution.vista.b"))
	require.True(t, mini.Exists("vista.last.resolution.vista.c"))
	require.False(t, mini.Exists("vista.last.resolution.vista.d"))
	mini.Close()
	require.ErrorIs(t, s.NoteFetched(t.Context(), "vista.a", "a", 0), dedup.ErrUnavailable)
}
