package main

import (
	"testing"

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

// TestAbbreviations has what the original's getopt let be cut short, and what it did not.
func TestAbbreviations(t *testing.T) {
	f := func(want, arg string) {
		t.Helper()
		require.Equal(t, []string{"forward", want}, normalise([]string{"forward", arg}))
	}
	f("--overwrite-collection-timestamp=false", "--over=False")
	f("--auth-url=http://h", "--auth=http://h")
	f("--limit=5", "--li=5")
	f("--metric-prefix=a", "--metric_p=a")
	f("--protocol=MetricLineReceiver", "--p=MetricLineReceiver")
	f("--key=x", "--key=x")
	f("--key-file=x", "--key_file=x")
	f("--t=x", "--t=x")     // tenant or ttl
	f("--spo=x", "--spo=x") // not the original's
	f("--log-leve=x", "--log-leve=x")
	require.Equal(t, []string{"serve", "--over=x"}, normalise([]string{"serve", "--over=x"}), "flux serve is no successor of it")
}
