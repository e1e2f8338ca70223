//go:build unix

package queue

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

	"github.com/stretchr/testify/require"
)

const killDir = "FLUXKIT_QUEUE_KILL_DIR"

// TestKilledProcess kills a process that appends, reads and acknowledges, again and again, and checks each time that what
// it said was kept is there. The test binary itself is that process.
func TestKilledProcess(t *testing.T) {
	if dir := os.Getenv(killDir); dir != "" {
		victim(dir)
		return
	}
	dir := t.TempDir()
	kept := map[string]bool{} // not acknowledged by a victim
	for round := range 5 {
		exe, err := os.Executable()
		require.NoError(t, err)
		cmd := exec.Command(exe, "-test.run=^TestKilledProcess$")
		cmd.Env = append(os.Environ(), killDir+"="+dir, fmt.Sprint("ROUND=", round))
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(out)
		after := 100 + rand.IntN(600)
		var acked []string
		for n := 0; lines.Scan(); n++ {
			what, rec, _ := strings.Cut(lines.Text(), " ")
			switch what {
			case "kept":
				kept[rec] = true
			case "acks":
				acked = append(acked, rec)
			}
			if n == after {
				require.NoError(t, cmd.Process.Signal(syscall.SIGKILL))
			}
		}
		require.Error(t, cmd.Wait())
		for _, rec := range acked { // said before it was done
			delete(kept, rec)
		}
		found := map[string]bool{}
		rep, err := Inspect(dir, func(r Record) error { found[string(r.Data)] = true; return nil })
		require.NoError(t, err)
		require.Zero(t, rep.Damaged)
		for rec := range kept {
			require.True(t, found[rec], "round %d: %q is lost", round, rec)
		}
	}
}

// victim runs until it is killed.
func victim(dir string) {
	q, err := Open(Options{Dir: dir, MaxBytes: 256 << 10})
	if err != nil {
		panic(err)
	}
	var mu sync.Mutex
	say := func(what string, rec []byte) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf("%s %s\n", what, rec)
	}
	for a := range 4 {
		go func() {
			for i := 0; ; i++ {
				rec := fmt.Appendf(nil, "%s %d-%d %s", os.Getenv("ROUND"), a, i, strings.Repeat("x", rand.IntN(1000)))
				if _, err := q.Append(context.Background(), rec, 1); err != nil {
					panic(err)
				}
				say("kept", rec)
			}
		}()
	}
	var pos Pos
	var rec []byte
	for {
		if rec, pos, err = q.Next(context.Background(), pos, rec); err != nil {
			panic(err)
		}
		say("acks", rec)
		if pos%10 == 0 {
			_ = q.Ack(pos)
		}
	}
}
