package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/internal/deadletter"
)

const targetMemory = 64 << 20 // half of it must hold what is sent at once

// targetOptions say where a replay goes.
type targetOptions struct {
	Carbon         []string `group:"carbon" placeholder:"HOST:PORT" help:"Deliver to that Carbon, or unix:/path; repeatable, and then the first that answers is used."`
	CarbonProtocol string   `group:"carbon" enum:"pickle,line" default:"pickle" placeholder:"PROTO" help:"pickle (Carbon's port 2004) or line (its port 2003)."`
	CarbonTLS      bool     `group:"carbon" help:"Speak TLS to Carbon."`
	CarbonCA       string   `group:"carbon" placeholder:"FILE" help:"PEM file of the authorities that may have signed Carbon's certificate; the system's by default. Implies --carbon-tls."`
	CarbonCert     string   `group:"carbon" placeholder:"FILE" help:"PEM file of the certificate to show to Carbon. Implies --carbon-tls."`
	CarbonKey      string   `group:"carbon" placeholder:"FILE" help:"PEM file of that certificate's key."`

	Blueflood string `group:"blueflood" short:"b" placeholder:"URL" help:"Deliver to that Blueflood; /v2.0/TENANT/ingest is appended. http://USER@HOST:PORT with --blueflood-password-file is for a proxy that wants basic authentication."`

	BluefloodPasswordFile string `group:"blueflood" placeholder:"FILE" help:"File whose first line is the password of the user in --blueflood."`

	Tenant string `group:"blueflood" short:"t" placeholder:"TENANT" help:"Tenant to write to. Default: the one that a dead-letter file names with the point."`
	Prefix string `group:"blueflood" name:"metric-prefix" short:"p" placeholder:"PREFIX" help:"Put before every metric's name, with a dot: what is kept here has none."`
	TTL    int64  `group:"blueflood" name:"ttl" default:"86400" placeholder:"SECONDS" help:"How long Blueflood keeps a point that names no time of its own, in seconds, at most 630720000."`
	Limit  int    `group:"blueflood" default:"1048576" placeholder:"BYTES" help:"Longest request body in bytes, before compression; 0 means 1048576, the most that Blueflood takes."`
	Gzip   bool   `group:"blueflood" help:"Compress request bodies."`

	keystoneOptions
}

// target is where points go. A settler hears of each, from goroutines of the target's.
type target struct {
	name  string
	key   func(p *deadletter.Entry) pointKey
	send  func(ctx context.Context, points []deadletter.Entry) error // keeps them, in memory
	flush func(ctx context.Context) error                            // until each was settled
	close func(ctx context.Context)                                  // no settling once it has returned
	why   func() string                                              // the trouble at present
}

// settler hears what became of a point. Without a reason it was delivered.
type settler func(point pointKey, reason, detail string)

func (o *targetOptions) check() error {
	switch {
	case len(o.Carbon) > 0 && o.Blueflood != "":
		return errors.New("--carbon and --blueflood are both given: deliver to one after the other, with --keep first")
	case len(o.Carbon) == 0 && o.Blueflood == "":
		return errors.New("where to is missing: give --carbon HOST:PORT, or --blueflood URL with --tenant TENANT")
	case o.Tenant != "" && o.Blueflood == "":
		return errors.New("--tenant is for --blueflood")
	case o.TTL <= 0 || o.TTL > int64(blueflood.MaxTTL/time.Second):
		return fmt.Errorf("--ttl %d must be from 1 to %d seconds", o.TTL, int64(blueflood.MaxTTL/time.Second))
	}
	return nil
}

// open starts the client. What is wrong with the options is an error of its own.
func (o *targetOptions) open(log *slog.Logger, settle settler) (*target, error) {
	if len(o.Carbon) > 0 {
		return o.openCarbon(log, settle)
	}
	return o.openBlueflood(log, settle)
}

func (o *targetOptions) openCarbon(log *slog.Logger, settle settler) (*target, error) {
	serve := serveCmd{CarbonTLS: o.CarbonTLS, CarbonCA: o.CarbonCA, CarbonCert: o.CarbonCert, CarbonKey: o.CarbonKey}
	secure, err := serve.tls()
	if err != nil {
		return nil, err
	}
	protocol := graphite.Pickle
	if o.CarbonProtocol == "line" {
		protocol = graphite.Line
	}
	c, err := graphite.NewClient(graphite.ClientConfig{
		Addrs: o.Carbon, Protocol: protocol, TLS: secure, MemoryMax: targetMemory, Logger: log,
		Delivered: func(pts []graphite.Point, _ []byte) {
			for i := range pts {
				settle(carbonKey(&pts[i]), "", "")
			}
		},
		Failed: func(pts []graphite.Point, _ []byte, why []graphite.Failure) error {
			for i := range pts {
				settle(carbonKey(&pts[i]), cmp.Or(why[i].Reason, "refused"), why[i].Detail)
			}
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	var pts []graphite.Point
	return &target{
		name: "carbon " + o.Carbon[0],
		key: func(p *deadletter.Entry) pointKey {
			return carbonKey(&graphite.Point{Name: p.Name, Timestamp: p.Timestamp, Value: p.Value})
		},
		send: func(ctx context.Context, points []deadletter.Entry) error {
			pts = pts[:0]
			for i := range points {
				pts = append(pts, graphite.Point{Name: points[i].Name, Timestamp: points[i].Timestamp, Value: points[i].Value})
			}
			return c.Send(ctx, pts)
		},
		flush: c.Flush,
		close: func(ctx context.Context) { _ = c.Close(ctx) }, // whoever closes knows what is not settled
		why:   func() string { return c.Stats().LastError },
	}, nil
}

func carbonKey(p *graphite.Point) pointKey {
	return pointKey{name: string(p.Name), timestamp: p.Timestamp, value: valueBits(p.Value)}
}

// bluefloodTarget has an endpoint for each tenant.
type bluefloodTarget struct {
	settle settler
	cfg    blueflood.EndpointConfig
	tenant string // of all points; empty: each has its own
	ends   map[string]*blueflood.Endpoint
	batch  map[string][]blueflood.Metric
}

func (o *targetOptions) openBlueflood(log *slog.Logger, settle settler) (*target, error) {
	address, err := withPassword(o.Blueflood, "--blueflood", "--blueflood-password-file", o.BluefloodPasswordFile)
	if err != nil {
		return nil, err
	}
	auth, err := o.auth(log)
	if err != nil {
		return nil, err
	}
	t := &bluefloodTarget{settle: settle, tenant: o.Tenant, ends: map[string]*blueflood.Endpoint{}, batch: map[string][]blueflood.Metric{}}
	t.cfg = blueflood.EndpointConfig{
		URL: address, Prefix: o.Prefix, TTL: time.Duration(o.TTL) * time.Second, Limit: o.Limit, Gzip: o.Gzip,
		Auth: auth, MemoryMax: targetMemory, Logger: log,
	}
	// An endpoint that is not used tells now what is wrong with the options.
	if _, err := t.endpoint(cmp.Or(o.Tenant, "tenant")); err != nil {
		closeAuth(auth)
		return nil, err
	}
	if o.Tenant == "" {
		t.close(context.Background())
		clear(t.ends)
	}
	return &target{
		name: "blueflood " + shownURL(o.Blueflood),
		key: func(p *deadletter.Entry) pointKey {
			m := metricOf(p)
			return metricKey(cmp.Or(t.tenant, p.Tenant), &m)
		},
		send: t.send, flush: t.flush, why: t.why,
		close: func(ctx context.Context) {
			t.close(ctx)
			closeAuth(auth)
		},
	}, nil
}

func metricOf(p *deadletter.Entry) blueflood.Metric {
	return blueflood.Metric{Name: p.Name, Timestamp: p.Timestamp, Value: p.Value, TTL: p.TTL, Unit: p.Unit}
}

func metricKey(tenant string, m *blueflood.Metric) pointKey {
	return pointKey{tenant, string(m.Name), m.Timestamp, valueBits(m.Value), m.TTL, m.Unit}
}

// shownURL is a URL without its password.
func shownURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Redacted()
}

func (t *bluefloodTarget) endpoint(tenant string) (*blueflood.Endpoint, error) {
	if e := t.ends[tenant]; e != nil {
		return e, nil
	}
	cfg := t.cfg
	cfg.Tenant = tenant
	cfg.Delivered = func(ms []blueflood.Metric) {
		for i := range ms {
			t.settle(metricKey(tenant, &ms[i]), "", "")
		}
	}
	cfg.Failed = func(ms []blueflood.Metric, why []blueflood.Failure) error {
		for i := range ms {
			t.settle(metricKey(tenant, &ms[i]), cmp.Or(why[i].Reason, "refused"), why[i].Detail)
		}
		return nil
	}
	e, err := blueflood.NewEndpoint(cfg)
	if err == nil {
		t.ends[tenant] = e
	}
	return e, err
}

func (t *bluefloodTarget) send(ctx context.Context, points []deadletter.Entry) error {
	clear(t.batch)
	for i := range points {
		p := &points[i]
		tenant := cmp.Or(t.tenant, p.Tenant)
		t.batch[tenant] = append(t.batch[tenant], metricOf(p))
	}
	for tenant, ms := range t.batch {
		e, err := t.endpoint(tenant)
		if err == nil {
			err = e.Send(ctx, ms)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// flush flushes all at once: none waits for a tenant that is not served.
func (t *bluefloodTarget) flush(ctx context.Context) error {
	flushed := make(chan error)
	for _, e := range t.ends {
		go func() { flushed <- e.Flush(ctx) }()
	}
	var err error
	for range t.ends {
		err = cmp.Or(err, <-flushed)
	}
	return err
}

func (t *bluefloodTarget) close(ctx context.Context) {
	for _, e := range t.ends {
		_ = e.Close(ctx) // whoever closes knows what is not settled
	}
}

func (t *bluefloodTarget) why() string {
	for _, e := range t.ends {
		if s := e.Stats().LastError; s != "" {
			return s
		}
	}
	return ""
}
