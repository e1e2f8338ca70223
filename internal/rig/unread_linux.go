package rig

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

// Unread is how many of the bytes that were written to a connection over IPv4 its
// peer, a process of this machine, has not read: what the two ends' kernels hold.
// While bytes move it may be too many, never too few.
func Unread(conn *net.TCPConn) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("rig: %w", err)
	}
	var here int32
	var errno syscall.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&here)))
	})
	if err == nil && errno != 0 {
		err = errno
	}
	if err != nil {
		return 0, fmt.Errorf("rig: asking for what is not acknowledged: %w", err)
	}
	there, err := receiveQueue(conn.RemoteAddr(), conn.LocalAddr())
	return int(here) + there, err
}

// receiveQueue is what the kernel holds for the process that owns a socket.
func receiveQueue(local, remote net.Addr) (int, error) {
	from, to := procAddr(local), procAddr(remote)
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return 0, fmt.Errorf("rig: %w", err)
	}
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) < 5 || f[1] != from || f[2] != to {
			continue
		}
		_, rx, _ := strings.Cut(f[4], ":")
		n, err := strconv.ParseUint(rx, 16, 32)
		if err != nil {
			return 0, fmt.Errorf("rig: /proc/net/tcp: %w", err)
		}
		return int(n), nil
	}
	return 0, fmt.Errorf("rig: no socket %s to %s", local, remote)
}

// procAddr is an address as /proc/net/tcp has it: the four bytes as a number of
// this machine, which Linux's usual ones are small-endian for.
func procAddr(a net.Addr) string {
	t, ok := a.(*net.TCPAddr)
	if !ok || t.IP.To4() == nil {
		return ""
	}
	ip := t.IP.To4()
	return fmt.Sprintf("%02X%02X%02X%02X:%04X", ip[3], ip[2], ip[1], ip[0], t.Port)
}
