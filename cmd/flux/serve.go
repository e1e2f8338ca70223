package main

import (
	"crypto/tls"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/flux"
	"github.com/fluxmetrics/fluxkit/flux/ingest"
	"github.com/fluxmetrics/fluxkit/graphite"
)

type serveCmd struct {
	Listen string `group:"http" default:"127.0.0.1:8000" placeholder:"HOST:PORT" help:"Address of the HTTP gateway. It speaks plain HTTP unless --tls-cert is given: before it leaves this host, give that, or put a proxy with TLS in front."`

	certificateOptions

	NoGet     bool `group:"http" help:"Refuse GET /flux/metric_data, whose key ends up in the logs of every proxy on the way."`
	MaxBody   size `group:"http" default:"8MiB" placeholder:"SIZE" help:"Longest request body, after decompression, in bytes or as 64KiB, 8MiB."`
	MaxPoints int  `group:"http" default:"10000" placeholder:"N" help:"Most points of one JSON array. Telegraf's and lines, which are judged one by one, are bounded by the memory that they take, half of 64 MiB a request."`

	keyOptions

	MaxAge    span `group:"points" default:"1h" placeholder:"AGE" help:"Refuse HTTP points older than AGE, in seconds or as 90s, 5m, 1h; 0: no limit."`
	MaxFuture span `group:"points" default:"1m" placeholder:"TIME" help:"Refuse HTTP points further ahead of now than TIME; 0: no limit."`

	telegrafOptions
	dedupOptions

	Carbon         []string `group:"carbon" default:"127.0.0.1:2004" placeholder:"HOST:PORT" help:"The Carbon to deliver to, or unix:/path; repeatable, and then the first that answers is used."`
	CarbonProtocol string   `group:"carbon" enum:"pickle,line" default:"pickle" placeholder:"PROTO" help:"pickle (Carbon's port 2004) or line (its port 2003)."`
	CarbonTLS      bool     `group:"carbon" help:"Speak TLS to Carbon. A proxy in front of Carbon that ends TLS confirms what it has read itself."`
	CarbonCA       string   `group:"carbon" placeholder:"FILE" help:"PEM file of the authorities that may have signed Carbon's certificate; the system's by default. Implies --carbon-tls."`
	CarbonCert     string   `group:"carbon" placeholder:"FILE" help:"PEM file of the certificate to show to Carbon. Implies --carbon-tls."`
	CarbonKey      string   `group:"carbon" placeholder:"FILE" help:"PEM file of that certificate's key."`

	ResendOnReconnect span `group:"carbon" placeholder:"TIME" help:"When Carbon was away, send what it had confirmed within TIME before once more: what carbon-cache holds in memory is lost when it is killed. Noticed when a connection breaks or is refused; the newest 16 MiB are kept for it. Default: nothing."`
	MaxReplayAge      span `group:"carbon" placeholder:"AGE" help:"Give up points older than AGE that would be sent a second time after a break, since they may replace rolled-up values. Default: none."`

	inputOptions
	populateOptions

	pipelineOptions
	SelfMetrics selfPrefix `group:"general" help:"Send figures of this gateway to Carbon once a minute, under the original's names, skyline.flux.HOST.worker.metrics_sent_to_graphite and so on. --self-metrics=PREFIX puts them under PREFIX instead of skyline.flux.HOST."`
	runOptions
}

// inputOptions are the options of carbon's inputs.
type inputOptions struct {
	LineListen   string `group:"inputs" placeholder:"HOST:PORT" help:"Take carbon's line protocol over TCP there; unix:/path for a socket; ssl:PORT:privateKey=FILE:certKey=FILE[:clientCA=FILE][:interface=HOST] for TLS."`
	PickleListen string `group:"inputs" placeholder:"HOST:PORT" help:"Take carbon's pickle protocol there, likewise."`
	UDPListen    string `group:"inputs" name:"udp-listen" placeholder:"HOST:PORT" help:"Take carbon's line protocol over UDP there. What finds no room is dropped and counted."`

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

func (c *serveCmd) Help() string {
	return `Points come in by

  GET  /flux/metric_data?metric=a.b&timestamp=1700000000&value=1.5&key=KEY
  POST /flux/metric_data_post  {"metric": "a.b", "timestamp": 1700000000, "value": 1.5, "key": "KEY"}
  POST /flux/metric_data_post  {"key": "KEY", "metrics": [{"metric": …, "timestamp": …, "value": …}, …]}
  POST /flux/lines?key=KEY     lines of carbon: a.b 1.5 1700000000

and are answered 204 once they are kept. GET /flux/trace?metric=a.b&key=KEY tells what became of a metric's points;
/healthz, /readyz and /metrics are for operators. To try it: flux serve --key "$(openssl rand -hex 16)"`
}

// telegrafOptions say how bodies of telegraf are read.
type telegrafOptions struct {
	TelegrafTemplate string `group:"points" default:"host.tags.measurement.field" placeholder:"TEMPLATE" help:"What the names of telegraf's points are made of: host, tags, measurement, field and names of tags, joined by dots."`
	TelegrafUnit     string `group:"points" enum:"1s,1ms,1us,1ns" default:"1s" placeholder:"UNIT" help:"What its timestamps count, json_timestamp_units in its configuration: 1s, 1ms, 1us or 1ns."`
	TelegrafReport   bool   `group:"points" help:"Answer it 207 with a list where points of a request were left out, instead of 204."`
}

func (o telegrafOptions) apply(h *flux.HTTPConfig) error {
	unit, err := time.ParseDuration(o.TelegrafUnit)
	if err != nil {
		return fmt.Errorf("--telegraf-unit: %w", err)
	}
	if _, err := ingest.ParseTemplate(o.TelegrafTemplate); err != nil {
		return fmt.Errorf("--telegraf-template: %w", err)
	}
	h.TelegrafTemplate, h.TelegrafUnit, h.TelegrafReport = o.TelegrafTemplate, unit, o.TelegrafReport
	return nil
}

// gcPercent lets the heap grow to three times what is live, rather than twice, before it is collected: requests of one
// point cost a tenth less for some ten megabytes more. GOGC in the environment counts instead.
const gcPercent = 200

// Run serves until it is told to stop.
func (c *serveCmd) Run(ctx *cmdContext) error {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
	return c.run(ctx, c.config, map[string]string{
		"http": "--listen", "populate": "--populate-listen", "line": "--line-listen", "pickle": "--pickle-listen", "udp": "--udp-listen",
	})
}

// config turns the options into a setup.
func (c *serveCmd) config(s *setup) error {
	if err := c.http(s); err != nil {
		return err
	}
	s.Line, s.Pickle, s.UDP = c.input(c.LineListen), c.input(c.PickleListen), c.input(c.UDPListen)
	secure, err := c.tls()
	if err != nil {
		return err
	}
	protocol := graphite.Pickle
	if c.CarbonProtocol == "line" {
		protocol = graphite.Line
	}
	s.Destination = flux.Destination{Carbon: &graphite.ClientConfig{
		Addrs: c.Carbon, Protocol: protocol, TLS: secure, Logger: s.Logger,
		ResendOnReconnect: time.Duration(c.ResendOnReconnect), MaxReplayAge: time.Duration(c.MaxReplayAge),
	}}
	if err := c.pipelineOptions.apply(s, blueflood.EndpointConfig{}); err != nil {
		return err
	}
	s.SelfMetrics.Prefix = string(c.SelfMetrics)
	if err := c.dedupOptions.apply(s); err != nil {
		return err
	}
	return c.populateOptions.apply(s)
}

// http puts the gateway in the setup.
func (c *serveCmd) http(s *setup) error {
	if c.MaxPoints <= 0 {
		return fmt.Errorf("--max-points %d must be at least 1", c.MaxPoints)
	}
	s.HTTP = &flux.HTTPConfig{
		Listen: c.Listen, NoGet: c.NoGet, MaxAge: c.MaxAge.orOff(), MaxFuture: c.MaxFuture.orOff(),
		MaxBody: int64(c.MaxBody), MaxPoints: c.MaxPoints,
	}
	if err := c.telegrafOptions.apply(s.HTTP); err != nil {
		return err
	}
	keys, err := c.keyOptions.apply(s.HTTP)
	if err != nil {
		return err
	}
	s.watch(keys)
	certificate, err := c.certificateOptions.apply(s.HTTP)
	s.watch(certificate)
	return err
}

// tls is the TLS configuration towards Carbon, nil for none.
func (c *serveCmd) tls() (*tls.Config, error) {
	if !c.CarbonTLS && c.CarbonCA+c.CarbonCert+c.CarbonKey == "" {
		return nil, nil
	}
	return tlsFiles{"--carbon-", c.CarbonCA, c.CarbonCert, c.CarbonKey}.config()
}
