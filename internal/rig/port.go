package rig

import (
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"strconv"
	"testing"
)

// Ports are taken from below the range that Linux gives to outgoing
// connections (from 32768 on), so that no client, of this test or of another,
// occupies one before its server does, and none connects to itself while it
// waits for the server.
const (
	firstPort = 20000
	lastPort  = 29999
)

// FreePort returns a TCP and UDP port of 127.0.0.1 that nothing listens on. It
// stays reserved until the test ends: no other FreePort on this machine returns
// it, so a server can be stopped and started again on it.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		if reserve(t, port) {
			return port
		}
	}
	t.Fatalf("rig: no free port between %d and %d", firstPort, lastPort)
	return 0
}

// FreeAddr is FreePort as "127.0.0.1:port".
func FreeAddr(t testing.TB) string {
	t.Helper()
	return loopback(FreePort(t))
}

func loopback(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// reserve holds a socket named after the port in Linux's abstract namespace,
// which belongs to no folder and disappears with its process, and then looks
// whether the port itself is free.
func reserve(t testing.TB, port int) bool {
	if runtime.GOOS == "linux" {
		mark, err := net.Listen("unix", fmt.Sprintf("@fluxkit-rig-port-%d", port))
		if err != nil {
			return false
		}
		if !free(port) {
			mark.Close()
			return false
		}
		t.Cleanup(func() { mark.Close() })
		return true
	}
	return free(port)
}

// free asks for all interfaces, since a server may listen on them.
func free(port int) bool {
	addr := ":" + strconv.Itoa(port)
	tcp, err := net.Listen("tcp4", addr)
	if err != nil {
		return false
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp4", addr)
	if err != nil {
		return false
	}
	defer udp.Close()
	return true
}
