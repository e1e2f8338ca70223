package main

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzBackfillFile checks that a file is refused, or read as points with names that Carbon takes, finite values, and times
// of the period.
func FuzzBackfillFile(f *testing.F) {
	f.Add("# comment\na.b 1 1600000000\na.b 3 1600000010\n\nc 2.5 1600000000.5\n", false)
	f.Add("\ufeffDate;cpu;mem load\n2020-09-13 14:26:40;1;4\n2020-09-13 14:27:40;;5\n", true)
	f.Add("metric,value,timestamp,note\na,1,1600000000000,\"x, y\"\nb,2,2020-09-13T12:26:40Z,\n", true)
	f.Add("time\tvalue\n1600000000\t1\n", true)
	f.Add("timestamp,a\nyesterday,1\n2026-01-01,x\n", true)
	f.Fuzz(func(t *testing.T, text string, csv bool) {
		const from, until = 1000, 4_000_000_000_000
		r := (&backfillCmd{TimeZone: "UTC"}).fileReader(from, until)
		var err error
		if csv {
			err = r.csv(strings.NewReader(text))
		} else {
			err = r.lines(strings.NewReader(text))
		}
		if err != nil {
			return
		}
		require.LessOrEqual(t, len(r.bad), toldLines)
		for name, samples := range r.metrics {
			_, err := (&backfillCmd{}).localName(name)
			require.NoError(t, err)
			for _, s := range samples {
				require.True(t, s.at >= from && s.at < until)
				require.False(t, math.IsNaN(s.value) || math.IsInf(s.value, 0))
			}
		}
	})
}
