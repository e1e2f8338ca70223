package main

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
)

func TestCollector(t *testing.T) {
	carbon := graphitetest.Run(t)
	var out strings.Builder
	require.NoError(t, run(context.Background(), []string{"-carbon", carbon.PickleAddr, "-every", "1ms", "-count", "3"}, &out))
	require.Equal(t, "9 points collected, 9 confirmed by Carbon\n", out.String())
	require.Len(t, carbon.Points("collector.goroutines"), 3)
	require.Positive(t, carbon.Points("collector.heap_bytes")[0].Value)
}

func TestCollectorThatIsInterrupted(t *testing.T) {
	carbon := graphitetest.Run(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var out strings.Builder
	err := run(ctx, []string{"-carbon", carbon.PickleAddr}, &out)
	require.NoError(t, err)
	require.Len(t, carbon.Points("collector.goroutines"), 1)
}
