package graphitetest_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
)

// A program without a testing.T starts the double itself. In a test, graphitetest.Run(t) does the same and cleans up.
func ExampleStart() {
	carbon, err := graphitetest.Start(graphitetest.Options{})
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
	fmt.Fprintf(conn, "servers.web.cpu 0.5 -1\n")
	conn.Close()
	if err := carbon.Wait(context.Background(), 1); err != nil {
		fmt.Println(err)
		return
	}

	resp, err := http.Get(carbon.RenderURL + "/render?target=servers.*.cpu&from=-1h&format=json")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	fmt.Printf("%s", body)
	// Output: [{"target":"servers.web.cpu","datapoints":[[0.5,1700000000]]}]
}

// A Stream misbehaves on demand.
func ExampleStream() {
	carbon, err := graphitetest.Start(graphitetest.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer carbon.Close()
	carbon.Line().Refuse()
	_, err = net.Dial("tcp", carbon.LineAddr)
	fmt.Println("refused:", err != nil)
	err = carbon.Line().Restore()
	fmt.Println("restored:", err == nil)
	// Output:
	// refused: true
	// restored: true
}
