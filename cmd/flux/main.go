// Command flux runs fluxkit's gateway and forwarder, and the tools beside them. See flux --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // it could not do what was asked
	exitUsage  = 2 // the command line or the file is wrong
	exitLost   = 3 // accepted points were lost, since there is no spool
)

// cli is every command. Field names are option names; one file a command has the rest.
type cli struct {
	Serve    serveCmd    `cmd:"" help:"Run the HTTP gateway: metrics in by GET and POST, or by carbon's protocols, and on to Carbon."`
	Forward  forwardCmd  `cmd:"" help:"Run the forwarder: carbon's pickle or line protocol in, batches out to Blueflood."`
	Send     sendCmd     `cmd:"" help:"Send datapoints, to see a pipeline work."`
	Decode   decodeCmd   `cmd:"" help:"Show what a carbon pickle holds."`
	Backfill backfillCmd `cmd:"" help:"Fill a Graphite with history: from another Graphite, a Prometheus or a file."`
	Dedup    dedupCmd    `cmd:"" help:"Show, set or remove the marks by which repeated and late points are told."`
	Spool    spoolCmd    `cmd:"" help:"Show, check, export or deliver what a spool or a dead-letter file holds."`
}

// cmdContext is what a command works with.
type cmdContext struct {
	ctx            context.Context // ends when the command is to stop
	stdin          io.Reader
	stdout, stderr io.Writer
	overrides      []override // of the configuration file's values
}

// helpText is what the help says of an option: its default stands behind the text. That every option has a variable
// is said once, by --config.
func helpText(v *kong.Value) string {
	if !v.HasDefault || v.Default == "" {
		return v.Help
	}
	return v.Help + " Default: " + v.Default + "."
}

// exitError ends the program with a code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(&cmdContext{ctx: ctx, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}, os.Args[1:], os.LookupEnv))
}

// run is main with everything from outside handed in. It returns the exit code.
func run(c *cmdContext, args []string, env func(string) (string, bool)) int {
	var commands cli
	kctx, err := parse(c, &commands, args, env)
	if err == nil && kctx == nil { // the help is shown
		return exitOK
	}
	parsed := err == nil
	if parsed {
		err = kctx.Run(c)
	}
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(c.stderr, "flux:", strings.TrimPrefix(err.Error(), "flux: "))
	if !parsed {
		fmt.Fprintln(c.stderr, "Run flux --help, or flux COMMAND --help, for the options.")
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	return exitFailed
}

// parse fills commands from the command line, the environment and the configuration file. It returns no context when
// what was asked for is help, which it has shown then.
func parse(c *cmdContext, commands *cli, args []string, env func(string) (string, bool)) (*kong.Context, error) {
	args = pointsLast(normalise(args))
	var left bool
	file := &fileResolver{env: env, path: configPath(args, env)}
	k, err := kong.New(commands,
		kong.Name("flux"),
		kong.Description("Metrics over HTTP into Graphite, carbon into Blueflood: nothing that was accepted is lost on the way."),
		kong.Writers(c.stdout, c.stderr),
		kong.Exit(func(int) { left = true }), // after --help
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 110}),
		kong.ExplicitGroups(helpGroups()),
		kong.ValueFormatter(helpText),
		kong.PostBuild(func(k *kong.Kong) error { return nameEnvironment(k) }),
		kong.Resolvers(file),
	)
	if err != nil {
		return nil, err
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	if err := file.load(k.Model, args); err != nil {
		return nil, &exitError{exitUsage, err}
	}
	kctx, err := k.Parse(args)
	if left {
		return nil, nil
	}
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	c.overrides = file.overrides(kctx)
	return kctx, nil
}

// helpGroups are the headings under which the help has the options.
func helpGroups() []kong.Group {
	return []kong.Group{
		{Key: "http", Title: "HTTP gateway"},
		{Key: "keys", Title: "API keys"},
		{Key: "points", Title: "Points of HTTP requests"},
		{Key: "inputs", Title: "Carbon inputs"},
		{Key: "populate", Title: "History"},
		{Key: "dedup", Title: "Duplicates"},
		{Key: "source", Title: "Where from"},
		{Key: "period", Title: "From when to when"},
		{Key: "to", Title: "Where to"},
		{Key: "carbon", Title: "Destination"},
		{Key: "blueflood", Title: "Destination"},
		{Key: "keystone", Title: "Keystone, where Blueflood wants a token"},
		{Key: "pipeline", Title: "Pending points, and further destinations"},
		{Key: "log", Title: "Log"},
		{Key: "general", Title: "General"},
	}
}
