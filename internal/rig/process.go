package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// readyWithin bounds the start of a server. A Python server on a busy
	// machine with few cores takes several seconds.
	readyWithin = 60 * time.Second
	// stopWithin bounds a server's end after SIGTERM. flux drains for up to
	// 30 s by default, so this is longer.
	stopWithin = 40 * time.Second
	// logTail is how much of each log is printed when the test failed.
	logTail = 16 << 10
)

// Spec says which program to run and how to tell that it works.
type Spec struct {
	Name string   // name in messages; empty means the base of Path
	Path string   // the program
	Args []string // its arguments, without the program's name
	Env  []string // "KEY=value", added to a cleaned copy of the environment
	Dir  string   // its working folder; empty means a temporary one

	// Ready is called again and again until it returns nil. Its context is
	// cancelled after 2 s. nil means ready at once.
	Ready func(ctx context.Context) error

	StopWithin time.Duration // from SIGTERM to SIGKILL; 0 means 40 s
	Remove     []string      // stale files, removed before each start
	Logs       []string      // globs of log files printed beside the output
}

// Process is a running program. It belongs to one test and is not safe for
// concurrent use, apart from Output and PID.
type Process struct {
	t      testing.TB
	spec   Spec
	output string // the file that takes stdout and stderr, over all starts

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed once cmd.Wait has returned
}

// Start runs the program, waits until it is ready and stops it when the test
// ends. It fails the test if the program ends or is not ready within 60 s.
func Start(t testing.TB, spec Spec) *Process {
	t.Helper()
	if spec.Name == "" {
		spec.Name = filepath.Base(spec.Path)
	}
	if spec.StopWithin == 0 {
		spec.StopWithin = stopWithin
	}
	dir := t.TempDir()
	if spec.Dir == "" {
		spec.Dir = dir
	}
	p := &Process{t: t, spec: spec, output: filepath.Join(dir, "output.log")}
	t.Cleanup(p.cleanup)
	p.launch()
	p.waitReady()
	return p
}

// PID is the process id of the program as last started.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Pid
}

// Output is what the program has written to stdout and stderr so far, all
// starts together.
func (p *Process) Output() string {
	b, err := os.ReadFile(p.output)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Sprintf("rig: reading the output of %s: %v", p.spec.Name, err)
	}
	return string(b)
}

// Running says whether the program has not ended yet.
func (p *Process) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Stop sends SIGTERM, waits for the end and returns the exit code, -1 if a
// signal ended the program. One that outlives Spec.StopWithin is killed and
// fails the test. After the program has ended Stop only returns the code.
func (p *Process) Stop() int {
	p.t.Helper()
	if !p.terminate() {
		p.t.Errorf("rig: %s did not end within %v after SIGTERM and was killed", p.spec.Name, p.spec.StopWithin)
	}
	return p.exitCode()
}

// Signal sends sig and does not wait. It does nothing once the program has
// ended.
func (p *Process) Signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.signal(sig); err != nil {
		p.t.Fatalf("rig: sending %v to %s: %v", sig, p.spec.Name, err)
	}
}

// Kill sends SIGKILL to the program and its children and waits for the end.
func (p *Process) Kill() {
	p.t.Helper()
	p.killGroup()
	<-p.done
}

// Wait waits until the program ends by itself and returns its exit code, -1 if
// a signal ended it. It fails the test when that takes longer.
func (p *Process) Wait(within time.Duration) int {
	p.t.Helper()
	if !p.ended(within) {
		p.t.Fatalf("rig: %s was still running after %v", p.spec.Name, within)
	}
	return p.exitCode()
}

// Restart stops the program if it runs, starts it anew with the same arguments,
// ports and files, and waits until it is ready.
func (p *Process) Restart() {
	p.t.Helper()
	if p.Running() {
		p.Stop()
	}
	p.launch()
	p.waitReady()
}

// WaitListening waits until something accepts TCP connections at every address.
// It fails the test if the program ends first or 60 s pass.
func (p *Process) WaitListening(addrs ...string) {
	p.t.Helper()
	p.await("listening at "+strings.Join(addrs, ", "), func(ctx context.Context) error {
		return dialAll(ctx, addrs...)
	})
}

// WaitOutput waits until the output contains text. It fails the test if the
// program ends without having written it or 60 s pass.
func (p *Process) WaitOutput(text string) {
	p.t.Helper()
	p.await(fmt.Sprintf("writing %q", text), func(context.Context) error {
		if !strings.Contains(p.Output(), text) {
			return errors.New("not written yet")
		}
		return nil
	})
}

func (p *Process) launch() {
	p.t.Helper()
	for _, f := range p.spec.Remove {
		if err := os.RemoveAll(f); err != nil {
			p.t.Fatalf("rig: removing a stale file of %s: %v", p.spec.Name, err)
		}
	}
	out, err := os.OpenFile(p.output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatalf("rig: opening the log of %s: %v", p.spec.Name, err)
	}
	defer out.Close()

	cmd := exec.Command(p.spec.Path, p.spec.Args...)
	cmd.Dir = p.spec.Dir
	cmd.Env = append(cleanEnv(os.Environ()), p.spec.Env...)
	cmd.Stdout, cmd.Stderr = out, out // a file: Wait then waits for no child
	cmd.SysProcAttr = processAttr()
	if err := cmd.Start(); err != nil {
		p.t.Fatalf("rig: starting %s: %v", p.spec.Name, err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		cmd.Wait() // its result is in cmd.ProcessState
	}()
	p.mu.Lock()
	p.cmd, p.done = cmd, done
	p.mu.Unlock()
}

func (p *Process) waitReady() {
	p.t.Helper()
	if p.spec.Ready != nil {
		p.await("ready", p.spec.Ready)
	}
}

// await polls check until it returns nil, the program ends or the time is over.
func (p *Process) await(what string, check func(ctx context.Context) error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), readyWithin)
	defer cancel()
	done := p.done
	go func() { // ends with ctx
		select {
		case <-done:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := poll(ctx, check)
	if err == nil {
		return
	}
	if !p.Running() {
		// What it did last counts, although it has ended since.
		last, cancel := context.WithTimeout(context.Background(), pollOnce)
		defer cancel()
		if check(last) == nil {
			return
		}
		p.t.Fatalf("rig: %s ended (exit code %d) before it was %s", p.spec.Name, p.exitCode(), what)
	}
	p.t.Fatalf("rig: %s was not %s within %v: %v", p.spec.Name, what, readyWithin, err)
}

// terminate says whether the program ended without SIGKILL.
func (p *Process) terminate() bool {
	p.signal(syscall.SIGTERM)
	p.resume() // a paused program cannot act on SIGTERM
	if p.ended(p.spec.StopWithin) {
		return true
	}
	p.killGroup()
	<-p.done
	return false
}

func (p *Process) ended(within time.Duration) bool {
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.done:
		return true
	case <-timer.C:
		return false
	}
}

func (p *Process) signal(sig os.Signal) error {
	err := p.cmd.Process.Signal(sig)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// exitCode is meaningful once done is closed.
func (p *Process) exitCode() int { return p.cmd.ProcessState.ExitCode() }

// cleanup ends the program and, if the test failed, prints its logs.
func (p *Process) cleanup() {
	if p.cmd == nil {
		return // it never started
	}
	state := "was stopped by the rig"
	if !p.Running() {
		state = "had ended before: " + p.cmd.ProcessState.String()
	} else if !p.terminate() {
		state = fmt.Sprintf("did not end within %v after SIGTERM and was killed", p.spec.StopWithin)
	}
	if !p.t.Failed() {
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "rig: %s %s\n$ %s %s\n%s", p.spec.Name, state, p.spec.Path, strings.Join(p.spec.Args, " "), tail(p.output))
	for _, glob := range p.spec.Logs {
		files, _ := filepath.Glob(glob)
		for _, f := range files {
			fmt.Fprintf(&b, "\n-- %s\n%s", filepath.Base(f), tail(f))
		}
	}
	p.t.Log(b.String())
}

// tail is the end of a file, as text.
func tail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	prefix := ""
	if info, err := f.Stat(); err == nil && info.Size() > logTail {
		prefix = fmt.Sprintf("(the last %d of %d bytes)\n", logTail, info.Size())
		if _, err := f.Seek(-logTail, io.SeekEnd); err != nil {
			return err.Error()
		}
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return err.Error()
	}
	return prefix + string(b)
}

// cleanEnv leaves out what would make the same program behave differently on
// another machine: Python's search paths, settings of Graphite and of flux.
func cleanEnv(env []string) []string {
	var kept []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		switch {
		case strings.HasPrefix(name, "PYTHON"), strings.HasPrefix(name, "DJANGO_"),
			strings.HasPrefix(name, "GRAPHITE_"), strings.HasPrefix(name, "GUNICORN_"),
			strings.HasPrefix(name, "FLUX_"), name == "VIRTUAL_ENV", name == "TZ":
		default:
			kept = append(kept, kv)
		}
	}
	return append(kept, "TZ=UTC", "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1")
}
