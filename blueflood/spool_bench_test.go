package blueflood_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood"
)

// BenchmarkEndpoint sends to a server that costs nothing, from memory and with a spool: in its stride, and waiting for the
// disk with each batch of 500.
func BenchmarkEndpoint(b *testing.B) {
	const batch = 500
	ms := points(batch)
	for _, c := range []struct {
		name  string
		spool bool
		send  func(*blueflood.Endpoint) error
	}{
		{"memory", false, func(e *blueflood.Endpoint) error { return e.Send(context.Background(), ms) }},
		{"spool", true, func(e *blueflood.Endpoint) error { return e.SendAsync(context.Background(), ms) }},
		{"spool-sync", true, func(e *blueflood.Endpoint) error { return e.Send(context.Background(), ms) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			cfg := blueflood.EndpointConfig{
				Tenant:    "ten",
				Transport: transport(func([]byte, *http.Request) *http.Response { return reply(200, "") }),
			}
			if c.spool {
				cfg.SpoolDir = b.TempDir()
			}
			e, err := blueflood.NewEndpoint(cfg)
			require.NoError(b, err)
			b.ReportAllocs()
			for range b.N { // not b.Loop, which would leave out the time of Flush
				if err := c.send(e); err != nil {
					b.Fatal(err)
				}
			}
			require.NoError(b, e.Flush(context.Background()))
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(batch*b.N), "ns/point")
			require.NoError(b, e.Close(context.Background()))
		})
	}
}
