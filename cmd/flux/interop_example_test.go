//go:build interop

package main_test

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/rig"
)

// exampleListens are the options of examples/server that say where to listen.
var exampleListens = []string{
	"-http", "-line", "-pickle", "-forward-line", "-forward-pickle", "-render", "-blueflood", "-blueflood-query",
}

// module is the folder that holds go.mod.
const module = "../.."

func buildExample(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "server")
	output(t, "", "go", "build", "-C", module, "-o", path, "./examples/server")
	return path
}

func TestInteropExampleServer(t *testing.T) {
	t.Parallel()
	addrs := map[string]string{}
	var args []string
	for _, option := range exampleListens {
		addrs[option] = rig.FreeAddr(t)
		args = append(args, option, addrs[option])
	}
	path := buildExample(t)
	server := rig.Start(t, rig.Spec{Path: path, Args: args})
	server.WaitOutput("What arrives:")

	pasted := regexp.MustCompile(`(?m)^(curl|go run) .*$`).FindAllString(server.Output(), -1)
	require.Len(t, pasted, 12)
	var reads []string
	for _, line := range pasted {
		if strings.Contains(line, "/render?") || strings.Contains(line, "/views/") {
			reads = append(reads, line)
		}
		out := bash(t, line)
		if strings.HasPrefix(line, "curl ") {
			_, status := cutLast(out)
			require.Regexp(t, `^2\d\d$`, status, "%s\n%s", line, out)
		} else {
			require.Contains(t, out, "1 point sent to ")
		}
	}
	require.Len(t, reads, 2)

	requireShown(t, reads[0], map[string]string{
		"demo.get": `[1.5,`, "demo.post": `[2.5,`, "demo.many.a": `[3`, "demo.many.b": `[4`, "demo.lines": `[5`, "demo.line": `[5`,
	})
	requireShown(t, reads[1], map[string]string{"demo.started": `"numPoints"`})
	requireShown(t, strings.Replace(reads[1], "demo.started", "demo.pickle", 1), map[string]string{"demo.pickle": "6"})

	for _, option := range exampleListens {
		requireTaken(t, path, option, addrs[option])
	}
	server.Signal(syscall.SIGINT)
	require.Zero(t, server.Wait(patience), server.Output())
}

// bash runs a line as if it were pasted. It must succeed, and end by itself.
func bash(t *testing.T, line string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", line)
	cmd.Dir = module
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s\n%s", line, out)
	return string(out)
}

// requireShown pastes a line until it shows all of it.
func requireShown(t *testing.T, line string, want map[string]string) {
	t.Helper()
	rig.WaitFor(t, patience, "points read back", func() error {
		shown := bash(t, line)
		for metric, text := range want {
			if !strings.Contains(shown, text) || strings.Contains(line, "/render?") && !strings.Contains(shown, metric) {
				return fmt.Errorf("no %s with %s in %s", metric, text, shown)
			}
		}
		return nil
	})
}

// requireTaken starts the server once more, with one of its addresses taken.
func requireTaken(t *testing.T, path, option, addr string) {
	t.Helper()
	args := []string{option, addr}
	for _, other := range exampleListens {
		if other != option {
			args = append(args, other, "127.0.0.1:0")
		}
	}
	second := rig.Start(t, rig.Spec{Path: path, Args: args})
	require.Equal(t, 1, second.Wait(patience), second.Output())
	// The two of Blueflood are named together.
	require.Regexp(t, `If (\S+ or )?`+regexp.QuoteMeta(addr)+` `, second.Output())
	require.Regexp(t, `choose another with (\S+ or )?`+option+`[ ,]`, second.Output())
}
