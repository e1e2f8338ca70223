package resample_test

import (
	"fmt"
	"time"

	"github.com/fluxmetrics/fluxkit/resample"
)

func ExampleBins() {
	samples := []resample.Sample{{100_000, 1}, {130_000, 2}, {179_000, 3}, {180_000, 10}, {301_000, 5}}
	bins, err := resample.Bins(samples, resample.Options{Width: time.Minute})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, b := range bins {
		fmt.Println(b.Timestamp/1000, b.Value)
	}
	// Output:
	// 60 1
	// 120 2.5
	// 180 10
	// 300 5
}

func ExampleResampler() {
	r, err := resample.New(resample.Options{Width: time.Minute, Aggregate: resample.Max})
	if err != nil {
		fmt.Println(err)
		return
	}
	var done []resample.Sample
	for _, s := range []resample.Sample{{1_000, 3}, {30_000, 7}, {61_000, 1}} {
		if done, err = r.Add(done[:0], s); err != nil {
			fmt.Println(err)
			return
		}
		for _, b := range done {
			fmt.Println("complete:", b.Timestamp, b.Value)
		}
	}
	fmt.Println("rest:", r.Flush(nil))
	// Output:
	// complete: 0 7
	// rest: [{60000 1}]
}

func ExampleParseOffset() {
	width, err := resample.ParseOffset("5T")
	fmt.Println(width, err)
	// Output: 5m0s <nil>
}

func ExampleResolution() {
	samples := []resample.Sample{{0, 1}, {60_000, 2}, {120_000, 3}, {300_000, 4}}
	fmt.Println(time.Duration(resample.Resolution(samples)) * time.Millisecond)
	// Output: 1m0s
}
