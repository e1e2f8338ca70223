// Command collector is a collector of Go runtime figures that delivers to Carbon through package graphite: points are
// kept while Carbon is away, and what the program still holds when it ends is said.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"time"

	"github.com/fluxmetrics/fluxkit/graphite"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "collector:", err)
		os.Exit(1)
	}
}

// run collects until ctx ends, or -count times.
func run(ctx context.Context, args []string, out io.Writer) error {
	f := flag.NewFlagSet("collector", flag.ContinueOnError)
	carbon := f.String("carbon", "127.0.0.1:2004", "`address` of Carbon's pickle port")
	every := f.Duration("every", 10*time.Second, "how often to collect")
	count := f.Int("count", 0, "collect so many times, then end; 0: until interrupted")
	if err := f.Parse(args); err != nil {
		return err
	}

	// The client owns a queue. Carbon may come and go.
	client, err := graphite.NewClient(graphite.ClientConfig{Addrs: []string{*carbon}})
	if err != nil {
		return err
	}
	collectErr := collect(ctx, client, *every, *count)

	// Close delivers what is left, within its context, and tells how much was not.
	drain, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	closeErr := client.Close(drain)
	st := client.Stats()
	fmt.Fprintf(out, "%d points collected, %d confirmed by Carbon\n", st.Accepted, st.Delivered)
	return errors.Join(collectErr, closeErr)
}

func collect(ctx context.Context, client *graphite.Client, every time.Duration, count int) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var batch graphite.Batch
	for n := 1; ; n++ {
		batch.Reset()
		sample(&batch, time.Now())
		if err := client.Send(ctx, batch.Points()); err != nil {
			return err
		}
		if n == count {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// sample adds this process's figures.
func sample(b *graphite.Batch, now time.Time) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.Add("collector.goroutines", now, float64(runtime.NumGoroutine()))
	b.Add("collector.heap_bytes", now, float64(m.HeapAlloc))
	b.Add("collector.gc_runs", now, float64(m.NumGC))
}
