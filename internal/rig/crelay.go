package rig

import (
	"context"
	"strings"
	"testing"
)

// CarbonCRelay starts carbon-c-relay (Debian package carbon-c-relay). It takes
// the line protocol and sends every line to every destination, host:port. It
// adds no metrics of its own. Its queue holds a million lines: a full one drops.
func CarbonCRelay(t testing.TB, destinations ...string) *Relay {
	t.Helper()
	path := Tool(t, "/usr/bin/carbon-c-relay", "carbon-c-relay")
	if len(destinations) == 0 {
		t.Fatalf("rig: carbon-c-relay needs a destination")
	}
	r := &Relay{Line: FreeAddr(t)}
	config := writeFile(t, t.TempDir(), "relay.conf", "listen type linemode "+r.Line+" proto tcp;\n"+
		"cluster out forward "+strings.Join(destinations, " ")+";\n"+
		"match * send to out stop;\n")
	r.Process = Start(t, Spec{
		Path:  path,
		Args:  []string{"-s", "-w", "1", "-q", "1000000", "-f", config},
		Ready: func(ctx context.Context) error { return dialAll(ctx, r.Line) },
	})
	return r
}
