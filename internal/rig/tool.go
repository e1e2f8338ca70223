package rig

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Tool finds a program: where Debian puts it, or else on the PATH. The test
// fails if it is missing, with the package to install.
func Tool(t testing.TB, path, debianPackage string) string {
	t.Helper()
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		return path
	}
	name := filepath.Base(path)
	found, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("rig: %s is missing: install the Debian package %s (apt-get install %s)", name, debianPackage, debianPackage)
	}
	return found
}

// writeFile writes a configuration file and returns its path.
func writeFile(t testing.TB, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatalf("rig: writing %s: %v", name, err)
	}
	return path
}

// makeDir creates a folder and returns its path.
func makeDir(t testing.TB, elem ...string) string {
	t.Helper()
	path := filepath.Join(elem...)
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatalf("rig: creating a folder: %v", err)
	}
	return path
}
