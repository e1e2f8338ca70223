package blueflood_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/blueflood/bluefloodtest"
)

// A Blueflood behind a proxy takes requests with a token of Keystone's alone.
func ExampleKeystone() {
	identity, err := bluefloodtest.StartKeystone(bluefloodtest.KeystoneOptions{
		Users: []bluefloodtest.KeystoneUser{{Name: "alice", APIKey: "of-alice", TenantID: "836986"}},
	})
	if err != nil {
		panic(err)
	}
	defer identity.Close()
	server, err := bluefloodtest.Start(bluefloodtest.Options{Keystone: identity})
	if err != nil {
		panic(err)
	}
	defer server.Close()

	keystone, err := blueflood.NewKeystone(blueflood.KeystoneConfig{URL: identity.URL(), User: "alice", APIKey: "of-alice"})
	if err != nil {
		panic(err)
	}
	defer keystone.Close()
	endpoint, err := blueflood.NewEndpoint(blueflood.EndpointConfig{URL: server.IngestURL(), Tenant: "836986", Auth: keystone})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	defer endpoint.Close(ctx)
	point := blueflood.Metric{Name: []byte("web.requests"), Timestamp: time.Now().UnixMilli(), Value: 17}
	for range 2 {
		verdicts, err := endpoint.Ingest(ctx, []blueflood.Metric{point})
		fmt.Println(verdicts[0].Outcome, err)
		identity.RevokeAll() // the second time, a new token is needed
	}
	fmt.Println(identity.Issued(), "tokens")
	// Output:
	// stored <nil>
	// stored <nil>
	// 2 tokens
}

func ExampleKeystoneError() {
	identity, err := bluefloodtest.StartKeystone(bluefloodtest.KeystoneOptions{})
	if err != nil {
		panic(err)
	}
	defer identity.Close()
	keystone, err := blueflood.NewKeystone(blueflood.KeystoneConfig{URL: identity.URL(), User: "mallory", Password: "guess"})
	if err != nil {
		panic(err)
	}
	defer keystone.Close()

	r, _ := http.NewRequest(http.MethodPost, "http://blueflood.example", nil)
	err = keystone.Authorize(r)
	var failed *blueflood.KeystoneError
	if errors.As(err, &failed) {
		fmt.Println(failed.Code, failed.Hint)
		fmt.Println(failed.Next.After(time.Now()))
	}
	// Output:
	// 401 Keystone knows no such credentials: check User and Password
	// true
}

func ExampleBearerAuth() {
	auth := blueflood.BearerAuth("of-the-proxy")
	r, _ := http.NewRequest(http.MethodPost, "http://blueflood.example", nil)
	if err := auth.Authorize(r); err != nil {
		panic(err)
	}
	fmt.Println(r.Header.Get("Authorization"))
	fmt.Println(auth)
	// Output:
	// Bearer of-the-proxy
	// HeaderAuth(Authorization)
}

func ExampleBasicAuth() {
	r, _ := http.NewRequest(http.MethodPost, "http://blueflood.example", nil)
	if err := blueflood.BasicAuth("alice", "open sesame").Authorize(r); err != nil {
		panic(err)
	}
	user, _, _ := r.BasicAuth()
	fmt.Println(user)
	// Output: alice
}
