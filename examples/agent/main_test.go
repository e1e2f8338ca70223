package main

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood/bluefloodtest"
	"github.com/fluxmetrics/fluxkit/flux"
	"github.com/fluxmetrics/fluxkit/graphite"
)

func TestAgentForwards(t *testing.T) {
	server := bluefloodtest.Run(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	listening := make(chan *flux.Server, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{
			"-pickle", "127.0.0.1:0", "-blueflood", server.IngestURL(), "-every", "1h", "-interval", "10ms",
		}, io.Discard, func(s *flux.Server) { listening <- s })
	}()
	var forwarder *flux.Server
	select {
	case forwarder = <-listening:
	case err := <-ended:
		require.NoError(t, err, "the agent ended early")
	}

	client, err := graphite.NewClient(graphite.ClientConfig{Addrs: []string{forwarder.Addr("pickle").String()}})
	require.NoError(t, err)
	var batch graphite.Batch
	batch.Add("servers.web.load", time.Now(), 0.5)
	require.NoError(t, client.Send(ctx, batch.Points()))
	require.NoError(t, client.Close(ctx))

	limit, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	require.NoError(t, server.Wait(limit, 2))
	cancel()
	require.NoError(t, <-ended)
	require.Len(t, server.Points("demo", "agent.heartbeat"), 1)
	require.Equal(t, 0.5, server.Points("demo", "agent.servers.web.load")[0].Value)
}
