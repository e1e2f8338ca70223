package main

import (
	"fmt"
	"strings"

	"github.com/fluxmetrics/fluxkit/blueflood"
)

// pipelineOptions say how pending points are kept, and where else they go.
type pipelineOptions struct {
	Spool         string   `group:"pipeline" placeholder:"DIR" help:"Directory that keeps pending points, so that they outlive this process, its kill and a power cut; made where it is missing. Without it they are kept in memory, and lost with the process."`
	SpoolMax      size     `group:"pipeline" default:"8GiB" placeholder:"SIZE" help:"Most that each destination's files in --spool may take, in bytes or as 64KiB, 512MiB, 8GiB."`
	MemoryMax     size     `group:"pipeline" default:"16MiB" placeholder:"SIZE" help:"Most that each destination's pending points may take in memory, likewise."`
	DeadLetter    string   `group:"pipeline" placeholder:"FILE" help:"Append points that a destination gave up to FILE, with the reason, a JSON object a line. Without it they are counted, and logged once a second a reason."`
	DeadLetterMax size     `group:"pipeline" default:"64MiB" placeholder:"SIZE" help:"Most that --dead-letter may take, likewise. The oldest points in it are dropped first, and counted."`
	Also          []string `group:"pipeline" sep:"none" placeholder:"URL" help:"Give every point to a further destination too: pickle://HOST:PORT or line://HOST:PORT for Carbon, with TLS pickle+tls:// or line+tls://, blueflood+http://HOST:PORT/TENANT (or +https) for Blueflood; repeatable, in the file one a line. When it is down its oldest points are dropped once there is no room; with ?required it pushes back as the first one does. ?name=NAME names it. For TLS &ca=FILE, &cert=FILE and &key=FILE are as --carbon-ca and so on of flux serve. For Blueflood there are &ttl=SECONDS (86400), &prefix=PREFIX, &password_file=FILE with the password of a user before the @ of the URL, and, for a Keystone, &user=USER, &key_file=FILE and &auth_url=URL, as --user, --key-file and --auth-url of flux forward."`
}

// apply puts the options in the setup. base has what a further Blueflood shares with the first one.
func (o pipelineOptions) apply(s *setup, base blueflood.EndpointConfig) error {
	cfg := &s.Config
	cfg.SpoolDir, cfg.SpoolMax, cfg.MemoryMax = o.Spool, int64(o.SpoolMax), int64(o.MemoryMax)
	cfg.DeadLetter, cfg.DeadLetterMax = o.DeadLetter, int64(o.DeadLetterMax)
	base.Logger = cfg.Logger
	for i, text := range eachLine(o.Also) {
		d, err := parseAlso(text, base)
		if err != nil {
			return fmt.Errorf("--also, number %d: %w", i+1, err)
		}
		if d.Carbon != nil {
			d.Carbon.Logger = cfg.Logger
		} else if auth := d.Blueflood.Auth; auth != nil {
			s.atEnd(func() { closeAuth(auth) })
		}
		cfg.Also = append(cfg.Also, d)
	}
	return nil
}

// eachLine returns the values of a repeatable option, of which the file and the environment have one a line.
func eachLine(values []string) []string {
	var out []string
	for _, v := range values {
		for line := range strings.Lines(v) {
			if line = strings.TrimSpace(line); line != "" {
				out = append(out, line)
			}
		}
	}
	return out
}
