//go:build unix

package graphite_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
)

const (
	killDir  = "FLUXKIT_CLIENT_KILL_DIR"
	killAddr = "FLUXKIT_CLIENT_KILL_ADDR"
)

// TestKilledClient kills a process whose client sends to a Carbon that comes and goes, again and again. In the end each
// point of which the process said that it was kept has arrived, and no other. The test binary itself is that process.
func TestKilledClient(t *testing.T) {
	if dir := os.Getenv(killDir); dir != "" {
		killed(dir, os.Getenv(killAddr))
		return
	}
	s := graphitetest.Run(t)
	dir := t.TempDir()
	said := map[string]bool{} // kept: true; about to be sent: false
	for round := range 5 {
		if round%2 == 1 {
			s.Pickle().Refuse()
		}
		exe, err := os.Executable()
		require.NoError(t, err)
		cmd := exec.Command(exe, "-test.run=^TestKilledClient$")
		cmd.Env = append(os.Environ(), killDir+"="+dir, killAddr+"="+s.PickleAddr, fmt.Sprint("ROUND=", round))
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		after := 50 + rand.IntN(300)
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			what, name, _ := strings.Cut(lines.Text(), " ")
			said[name] = what == "kept"
			if n == after {
				require.NoError(t, cmd.Process.Signal(syscall.SIGKILL))
			}
		}
		require.Error(t, cmd.Wait())
		if round%2 == 1 {
			require.NoError(t, s.Pickle().Restore())
		}
	}
	r := newWatched(t, graphite.ClientConfig{Addrs: []string{s.PickleAddr}, SpoolDir: dir})
	r.flush()
	balanced(t, r.Stats())
	arrived := map[string]bool{}
	for _, p := range s.All() {
		_, known := said[p.Metric]
		require.True(t, known, "%s was never sent", p.Metric)
		arrived[p.Metric] = true
	}
	n := 0
	for name, kept := range said {
		if kept {
			n++
			require.True(t, arrived[name], "%s is lost", name)
		}
	}
	require.Greater(t, n, 100)
}

// killed sends until it is killed.
func killed(dir, addr string) {
	c, err := graphite.NewClient(graphite.ClientConfig{
		Addrs: []string{addr}, SpoolDir: dir, ConfirmAfter: 5 * time.Millisecond,
		BackoffMin: time.Millisecond, BackoffMax: 5 * time.Millisecond,
	})
	if err != nil {
		panic(err)
	}
	var mu sync.Mutex
	say := func(what, name string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println(what, name)
	}
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	ctx := context.Background()
	for a := range 4 {
		go func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("r%s.s%d.p%d", os.Getenv("ROUND"), a, i)
				pts := []graphite.Point{{Name: []byte(name), Timestamp: 1000, Value: 1}}
				say("send", name)
				switch a % 3 {
				case 0:
					check(c.Send(ctx, pts))
				case 1:
					check(c.SendAsync(ctx, pts, nil))
					check(c.Sync(ctx))
				case 2:
					r, err := c.Reserve(ctx, pts, nil)
					check(err)
					check(r.Send())
					check(c.Sync(ctx))
				}
				say("kept", name)
			}
		}()
	}
	select {}
}
