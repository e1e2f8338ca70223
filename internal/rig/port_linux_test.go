package rig

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFreePortIsFreeAndGivenOnce(t *testing.T) {
	seen := map[int]bool{}
	for range 50 {
		port := FreePort(t)
		require.False(t, seen[port], "port %d came twice", port)
		seen[port] = true
		require.GreaterOrEqual(t, port, firstPort)
		require.LessOrEqual(t, port, lastPort)
		l, err := net.Listen("tcp", loopback(port))
		require.NoError(t, err)
		require.NoError(t, l.Close())
		require.False(t, reserve(t, port), "port %d is reserved", port)
	}
}

func TestFreePortIsGivenBackAfterTheTest(t *testing.T) {
	var port int
	t.Run("test", func(t *testing.T) { port = FreePort(t) })
	require.True(t, reserve(t, port))
}

func TestFreePortAvoidsOnesInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	require.False(t, reserve(t, l.Addr().(*net.TCPAddr).Port))
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer u.Close()
	require.False(t, reserve(t, u.LocalAddr().(*net.UDPAddr).Port))
}
