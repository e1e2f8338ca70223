//go:build interop

package main_test

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/rig"
)

// drainTimeout is for how long flux tries to deliver what is pending when it is told to stop.
const drainTimeout = 30 * time.Second

func TestInteropServeStopsWithPointsPending(t *testing.T) {
	t.Parallel()
	gw := startServe(t, rig.FreeAddr(t), "--key", apiKey) // nothing listens there
	now := time.Now().Unix()
	code, answer := gw.post(t, array(t, table("lost", 7, 1, now)))
	require.Equal(t, 204, code, answer)
	conn := dial(t, gw.Line)
	fmt.Fprintf(conn, "lost.line 1 %d\n", now)
	finish(t, conn)

	gw.Signal(syscall.SIGTERM)
	require.Equal(t, 3, gw.Wait(drainTimeout+patience), gw.Output())
	require.Contains(t, gw.Output(), "8 accepted points could not be delivered within 30s and are lost")
	a := requireAccount(t, gw.Process)
	require.Equal(t, []int{8, 8, 0, 8}, []int{a.Received, a.Accepted, a.Delivered, a.Pending})
}

func TestInteropServeStopDeliversWhatIsPending(t *testing.T) {
	t.Parallel()
	carbon := rig.CarbonCache(t, rig.CarbonOptions{FlushAtStop: true})
	graphite := rig.GraphiteWeb(t, carbon)
	carbon.Stop()
	gw := startServe(t, carbon.Pickle, "--key", apiKey)
	want := table("late", 7, 1, time.Now().Unix())
	code, answer := gw.post(t, array(t, want))
	require.Equal(t, 204, code, answer)

	gw.Signal(syscall.SIGTERM)
	gw.WaitOutput(`"pending":7`)
	carbon.Restart()
	require.Zero(t, gw.Wait(drainTimeout+patience), gw.Output())
	require.Equal(t, 7, requireAccount(t, gw.Process).Delivered)
	requireStored(t, graphite, want)
}

func TestInteropServeEndsAtTheSecondSignal(t *testing.T) {
	t.Parallel()
	gw := startServe(t, rig.FreeAddr(t), "--key", apiKey)
	gw.postPoint(t, "lost", time.Now().Unix(), 1)
	gw.Signal(syscall.SIGTERM)
	gw.WaitOutput(`"pending":1`)
	rig.WaitFor(t, drainTimeout/2, "end", func() error {
		gw.Signal(syscall.SIGTERM)
		if gw.Running() {
			return errors.New("still running")
		}
		return nil
	})
	require.Equal(t, -1, gw.Wait(patience), "it was not ended by the signal")
}
