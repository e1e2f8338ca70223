//go:build unix

package flux_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux"
	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
)

const killed = "FLUXKIT_FLUX_KILL"

// TestKilledServer kills a server with two required destinations again and again while points are posted to it. A post
// that got no answer is sent again to the next. Every point that was answered 204 must reach both destinations, and none
// that was never sent. The test binary itself is the server.
func TestKilledServer(t *testing.T) {
	if args := os.Getenv(killed); args != "" {
		serveUntilKilled(strings.Split(args, " "))
		return
	}
	a, b := graphitetest.Run(t), graphitetest.Run(t)
	a.Pickle().Kill()
	b.Pickle().Kill()
	const clients, rounds = 6, 5
	spool := t.TempDir()
	at := now() - 3000
	var addr atomic.Value // of the server that lives
	addr.Store(nowhere)
	var posted, answered atomic.Int64
	stop := make(chan struct{})
	stopOnce := sync.OnceFunc(func() { close(stop) })
	t.Cleanup(stopOnce)
	var posting sync.WaitGroup
	sent := make([]int, clients)
	for c := range clients {
		posting.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				posted.Add(2)
				body := fmt.Sprintf(`{"key":%q,"metrics":[{"metric":"a.%[2]d.%[3]d","timestamp":%[4]d,"value":1},{"metric":"b.%[2]d.%[3]d","timestamp":%[4]d,"value":1}]}`, testKey, c, sent[c], at)
				for code := 0; code != http.StatusNoContent && t.Context().Err() == nil; {
					resp, err := http.Post("http://"+addr.Load().(string)+"/flux/metric_data_post", "application/json", strings.NewReader(body))
					if err != nil {
						time.Sleep(time.Millisecond) // until the next one listens
						continue
					}
					resp.Body.Close()
					code = resp.StatusCode
				}
				answered.Add(2)
				sent[c]++
			}
		})
	}
	for round := range rounds {
		exe, err := os.Executable()
		require.NoError(t, err)
		cmd := exec.Command(exe, "-test.run=^TestKilledServer$")
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %s", killed, spool, a.PickleAddr, b.PickleAddr))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		lines := bufio.NewScanner(out)
		require.True(t, lines.Scan())
		goal := answered.Load() + 50 + rand.Int64N(400)
		addr.Store(lines.Text())
		eventually(t, "points are taken", func() bool { return answered.Load() >= goal })
		if round == rounds-1 {
			stopOnce()
			posting.Wait()
			require.NoError(t, a.Pickle().Restore())
			require.NoError(t, b.Pickle().Restore())
			for _, carbon := range []*graphitetest.Server{a, b} {
				eventually(t, "all arrive", func() bool { return distinct(carbon) >= int(answered.Load()) })
			}
		}
		require.NoError(t, cmd.Process.Signal(syscall.SIGKILL))
		require.Error(t, cmd.Wait())
	}
	http.DefaultClient.CloseIdleConnections()
	for _, carbon := range []*graphitetest.Server{a, b} {
		require.EqualValues(t, posted.Load(), distinct(carbon))
	}
}

func distinct(s *graphitetest.Server) int {
	names := map[string]bool{}
	for _, p := range s.All() {
		names[p.Metric] = true
	}
	return len(names)
}

// serveUntilKilled is the server: its spool, and its destinations.
func serveUntilKilled(args []string) {
	s, err := flux.New(flux.Config{
		HTTP:        &flux.HTTPConfig{Listen: "127.0.0.1:0", Keys: []flux.Key{{Secret: testKey}}},
		Destination: toCarbon(args[1]), Also: []flux.Destination{toCarbon(args[2], required)},
		SpoolDir: args[0],
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(s.Addr("http"))
	panic(s.Run(context.Background()))
}
