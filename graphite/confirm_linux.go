//go:build linux && !386 && !s390x

package graphite

import (
	"encoding/binary"
	"net"
	"syscall"
	"time"
	"unsafe"
)

// Offsets into the kernel's struct tcp_info. It only ever grows at its end; what is used here is there since Linux 4.6.
const (
	tcpiState    = 0
	tcpiProbes   = 3
	tcpiUnacked  = 24
	tcpiLastAck  = 56 // milliseconds since the last acknowledgement was received
	tcpiAcked    = 120
	tcpiNotsent  = 144
	tcpiSize     = 148
	stateClosing = 11
)

// kernelOf asks the kernel about c, a TCP or unix connection.
func kernelOf(c net.Conn) kernelState { return stateOf(c, false) }

// lastState is kernelOf with the socket's error. Asking for the error clears it, after which a broken connection reads
// like one that ended well: it is asked once, when reading has ended.
func lastState(c net.Conn) kernelState { return stateOf(c, true) }

func stateOf(c net.Conn, last bool) kernelState {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return kernelState{}
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return kernelState{}
	}
	var k kernelState
	_, tcp := c.(*net.TCPConn)
	if err := rc.Control(func(fd uintptr) {
		if tcp {
			k = tcpState(fd)
		} else {
			k = unixState(fd)
		}
		if last {
			k.err = socketError(fd)
		}
	}); err != nil {
		return kernelState{}
	}
	return k
}

func tcpState(fd uintptr) kernelState {
	var info [256]byte
	size := uint32(len(info))
	_, _, errno := syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, syscall.IPPROTO_TCP, syscall.TCP_INFO,
		uintptr(unsafe.Pointer(&info[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 || size < tcpiSize {
		return kernelState{}
	}
	word := func(off int) uint32 { return binary.NativeEndian.Uint32(info[off:]) }
	unacked := word(tcpiUnacked) > 0
	return kernelState{
		known:    true,
		acked:    binary.NativeEndian.Uint64(info[tcpiAcked:]),
		pending:  unacked || word(tcpiNotsent) > 0,
		due:      unacked || info[tcpiProbes] > 0,
		sinceAck: time.Duration(word(tcpiLastAck)) * time.Millisecond,
		closing:  info[tcpiState] == stateClosing,
	}
}

// unixState knows of a unix socket what its peer has not read yet.
func unixState(fd uintptr) kernelState {
	var unread int32
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&unread)))
	if errno != 0 {
		return kernelState{}
	}
	return kernelState{known: true, pending: unread > 0}
}

func socketError(fd uintptr) error {
	n, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR)
	if err == nil && n != 0 {
		err = syscall.Errno(n)
	}
	return err
}

// cork has the kernel hold back what is written next, for a FIN to go out with it.
func cork(c net.Conn) {
	tc, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	if rc, err := tc.SyscallConn(); err == nil {
		_ = rc.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_CORK, 1) })
	}
}
