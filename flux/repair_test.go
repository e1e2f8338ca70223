package flux_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/flux"
	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
	"github.com/fluxmetrics/fluxkit/internal/queue"
)

// leaveBehind puts n points in the spool of the destination "a" that "b" lacks, as a server leaves them that is killed.
func leaveBehind(t *testing.T, cfg flux.Config, n int, at time.Time) {
	t.Helper()
	cfg.Destination, cfg.Also = toCarbon(nowhere, func(d *flux.Destination) { d.Name = "a" }), nil
	cfg.Dedup = flux.DedupConfig{}
	s := newServer(t, cfg)
	for i := range n / 100 {
		_, err := s.Ingest(soon(t), points(fmt.Sprintf("servers.web-%05d.cpu", i), 100, at))
		require.NoError(t, err)
	}
	require.Error(t, s.Close(ended()))
	require.NoError(t, os.WriteFile(filepath.Join(cfg.SpoolDir, "a", "unfinished"), nil, 0o600))
}

// repairable is a configuration of two required destinations, "a" and "b".
func repairable(t *testing.T, a, b *graphitetest.Server, change func(*flux.Destination)) flux.Config {
	return flux.Config{
		Destination: toCarbon(a.PickleAddr, func(d *flux.Destination) { d.Name = "a" }),
		Also:        []flux.Destination{toCarbon(b.PickleAddr, required, func(d *flux.Destination) { d.Name = "b" }, change)},
		SpoolDir:    t.TempDir(), Dedup: flux.DedupConfig{Store: &dedup.Memory{}}, DrainTimeout: 300 * time.Millisecond,
	}
}

// TestARepairWaitsForTheDisk gives more at once than a spool's buffer holds.
func TestARepairWaitsForTheDisk(t *testing.T) {
	noLeaks(t)
	a, b := graphitetest.Run(t), graphitetest.Run(t)
	a.Pickle().Kill()
	b.Pickle().Kill()
	const n = 130_000 // some 6 MiB
	cfg := repairable(t, a, b, func(*flux.Destination) {})
	cfg.DrainTimeout = 0
	leaveBehind(t, cfg, n, time.Now())
	s := newServer(t, cfg)
	st := balanced(t, s)
	require.EqualValues(t, n, st.Destinations[0].Pending)
	require.EqualValues(t, n, st.Destinations[1].Pending)
	rep, err := queue.Inspect(filepath.Join(cfg.SpoolDir, "b"), nil)
	require.NoError(t, err)
	require.EqualValues(t, n, rep.Points, "all of it is on the disk")
}

// TestARepairThatFailsLosesNothing has no room for what a destination lacks: until it delivers there is no server, and
// nothing leaves the spool of the other one, although that delivers.
func TestARepairThatFailsLosesNothing(t *testing.T) {
	noLeaks(t)
	a, b := graphitetest.Run(t), graphitetest.Run(t)
	b.Pickle().Kill()
	const n = 4000
	cfg := repairable(t, a, b, func(d *flux.Destination) { d.Carbon.SpoolMax = queue.MinMaxBytes })
	at := time.Now().Truncate(time.Second)
	leaveBehind(t, cfg, n, at)
	for range 2 {
		_, err := flux.New(cfg)
		require.ErrorIs(t, err, flux.ErrSpool)
		require.ErrorContains(t, err, `destination "b"`)
		require.Positive(t, a.Received())
		rep, err := queue.Inspect(filepath.Join(cfg.SpoolDir, "a"), nil)
		require.NoError(t, err)
		require.EqualValues(t, n, rep.Points)
		require.FileExists(t, filepath.Join(cfg.SpoolDir, "a", "unfinished"))
	}
	require.Zero(t, markOf(t, cfg.Dedup.Store, "servers.web-00000.cpu.0"))

	require.NoError(t, b.Pickle().Restore())
	cfg.DrainTimeout = 0
	s := newServer(t, cfg)
	res, err := s.Ingest(soon(t), points("servers.web-00039.cpu", 100, at))
	require.NoError(t, err)
	require.Equal(t, 100, res.Duplicate)
	require.NoError(t, s.Flush(soon(t)))
	names := map[string]bool{}
	for _, p := range b.All() {
		names[p.Metric] = true
	}
	require.Len(t, names, n)
	require.Equal(t, at.Unix(), markOf(t, cfg.Dedup.Store, "servers.web-00000.cpu.0"))
	balanced(t, s)
	require.NoError(t, s.Close(soon(t)))
	require.NoFileExists(t, filepath.Join(cfg.SpoolDir, "a", "unfinished"))
}

// TestARepairInMemory has a destination without a spool lack more than it can hold. What it had is lost with the process
// that ended; it gets the newest, and marks do not wait for the others.
func TestARepairInMemory(t *testing.T) {
	noLeaks(t)
	a, b := graphitetest.Run(t), graphitetest.Run(t)
	b.Pickle().Kill()
	const n = 4000
	cfg := repairable(t, a, b, smallQueue)
	dir := cfg.SpoolDir
	at := time.Now().Truncate(time.Second)
	leaveBehind(t, cfg, n, at)
	cfg.SpoolDir, cfg.Destination.Carbon.SpoolDir = "", filepath.Join(dir, "a")
	s := newServer(t, cfg)
	require.NoError(t, b.Pickle().Restore())
	require.NoError(t, s.Flush(soon(t)))
	balanced(t, s)
	require.Equal(t, n, a.Received())
	require.Less(t, b.Received(), n)
	require.Greater(t, b.Received(), n/10)
	require.Len(t, b.Points("servers.web-00039.cpu.99"), 1, "the newest")
	require.Empty(t, b.Points("servers.web-00000.cpu.0"))
	require.Equal(t, at.Unix(), markOf(t, cfg.Dedup.Store, "servers.web-00000.cpu.0"))
	require.Equal(t, at.Unix(), markOf(t, cfg.Dedup.Store, "servers.web-00039.cpu.99"))
}

// TestEveryPointOfADatagramIsCounted sends one that is handed on in several pieces, the first of which fill the queue.
func TestEveryPointOfADatagramIsCounted(t *testing.T) {
	noLeaks(t)
	r := newRig(t, func(c *flux.Config) {
		c.UDP = &flux.CarbonInput{Listen: "127.0.0.1:0"}
		c.Destination = toCarbon(nowhere, smallQueue)
	})
	r.run()
	c, err := net.Dial("udp", r.server.Addr("udp").String())
	require.NoError(t, err)
	defer c.Close()
	const n = 9000
	_, err = c.Write([]byte(strings.Repeat("a 1 5\n", n)))
	require.NoError(t, err)
	eventually(t, "all are counted", func() bool { return r.server.Stats().Received == n })
	st := balanced(t, r.server)
	require.Positive(t, st.Accepted)
	require.Equal(t, n-st.Accepted, st.Rejected["full"])
}
