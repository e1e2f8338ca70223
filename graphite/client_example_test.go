package graphite_test

import (
	"context"
	"fmt"
	"time"

	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
)

func ExampleClient() {
	carbon, err := graphitetest.Start(graphitetest.Options{}) // stands for a real one
	if err != nil {
		fmt.Println(err)
		return
	}
	defer carbon.Close()

	client, err := graphite.NewClient(graphite.ClientConfig{
		Addrs: []string{carbon.PickleAddr},
		Failed: func(pts []graphite.Point, _ []byte, why []graphite.Failure) error {
			fmt.Printf("%q: %s\n", pts[0].Name, why[0].Reason)
			return nil
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	var b graphite.Batch
	b.Add("servers.web.cpu", time.Unix(1700000000, 0), 0.5)
	b.Add("not a name", time.Unix(1700000000, 0), 1)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := client.Send(ctx, b.Points()); err != nil { // kept
		fmt.Println(err)
	}
	if err := client.Close(ctx); err != nil { // confirmed
		fmt.Println(err)
	}
	fmt.Println(carbon.Points("servers.web.cpu"), client.Stats().Delivered)
	// Output:
	// "not a name": name_space
	// [{1.7e+09 0.5}] 1
}

func ExampleClientConfig() {
	_, err := graphite.NewClient(graphite.ClientConfig{
		Addrs:    []string{"carbon-a.example:2003", "carbon-b.example:2003", "unix:"},
		Protocol: graphite.Line,
	})
	fmt.Println(err)
	// Output: graphite: address "unix:" names no path
}

// The same points go to two Carbons, or to none.
func ExampleReservation() {
	carbon, err := graphitetest.Start(graphitetest.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer carbon.Close()
	one, err := graphite.NewClient(graphite.ClientConfig{Addrs: []string{carbon.PickleAddr}})
	if err != nil {
		fmt.Println(err)
		return
	}
	two, err := graphite.NewClient(graphite.ClientConfig{Addrs: []string{carbon.LineAddr}, Protocol: graphite.Line})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var b graphite.Batch
	b.Add("servers.web.cpu", time.Unix(1700000000, 0), 0.5)

	var reserved []*graphite.Reservation
	for _, c := range []*graphite.Client{one, two} { // always in the same order
		r, err := c.Reserve(ctx, b.Points(), nil)
		if err != nil {
			fmt.Println(err)
			break
		}
		defer r.Cancel() // does nothing after Send
		reserved = append(reserved, r)
	}
	if len(reserved) == 2 {
		for _, r := range reserved {
			if err := r.Send(); err != nil {
				fmt.Println(err)
			}
		}
	}
	fmt.Println(one.Close(ctx), two.Close(ctx), carbon.Received())
	// Output: <nil> <nil> 2
}
