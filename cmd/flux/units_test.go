package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSize(t *testing.T) {
	f := func(text string, want int64, shown string) {
		t.Helper()
		var s size
		require.NoError(t, s.UnmarshalText([]byte(text)))
		require.Equal(t, want, int64(s))
		require.Equal(t, shown, s.String())
	}
	f("1", 1, "1")
	f("4096", 4096, "4KiB")
	f("100B", 100, "100")
	f("512MiB", 512<<20, "512MiB")
	f(" 8 gib ", 8<<30, "8GiB")
	f("1536MiB", 1536<<20, "1536MiB")
	f("1024TiB", 1<<50, "1024TiB")
	for _, bad := range []string{"", "0", "-1", "8G", "8GB", "iB", "1.5GiB", "1025TiB", "99999999999999999999", "lots", "8GiBMiB"} {
		var s size
		require.ErrorContains(t, s.UnmarshalText([]byte(bad)), "is not a size", bad)
	}
}

func TestSpan(t *testing.T) {
	f := func(text string, want time.Duration) {
		t.Helper()
		var s span
		require.NoError(t, s.UnmarshalText([]byte(text)))
		require.Equal(t, want, time.Duration(s))
	}
	f("30", 30*time.Second)
	f("0.5", 500*time.Millisecond)
	f(" 1h30m ", 90*time.Minute)
	f("0", 0)
	for _, bad := range []string{"", "-1", "-1s", "soon", "1e99", "NaN", "Inf"} {
		var s span
		require.Error(t, s.UnmarshalText([]byte(bad)), bad)
	}
	require.Equal(t, time.Duration(-1), span(0).orOff())
	require.Equal(t, time.Second, span(time.Second).orOff())
}

func TestParseBool(t *testing.T) {
	for text, want := range map[string]bool{"True": true, "yes": true, "on": true, "1": true, " False ": false, "no": false, "OFF": false, "0": false} {
		got, err := parseBool(text)
		require.NoError(t, err)
		require.Equal(t, want, got, text)
	}
	_, err := parseBool("maybe")
	require.ErrorContains(t, err, "maybe")
}
