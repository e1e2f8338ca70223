package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/flux"
)

// runOptions are the options of the commands that run a server.
type runOptions struct {
	Config       string `group:"general" short:"c" placeholder:"FILE" help:"INI file with these options under %section%, without the dashes; - and _ are the same. An environment variable, such as %variable%, comes before the file, and the command line before both."`
	CheckConfig  bool   `group:"general" help:"Check the options and the files that they name, show what would run, and end: 0 if it can, 2 if not. Nothing is listened on."`
	StatusListen string `group:"general" placeholder:"HOST:PORT" help:"Answer GET /healthz, /readyz and /metrics (for Prometheus) there, by plain HTTP and without a key."`
	DrainTimeout span   `group:"general" default:"30s" placeholder:"TIME" help:"When told to stop, deliver pending points for at most TIME, in seconds or as 90s, 5m. What is left then stays in --spool; without one it is lost, and the exit code is 3."`
	logOptions
}

// setup is what a command makes of its options: a server's configuration, and what is to run beside the server until
// after its end.
type setup struct {
	flux.Config
	judges string // what Dedup does, for --check-config; empty: not told
	beside []func(context.Context, *slog.Logger, *flux.Server) error
	ends   []func()
}

// atEnd has f called when the setup is needed no longer.
func (s *setup) atEnd(f func()) { s.ends = append(s.ends, f) }

// watch has files, if there are any, read again when they change, and upon SIGHUP.
func (s *setup) watch(w *watched) {
	if w == nil {
		return
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	s.atEnd(func() { signal.Stop(hup) })
	s.beside = append(s.beside, func(ctx context.Context, log *slog.Logger, server *flux.Server) error {
		w.follow(ctx, log, server, hup)
		return nil
	})
}

func (s *setup) close() {
	for _, f := range s.ends {
		f()
	}
}

// run opens the log, makes a configuration and serves it. listenOptions names the option for the address of each input.
func (o runOptions) run(ctx *cmdContext, config func(*setup) error, listenOptions map[string]string) error {
	log, done, err := o.open(ctx.stderr)
	if err != nil {
		return err
	}
	defer done()
	s := &setup{Config: flux.Config{Logger: log}}
	defer s.close()
	if err := config(s); err != nil {
		return usage(err)
	}
	s.StatusListen = o.StatusListen
	s.DrainTimeout = max(time.Duration(o.DrainTimeout), time.Millisecond)
	listenOptions["status"] = "--status-listen"
	if o.CheckConfig {
		if err := check(s.Config, listenOptions); err != nil {
			return usage(err)
		}
		describe(ctx.stdout, s)
		return nil
	}
	return serve(ctx, s, listenOptions)
}

// usage gives errors about the configuration their exit code, and says what to type where that is not in them.
func usage(err error) error {
	switch {
	case errors.Is(err, flux.ErrNoKey):
		err = fmt.Errorf("%w: give one with --key KEY, --keys-file FILE or --self-key KEY (a fresh one: openssl rand -hex 16), or let anybody send with --no-auth", err)
	case errors.Is(err, flux.ErrExampleKey):
		err = fmt.Errorf("%w: make one of your own (openssl rand -hex 16), or type --allow-example-key to try the documentation's requests", err)
	}
	if other, ok := errors.AsType[*blueflood.SpoolTenantError](err); ok {
		err = fmt.Errorf("%w: type --tenant %[2]s, or %[2]s in the URL of --also, or another --spool, or deliver them first: flux spool replay --blueflood URL --tenant %[2]s %[3]s",
			err, shownWord(other.Tenant), other.SpoolDir)
	}
	return &exitError{exitUsage, err}
}

// listenHint names the option for an address that cannot be listened on.
func listenHint(err error, listenOptions map[string]string) error {
	if l, ok := errors.AsType[*flux.ListenError](err); ok {
		return fmt.Errorf("%w; choose another address with %s", err, listenOptions[l.Input])
	}
	return err
}

// serve runs a server until ctx ends, then delivers what is pending.
func serve(ctx *cmdContext, with *setup, listenOptions map[string]string) error {
	cfg, log := with.Config, with.Logger
	logOverrides(log, ctx.overrides)
	s, err := flux.New(cfg)
	if errors.Is(err, flux.ErrConfig) {
		return usage(err)
	}
	if errors.Is(err, flux.ErrSpool) {
		return fmt.Errorf("--spool %s: %w", cfg.SpoolDir, err)
	}
	if err != nil {
		return listenHint(err, listenOptions)
	}
	logStart(log, cfg, s)
	endBeside := with.run(ctx.ctx, s)
	told := make(chan time.Time, 1)
	context.AfterFunc(ctx.ctx, func() {
		log.Info("stopping: inputs are being closed and pending points delivered", "pending", pending(s.Stats()), "at_most", cfg.DrainTimeout)
		told <- time.Now()
	})
	runErr := s.Run(ctx.ctx)
	begun := time.Now()
	if ctx.ctx.Err() != nil {
		begun = <-told
	}
	drain, cancel := context.WithDeadline(context.WithoutCancel(ctx.ctx), begun.Add(cfg.DrainTimeout))
	defer cancel()
	closeErr := s.Close(drain)
	besideErr := endBeside()
	logAccount(log, s.Stats())
	return errors.Join(runErr, afterClose(log, closeErr, cfg), besideErr)
}

// run starts what runs beside the server. The function that it returns ends it, and returns its errors.
func (s *setup) run(ctx context.Context, server *flux.Server) (end func() error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	errs := make([]error, len(s.beside))
	var running sync.WaitGroup
	for i, f := range s.beside {
		running.Go(func() { errs[i] = f(ctx, s.Logger, server) })
	}
	return func() error {
		cancel()
		running.Wait()
		return errors.Join(errs...)
	}
}

// afterClose tells what the end of a server leaves. Points that stay in the spool are no error.
func afterClose(log *slog.Logger, err error, cfg flux.Config) error {
	left, ok := errors.AsType[*flux.UndeliveredError](err)
	if ok && left.Kept > 0 {
		log.Info(fmt.Sprintf("%d points stay in %s, the next start delivers them", left.Kept, cfg.SpoolDir))
	}
	switch {
	case errors.Is(err, flux.ErrSpool):
		return &exitError{exitLost, err}
	case ok && left.Lost > 0:
		return &exitError{exitLost, fmt.Errorf("%d accepted points could not be delivered within %v and are lost", left.Lost, cfg.DrainTimeout)}
	}
	var others []error
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range several.Unwrap() {
			if e != error(left) {
				others = append(others, e)
			}
		}
		return errors.Join(others...)
	}
	return err
}

// logStart tells what a server does that has started.
func logStart(log *slog.Logger, cfg flux.Config, s *flux.Server) {
	for _, name := range []string{"http", "populate", "status", "line", "pickle", "udp"} {
		if a := s.Addr(name); a != nil {
			log.Info("listening", "input", name, "address", a.String())
		}
	}
	for _, d := range s.Stats().Destinations {
		if d.Recovered > 0 {
			log.Info("the spool held points, which are delivered first", "destination", d.Name, "points", d.Recovered)
		}
	}
	if cfg.SpoolDir == "" {
		log.Warn("accepted points are kept in memory: what is pending when this process dies is lost; --spool DIR keeps it")
	} else {
		log.Info("accepted points are kept in the spool", "dir", cfg.SpoolDir)
	}
}

// pending is how many points all destinations together wait to deliver.
func pending(st flux.Stats) (n int64) {
	for _, d := range st.Destinations {
		n += d.Pending
	}
	return n
}

// logAccount writes what became of every point, at the door and at each destination.
func logAccount(log *slog.Logger, st flux.Stats) {
	var destinations []any
	for _, d := range st.Destinations {
		destinations = append(destinations, slog.Group(d.Name,
			"accepted", d.Accepted, "recovered", d.Recovered, "delivered", d.Delivered, "assumed", d.Assumed,
			"given_up", d.GivenUp, "dropped", d.Dropped, "pending", d.Pending, "resent", d.Resent))
	}
	account := []any{
		"received", st.Received, "accepted", st.Accepted, "duplicate", st.Duplicate, "late", st.Late, "rejected", st.Rejected,
		slog.Group("destinations", destinations...),
	}
	if d := st.DeadLetter; d != (flux.DeadLetterStats{}) {
		account = append(account, slog.Group("dead_letter", "points", d.Points, "dropped", d.Dropped))
	}
	log.Info("account", account...)
}
