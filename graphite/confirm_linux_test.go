//go:build linux && !386 && !s390x

package graphite

import (
	"crypto/tls"
	"net"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

const stateEstablished = 1

// unreadOf is what waits to be read, and the state of the connection just after that was looked at.
func unreadOf(t *testing.T, c *net.TCPConn) (unread int32, state byte) {
	rc, err := c.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, rc.Control(func(fd uintptr) {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCINQ, uintptr(unsafe.Pointer(&unread)))
		require.Zero(t, errno)
		var info [256]byte
		size := uint32(len(info))
		_, _, errno = syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, syscall.IPPROTO_TCP, syscall.TCP_INFO,
			uintptr(unsafe.Pointer(&info[0])), uintptr(unsafe.Pointer(&size)), 0)
		require.Zero(t, errno)
		state = info[tcpiState]
	}))
	return unread, state
}

// TestHalfCloseOverTLS looks as a peer that TLS's own end and the FIN come at once. One that closes at the first of them
// would seem, before the other, not to have read all. The kernel holds TLS's end back for 200 ms, during which a busy
// machine may not let us go on: a few may come late.
func TestHalfCloseOverTLS(t *testing.T) {
	certs := httptest.NewTLSServer(nil)
	defer certs.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	late := 0
	for range 20 {
		accepted := make(chan *tls.Conn, 1)
		go func() {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			server := tls.Server(nc, certs.TLS)
			_ = server.Handshake()
			accepted <- server
		}()
		nc, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		c, err := newCarbonConn(t.Context(), "", nc, &tls.Config{InsecureSkipVerify: true}, time.Minute)
		require.NoError(t, err)
		server := <-accepted
		peer := server.NetConn().(*net.TCPConn)

		require.NoError(t, c.write(t.Context(), []byte("a.b 1 2\n")))
		closed := make(chan error, 1)
		go func() { closed <- c.halfClose(t.Context()) }()
		seen := map[int32]bool{} // what was unread while no FIN had come
		unread, state := unreadOf(t, peer)
		for ; state == stateEstablished; unread, state = unreadOf(t, peer) {
			seen[unread] = true
		}
		require.NoError(t, <-closed)
		if unread, _ = unreadOf(t, peer); seen[unread] {
			late++
		}
		require.NoError(t, server.Close())
		c.close()
	}
	require.Less(t, late, 5)
}
