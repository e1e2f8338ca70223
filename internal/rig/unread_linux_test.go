package rig

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestUnread(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	c, err := net.Dial("tcp4", l.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	peer, err := l.Accept()
	require.NoError(t, err)
	conn := c.(*net.TCPConn)
	unread := func() int {
		n, err := Unread(conn)
		require.NoError(t, err)
		return n
	}
	require.Zero(t, unread())

	_, err = conn.Write(make([]byte, 1000))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return unread() == 1000 }, 10*time.Second, time.Millisecond)
	_, err = io.ReadFull(peer, make([]byte, 600))
	require.NoError(t, err)
	require.Equal(t, 400, unread())

	require.NoError(t, conn.SetWriteDeadline(time.Now().Add(200*time.Millisecond)))
	wrote, err := conn.Write(make([]byte, 64<<20)) // more than the kernels hold
	require.Error(t, err)
	require.Equal(t, 400+wrote, unread())

	peer.Close()
	_, err = Unread(conn)
	require.ErrorContains(t, err, "no socket")
}
