package main

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/flux"
)

// forwardCmd has the options of blueflood-carbon-forwarder, and their meaning.
type forwardCmd struct {
	Endpoint string `group:"inputs" short:"e" default:"tcp:2004:interface=127.0.0.1" placeholder:"ENDPOINT" help:"Where to listen, as a Twisted endpoint: tcp:2004:interface=127.0.0.1, unix:/path; HOST:PORT will do. Without interface it listens on all addresses. Empty: at the addresses below alone."`
	Protocol string `group:"inputs" enum:"MetricPickleReceiver,MetricLineReceiver" default:"MetricPickleReceiver" placeholder:"PROTO" help:"What comes in at --endpoint: MetricPickleReceiver or MetricLineReceiver."`

	inputOptions

	OverwriteCollectionTimestamp bool `group:"inputs" help:"Replace each point's timestamp by the time at which it was read."`

	Blueflood string `group:"blueflood" short:"b" default:"http://localhost:19000" placeholder:"URL" help:"Base address of Blueflood; /v2.0/TENANT/ingest is appended. http://USER@HOST:PORT with --blueflood-password-file is for a proxy that wants basic authentication."`

	BluefloodPasswordFile string `group:"blueflood" placeholder:"FILE" help:"File whose first line is the password of the user in --blueflood, so that it is not on the command line."`

	Tenant      string   `group:"blueflood" short:"t" required:"" placeholder:"TENANT" help:"Tenant to write to. Required."`
	TenantRule  []string `group:"blueflood" sep:"none" placeholder:"REGEX=TENANT" help:"Write metrics whose name REGEX (RE2) matches somewhere to TENANT instead; what stands behind the last = is the tenant. Repeatable, in the file one a line: the first rule that matches decides."`
	Prefix      string   `group:"blueflood" name:"metric-prefix" short:"p" placeholder:"PREFIX" help:"Put before every metric's name, with a dot."`
	TTL         int64    `group:"blueflood" name:"ttl" default:"86400" placeholder:"SECONDS" help:"How long Blueflood keeps a point, in seconds, at most 630720000."`
	Interval    span     `group:"blueflood" short:"i" default:"30" placeholder:"SECONDS" help:"Longest wait of points for a full request, in seconds; fractions are allowed. Full requests go at once."`
	Limit       int      `group:"blueflood" default:"1048576" placeholder:"BYTES" help:"Longest request body in bytes, before compression; 0 means 1048576, the most that Blueflood takes."`
	Gzip        bool     `group:"blueflood" help:"Compress request bodies."`
	PastLimit   span     `group:"blueflood" placeholder:"AGE" help:"Give up points older than AGE before they are sent, in seconds or as 90s, 5m, 72h. Default: Blueflood judges."`
	FutureLimit span     `group:"blueflood" placeholder:"TIME" help:"Give up points further ahead of now than TIME, likewise. Default: Blueflood judges."`

	keystoneOptions

	Dedup string `group:"dedup" default:"off" placeholder:"STORE" help:"Discard repeated and late points by the newest delivered timestamp of each metric, kept in memory, redis://… or unix:///path; off by default, since Blueflood needs no order."`

	redisOptions

	pipelineOptions
	runOptions
}

func (c *forwardCmd) Help() string {
	return `The options are those of blueflood-carbon-forwarder, which may be cut short as there (--over); its INI file
with the section [blueflood_carbon_forwarder] is read by --config. Unlike there, the command line comes before the file.

  flux forward --tenant 123 --blueflood http://blueflood.example:19000 --spool /var/spool/flux`
}

// Run forwards until it is told to stop.
func (c *forwardCmd) Run(ctx *cmdContext) error {
	options := map[string]string{"line": "--line-listen", "pickle": "--pickle-listen", "udp": "--udp-listen"}
	if c.Endpoint != "" {
		options[c.received()] = "--endpoint"
	}
	return c.run(ctx, c.config, options)
}

// received is the input that --endpoint is.
func (c *forwardCmd) received() string {
	if c.Protocol == "MetricLineReceiver" {
		return "line"
	}
	return "pickle"
}

// config turns the options into a setup.
func (c *forwardCmd) config(s *setup) error {
	if c.Interval <= 0 {
		return fmt.Errorf("--interval must be more than 0 seconds, such as 30 or 0.5")
	}
	if c.TTL <= 0 || c.TTL > int64(blueflood.MaxTTL/time.Second) {
		return fmt.Errorf("--ttl %d must be from 1 to %d seconds", c.TTL, int64(blueflood.MaxTTL/time.Second))
	}
	if err := c.inputs(&s.Config); err != nil {
		return err
	}
	rules, err := tenantRules(c.TenantRule)
	if err != nil {
		return err
	}
	base := blueflood.EndpointConfig{
		Interval: time.Duration(c.Interval), Limit: c.Limit, Gzip: c.Gzip,
		PastLimit: time.Duration(c.PastLimit), FutureLimit: time.Duration(c.FutureLimit), Logger: s.Logger,
	}
	first := base
	first.Tenant, first.Prefix, first.TTL = c.Tenant, c.Prefix, time.Duration(c.TTL)*time.Second
	s.Destination = flux.Destination{Blueflood: &first, Tenants: rules}
	if first.URL, err = withPassword(c.Blueflood, "--blueflood", "--blueflood-password-file", c.BluefloodPasswordFile); err != nil {
		return err
	}
	if err := c.apply(s, base); err != nil {
		return err
	}
	marks := storeOptions{redisOptions: c.redisOptions}
	store, closeStore, err := marks.openStore(c.Dedup, &dedup.Memory{})
	if err != nil {
		return err
	}
	s.atEnd(closeStore)
	s.Dedup = flux.DedupConfig{Off: store == nil, Store: store, AllInputs: true}
	if store != nil {
		s.judges = "points of all inputs by marks in " + marks.describe(c.Dedup)
	}
	if first.Auth, err = c.auth(s.Logger); err != nil {
		return err
	}
	if k, ok := first.Auth.(*blueflood.Keystone); ok {
		s.atEnd(k.Close)
	}
	return nil
}

// inputs puts every address to listen on in cfg.
func (c *forwardCmd) inputs(cfg *flux.Config) error {
	line, pickle := &c.inputOptions.LineListen, &c.inputOptions.PickleListen
	addr, option, what := pickle, "--pickle-listen", "pickles"
	if c.received() == "line" {
		addr, option, what = line, "--line-listen", "lines"
	}
	if c.Endpoint != "" && *addr != "" {
		return fmt.Errorf("--endpoint %s and %s would both take %s, and one address can: leave %s out, write --endpoint= to listen there alone, or choose the other --protocol",
			c.Endpoint, option, what, option)
	}
	listen := map[*string]string{line: *line, pickle: *pickle}
	listen[addr] = cmp.Or(*addr, c.Endpoint)
	cfg.Line, cfg.Pickle, cfg.UDP = c.input(listen[line]), c.input(listen[pickle]), c.input(c.UDPListen)
	inputs := 0
	for _, in := range []*flux.CarbonInput{cfg.Line, cfg.Pickle, cfg.UDP} {
		if in != nil {
			in.OverwriteTimestamps = c.OverwriteCollectionTimestamp
			inputs++
		}
	}
	if inputs == 0 {
		return fmt.Errorf("--endpoint is empty: name an address to listen on, such as tcp:2004:interface=127.0.0.1")
	}
	return nil
}

// tenantRules reads REGEX=TENANT. A metric's name may hold a =, a tenant hardly does: the last one divides.
func tenantRules(values []string) ([]flux.TenantRule, error) {
	var rules []flux.TenantRule
	for _, text := range eachLine(values) {
		i := strings.LastIndexByte(text, '=')
		if i < 1 || i == len(text)-1 {
			return nil, fmt.Errorf("--tenant-rule %q is not REGEX=TENANT, such as ^web\\.=shop", text)
		}
		if _, err := regexp.Compile(text[:i]); err != nil {
			return nil, fmt.Errorf("--tenant-rule %q: what stands before the last = is no regular expression: %w", text, err)
		}
		rules = append(rules, flux.TenantRule{Pattern: text[:i], Tenant: text[i+1:]})
	}
	return rules, nil
}
