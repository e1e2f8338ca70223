package flux_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/blueflood/bluefloodtest"
	"github.com/fluxmetrics/fluxkit/flux"
	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
)

// A server gives every point to Carbon and to Blueflood, where each customer has a tenant. What is pending is kept in
// a directory.
func ExampleServer() {
	carbon, err := graphitetest.Start(graphitetest.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer carbon.Close()
	bf, err := bluefloodtest.Start(bluefloodtest.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer bf.Close()
	spool, err := os.MkdirTemp("", "spool")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(spool)

	server, err := flux.New(flux.Config{
		Destination: flux.Destination{Carbon: &graphite.ClientConfig{
			Addrs: []string{carbon.PickleAddr}, ConfirmAfter: 10 * time.Millisecond,
		}},
		Also: []flux.Destination{{
			Blueflood: &blueflood.EndpointConfig{URL: bf.IngestURL(), Tenant: "everybody-else"},
			Tenants:   []flux.TenantRule{{Pattern: `^acme\.`, Tenant: "acme"}},
			Required:  true,
		}},
		SpoolDir: spool,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	var batch graphite.Batch
	batch.Add("acme.web.requests", time.Now(), 12)
	batch.Add("lab.web.requests", time.Now(), 7)
	res, err := server.Ingest(context.Background(), batch.Points())
	fmt.Println(res.Accepted, "accepted", err)

	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := server.Close(ctx); err != nil {
		fmt.Println(err)
	}
	for _, d := range server.Stats().Destinations {
		fmt.Println(d.Name, d.Delivered)
	}
	// Output:
	// 2 accepted <nil>
	// carbon 2
	// blueflood 1
	// blueflood-acme 1
}
