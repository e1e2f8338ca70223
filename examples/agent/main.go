// Command agent is a host agent that already runs and now also takes carbon's pickles and forwards them, with its own
// points, to Blueflood. The forwarder is embedded: one flux.Server, its goroutines end with the agent's context.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/flux"
	"github.com/fluxmetrics/fluxkit/graphite"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stderr, nil); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

// run is the agent's life. ready, if not nil, is called once it listens.
func run(ctx context.Context, args []string, out io.Writer, ready func(*flux.Server)) error {
	f := flag.NewFlagSet("agent", flag.ContinueOnError)
	listen := f.String("pickle", "127.0.0.1:2004", "`address` to take carbon's pickles at")
	url := f.String("blueflood", "http://127.0.0.1:19000", "Blueflood's base `URL`")
	tenant := f.String("tenant", "demo", "tenant to write to")
	every := f.Duration("every", 10*time.Second, "how often the agent adds a point of its own")
	interval := f.Duration("interval", 30*time.Second, "longest wait of points for a full request")
	if err := f.Parse(args); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(out, nil))

	forwarder, err := flux.New(flux.Config{
		Pickle: &flux.CarbonInput{Listen: *listen},
		Dedup:  flux.DedupConfig{Off: true},
		Destination: flux.Destination{Blueflood: &blueflood.EndpointConfig{
			URL: *url, Tenant: *tenant, Prefix: "agent", Interval: *interval, Logger: log,
		}},
		Logger: log,
	})
	if err != nil {
		return err
	}

	// The agent's own work goes on beside the forwarder's inputs, and ends with them.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var work sync.WaitGroup
	work.Go(func() { heartbeat(ctx, forwarder, *every, log) })
	if ready != nil {
		ready(forwarder)
	}
	runErr := forwarder.Run(ctx)
	cancel()
	work.Wait()

	drain, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	closeErr := forwarder.Close(drain)
	st := forwarder.Stats()
	log.Info("forwarder stopped", "accepted", st.Accepted, "delivered", st.Destinations[0].Delivered, "pending", st.Destinations[0].Pending)
	return errors.Join(runErr, closeErr)
}

// heartbeat adds a point of the agent's own now and then. It does not wait when the buffer is full: the next beat will
// do.
func heartbeat(ctx context.Context, forwarder *flux.Server, every time.Duration, log *slog.Logger) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var batch graphite.Batch
	for {
		batch.Reset()
		batch.Add("heartbeat", time.Now(), 1)
		if _, err := forwarder.TryIngest(batch.Points()); err != nil {
			log.Warn("heartbeat dropped", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
