package backfill_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/flux/backfill"
	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
)

// A metric's last hour is fetched from another Graphite, which has a value each half minute, and delivered to Carbon.
func Example() {
	source := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `[{"target": "web.cpu", "datapoints": [[1, 1699998900], [3, 1699998930], [null, 1699998960], [5, 1699999020]]}]`)
	}))
	defer source.Close()
	server, err := graphitetest.Start(graphitetest.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	carbon, err := backfill.NewCarbon(graphite.ClientConfig{Addrs: []string{server.PickleAddr}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer carbon.Close(context.Background())
	origin, err := backfill.ParseOrigin(source.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	manager, err := backfill.New(backfill.Config{
		Sink: carbon, Origins: []backfill.Origin{origin}, Marks: &dedup.Memory{},
		Now: func() time.Time { return time.Unix(1700000000, 0) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer manager.Close(context.Background())

	request, err := backfill.ParseRequest([]byte(`{"remote_host_type": "graphite", "metric": "copy.web.cpu",
		"key": "0123456789abcdef0123456789abcdef", "fetch_resolution_urls": ["` + source.URL + `/render/?from=-1hours&target=web.cpu"]}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	job, _, err := manager.Submit(context.Background(), request)
	if err != nil {
		fmt.Println(err)
		return
	}
	job, err = manager.Wait(context.Background(), job.ID)
	fmt.Println(job.State, job.Sent, job.Nulls, job.Mark.Unix(), err)
	for _, p := range server.Points("copy.web.cpu") {
		fmt.Println(int64(p.Timestamp), p.Value)
	}
	// Output:
	// done 2 1 1699999020 <nil>
	// 1699998900 2
	// 1699999020 5
}

func ExampleParseOrigin() {
	for _, s := range []string{"https://graphite.example", "http://10.0.0.7:8080", "http://graphite.local=127.0.0.0/8,10.0.0.0/8", "file:///etc/passwd"} {
		o, err := backfill.ParseOrigin(s)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(o, o.Within)
	}
	// Output:
	// https://graphite.example:443 []
	// http://10.0.0.7:8080 []
	// http://graphite.local:80 [127.0.0.0/8 10.0.0.0/8]
	// backfill: origin "file:///etc/passwd": it has more than scheme, host and port
}

func ExampleSlices() {
	urls, err := backfill.Slices(backfill.SliceOptions{
		HostType: backfill.Graphite, BaseURL: "https://graphite.example", Target: "alias(web.cpu, 'cpu')",
		Resolutions: []string{"90days", "24hours", "6hours"}, Now: time.Unix(1700000000, 0),
	})
	for _, u := range urls {
		fmt.Println(u)
	}
	fmt.Println(err)
	// Output:
	// https://graphite.example/render/?from=-90days&until=-24hours&format=json&target=alias%28web.cpu%2C+%27cpu%27%29
	// https://graphite.example/render/?from=-24hours&until=-6hours&format=json&target=alias%28web.cpu%2C+%27cpu%27%29
	// https://graphite.example/render/?from=-6hours&format=json&target=alias%28web.cpu%2C+%27cpu%27%29
	// <nil>
}

func ExampleBehind() {
	now := time.Unix(1700000000, 0)
	fmt.Println(backfill.Behind(now.Add(-5*time.Minute), now, time.Minute), backfill.Behind(now.Add(-7*time.Minute), now, time.Minute))
	// Output: false true
}

// Whoever accepts live points tells of them, so that a job leaves their minutes alone.
func ExampleLive() {
	live := &backfill.Live{}
	config := backfill.Config{Live: live}
	handler := func(_ context.Context, pts []graphite.Point) error {
		live.Note(pts)
		return nil
	}
	var batch graphite.Batch
	batch.Add("web.cpu", time.Unix(1700000000, 0), 0.5)
	fmt.Println(handler(context.Background(), batch.Points()), config.Live == live)
	// Output: <nil> true
}
