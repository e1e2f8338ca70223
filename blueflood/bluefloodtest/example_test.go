package bluefloodtest_test

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/fluxmetrics/fluxkit/blueflood/bluefloodtest"
)

func ExampleServer() {
	server, err := bluefloodtest.Start(bluefloodtest.Options{})
	if err != nil {
		panic(err)
	}
	defer server.Close()
	server.SetTime(time.Unix(1467123456, 0))

	server.Queue(bluefloodtest.PersistFailed()) // the first request fails
	for range 2 {
		res, err := http.Post(server.IngestURL()+"/v2.0/acme/ingest", "application/json", strings.NewReader(
			`[{"metricName":"a.b","metricValue":1.5,"collectionTime":1467123456000,"ttlInSeconds":60}]`))
		if err != nil {
			panic(err)
		}
		res.Body.Close()
		fmt.Println(res.StatusCode)
	}
	fmt.Println(server.Points("acme", "a.b")[0].Value)
	// Output:
	// 500
	// 200
	// 1.5
}
