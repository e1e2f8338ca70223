package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/flux"
	"github.com/fluxmetrics/fluxkit/graphite"
)

type serveCmd struct {
	Listen string `group:"http" default:"127.0.0.1:8000" placeholder:"HOST:PORT" help:"Address of the HTTP gateway. It speaks plain HTTP: put a proxy with TLS in front before it leaves this host."`
	NoGet  bool   `group:"http" help:"Refuse GET /flux/metric_data, whose key ends up in the logs of every proxy on the way."`

	Key             []string `group:"keys" placeholder:"KEY[=PREFIX]" help:"API key that may send, 16 to 128 of A-Z a-z 0-9 _ -; repeatable. With PREFIX, every metric sent with it is put under PREFIX. Others on this host can read a command line: prefer --keys-file."`
	KeysFile        string   `group:"keys" placeholder:"FILE" help:"File of keys, KEY or KEY=PREFIX a line; # starts a comment line."`
	NoAuth          bool     `group:"keys" help:"Let anybody send, without a key."`
	AllowExampleKey bool     `group:"keys" help:"Allow the key that the original's documentation prints, which everybody knows."`

	MaxAge    span `group:"points" default:"1h" placeholder:"AGE" help:"Refuse HTTP points older than AGE, in seconds or as 90s, 5m, 1h; 0: no limit."`
	MaxFuture span `group:"points" default:"1m" placeholder:"TIME" help:"Refuse HTTP points further ahead of now than TIME; 0: no limit."`

	Dedup             string `group:"dedup" default:"memory" placeholder:"STORE" help:"Where the newest delivered timestamp of each metric is kept: memory, off, redis://[user:password@]host:port[/db], rediss://… or unix:///path/to/socket[?db=N]. Skyline's keys are used in Redis."`
	DedupPasswordFile string `group:"dedup" placeholder:"FILE" help:"File that holds the password of Redis, so that it is not on the command line."`
	DedupInputs       string `group:"dedup" enum:"http,all" default:"http" placeholder:"WHICH" help:"http: discard repeated and late points of HTTP alone; all: of the carbon inputs too."`

	Carbon         []string `group:"carbon" default:"127.0.0.1:2004" placeholder:"HOST:PORT" help:"The Carbon to deliver to, or unix:/path; repeatable, and then the first that answers is used."`
	CarbonProtocol string   `group:"carbon" enum:"pickle,line" default:"pickle" placeholder:"PROTO" help:"pickle (Carbon's port 2004) or line (its port 2003)."`
	CarbonTLS      bool     `group:"carbon" help:"Speak TLS to Carbon. A proxy in front of Carbon that ends TLS confirms what it has read itself."`
	CarbonCA       string   `group:"carbon" placeholder:"FILE" help:"PEM file of the authorities that may have signed Carbon's certificate; the system's by default. Implies --carbon-tls."`
	CarbonCert     string   `group:"carbon" placeholder:"FILE" help:"PEM file of the certificate to show to Carbon. Implies --carbon-tls."`
	CarbonKey      string   `group:"carbon" placeholder:"FILE" help:"PEM file of that certificate's key."`

	ResendOnReconnect span `group:"carbon" placeholder:"TIME" help:"When Carbon was away, send what it had confirmed within TIME before once more: what carbon-cache holds in memory is lost when it is killed. Noticed when a connection breaks or is refused; the newest 16 MiB are kept for it. Default: nothing."`
	MaxReplayAge      span `group:"carbon" placeholder:"AGE" help:"Give up points older than AGE that would be sent a second time after a break, since they may replace rolled-up values. Default: none."`

	LineListen   string `group:"inputs" placeholder:"HOST:PORT" help:"Take carbon's line protocol over TCP there; unix:/path for a socket; ssl:PORT:privateKey=FILE:certKey=FILE[:clientCA=FILE][:interface=HOST] for TLS."`
	PickleListen string `group:"inputs" placeholder:"HOST:PORT" help:"Take carbon's pickle protocol there, likewise."`
	UDPListen    string `group:"inputs" name:"udp-listen" placeholder:"HOST:PORT" help:"Take carbon's line protocol over UDP there. What finds no room is dropped and counted."`
	inputOptions

	runOptions
}

// inputOptions are the options of carbon's inputs.
type inputOptions struct {
	StrictCarbon   bool `group:"inputs" help:"Hand on exactly the points that carbon hands on: any Unicode whitespace separates, infinite values pass, names are taken as they are, a last line without its newline is lost. A name that would break the line to the next Carbon is still given up on delivery."`
	AllowInf       bool `group:"inputs" help:"Let infinite values pass."`
	MaxConnections int  `group:"inputs" default:"4096" placeholder:"N" help:"Connections served at one time by each input; more wait."`
	MaxLine        int  `group:"inputs" default:"16384" placeholder:"BYTES" help:"Longest line in bytes. A longer one is dropped."`
	MaxFrame       int  `group:"inputs" default:"1048576" placeholder:"BYTES" help:"Longest pickle in bytes. A longer one ends its connection."`
}

// input is the configuration of one input, nil when there is no address.
func (o inputOptions) input(listen string) *flux.CarbonInput {
	if listen == "" {
		return nil
	}
	return &flux.CarbonInput{
		Listen: listen, Strict: o.StrictCarbon, AllowInf: o.AllowInf,
		MaxConns: o.MaxConnections, MaxLine: o.MaxLine, MaxFrame: o.MaxFrame,
	}
}

// runOptions are the options of the commands that run a server.
type runOptions struct {
	Config       string `group:"general" short:"c" placeholder:"FILE" help:"INI file with these options under %section%, without the dashes; - and _ are the same. An environment variable, such as %variable%, comes before the file, and the command line before both."`
	DrainTimeout span   `group:"general" default:"30s" placeholder:"TIME" help:"When told to stop, deliver pending points for at most TIME, in seconds or as 90s, 5m. What is left then is lost, and the exit code is 3."`
	logOptions
}

func (c *serveCmd) Help() string {
	return `Points come in by

  GET  /flux/metric_data?metric=a.b&timestamp=1700000000&value=1.5&key=KEY
  POST /flux/metric_data_post  {"metric": "a.b", "timestamp": 1700000000, "value": 1.5, "key": "KEY"}
  POST /flux/metric_data_post  {"key": "KEY", "metrics": [{"metric": …, "timestamp": …, "value": …}, …]}

and are answered 204 once they are kept. To try it: flux serve --key "$(openssl rand -hex 16)"`
}

// Run serves until it is told to stop.
func (c *serveCmd) Run(ctx *cmdContext) error {
	return c.run(ctx, c.config, map[string]string{
		"http": "--listen", "line": "--line-listen", "pickle": "--pickle-listen", "udp": "--udp-listen",
	})
}

// run opens the log, makes a configuration and serves it. listenOptions names the option for the address of each input.
func (o runOptions) run(ctx *cmdContext, config func(*slog.Logger) (flux.Config, func(), error), listenOptions map[string]string) error {
	log, done, err := o.open(ctx.stderr)
	if err != nil {
		return err
	}
	defer done()
	cfg, closeStore, err := config(log)
	if err != nil {
		return usage(err)
	}
	defer closeStore()
	cfg.DrainTimeout = max(time.Duration(o.DrainTimeout), time.Millisecond)
	return serve(ctx, cfg, log, listenOptions)
}

// config turns the options into a server's configuration.
func (c *serveCmd) config(log *slog.Logger) (cfg flux.Config, closeStore func(), err error) {
	keys, err := c.keys()
	if err != nil {
		return cfg, nil, err
	}
	secure, err := c.tls()
	if err != nil {
		return cfg, nil, err
	}
	d, closeStore, err := openDedup(c.Dedup, c.DedupPasswordFile)
	if err != nil {
		return cfg, nil, err
	}
	d.AllInputs = c.DedupInputs == "all"
	protocol := graphite.Pickle
	if c.CarbonProtocol == "line" {
		protocol = graphite.Line
	}
	return flux.Config{
		HTTP: &flux.HTTPConfig{
			Listen: c.Listen, Keys: keys, NoAuth: c.NoAuth, AllowExampleKey: c.AllowExampleKey, NoGet: c.NoGet,
			MaxAge: c.MaxAge.orOff(), MaxFuture: c.MaxFuture.orOff(),
		},
		Line: c.input(c.LineListen), Pickle: c.input(c.PickleListen), UDP: c.input(c.UDPListen),
		Dedup: d,
		Destination: flux.Destination{Carbon: &graphite.ClientConfig{
			Addrs: c.Carbon, Protocol: protocol, TLS: secure, Logger: log,
			ResendOnReconnect: time.Duration(c.ResendOnReconnect), MaxReplayAge: time.Duration(c.MaxReplayAge),
		}},
		Logger: log,
	}, closeStore, nil
}

// tls is the TLS configuration towards Carbon, nil for none.
func (c *serveCmd) tls() (*tls.Config, error) {
	if c.CarbonKey != "" && c.CarbonCert == "" {
		return nil, errors.New("--carbon-key without --carbon-cert: name the certificate that it belongs to")
	}
	if !c.CarbonTLS && c.CarbonCA == "" && c.CarbonCert == "" {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CarbonCA != "" {
		pem, err := os.ReadFile(c.CarbonCA)
		if err != nil {
			return nil, fmt.Errorf("--carbon-ca: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--carbon-ca: %s holds no PEM certificate", c.CarbonCA)
		}
	}
	if c.CarbonCert != "" {
		pair, err := tls.LoadX509KeyPair(c.CarbonCert, cmp.Or(c.CarbonKey, c.CarbonCert))
		if err != nil {
			return nil, fmt.Errorf("--carbon-cert, --carbon-key: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

// keys gathers the keys of the command line and of the file.
func (c *serveCmd) keys() ([]flux.Key, error) {
	lines := c.Key
	if c.KeysFile != "" {
		fromFile, err := readLines(c.KeysFile)
		if err != nil {
			return nil, fmt.Errorf("--keys-file: %w", err)
		}
		lines = append(lines[:len(lines):len(lines)], fromFile...)
	}
	var keys []flux.Key
	for _, line := range lines {
		secret, prefix, cut := strings.Cut(line, "=")
		if cut && strings.TrimSpace(prefix) == "" {
			return nil, fmt.Errorf("key %d ends in = without a prefix: write KEY, or KEY=PREFIX", len(keys)+1)
		}
		keys = append(keys, flux.Key{Secret: strings.TrimSpace(secret), Prefix: strings.TrimSpace(prefix)})
	}
	return keys, nil
}

// readLines returns the lines of a file that are neither empty nor comments.
func readLines(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []string
	s := bufio.NewScanner(f)
	for s.Scan() {
		if line := strings.TrimSpace(s.Text()); line != "" && line[0] != '#' {
			out = append(out, line)
		}
	}
	return out, s.Err()
}

// readSecret returns the first line of a file.
func readSecret(path string) (string, error) {
	lines, err := readLines(path)
	if err == nil && len(lines) == 0 {
		err = fmt.Errorf("%s is empty", path)
	}
	if err != nil {
		return "", err
	}
	return lines[0], nil
}

// openDedup makes a store of what --dedup says.
func openDedup(store, passwordFile string) (flux.DedupConfig, func(), error) {
	nothing := func() {}
	switch store {
	case "", "off":
		return flux.DedupConfig{Off: true}, nothing, nil
	case "memory":
		return flux.DedupConfig{Store: &dedup.Memory{}}, nothing, nil
	}
	var opts dedup.RedisOptions
	if passwordFile != "" {
		password, err := readSecret(passwordFile)
		if err != nil {
			return flux.DedupConfig{}, nil, fmt.Errorf("--dedup-password-file: %w", err)
		}
		opts.Password = password
	}
	r, err := dedup.NewRedis(store, opts)
	if err != nil {
		return flux.DedupConfig{}, nil, fmt.Errorf("--dedup: use memory, off, or the URL of a Redis: %w", err)
	}
	return flux.DedupConfig{Store: r}, func() { r.Close() }, nil
}

// usage gives errors about the configuration their exit code, and says what to type where that is not in them.
func usage(err error) error {
	switch {
	case errors.Is(err, flux.ErrNoKey):
		err = fmt.Errorf("%w: give one with --key KEY or --keys-file FILE (a fresh one: openssl rand -hex 16), or let anybody send with --no-auth", err)
	case errors.Is(err, flux.ErrExampleKey):
		err = fmt.Errorf("%w: make one of your own (openssl rand -hex 16), or type --allow-example-key to try the documentation's requests", err)
	}
	return &exitError{exitUsage, err}
}

// serve runs a server until ctx ends, then delivers what is pending. listenOptions names the option for the address of
// each input.
func serve(ctx *cmdContext, cfg flux.Config, log *slog.Logger, listenOptions map[string]string) error {
	logOverrides(log, ctx.overrides)
	s, err := flux.New(cfg)
	if errors.Is(err, flux.ErrConfig) {
		return usage(err)
	}
	if err != nil {
		var l *flux.ListenError
		if errors.As(err, &l) {
			err = fmt.Errorf("%w; choose another address with %s", err, listenOptions[l.Input])
		}
		return err
	}
	for _, name := range []string{"http", "line", "pickle", "udp"} {
		if a := s.Addr(name); a != nil {
			log.Info("listening", "input", name, "address", a.String())
		}
	}
	log.Warn("accepted points are kept in memory: what is pending when this process dies is lost")
	told := make(chan time.Time, 1)
	context.AfterFunc(ctx.ctx, func() {
		log.Info("stopping: inputs are being closed and pending points delivered", "pending", s.Stats().Destinations[0].Pending, "at_most", cfg.DrainTimeout)
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
	logAccount(log, s.Stats())
	var left *flux.UndeliveredError
	if errors.As(closeErr, &left) {
		return &exitError{exitLost, fmt.Errorf("%d accepted points could not be delivered within %v and are lost", left.Points, cfg.DrainTimeout)}
	}
	return errors.Join(runErr, closeErr)
}

func logAccount(log *slog.Logger, st flux.Stats) {
	d := st.Destinations[0]
	log.Info("account", "received", st.Received, "accepted", st.Accepted, "duplicate", st.Duplicate, "late", st.Late,
		"rejected", st.Rejected, "delivered", d.Delivered, "assumed", d.Assumed, "given_up", d.GivenUp, "pending", d.Pending, "resent", d.Resent)
}
