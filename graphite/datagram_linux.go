package graphite

import (
	"encoding/binary"
	"net"
	"syscall"
)

// countDrops asks the kernel to tell with each datagram how many it has dropped so far. A kernel that cannot is left
// alone: the count then stays at zero.
func countDrops(c *net.UDPConn) {
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RXQ_OVFL, 1)
		})
	}
}

// drops reads the kernel's count from a control message. The count has 32 bits and wraps; last is the one before.
func drops(oob []byte, last uint64) uint64 {
	const levelType = 8 // the header ends with two int32
	data := syscall.CmsgLen(0)
	if len(oob) < data+4 {
		return last
	}
	kind := oob[syscall.SizeofCmsghdr-levelType:]
	if binary.NativeEndian.Uint32(kind) != syscall.SOL_SOCKET ||
		binary.NativeEndian.Uint32(kind[4:]) != syscall.SO_RXQ_OVFL {
		return last
	}
	return last + uint64(binary.NativeEndian.Uint32(oob[data:])-uint32(last))
}
