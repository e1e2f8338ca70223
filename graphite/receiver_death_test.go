//go:build unix

package graphite_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite"
)

const deathProtocol = "FLUXKIT_GRAPHITE_DEATH"

// TestDeathIsNoConfirmation kills a process that has read everything of a connection that was half-closed, and has not
// kept it yet. The sender must not take the end for a confirmation. The test binary itself is that process.
func TestDeathIsNoConfirmation(t *testing.T) {
	if protocol := os.Getenv(deathProtocol); protocol != "" {
		receiveUntilDeath(protocol)
		return
	}
	for protocol, message := range map[string][]byte{"line": []byte("a 1 2\n"), "pickle": frame(t, item("a", 2, 1))} {
		t.Run(protocol, func(t *testing.T) {
			exe, err := os.Executable()
			require.NoError(t, err)
			cmd := exec.Command(exe, "-test.run=^TestDeathIsNoConfirmation$")
			cmd.Env = append(os.Environ(), deathProtocol+"="+protocol)
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			lines := bufio.NewScanner(out)
			require.True(t, lines.Scan())
			conn, err := net.Dial("tcp", lines.Text())
			require.NoError(t, err)
			defer conn.Close()
			_, err = conn.Write(message)
			require.NoError(t, err)
			require.NoError(t, conn.(*net.TCPConn).CloseWrite())
			require.True(t, lines.Scan(), "it has read everything")

			require.NoError(t, cmd.Process.Signal(syscall.SIGKILL))
			require.Error(t, cmd.Wait())
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
			_, err = io.ReadAll(conn)
			require.ErrorIs(t, err, syscall.ECONNRESET)
		})
	}
}

// receiveUntilDeath says where it listens, and when it has read everything of a connection.
func receiveUntilDeath(protocol string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	sync := func(ctx context.Context) error {
		fmt.Println("read")
		<-ctx.Done()
		return ctx.Err()
	}
	take := func(context.Context, []graphite.Point) error { return nil }
	if protocol == "line" {
		err = (&graphite.LineReceiver{Sync: sync}).Serve(context.Background(), l, take)
	} else {
		err = (&graphite.PickleReceiver{Sync: sync}).Serve(context.Background(), l, take)
	}
	panic(err)
}
