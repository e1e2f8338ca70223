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
	Serve   serveCmd   `cmd:"" help:"Run the HTTP gateway: metrics in by GET and POST, or by carbon's protocols, and on to Carbon."`
	Forward forwardCmd `cmd:"" help:"Run the forwarder: carbon's pickle or line protocol in, batches out to Blueflood."`
	Send    sendCmd    `cmd:"" help:"Send datapoints, to see a pipeline work."`
	Decode  decodeCmd  `cmd:"" help:"Show what a carbon pickle holds."`
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
	args = pointsLast(normalise(args))
	var left bool
	var commands cli
	file := &fileResolver{env: env, path: configPath(args, env)}
	k, err := kong.New(&commands,
		kong.Name("flux"),
		kong.Description("Metrics over HTTP into Graphite, carbon into Blueflood: nothing that was accepted is lost on the way."),
		kong.Writers(c.stdout, c.stderr),
		kong.Exit(func(int) { left = true }), // after --help
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 110}),
		kong.ExplicitGroups([]kong.Group{
			{Key: "http", Title: "HTTP gateway"},
			{Key: "keys", Title: "API keys"},
			{Key: "points", Title: "Points of HTTP requests"},
			{Key: "inputs", Title: "Carbon inputs"},
			{Key: "dedup", Title: "Duplicates"},
			{Key: "carbon", Title: "Destination"},
			{Key: "blueflood", Title: "Destination"},
			{Key: "log", Title: "Log"},
			{Key: "general", Title: "General"},
		}),
		kong.ValueFormatter(helpText),
		kong.PostBuild(func(k *kong.Kong) error { return nameEnvironment(k) }),
		kong.Resolvers(file),
	)
	if err != nil {
		fmt.Fprintln(c.stderr, "flux:", err)
		return exitFailed
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	if err := file.load(k.Model, args); err != nil {
		fmt.Fprintln(c.stderr, "flux:", err)
		return exitUsage
	}
	kctx, err := k.Parse(args)
	if left {
		return exitOK
	}
	if err != nil {
		fmt.Fprintln(c.stderr, "flux:", err)
		fmt.Fprintln(c.stderr, "Run flux --help, or flux COMMAND --help, for the options.")
		return exitUsage
	}
	c.overrides = file.overrides(kctx)
	if err := kctx.Run(c); err != nil {
		fmt.Fprintln(c.stderr, "flux:", strings.TrimPrefix(err.Error(), "flux: "))
		var e *exitError
		if errors.As(err, &e) {
			return e.code
		}
		return exitFailed
	}
	return exitOK
}
