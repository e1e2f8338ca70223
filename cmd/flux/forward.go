package main

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/flux"
)

// forwardCmd has the options of blueflood-carbon-forwarder, and their meaning.
type forwardCmd struct {
	Endpoint string `group:"inputs" short:"e" default:"tcp:2004:interface=127.0.0.1" placeholder:"ENDPOINT" help:"Where to listen, as a Twisted endpoint: tcp:2004:interface=127.0.0.1, unix:/path; HOST:PORT will do. Without interface it listens on all addresses."`
	Protocol string `group:"inputs" enum:"MetricPickleReceiver,MetricLineReceiver" default:"MetricPickleReceiver" placeholder:"PROTO" help:"What comes in: MetricPickleReceiver or MetricLineReceiver."`

	inputOptions

	OverwriteCollectionTimestamp bool `group:"inputs" help:"Replace each point's timestamp by the time at which it was read."`

	Blueflood string `group:"blueflood" short:"b" default:"http://localhost:19000" placeholder:"URL" help:"Base address of Blueflood; /v2.0/TENANT/ingest is appended."`
	Tenant    string `group:"blueflood" short:"t" required:"" placeholder:"TENANT" help:"Tenant to write to. Required."`
	Prefix    string `group:"blueflood" name:"metric-prefix" short:"p" placeholder:"PREFIX" help:"Put before every metric's name, with a dot."`
	TTL       int64  `group:"blueflood" name:"ttl" default:"86400" placeholder:"SECONDS" help:"How long Blueflood keeps a point, in seconds, at most 630720000."`
	Interval  span   `group:"blueflood" short:"i" default:"30" placeholder:"SECONDS" help:"Longest wait of points for a full request, in seconds; fractions are allowed. Full requests go at once."`
	Limit     int    `group:"blueflood" default:"1048576" placeholder:"BYTES" help:"Longest request body in bytes; 0 means 1048576, the most that Blueflood takes."`

	Dedup             string `group:"dedup" default:"off" placeholder:"STORE" help:"Discard repeated and late points by the newest delivered timestamp of each metric, kept in memory, redis://… or unix:///path; off by default, since Blueflood needs no order."`
	DedupPasswordFile string `group:"dedup" placeholder:"FILE" help:"File that holds the password of Redis, so that it is not on the command line."`

	runOptions
}

func (c *forwardCmd) Help() string {
	return `The options are those of blueflood-carbon-forwarder; its INI file with the section
[blueflood_carbon_forwarder] is read by --config. Unlike there, the command line comes before the file.

  flux forward --tenant 123 --blueflood http://blueflood.example:19000`
}

// Run forwards until it is told to stop.
func (c *forwardCmd) Run(ctx *cmdContext) error {
	return c.run(ctx, c.config, map[string]string{"line": "--endpoint", "pickle": "--endpoint"})
}

// config turns the options into a server's configuration.
func (c *forwardCmd) config(log *slog.Logger) (cfg flux.Config, closeStore func(), err error) {
	if c.Interval <= 0 {
		return cfg, nil, fmt.Errorf("--interval must be more than 0 seconds, such as 30 or 0.5")
	}
	if c.TTL <= 0 || c.TTL > int64(blueflood.MaxTTL/time.Second) {
		return cfg, nil, fmt.Errorf("--ttl %d must be from 1 to %d seconds", c.TTL, int64(blueflood.MaxTTL/time.Second))
	}
	d, closeStore, err := openDedup(c.Dedup, c.DedupPasswordFile)
	if err != nil {
		return cfg, nil, err
	}
	d.AllInputs = true
	in := c.input(c.Endpoint)
	if in == nil {
		return cfg, nil, fmt.Errorf("--endpoint is empty: name an address to listen on, such as tcp:2004:interface=127.0.0.1")
	}
	in.OverwriteTimestamps = c.OverwriteCollectionTimestamp
	cfg = flux.Config{
		Dedup: d,
		Destination: flux.Destination{Blueflood: &blueflood.EndpointConfig{
			URL: c.Blueflood, Tenant: c.Tenant, Prefix: c.Prefix, TTL: time.Duration(c.TTL) * time.Second,
			Interval: time.Duration(c.Interval), Limit: c.Limit, Logger: log,
		}},
		Logger: log,
	}
	if c.Protocol == "MetricLineReceiver" {
		cfg.Line = in
	} else {
		cfg.Pickle = in
	}
	return cfg, closeStore, nil
}
