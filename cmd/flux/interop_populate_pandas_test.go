//go:build interop || soak

package main_test

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/rig"
)

// minutely makes of lines of a Unix second and a value what pandas makes of them by the minute. It ends with 3 where there
// is no pandas.
const minutely = `
import sys
try:
    import pandas
except ImportError:
    sys.exit(3)
rows = [line.split() for line in sys.stdin]
samples = pandas.Series([float(v) for _, v in rows], index=pandas.to_datetime([int(t) for t, _ in rows], unit='s'))
for at, value in samples.resample('1Min', origin='epoch').mean().dropna().items():
    print(at.value // 10**9, repr(float(value)))
`

// minutes are the means a minute of samples from a time to before another, without minutes that have none: as pandas makes
// them where python3 has it, which is to be what means computes, or else that.
func minutes(t *testing.T, samples map[int64]float64, from, until int64) map[int64]float64 {
	t.Helper()
	var in strings.Builder
	for _, at := range slices.Sorted(maps.Keys(samples)) {
		if at >= from && at < until {
			fmt.Fprintln(&in, at, samples[at])
		}
	}
	plain := means(samples, from, until)
	cmd := exec.CommandContext(t.Context(), rig.Tool(t, "/usr/bin/python3", "python3"), "-c", minutely)
	cmd.Stdin = strings.NewReader(in.String())
	out, err := cmd.Output()
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) && failed.ExitCode() == 3 {
		t.Log("python3 has no pandas: its means are computed here (the Debian package is python3-pandas)")
		return plain
	}
	require.NoError(t, err)
	table := map[int64]float64{}
	for line := range strings.Lines(string(out)) {
		var at int64
		var value float64
		_, err := fmt.Sscan(line, &at, &value)
		require.NoError(t, err, line)
		table[at] = value
		require.True(t, same(plain[at], value), "%d: %v, and pandas has %v", at, plain[at], value)
	}
	require.Len(t, table, len(plain))
	return table
}

// means are the means a minute of samples from a time to before another, whose sums are compensated as Kahan does.
func means(samples map[int64]float64, from, until int64) map[int64]float64 {
	type sum struct{ sum, lost, count float64 }
	sums := map[int64]sum{}
	for _, at := range slices.Sorted(maps.Keys(samples)) {
		if at < from || at >= until {
			continue
		}
		s := sums[at/60*60]
		add := samples[at] - s.lost
		next := s.sum + add
		sums[at/60*60] = sum{next, next - s.sum - add, s.count + 1}
	}
	out := map[int64]float64{}
	for at, s := range sums {
		out[at] = s.sum / s.count
	}
	return out
}

// same allows for the last bit.
func same(a, b float64) bool { return a == b || math.Nextafter(a, b) == b }
