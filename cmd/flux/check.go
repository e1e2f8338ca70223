package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/fluxmetrics/fluxkit/flux"
	"github.com/fluxmetrics/fluxkit/graphite"
)

// check reports what would keep cfg from running, as far as it shows without listening or writing: the one that runs
// now may have the addresses and the spool.
func check(cfg flux.Config, listenOptions map[string]string) error {
	for _, in := range listens(cfg) {
		if _, err := graphite.ParseListen(in.addr); err != nil && !slices.Contains([]string{"http", "populate", "status"}, in.name) {
			return fmt.Errorf("%s: %w", listenOptions[in.name], err)
		}
	}
	if info, err := os.Stat(cfg.SpoolDir); cfg.SpoolDir != "" && err == nil && !info.IsDir() {
		return fmt.Errorf("--spool %s is a file: name a directory", cfg.SpoolDir)
	}
	if info, err := os.Stat(cfg.DeadLetter); cfg.DeadLetter != "" && err == nil && info.IsDir() {
		return fmt.Errorf("--dead-letter %s is a directory: name a file", cfg.DeadLetter)
	}
	alone := cfg
	alone.Line, alone.Pickle, alone.UDP, alone.SpoolDir, alone.DeadLetter, alone.StatusListen = nil, nil, nil, "", "", ""
	if cfg.HTTP != nil {
		h := *cfg.HTTP
		h.Listen, alone.HTTP = "", &h
	}
	if cfg.Populate != nil {
		p := *cfg.Populate
		p.Listen, alone.Populate = "", &p
	}
	s, err := flux.New(alone)
	if err != nil {
		return err
	}
	return s.Close(context.Background())
}

type listen struct{ name, addr string }

// listens are the addresses that cfg listens on.
func listens(cfg flux.Config) (out []listen) {
	if cfg.HTTP != nil && cfg.HTTP.Listen != "" {
		out = append(out, listen{"http", cfg.HTTP.Listen})
	}
	if p := cfg.Populate; p != nil && p.Listen != "" {
		out = append(out, listen{"populate", p.Listen})
	}
	if cfg.StatusListen != "" {
		out = append(out, listen{"status", cfg.StatusListen})
	}
	for _, in := range []struct {
		name string
		*flux.CarbonInput
	}{{"line", cfg.Line}, {"pickle", cfg.Pickle}, {"udp", cfg.UDP}} {
		if in.CarbonInput != nil {
			out = append(out, listen{in.name, in.Listen})
		}
	}
	return out
}

// describe writes what a setup runs, without secrets.
func describe(w io.Writer, with *setup) {
	cfg := with.Config
	for _, in := range listens(cfg) {
		tls := ""
		if in.name == "http" && cfg.HTTP.TLS != nil {
			tls = " (HTTPS)"
		}
		fmt.Fprintf(w, "listen %-8s %s%s\n", in.name, in.addr, tls)
	}
	if cfg.HTTP != nil {
		fmt.Fprintf(w, "from   %s\n", describeAccess(cfg.HTTP))
	}
	if with.judges != "" {
		fmt.Fprintf(w, "judge  %s\n", with.judges)
	}
	for i, d := range append([]flux.Destination{cfg.Destination}, cfg.Also...) {
		what := ""
		if d.Carbon != nil {
			what = fmt.Sprintf("carbon %s by %s", strings.Join(d.Carbon.Addrs, ", "), d.Carbon.Protocol)
		} else {
			what = fmt.Sprintf("blueflood %s, tenant %s, time to live %v", redacted(d.Blueflood.URL), d.Blueflood.Tenant, d.Blueflood.TTL)
			if d.Blueflood.Auth != nil {
				what += fmt.Sprintf("\n        with tokens of %v", d.Blueflood.Auth)
			}
			for _, r := range d.Tenants {
				what += fmt.Sprintf("\n        names that match %s: tenant %s", r.Pattern, r.Tenant)
			}
		}
		fmt.Fprintf(w, "send   %s\n", what)
		if i > 0 && !d.Required {
			fmt.Fprintln(w, "        best effort: drops its oldest points when there is no room")
		}
	}
	if p := cfg.Populate; p != nil {
		fmt.Fprintf(w, "fetch  history, when asked for, from %s\n", strings.Join(p.Allow, ", "))
	}
	if cfg.SpoolDir != "" {
		fmt.Fprintf(w, "keep   in %s, at most %v a destination\n", cfg.SpoolDir, size(cfg.SpoolMax))
	} else {
		fmt.Fprintf(w, "keep   in memory, at most %v a destination: lost with the process\n", size(cfg.MemoryMax))
	}
	if cfg.DeadLetter != "" {
		fmt.Fprintf(w, "given up points: in %s, at most %v\n", cfg.DeadLetter, size(cfg.DeadLetterMax))
	}
	fmt.Fprintln(w, "the configuration can run")
}

// redacted is an address without its password.
func redacted(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "(not shown)"
	}
	return u.Redacted()
}
