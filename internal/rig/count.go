package rig

import (
	"fmt"
	"testing"
	"time"
)

// countInterval is how often carbon-cache records metrics about itself, in
// seconds. At 1 s two records could fall into one second and one be lost.
const countInterval = 2

// Received is how many points carbon-cache has read from its inputs in the last
// hour, as carbon counts them: a point that came twice counts twice. It needs
// [CarbonOptions.CountItself] and a first archive of 1 s, and waits a few
// seconds for carbon's next record, so that everything carbon had read before
// the call is in the sum. What carbon read within 2 s before it was killed is
// not.
func (g *Graphite) Received(t testing.TB) int {
	t.Helper()
	called := time.Now().Unix()
	received := 0
	WaitFor(t, readyWithin, "record of carbon-cache about itself (CarbonOptions.CountItself)", func() error {
		now := time.Now().Unix()
		series, err := g.render(t.Context(), []string{"carbon.agents.*.metricsReceived"}, now-3600, now+1)
		if err != nil {
			return err
		}
		var last int64
		received, last = total(series)
		if last <= called {
			return fmt.Errorf("the last record is of %d, the call of %d", last, called)
		}
		return nil
	})
	return received
}

// total adds up all samples and returns the latest timestamp that has one.
func total(series []Series) (sum int, last int64) {
	for _, s := range series {
		for _, p := range s.Samples {
			if !p.Null {
				sum += int(p.Value)
				last = max(last, p.Timestamp)
			}
		}
	}
	return sum, last
}
