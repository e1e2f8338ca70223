package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/flux/backfill"
	"github.com/fluxmetrics/fluxkit/graphite"
)

// backfillCmd fills a Graphite with history.
type backfillCmd struct {
	Target []string `arg:"" optional:"" placeholder:"METRIC" help:"What to fetch: of a Graphite the name of a metric, a glob such as 'servers.*.cpu', or a target with functions; of a Prometheus a selector or another expression. With --file: the metrics to take, all by default."`

	Graphite   string `group:"source" xor:"source" placeholder:"URL" help:"Fetch from that Graphite, such as http://old.example:8080. Users and passwords in the URL are refused."`
	Prometheus string `group:"source" xor:"source" placeholder:"URL" help:"Fetch from that Prometheus, such as http://prometheus.example:9090."`
	File       string `group:"source" xor:"source" placeholder:"FILE" help:"Read a file: lines of carbon, METRIC VALUE TIMESTAMP, or CSV if its name ends in .csv. CSV has a row of names first, of which one is timestamp, time, date or datetime; with the names metric and value each row is a point, otherwise each further column is a metric."`
	SkipBad    bool   `group:"source" help:"Leave lines of --file out that cannot be read, tell of them, and exit with 1 at the end. Default: send nothing then."`
	TimeZone   string `group:"source" default:"UTC" placeholder:"ZONE" help:"Zone of times in a CSV file that name none, such as Europe/Berlin."`
	Series     string `group:"source" placeholder:"NAME" help:"Of an answer with several series take that one, of a Prometheus as name{label=\"value\"} with sorted labels; * takes them all together."`

	From        string   `group:"period" placeholder:"TIME" help:"Where history begins: 90days (ago), Unix seconds, 2026-01-31, 2026-01-31T12:00:00Z. Times without a zone are UTC. Default: the longest of --resolutions, or all of --file."`
	Until       string   `group:"period" placeholder:"TIME" help:"Where it ends, likewise. Default: now."`
	Resolutions []string `group:"period" default:"90days,7days,24hours,6hours" placeholder:"TIME" help:"How far back each archive of the source reaches: history is fetched in slices that end there, so that each comes from the finest archive that has it."`

	As           string `group:"to" placeholder:"NAME" help:"Name here of what is fetched, if it is one metric. Default: as it is there."`
	Prefix       string `group:"to" placeholder:"PREFIX" help:"Put before every name here, with a dot."`
	Missing      string `group:"to" enum:"known,render,all" default:"known" placeholder:"WHAT" help:"known: send what is newer than the metric's mark in --dedup, which knows nothing of points that a gateway has accepted and not delivered yet, or without a mark than its newest datapoint in --render, and everything where neither knows; render: send what is null in --render; all: send everything."`
	IfBehind     bool   `group:"to" help:"Leave metrics alone whose newest datapoint is no older than --frequency and 5 minutes, by --dedup and --render."`
	Frequency    span   `group:"to" default:"1m" placeholder:"TIME" help:"How often metrics get a datapoint, for --if-behind."`
	Render       string `group:"to" placeholder:"URL" help:"The Graphite that is filled, such as http://127.0.0.1:8080: it tells what is missing, and when a new metric is there."`
	CreateWait   span   `group:"to" default:"15m" placeholder:"TIME" help:"How long to wait until a new metric is seen in --render before its history follows its first point."`
	Verify       bool   `group:"to" help:"Count history as delivered once --render shows its values: of minutes that hold no live point and that an archive of a minute or finer keeps; where only coarser ones do, whose values are averages, once there is any value."`
	MinuteAtHand string `group:"to" name:"current-minute" enum:"skip,keep" default:"skip" placeholder:"WHAT" help:"skip or keep the minute that is not complete."`

	Carbon         []string `group:"carbon" placeholder:"HOST:PORT" help:"The Carbon to deliver to, or unix:/path; repeatable, and then the first that answers is used."`
	CarbonProtocol string   `group:"carbon" enum:"pickle,line" default:"pickle" placeholder:"PROTO" help:"pickle (Carbon's port 2004) or line (its port 2003)."`
	CarbonTLS      bool     `group:"carbon" help:"Speak TLS to Carbon."`
	CarbonCA       string   `group:"carbon" placeholder:"FILE" help:"PEM file of the authorities that may have signed Carbon's certificate; the system's by default. Implies --carbon-tls."`
	CarbonCert     string   `group:"carbon" placeholder:"FILE" help:"PEM file of the certificate to show to Carbon. Implies --carbon-tls."`
	CarbonKey      string   `group:"carbon" placeholder:"FILE" help:"PEM file of that certificate's key."`
	Rate           float64  `group:"carbon" default:"10000" placeholder:"N" help:"Most points a second; 0: no limit."`

	marksOptions

	State  string `group:"general" placeholder:"DIR" help:"Directory that remembers how far it has come: when it is interrupted, the same command goes on there."`
	Jobs   int    `group:"general" default:"4" placeholder:"N" help:"Metrics that are worked on at a time."`
	GiveUp span   `group:"general" default:"1h" placeholder:"TIME" help:"Give a metric up that has failed for TIME."`
	DryRun bool   `group:"general" help:"Show what would be fetched, under which names, and end."`
}

func (c *backfillCmd) Help() string {
	return `Examples:

  flux backfill 'servers.*.cpu' --graphite http://old.example:8080 --carbon 127.0.0.1:2004 --state ./backfill
  flux backfill 'up{job="web"}' --prometheus http://prom.example:9090 --as prom.web.up --from 15d --carbon 127.0.0.1:2004
  flux backfill --file report.csv --prefix reports --carbon 127.0.0.1:2004

One value a minute is made of what is fetched, their mean. Marks in --dedup rise as history is delivered. The store has
marks alone: what a running gateway has accepted and not delivered yet is known to that gateway only. So history may be
written over such points, and a mark may rise past them. While a gateway with the same store takes points of the same
metrics, have their history fetched there: POST /flux/populate_metric.

A source that asks for a password needs a proxy before it that adds it: there is no option for that.`
}

// backfillPlan is what a run has checked and worked out before it begins.
type backfillPlan struct {
	now         time.Time
	from, until int64           // Unix milliseconds; what is at until is not fetched
	archives    []time.Duration // how far back those of the source reach
	source      historySource
	local       backfill.Local
	client      *http.Client
	marks       dedup.Store
	saveMarks   func() error
	ends        []func()
	left        leftOut
}

// leftOut is what was asked for and cannot be fetched.
type leftOut struct {
	n    int
	what string
	told []error // the first of them
}

// leave leaves out n of what.
func (p *backfillPlan) leave(n int, what string, why ...error) {
	if n == 0 {
		return
	}
	p.left.n, p.left.what = p.left.n+n, what
	p.left.told = append(p.left.told, why[:min(len(why), toldLines-len(p.left.told))]...)
}

// tell tells what is left out.
func (l leftOut) tell(w io.Writer) {
	for _, err := range l.told {
		fmt.Fprintln(w, err)
	}
	if more := l.n - len(l.told); more > 0 {
		fmt.Fprintf(w, "and %s more\n", counted(int64(more), l.what))
	}
}

func (p *backfillPlan) close() {
	for _, f := range p.ends {
		f()
	}
}

// Run fetches and delivers.
func (c *backfillCmd) Run(ctx *cmdContext) error {
	p := &backfillPlan{now: time.Now(), client: plainClient()}
	defer p.close()
	defer p.client.CloseIdleConnections()
	state, err := c.loadState()
	if err != nil {
		return err
	}
	if state != nil {
		p.now = state.Began
	}
	if err := c.prepare(p); err != nil {
		if _, ok := errors.AsType[*exitError](err); ok {
			return err
		}
		return &exitError{exitUsage, err}
	}
	if state == nil {
		state = &backfillState{Options: c.options(), Began: p.now}
		if state.Histories, err = p.source.list(ctx.ctx); err != nil {
			return err
		}
		if p.left.n > 0 {
			state.LeftOut = counted(int64(p.left.n), p.left.what)
		}
		if c.IfBehind {
			if err := c.keepBehind(ctx, p, state); err != nil {
				return err
			}
		}
		if err := c.saveState(state); err != nil {
			return err
		}
	} else if !c.DryRun {
		fmt.Fprintf(ctx.stderr, "going on with the run of %s\n", stamp(state.Began.UnixMilli()))
	}
	p.left.tell(ctx.stderr)
	if s, ok := p.source.(*fileSource); ok && s.outside > 0 {
		fmt.Fprintf(ctx.stderr, "%s of the file lie before %s, or not before %s, and are left out\n", counted(int64(s.outside), "point"), stamp(p.from), stamp(p.until))
	}
	run := &backfillRun{cmd: c, plan: p, state: state}
	if c.DryRun {
		return run.show(ctx)
	}
	return run.deliver(ctx)
}

// plainClient is an HTTP client that follows no redirect.
func plainClient() *http.Client {
	return &http.Client{
		Timeout:       30 * time.Second,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 4},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// prepare checks the options.
func (c *backfillCmd) prepare(p *backfillPlan) error {
	switch {
	case c.Graphite == "" && c.Prometheus == "" && c.File == "":
		return errors.New("where from is missing: give --graphite URL, --prometheus URL or --file FILE")
	case len(c.Carbon) == 0 && !c.DryRun:
		return errors.New("where to is missing: give --carbon HOST:PORT, or --dry-run")
	case c.Jobs <= 0 || c.Jobs > 64:
		return fmt.Errorf("--jobs %d must be from 1 to 64", c.Jobs)
	case c.GiveUp <= 0 || c.Frequency <= 0:
		return errors.New("--give-up and --frequency must be longer than 0")
	case c.Render == "" && (c.Verify || c.Missing == "render"):
		return errors.New("--verify and --missing render need --render, the Graphite that is filled")
	case c.IfBehind && c.Render == "" && c.Dedup+c.DedupFile == "":
		return errors.New("--if-behind needs --render or --dedup, to know what metrics have")
	}
	for option, address := range map[string]string{"--graphite": c.Graphite, "--prometheus": c.Prometheus, "--render": c.Render} {
		if u, err := url.Parse(address); address != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
			return fmt.Errorf("%s is not http://HOST[:PORT] or https://HOST[:PORT]", option)
		}
	}
	if c.Render != "" {
		p.local = &backfill.Render{BaseURL: c.Render, HTTPClient: p.client}
	}
	if err := c.period(p); err != nil {
		return err
	}
	p.saveMarks = func() error { return nil }
	if c.Dedup+c.DedupFile != "" {
		store, save, done, err := c.marksOptions.open()
		if err != nil {
			return err
		}
		p.marks, p.saveMarks, p.ends = store, save, append(p.ends, done)
	}
	return c.openSource(p)
}

// carbon is the client's configuration.
func (c *backfillCmd) carbon() (graphite.ClientConfig, error) {
	serve := serveCmd{CarbonTLS: c.CarbonTLS, CarbonCA: c.CarbonCA, CarbonCert: c.CarbonCert, CarbonKey: c.CarbonKey}
	secure, err := serve.tls()
	cfg := graphite.ClientConfig{Addrs: c.Carbon, Protocol: graphite.Pickle, TLS: secure}
	if c.CarbonProtocol == "line" {
		cfg.Protocol = graphite.Line
	}
	return cfg, err
}
