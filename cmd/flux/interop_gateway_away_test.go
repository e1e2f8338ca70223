//go:build interop

package main_test

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/rig"
)

func TestInteropGatewaysShareRedis(t *testing.T) {
	t.Parallel()
	for _, away := range []string{"hold", "deliver", "refuse"} {
		t.Run(away, func(t *testing.T) {
			t.Parallel()
			twoGateways(t, away, 12_000)
		})
	}
}

// hungRequests are sent one after the other while Redis hangs. If each waited for it, they would take 40 s together.
const (
	hungRequests = 20
	hungWithin   = 15 * time.Second
)

// TestInteropGatewayAwayRedisHangs stops redis-server, which then takes connections and answers nothing.
func TestInteropGatewayAwayRedisHangs(t *testing.T) {
	t.Parallel()
	for away, want := range map[string]int{"hold": 503, "deliver": 204, "refuse": 503} {
		t.Run(away, func(t *testing.T) {
			t.Parallel()
			server := rig.Redis(t)
			sink := rig.StartSink(t, rig.SinkOptions{})
			gw := startServe(t, sink.Pickle, "--key", apiKey, "--dedup", server.URL, "--dedup-away", away, "--dedup-away-wait", "3s")
			now := time.Now().Unix()
			gw.postPoint(t, "before", now, 1)
			gw.waitDelivered(t, 1)
			require.Equal(t, 1, gw.figure(t, "flux_dedup_store_up"))

			server.Signal(syscall.SIGSTOP)
			t.Cleanup(func() { server.Signal(syscall.SIGCONT) })
			code, answer := gw.post(t, single("first", now, 1))
			require.Equal(t, want, code, answer)
			require.Zero(t, gw.figure(t, "flux_dedup_store_up"))
			requests := hungRequests
			if away == "hold" {
				requests = 1 // it waits for --dedup-away-wait each time
			}
			begun := time.Now()
			for i := range requests {
				code, answer = gw.post(t, single(fmt.Sprint("m", i), now, 1))
				require.Equal(t, want, code, answer)
			}
			if want == 204 {
				gw.waitDelivered(t, 2+requests)
			}
			took := time.Since(begun)
			require.Less(t, took, hungWithin)
			t.Logf("%d requests, and the delivery of what was taken, while Redis hung: %v", requests, took.Round(time.Millisecond))

			held := make(chan int, 1)
			go func() {
				resp, err := http.Post(gw.URL+"/metric_data_post", "application/json", strings.NewReader(single("held", now, 1)))
				if err != nil {
					held <- -1
					return
				}
				resp.Body.Close()
				held <- resp.StatusCode
			}()
			if away == "hold" {
				<-time.After(500 * time.Millisecond) // it waits by now, or comes later: both are answered 204
			} else {
				require.Equal(t, want, <-held)
			}
			server.Signal(syscall.SIGCONT)
			if away == "hold" {
				require.Equal(t, 204, <-held)
			}
			rig.WaitFor(t, patience, "Redis to be known to be back", func() error {
				if gw.figure(t, "flux_dedup_store_up") == 0 || gw.figure(t, "flux_dedup_unraised_marks") > 0 {
					return fmt.Errorf("not yet")
				}
				return nil
			})
			for _, metric := range []string{"before", "first", "m0", "held"} {
				gw.postPoint(t, metric, now, 1)
			}
			a := stop(t, gw.Process)
			switch away {
			case "hold":
				require.Equal(t, []int{4, 2, 2}, []int{a.Accepted, a.Duplicate, a.Rejected["store"]})
			case "deliver":
				require.Equal(t, []int{3 + requests, 4, 0}, []int{a.Accepted, a.Duplicate, a.Rejected["store"]})
			case "refuse":
				require.Equal(t, []int{4, 1, 2 + requests}, []int{a.Accepted, a.Duplicate, a.Rejected["store"]})
			}
			require.Equal(t, a.Accepted, sink.Count())
		})
	}
}
