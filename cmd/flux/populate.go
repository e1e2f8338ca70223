package main

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/fluxmetrics/fluxkit/flux"
	"github.com/fluxmetrics/fluxkit/flux/backfill"
	"github.com/fluxmetrics/fluxkit/graphite"
)

// populateOptions say whose history may be fetched, and how.
type populateOptions struct {
	PopulateAllow         []string `group:"populate" sep:"none" placeholder:"ORIGIN" help:"Let POST /flux/populate_metric have history fetched from ORIGIN, http://HOST[:PORT] or https://HOST[:PORT]; repeatable, in the file one a line. Keys need the right populate for it. A name may resolve to public and private addresses, not to loopback or link-local ones, unless its addresses are named: http://NAME=10.0.0.0/8,127.0.0.1/32. Without the option such requests are answered 403."`
	PopulateListen        string   `group:"populate" placeholder:"HOST:PORT" help:"Have that endpoint at an address of its own, and not at --listen."`
	PopulateCarbon        []string `group:"populate" placeholder:"HOST:PORT" help:"Deliver history to that Carbon, by pickle; repeatable, and then the first that answers is used. Default: --carbon, by its protocol. It has a connection of its own in any case."`
	PopulateRate          float64  `group:"populate" default:"10000" placeholder:"N" help:"Most points of history a second, of all jobs together; 0: no limit."`
	Render                string   `group:"populate" placeholder:"URL" help:"The Graphite that is filled, such as http://127.0.0.1:8080: it tells what is missing of a metric that has no mark, and when a new metric is there."`
	PopulateCreateWait    span     `group:"populate" default:"15m" placeholder:"TIME" help:"How long to wait until a new metric is seen in --render before its history follows its first point: Carbon drops the history of metrics that it cannot create yet."`
	PopulateVerify        bool     `group:"populate" help:"Count history as delivered once --render shows its values: of minutes that hold no live point and that an archive of a minute or finer keeps; where only coarser ones do, whose values are averages, once there is any value."`
	PopulateCurrentMinute string   `group:"populate" enum:"skip,keep" default:"skip" placeholder:"WHAT" help:"skip or keep the minute in which history was asked for, which is not complete."`
	SkylineKeys           bool     `group:"populate" help:"Write the keys vista.fetcher.unique_metrics and vista.last.resolution.METRIC, and a mark without a value for a metric that is null, as Skyline's Vista wants them. --dedup must be a Redis."`
}

// apply puts the options in the setup, once it has its destination and its store.
func (o populateOptions) apply(s *setup) error {
	allow := eachLine(o.PopulateAllow)
	if len(allow) == 0 {
		if o.PopulateListen != "" || len(o.PopulateCarbon) > 0 || o.PopulateVerify || o.SkylineKeys || o.Render != "" {
			return errors.New("--populate-allow is missing: no history is fetched without it, so that --render, --skyline-keys and the other --populate options do nothing")
		}
		return nil
	}
	for i, text := range allow {
		if _, err := backfill.ParseOrigin(text); err != nil {
			return fmt.Errorf("--populate-allow, number %d: %w", i+1, err)
		}
	}
	rate, err := pointRate("--populate-rate", o.PopulateRate)
	if err != nil {
		return err
	}
	if o.PopulateVerify && o.Render == "" {
		return errors.New("--populate-verify needs --render, the Graphite that is read back from")
	}
	s.Populate = &flux.PopulateConfig{
		Allow: allow, Listen: o.PopulateListen, Rate: rate, Render: o.Render, Verify: o.PopulateVerify,
		CreateWait: max(time.Duration(o.PopulateCreateWait), time.Millisecond), CurrentMinute: o.PopulateCurrentMinute == "keep", SkylineKeys: o.SkylineKeys,
	}
	if len(o.PopulateCarbon) > 0 {
		s.Populate.Carbon = &graphite.ClientConfig{Addrs: o.PopulateCarbon, Protocol: graphite.Pickle, TLS: s.Destination.Carbon.TLS, Logger: s.Logger}
	}
	return nil
}

// pointRate is points a second for a configuration in which 0 means its default.
func pointRate(option string, n float64) (float64, error) {
	switch {
	case !(n >= 0) || math.IsInf(n, 0):
		return 0, fmt.Errorf("%s %v is not a number of points a second, or 0 for no limit", option, n)
	case n == 0:
		return -1, nil
	}
	return n, nil
}
