package resample_test

import (
	"math/rand/v2"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fluxmetrics/fluxkit/resample"
)

const benchSamples = 1_000_000

// BenchmarkResample is a million irregular samples into bins of a minute.
func BenchmarkResample(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 2))
	in := make([]resample.Sample, benchSamples)
	ts := int64(1_700_000_000_000)
	for i := range in {
		ts += rnd.Int64N(20_000)
		in[i] = resample.Sample{Timestamp: ts, Value: rnd.Float64()}
	}
	for _, aggregate := range []resample.Aggregation{resample.Mean, resample.Max, resample.Median} {
		b.Run(aggregate.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := resample.Bins(in, resample.Options{Width: time.Minute, Aggregate: aggregate}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchSamples, "ns/sample")
		})
	}
}

// pandasBench prints the nanoseconds a sample of the fastest of n runs: of a Series that stands in memory, or of a list of
// rows such as a fetch of JSON gives.
const pandasBench = `
import sys, time, numpy as np, pandas as pd
aggregate, what, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
rnd = np.random.default_rng(1)
ts = 1700000000000 + np.cumsum(rnd.integers(0, 20000, 1000000))
values = rnd.random(1000000)
series = pd.Series(values, index=pd.to_datetime(ts, unit='ms'))
rows = list(zip(ts.tolist(), values.tolist())) if what == 'rows' else None
best = 1e9
for _ in range(n):
    t = time.perf_counter()
    s = series
    if rows:
        f = pd.DataFrame(rows, columns=['t', 'v'])
        s = pd.Series(f.v.values, index=pd.to_datetime(f.t, unit='ms'))
    getattr(s.resample('1Min', origin='epoch'), aggregate)().dropna()
    best = min(best, time.perf_counter() - t)
print(best * 1e9 / 1000000)
`

// BenchmarkPandas is the same beside it, where python3-pandas is installed.
func BenchmarkPandas(b *testing.B) {
	for _, what := range []string{"rows", "series"} {
		for _, aggregate := range []string{"mean", "max", "median"} {
			b.Run(what+"/"+aggregate, func(b *testing.B) {
				out, err := exec.Command("/usr/bin/python3", "-c", pandasBench, aggregate, what, "5").Output()
				if err != nil {
					b.Skip("python3-pandas is not installed")
				}
				ns, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(ns, "ns/sample")
			})
		}
	}
}
