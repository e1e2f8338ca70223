package rig

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// RedisServer is a running redis-server.
type RedisServer struct {
	*Process
	Addr      string // host:port
	URL       string // redis://host:port
	Socket    string // path of the unix socket
	SocketURL string // unix:///path
}

// Redis starts redis-server (Debian package redis-server) on a port and on a
// unix socket. It persists nothing, so a Restart begins empty. Further arguments
// are passed on, for example "--requirepass", "secret".
func Redis(t testing.TB, args ...string) *RedisServer {
	t.Helper()
	path := Tool(t, "/usr/bin/redis-server", "redis-server")
	// The path of a unix socket holds about 100 bytes; a test's own temporary
	// folder carries its name and may be longer.
	dir, err := os.MkdirTemp("", "rig-redis-")
	if err != nil {
		t.Fatalf("rig: creating a folder for redis: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })

	port := FreePort(t)
	r := &RedisServer{Addr: loopback(port), Socket: filepath.Join(dir, "redis.sock")}
	r.URL, r.SocketURL = "redis://"+r.Addr, "unix://"+r.Socket
	r.Process = Start(t, Spec{
		Path: path,
		Args: append([]string{
			"--bind", "127.0.0.1", "--port", fmt.Sprint(port),
			"--unixsocket", r.Socket, "--unixsocketperm", "700",
			"--save", "", "--appendonly", "no",
			"--daemonize", "no", "--dir", dir,
		}, args...),
		Dir: dir,
		Ready: func(ctx context.Context) error {
			return errors.Join(ping(ctx, "tcp", r.Addr), ping(ctx, "unix", r.Socket))
		},
		Remove: []string{r.Socket},
	})
	return r
}

// ping returns nil if Redis answers PING, be it to say that it wants a password.
func ping(ctx context.Context, network, addr string) error {
	return exchange(ctx, network, addr, "PING\r\n", func(conn net.Conn) error {
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil {
			return err
		}
		if line != "+PONG\r\n" && line != "-NOAUTH Authentication required.\r\n" {
			return fmt.Errorf("answered %q to PING", line)
		}
		return nil
	})
}
