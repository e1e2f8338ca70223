// Package internal_test keeps the project's table of which folder may import which.
package internal_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/fluxmetrics/fluxkit"

// room is what the packages below a folder may import.
type room struct {
	ours   []string // folders of ours, besides the room itself
	others []string // modules, counted with all that is linked
	any    bool     // of ours and of others
}

// ogRek is og-rek and what it links itself.
var ogRek = []string{"github.com/kisielk/og-rek", "github.com/aristanetworks/gomap", "golang.org/x/exp"}

var rooms = map[string]room{
	"pickle":    {others: ogRek},
	"resample":  {},
	"dedup":     {others: []string{"github.com/gomodule/redigo"}},
	"graphite":  {ours: []string{"pickle", "internal"}, others: ogRek},
	"blueflood": {ours: []string{"internal"}},
	"flux": {
		ours: []string{"pickle", "resample", "dedup", "graphite", "blueflood", "internal"},
		others: append([]string{
			"github.com/gomodule/redigo",
			"github.com/prometheus/client_golang", "github.com/prometheus/client_model", "github.com/prometheus/common",
			"github.com/prometheus/procfs", "github.com/beorn7/perks", "github.com/cespare/xxhash/v2",
			"github.com/munnerz/goautoneg", "google.golang.org/protobuf", "golang.org/x/sys", "github.com/klauspost/compress",
			"go.yaml.in/yaml/v2",
		}, ogRek...),
	},
	"internal": {ours: []string{"internal"}},
	"cmd":      {any: true},
	"examples": {any: true},
}

// topLevel is every folder that may stand in the project's root.
var topLevel = []string{
	"pickle", "resample", "dedup", "graphite", "blueflood", "flux", "cmd", "examples", "internal", ".ci", ".git",
}

type listed struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Deps       []string
	Module     *struct{ Path string }
}

func goList(t *testing.T, args ...string) []listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Standard,Imports,Deps,Module"}, args...)...)
	cmd.Dir = ".."
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all = append(all, p)
	}
}

// folder is the first element of a package's path within the module.
func folder(path string) string {
	rest, ok := strings.CutPrefix(path, module+"/")
	if !ok {
		return ""
	}
	first, _, _ := strings.Cut(rest, "/")
	return first
}

func TestImportTable(t *testing.T) {
	modules := map[string]string{}
	for _, p := range goList(t, "-deps", "./...") {
		if p.Module != nil {
			modules[p.ImportPath] = p.Module.Path
		}
	}
	for _, p := range goList(t, "./...") {
		at := folder(p.ImportPath)
		r, ok := rooms[at]
		require.True(t, ok, "%s stands in no room of the table", p.ImportPath)
		if r.any {
			continue
		}
		double := strings.HasSuffix(p.ImportPath, "test") // ships beside what it doubles, and may parse with og-rek
		for _, dep := range p.Deps {
			to := folder(dep)
			if to != "" && to != at {
				require.Contains(t, r.ours, to, "%s imports %s", p.ImportPath, dep)
			}
			if mod := modules[dep]; mod != "" && mod != module && !double {
				require.Contains(t, r.others, mod, "%s links %s", p.ImportPath, dep)
			}
		}
	}
}

func TestExamplesImportPublicPackagesAlone(t *testing.T) {
	for _, p := range goList(t, "./examples/...") {
		for _, imp := range p.Imports {
			require.False(t, strings.HasPrefix(imp, module+"/internal/"), "%s imports %s", p.ImportPath, imp)
		}
	}
}

func TestTopLevel(t *testing.T) {
	entries, err := os.ReadDir("..")
	require.NoError(t, err)
	for _, e := range entries {
		if !e.IsDir() { // somebody's keys.txt, say
			continue
		}
		require.Contains(t, topLevel, e.Name(), "stands in the project's root")
	}
}
