package rig

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Each runs once in a test binary, however many tests ask.
var (
	buildFlux = sync.OnceValues(func() (string, error) { return compile("./cmd/flux", "flux-under-test") })
	buildSink = sync.OnceValues(func() (string, error) { return compile("./internal/rig/sink", "sink") })
)

// BuildFlux builds cmd/flux, once in a test binary, and returns the program's
// path.
func BuildFlux(t testing.TB) string {
	t.Helper()
	path, err := buildFlux()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// StartFlux runs flux with the arguments and stops it when the test ends. It
// returns at once: give the listeners addresses of [FreeAddr] and wait for them
// with [Process.WaitListening]. The FLUX_ variables of the environment are not
// passed on; for some of one's own, [Start] with the path of [BuildFlux].
func StartFlux(t testing.TB, args ...string) *Process {
	t.Helper()
	return Start(t, Spec{Name: "flux", Path: BuildFlux(t), Args: args})
}

// compile builds a program of this module.
func compile(folder, name string) (string, error) {
	module, err := goTool("list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return "", err
	}
	dir, err := buildDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	if _, err := goTool("build", "-C", strings.TrimSpace(module), "-o", path, folder); err != nil {
		return "", err
	}
	return path, nil
}

// buildDir is the folder of the test binary if the go command made it, since
// the go command then removes it, or else a temporary folder.
func buildDir() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("rig: %w", err)
	}
	if dir := filepath.Dir(self); strings.Contains(dir, "go-build") {
		return dir, nil
	}
	dir, err := os.MkdirTemp("", "rig-flux-")
	if err != nil {
		return "", fmt.Errorf("rig: %w", err)
	}
	return dir, nil
}

// goTool runs the go command and returns what it wrote to stdout.
func goTool(args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("rig: go %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out), nil
}
