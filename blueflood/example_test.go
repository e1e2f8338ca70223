package blueflood_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/blueflood/bluefloodtest"
)

// An endpoint with its buffer: points are kept, sent in the background, and accounted for.
func ExampleEndpoint() {
	server, err := bluefloodtest.Start(bluefloodtest.Options{}) // a Blueflood in this process
	if err != nil {
		panic(err)
	}
	defer server.Close()

	endpoint, err := blueflood.NewEndpoint(blueflood.EndpointConfig{
		URL:    server.IngestURL(),
		Tenant: "acme",
		Prefix: "prod",
		Failed: func(points []blueflood.Metric, why []blueflood.Failure) error {
			for i, p := range points {
				fmt.Printf("gave up %s: %s\n", p.Name, why[i].Reason)
			}
			return nil
		},
	})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	now := time.Now().UnixMilli()
	err = endpoint.Send(ctx, []blueflood.Metric{
		{Name: []byte("web.requests"), Timestamp: now, Value: 17},
		{Name: []byte("web.ratio"), Timestamp: now, Value: math.Inf(1)},
	})
	if err != nil {
		panic(err)
	}
	if err := endpoint.Close(ctx); err != nil {
		panic(err)
	}
	fmt.Println(server.Points("acme", "prod.web.requests")[0].Value)
	// Output:
	// gave up web.ratio: bad_value
	// 17
}

// Ingest makes one request and says what became of each point.
func ExampleEndpoint_Ingest() {
	server, err := bluefloodtest.Start(bluefloodtest.Options{})
	if err != nil {
		panic(err)
	}
	defer server.Close()
	endpoint, err := blueflood.NewEndpoint(blueflood.EndpointConfig{URL: server.IngestURL(), Tenant: "acme"})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	defer endpoint.Close(ctx)

	verdicts, err := endpoint.Ingest(ctx, []blueflood.Metric{
		{Name: []byte("good"), Timestamp: time.Now().UnixMilli(), Value: 1},
		{Name: []byte("old"), Timestamp: 1467123456000, Value: 1},
	})
	fmt.Println(verdicts[0].Outcome, err)
	fmt.Println(verdicts[1].Outcome, verdicts[1].Reason)

	server.Queue(bluefloodtest.Throttled(7 * time.Second))
	_, err = endpoint.Ingest(ctx, []blueflood.Metric{{Name: []byte("good"), Timestamp: time.Now().UnixMilli()}})
	var status *blueflood.StatusError
	if errors.As(err, &status) {
		fmt.Println(status.Code, status.RetryAfter)
	}
	// Output:
	// stored <nil>
	// rejected too_old
	// 429 7s
}

func ExampleQuery() {
	server, err := bluefloodtest.Start(bluefloodtest.Options{})
	if err != nil {
		panic(err)
	}
	defer server.Close()
	endpoint, err := blueflood.NewEndpoint(blueflood.EndpointConfig{URL: server.IngestURL(), Tenant: "acme"})
	if err != nil {
		panic(err)
	}
	ctx, now := context.Background(), time.Now()
	defer endpoint.Close(ctx)
	point := blueflood.Metric{Name: []byte("web.requests"), Timestamp: now.UnixMilli(), Value: 66}
	if _, err := endpoint.Ingest(ctx, []blueflood.Metric{point}); err != nil {
		panic(err)
	}

	query, err := blueflood.NewQuery(blueflood.QueryConfig{URL: server.QueryURL(), Tenant: "acme"})
	if err != nil {
		panic(err)
	}
	defer query.Close()
	view, err := query.ViewsByResolution(ctx, "web.requests", now.Add(-time.Hour), now.Add(time.Hour), blueflood.Full)
	if err != nil {
		panic(err)
	}
	for _, v := range view.Values {
		fmt.Println(*v.Average, v.NumPoints)
	}
	// Output: 66 1
}

func ExampleHeaderAuth() {
	auth := blueflood.HeaderAuth{"Authorization": {"Bearer of-the-proxy"}}
	r, _ := http.NewRequest(http.MethodPost, "http://blueflood.example", nil)
	if err := auth.Authorize(r); err != nil {
		panic(err)
	}
	fmt.Println(r.Header.Get("Authorization"))
	// Output: Bearer of-the-proxy
}

func ExampleConfigError() {
	_, err := blueflood.NewEndpoint(blueflood.EndpointConfig{Tenant: "acme", URL: "localhost:19000"})
	var bad *blueflood.ConfigError
	if errors.As(err, &bad) {
		fmt.Println(bad.Field)
	}
	fmt.Println(err)
	// Output:
	// URL
	// blueflood: URL "localhost:19000": does not start with http:// or https://; use something like http://localhost:19000
}
