package rig

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// RelayOptions says where carbon-relay sends.
type RelayOptions struct {
	// Destinations are host:port. Every one gets every point. They need not
	// listen yet when the relay starts.
	Destinations []string

	// Protocol to the destinations: "pickle" or "line". Empty means pickle.
	Protocol string

	// Settings are further lines of the [relay] section, "KEY = value". They
	// win over the rig's.
	Settings []string
}

// Relay is a running relay of either kind.
type Relay struct {
	*Process
	Line   string // address of the line input
	Pickle string // address of the pickle input; empty for carbon-c-relay
}

// CarbonRelay starts carbon-relay (Debian package graphite-carbon), the
// reference sender of carbon's pickle protocol.
func CarbonRelay(t testing.TB, opts RelayOptions) *Relay {
	t.Helper()
	path := Tool(t, "/usr/bin/carbon-relay", "graphite-carbon")
	if len(opts.Destinations) == 0 {
		t.Fatalf("rig: RelayOptions.Destinations is empty")
	}
	if opts.Protocol == "" {
		opts.Protocol = "pickle"
	}
	dir := t.TempDir()
	r := &Relay{Line: FreeAddr(t), Pickle: FreeAddr(t)}
	// Carbon tells destinations on one host apart by an instance name.
	named := make([]string, len(opts.Destinations))
	for i, d := range opts.Destinations {
		named[i] = fmt.Sprintf("%s:%c", d, 'a'+i)
	}
	all := strings.Join(named, ", ")
	writeFile(t, dir, "relay-rules.conf", "[default]\ndefault = true\ndestinations = "+all+"\n")
	// carbon-relay wants the file, though it stores nothing.
	writeFile(t, dir, "storage-schemas.conf", "[all]\npattern = .*\nretentions = 60s:1d\n")
	lines := append(carbonPaths(dir),
		"RELAY_METHOD = rules",
		"DESTINATIONS = "+all,
		"DESTINATION_PROTOCOL = "+opts.Protocol,
		"MAX_QUEUE_SIZE = 1000000",
		"ENABLE_TAGS = False",
		"CARBON_METRIC_INTERVAL = 0",
	)
	lines = append(lines, carbonListen("LINE_RECEIVER", r.Line)...)
	lines = append(lines, carbonListen("PICKLE_RECEIVER", r.Pickle)...)
	config := writeFile(t, dir, "carbon.conf", carbonConfig("relay", lines, opts.Settings))
	r.Process = Start(t, Spec{
		Path:  path,
		Args:  []string{"--config=" + config, "--nodaemon", "start"},
		Ready: func(ctx context.Context) error { return dialAll(ctx, r.Line, r.Pickle) },
		// It never ends by itself while it holds points for a dead destination.
		StopWithin: 5 * time.Second,
		Remove:     []string{dir + "/carbon-relay-a.pid"},
	})
	return r
}
