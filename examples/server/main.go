// Command server is all of fluxkit in one process, with nothing to install: the HTTP gateway, carbon's line and pickle
// inputs and the forwarder, in front of an in-process Carbon with a render API and an in-process Blueflood.
//
// It prints what to paste, then what arrives. Ctrl-C ends it.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/blueflood/bluefloodtest"
	"github.com/fluxmetrics/fluxkit/flux"
	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
)

const tenant = "demo"

// ports are the addresses to listen on. One that is taken can be changed by its flag.
type ports struct {
	http, line, pickle, forwardLine, forwardPickle, render, ingest, query string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

func parse(args []string, out io.Writer) (ports, error) {
	var p ports
	f := flag.NewFlagSet("server", flag.ContinueOnError)
	f.SetOutput(out)
	f.StringVar(&p.http, "http", "127.0.0.1:8000", "the gateway's `address`")
	f.StringVar(&p.line, "line", "127.0.0.1:2003", "the gateway's line input")
	f.StringVar(&p.pickle, "pickle", "127.0.0.1:2004", "the gateway's pickle input")
	f.StringVar(&p.forwardLine, "forward-line", "127.0.0.1:2013", "the forwarder's line input")
	f.StringVar(&p.forwardPickle, "forward-pickle", "127.0.0.1:2014", "the forwarder's pickle input")
	f.StringVar(&p.render, "render", "127.0.0.1:8080", "the render API of the in-process Carbon")
	f.StringVar(&p.ingest, "blueflood", "127.0.0.1:19000", "the ingest API of the in-process Blueflood")
	f.StringVar(&p.query, "blueflood-query", "127.0.0.1:20000", "the query API of the in-process Blueflood")
	if err := f.Parse(args); err != nil {
		return p, err
	}
	if f.NArg() > 0 {
		return p, fmt.Errorf("%q is not an option; run with -h to see them", f.Arg(0))
	}
	return p, nil
}

// demo is what runs.
type demo struct {
	carbon             *graphitetest.Server
	blueflood          *bluefloodtest.Server
	gateway, forwarder *flux.Server
	key                string
}

// run is the whole program. It returns nil when ctx ended it.
func run(ctx context.Context, args []string, out io.Writer) error {
	p, err := parse(args, out)
	if err != nil {
		return err
	}
	shown := &lines{w: out}
	d, err := start(p, shown)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var serving sync.WaitGroup
	for _, s := range []*flux.Server{d.gateway, d.forwarder} {
		serving.Go(func() {
			if err := s.Run(ctx); err != nil {
				cancel(err)
			}
		})
	}
	d.announce(shown)
	if err := d.hello(ctx); err != nil {
		cancel(err)
	}
	<-ctx.Done()
	serving.Wait()
	if err := d.stop(shown); err != nil {
		return err
	}
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// start opens everything.
func start(p ports, shown *lines) (d *demo, err error) {
	d = &demo{key: newKey()}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.stop(&lines{w: io.Discard}))
		}
	}()
	d.carbon, err = graphitetest.Start(graphitetest.Options{
		RenderAddr: p.render, Keep: 100_000,
		OnPoint: func(pt graphitetest.Point) {
			shown.printf("carbon     %s %v %.0f", pt.Metric, pt.Value, pt.Timestamp)
		},
	})
	if err != nil {
		return d, taken(err, "-render", p.render)
	}
	d.blueflood, err = bluefloodtest.Start(bluefloodtest.Options{
		IngestAddr: p.ingest, QueryAddr: p.query, KeepPoints: 100_000,
		OnPoint: func(pt bluefloodtest.Point) {
			shown.printf("blueflood  %s %v %d", pt.Metric, pt.Value, pt.Timestamp/1000)
		},
	})
	if err != nil {
		if strings.Contains(err.Error(), "QueryAddr") {
			return d, taken(err, "-blueflood-query", p.query)
		}
		return d, taken(err, "-blueflood", p.ingest)
	}
	log := slog.New(slog.NewTextHandler(shown, &slog.HandlerOptions{Level: slog.LevelWarn}))
	d.gateway, err = flux.New(flux.Config{
		HTTP:        &flux.HTTPConfig{Listen: p.http, Keys: []flux.Key{{Secret: d.key}}},
		Line:        &flux.CarbonInput{Listen: p.line},
		Pickle:      &flux.CarbonInput{Listen: p.pickle},
		Destination: flux.Destination{Carbon: &graphite.ClientConfig{Addrs: []string{d.carbon.PickleAddr}, Logger: log}},
		Logger:      log,
	})
	if err != nil {
		return d, takenInput(err, map[string]string{"http": "-http", "line": "-line", "pickle": "-pickle"})
	}
	d.forwarder, err = flux.New(flux.Config{
		Line:   &flux.CarbonInput{Listen: p.forwardLine},
		Pickle: &flux.CarbonInput{Listen: p.forwardPickle},
		Dedup:  flux.DedupConfig{Off: true},
		Destination: flux.Destination{Blueflood: &blueflood.EndpointConfig{
			URL: d.blueflood.IngestURL(), Tenant: tenant, Interval: time.Second, Logger: log,
		}},
		Logger: log,
	})
	if err != nil {
		return d, takenInput(err, map[string]string{"line": "-forward-line", "pickle": "-forward-pickle"})
	}
	return d, nil
}

// taken tells which option names an address that cannot be had.
func taken(err error, option, addr string) error {
	return fmt.Errorf("%w\nIf %s is taken, choose another with %s, such as %s 127.0.0.1:0 for any free port", err, addr, option, option)
}

func takenInput(err error, options map[string]string) error {
	var l *flux.ListenError
	if errors.As(err, &l) {
		return taken(err, options[l.Input], l.Addr)
	}
	return err
}

// newKey makes an API key.
func newKey() string {
	b := make([]byte, 16)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// hello sends a point of its own by line to the forwarder, so that there is something to read back.
func (d *demo) hello(ctx context.Context) error {
	c, err := graphite.NewClient(graphite.ClientConfig{
		Addrs: []string{d.forwarder.Addr("line").String()}, Protocol: graphite.Line,
	})
	if err != nil {
		return err
	}
	var b graphite.Batch
	b.Add("demo.started", time.Now(), 1)
	err = c.Send(ctx, b.Points())
	return errors.Join(err, c.Close(ctx))
}

// stop ends everything in the order in which points flow.
func (d *demo) stop(shown *lines) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var errs []error
	for _, s := range []*flux.Server{d.gateway, d.forwarder} {
		if s != nil {
			errs = append(errs, s.Close(ctx))
			st := s.Stats()
			shown.printf("%s: %d points received, %d accepted, %d duplicate, %d delivered",
				st.Destinations[0].Name, st.Received, st.Accepted, st.Duplicate, st.Destinations[0].Delivered)
		}
	}
	if d.carbon != nil {
		errs = append(errs, d.carbon.Close())
	}
	if d.blueflood != nil {
		d.blueflood.Close()
	}
	return errors.Join(errs...)
}

// lines writes whole lines from any goroutine.
type lines struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func (l *lines) printf(format string, args ...any) { fmt.Fprintf(l, format+"\n", args...) }
