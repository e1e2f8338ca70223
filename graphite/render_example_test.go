package graphite_test

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
)

func ExampleRenderClient() {
	carbon, err := graphitetest.Start(graphitetest.Options{}) // stands for a real one with graphite-web
	if err != nil {
		fmt.Println(err)
		return
	}
	defer carbon.Close()
	carbon.SetTime(time.Unix(1700000000, 0))
	conn, err := net.Dial("tcp", carbon.LineAddr)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	fmt.Fprintf(conn, "servers.web.cpu 0.25 1699999940\nservers.web.cpu 0.5 1700000000\n")
	if err := carbon.Wait(context.Background(), 2); err != nil {
		fmt.Println(err)
		return
	}

	render := &graphite.RenderClient{BaseURL: carbon.RenderURL}
	defer render.CloseIdleConnections()
	until := time.Unix(1700000000, 0)
	series, err := render.Render(context.Background(), []string{"servers.*.cpu"}, until.Add(-time.Hour), until)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, s := range series {
		for _, p := range s.Points {
			fmt.Println(s.Target, p.Timestamp/1000, p.Value)
		}
	}
	last, ok, err := render.Last(context.Background(), "servers.web.cpu")
	fmt.Println(last.Timestamp/1000, last.Value, ok, err)
	// Output:
	// servers.web.cpu 1699999940 0.25
	// servers.web.cpu 1700000000 0.5
	// 1700000000 0.5 true <nil>
}
