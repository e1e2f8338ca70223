package blueflood_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/blueflood/bluefloodtest"
)

// What a closed endpoint could not deliver stays in its spool, and the next one delivers it.
func ExampleEndpointConfig_spool() {
	server, err := bluefloodtest.Start(bluefloodtest.Options{})
	if err != nil {
		panic(err)
	}
	defer server.Close()
	server.Fallback(bluefloodtest.Reply{Status: 503}) // it is down
	dir, err := os.MkdirTemp("", "spool")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	ctx := context.Background()
	cfg := blueflood.EndpointConfig{URL: server.IngestURL(), Tenant: "acme", SpoolDir: dir}
	endpoint, err := blueflood.NewEndpoint(cfg)
	if err != nil {
		panic(err)
	}
	err = endpoint.Send(ctx, []blueflood.Metric{{Name: []byte("web.requests"), Timestamp: time.Now().UnixMilli(), Value: 17}})
	if err != nil {
		panic(err)
	}
	at, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	var left *blueflood.UndeliveredError
	if errors.As(endpoint.Close(at), &left) {
		fmt.Println("left:", left.Points, left.SpoolDir == dir)
	}

	server.Fallback(bluefloodtest.Reply{}) // it is back
	cfg.Recovered = func(points []blueflood.Metric) { fmt.Printf("recovered: %s\n", points[0].Name) }
	if endpoint, err = blueflood.NewEndpoint(cfg); err != nil {
		panic(err)
	}
	if err := endpoint.Close(ctx); err != nil {
		panic(err)
	}
	fmt.Println("stored:", server.Points("acme", "web.requests")[0].Value)
	// Output:
	// left: 1 true
	// recovered: web.requests
	// stored: 17
}

// The same points go to two endpoints, or to none.
func ExampleReservation() {
	server, err := bluefloodtest.Start(bluefloodtest.Options{})
	if err != nil {
		panic(err)
	}
	defer server.Close()
	ctx := context.Background()
	points := []blueflood.Metric{{Name: []byte("web.requests"), Timestamp: time.Now().UnixMilli(), Value: 17}}
	var endpoints []*blueflood.Endpoint
	var reserved []*blueflood.Reservation
	for _, tenant := range []string{"acme", "archive"} { // always in the same order
		e, err := blueflood.NewEndpoint(blueflood.EndpointConfig{URL: server.IngestURL(), Tenant: tenant})
		if err != nil {
			panic(err)
		}
		r, err := e.Reserve(ctx, points)
		if err != nil {
			panic(err) // or Cancel those that were reserved
		}
		endpoints, reserved = append(endpoints, e), append(reserved, r)
	}
	for _, r := range reserved {
		if err := r.Send(); err != nil {
			panic(err)
		}
	}
	for _, e := range endpoints {
		if err := e.Close(ctx); err != nil {
			panic(err)
		}
	}
	fmt.Println(len(server.Points("acme", "web.requests")), len(server.Points("archive", "web.requests")))
	// Output: 1 1
}
