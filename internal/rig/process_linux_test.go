package rig

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// helperEnv makes this test binary act as the program under the rig.
const helperEnv = "RIG_HELPER"

func TestMain(m *testing.M) {
	switch os.Getenv(helperEnv) {
	case "":
		os.Exit(m.Run())
	case "serve":
		serve(os.Args[1])
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ignoring SIGTERM")
		select {}
	case "exit":
		fmt.Println("cannot go on")
		code, _ := strconv.Atoi(os.Args[1])
		os.Exit(code)
	case "environment":
		fmt.Printf("FLUX_SERVE_KEY=%q OWN=%q\n", os.Getenv("FLUX_SERVE_KEY"), os.Getenv("OWN"))
	}
}

// serve listens until SIGTERM and then exits with 3.
func serve(addr string) {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	l, err := net.Listen("tcp", addr)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("listening, pid", os.Getpid())
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	<-term
	os.Exit(3)
}

func helper(t testing.TB, mode string, args ...string) Spec {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	return Spec{Name: "helper", Path: self, Args: args, Env: []string{helperEnv + "=" + mode}}
}

func TestProcessStopsAndRestarts(t *testing.T) {
	addr := FreeAddr(t)
	spec := helper(t, "serve", addr)
	spec.Ready = func(ctx context.Context) error { return dialAll(ctx, addr) }
	p := Start(t, spec)
	require.True(t, p.Running())
	require.Contains(t, p.Output(), fmt.Sprintf("pid %d\n", p.PID()))

	require.Equal(t, 3, p.Stop())
	require.False(t, p.Running())
	require.Equal(t, 3, p.Stop(), "a second Stop only tells the code")
	require.Equal(t, 3, p.Wait(time.Minute))

	first := p.PID()
	p.Restart()
	require.NotEqual(t, first, p.PID())
	p.WaitListening(addr)
	p.Restart()
	p.Kill()
	require.Equal(t, -1, p.Wait(time.Minute))
	p.Signal(syscall.SIGHUP) // nobody is there
	_, err := net.Dial("tcp", addr)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}

func TestProcessIsGoneAfterTheTest(t *testing.T) {
	var pid int
	t.Run("test", func(t *testing.T) {
		addr := FreeAddr(t)
		p := Start(t, helper(t, "serve", addr))
		p.WaitListening(addr)
		pid = p.PID()
		require.NoError(t, syscall.Kill(pid, 0))
	})
	require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
}

func TestProcessThatIgnoresTermIsKilled(t *testing.T) {
	var pid int
	got := record(t, func(t *recorder) {
		spec := helper(t, "stubborn")
		spec.StopWithin = 50 * time.Millisecond
		p := Start(t, spec)
		p.WaitOutput("ignoring SIGTERM")
		pid = p.PID()
		p.Stop()
	})
	require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
	require.Contains(t, got, "helper did not end within 50ms after SIGTERM and was killed")
	require.Contains(t, got, "ignoring SIGTERM", "the log of a failed test is printed")
}

func TestProcessFailures(t *testing.T) {
	nobody := FreeAddr(t)
	cases := []struct {
		name string
		run  func(t *recorder)
		want []string
	}{
		{"it ends before it is ready", func(t *recorder) {
			spec := helper(t, "exit", "7")
			spec.Ready = func(ctx context.Context) error { return dialAll(ctx, nobody) }
			Start(t, spec)
		}, []string{"helper ended (exit code 7) before it was ready", "cannot go on"}},
		{"it ends before it listens", func(t *recorder) {
			Start(t, helper(t, "exit", "7")).WaitListening(nobody)
		}, []string{"ended (exit code 7) before it was listening at " + nobody}},
		{"it ends without the text", func(t *recorder) {
			Start(t, helper(t, "exit", "7")).WaitOutput("ready")
		}, []string{`ended (exit code 7) before it was writing "ready"`}},
		{"it does not end by itself", func(t *recorder) {
			Start(t, helper(t, "stubborn")).Wait(time.Millisecond)
		}, []string{"helper was still running after 1ms"}},
		{"there is no such program", func(t *recorder) {
			Start(t, Spec{Path: filepath.Join(t.TempDir(), "absent")})
		}, []string{"rig: starting absent:", "no such file"}},
		{"the program is missing", func(t *recorder) {
			Tool(t, "/nowhere/rig-absent-server", "absent-package")
		}, []string{"rig-absent-server is missing", "apt-get install absent-package"}},
		{"the condition never holds", func(t *recorder) {
			WaitFor(t, time.Millisecond, "miracle", func() error { return errors.New("still nothing") })
		}, []string{"no miracle within 1ms: still nothing"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := record(t, c.run)
			for _, want := range c.want {
				require.Contains(t, got, want)
			}
		})
	}
}

func TestProcessWaitOutputSeesTheLastWords(t *testing.T) {
	p := Start(t, helper(t, "exit", "7"))
	require.Equal(t, 7, p.Wait(time.Minute))
	p.WaitOutput("cannot go on")
}

func TestProcessEnvironment(t *testing.T) {
	t.Setenv("FLUX_SERVE_KEY", "of-the-developer")
	spec := helper(t, "environment")
	spec.Env = append(spec.Env, "OWN=1")
	p := Start(t, spec)
	require.Equal(t, 0, p.Wait(time.Minute))
	require.Equal(t, "FLUX_SERVE_KEY=\"\" OWN=\"1\"\n", p.Output())
}

func TestProcessLogsOfAFailedTest(t *testing.T) {
	got := record(t, func(t *recorder) {
		spec := helper(t, "exit", "0")
		spec.Dir = t.TempDir()
		spec.Logs = []string{filepath.Join(spec.Dir, "*.log")}
		long := make([]byte, logTail+100)
		for i := range long {
			long[i] = 'x'
		}
		copy(long, "the beginning")
		writeFile(t, spec.Dir, "own.log", string(long))
		Start(t, spec).Wait(time.Minute)
		t.Errorf("the test's own failure")
	})
	require.Contains(t, got, "helper had ended before: exit status 0")
	require.Contains(t, got, "-- own.log\n(the last 16384 of 16484 bytes)\nxxx")
	require.NotContains(t, got, "the beginning")
}

// recorder is a test that may fail: it keeps what is reported.
type recorder struct {
	testing.TB
	text     string
	failed   bool
	cleanups []func()
}

// record runs a test that may fail, with its cleanups, and returns its reports.
func record(t *testing.T, run func(t *recorder)) string {
	t.Helper()
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			for i := len(r.cleanups) - 1; i >= 0; i-- {
				r.cleanups[i]()
			}
		}()
		run(r)
	}()
	<-done
	require.True(t, r.failed, "the test was to fail")
	return r.text
}

func (r *recorder) Helper()           {}
func (r *recorder) Failed() bool      { return r.failed }
func (r *recorder) Cleanup(f func())  { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Log(args ...any)   { r.text += fmt.Sprintln(args...) }
func (r *recorder) Fatal(args ...any) { r.Log(args...); r.failNow() }
func (r *recorder) Errorf(format string, args ...any) {
	r.failed = true
	r.Log(fmt.Sprintf(format, args...))
}
func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	r.failNow()
}
func (r *recorder) failNow() {
	r.failed = true
	runtime.Goexit()
}
