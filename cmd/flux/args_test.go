package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestNormalise(t *testing.T) {
	f := func(want, args []string) {
		t.Helper()
		require.Equal(t, want, pointsLast(normalise(args)))
	}
	f([]string{"forward", "--metric-prefix=a_b", "-t", "x"}, []string{"forward", "--metric_prefix=a_b", "-t", "x"})
	f([]string{"forward", "--overwrite-collection-timestamp=false", "-t", "x"}, []string{"forward", "--overwrite_collection_timestamp", "False", "-t", "x"})
	f([]string{"forward", "--overwrite-collection-timestamp=true"}, []string{"forward", "--overwrite_collection_timestamp=yes"})
	f([]string{"forward", "--overwrite-collection-timestamp", "-t", "x"}, []string{"forward", "--overwrite-collection-timestamp", "-t", "x"})
	f([]string{"forward", "--overwrite-collection-timestamp"}, []string{"forward", "--overwrite-collection-timestamp"})
	f([]string{"x", "--", "--a_b"}, []string{"x", "--", "--a_b"})
	f([]string{"send", "--to", "line://h:1", "--", "a", "-5", "17"}, []string{"send", "a", "-5", "17", "--to", "line://h:1"})
	f([]string{"send", "--to=x", "--", "a", "-1e3"}, []string{"send", "--to=x", "--", "a", "-1e3"})
	f([]string{"send", "--help"}, []string{"send", "--help"})
	f([]string{"send", "--to"}, []string{"send", "--to"})
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
