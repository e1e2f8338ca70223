package main

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
)

// run starts the pipeline in front of an in-process Carbon and returns the address that it takes lines at.
func run(t *testing.T, carbon *graphitetest.Server) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- pipeline(ctx, l, carbon.PickleAddr) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	return l.Addr().String()
}

func send(t *testing.T, addr, text string) {
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Write([]byte(text))
	require.NoError(t, err)
}

func wait(t *testing.T, carbon *graphitetest.Server, n int) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	require.NoError(t, carbon.Wait(ctx, n))
}

func TestPipelineRenames(t *testing.T) {
	carbon := graphitetest.Run(t)
	send(t, run(t, carbon), "legacy.web.load 0.5 1700000000\ndebug.noise 1 1700000000\nservers.db.load 2 1700000000\n")
	wait(t, carbon, 2)
	require.Equal(t, []graphitetest.Sample{{Timestamp: 1700000000, Value: 0.5}}, carbon.Points("servers.web.load"))
	require.Len(t, carbon.Points("servers.db.load"), 1)
	require.Equal(t, 2, carbon.Received())
}

func TestPipelineSurvivesAnOutage(t *testing.T) {
	carbon := graphitetest.Run(t)
	addr := run(t, carbon)
	carbon.Pickle().Kill() // nobody listens, and what was under way is lost
	for i := range 100 {
		send(t, addr, fmt.Sprintf("legacy.web.requests %d %d\n", i, 1700000000+i))
	}
	require.NoError(t, carbon.Pickle().Restore())
	wait(t, carbon, 100)
	require.Len(t, carbon.Points("servers.web.requests"), 100)
}
