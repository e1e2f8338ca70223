package graphite

import (
	"net"
	"net/netip"
)

// datagramSocket reads datagrams from any packet socket, and from a UDP socket without allocating.
type datagramSocket struct {
	any net.PacketConn
	udp *net.UDPConn // nil for other sockets

	oob     [64]byte
	dropped uint64
}

// newDatagramSocket prepares the socket: the size of its buffer if above 0, and a count of drops where there is one.
func newDatagramSocket(c net.PacketConn, readBuffer int) (*datagramSocket, error) {
	s := &datagramSocket{any: c}
	s.udp, _ = c.(*net.UDPConn)
	if b, ok := c.(interface{ SetReadBuffer(int) error }); ok && readBuffer > 0 {
		if err := b.SetReadBuffer(readBuffer); err != nil {
			return nil, err
		}
	}
	if s.udp != nil {
		countDrops(s.udp)
	}
	return s, nil
}

// read reads one datagram. The address is not valid for a socket that has none of an IP network.
func (s *datagramSocket) read(b []byte) (n int, from netip.AddrPort, err error) {
	if s.udp == nil {
		n, addr, err := s.any.ReadFrom(b)
		if u, ok := addr.(*net.UDPAddr); ok {
			from = u.AddrPort()
		}
		return n, from, err
	}
	n, oobn, _, from, err := s.udp.ReadMsgUDPAddrPort(b, s.oob[:])
	if err == nil && oobn > 0 {
		s.dropped = drops(s.oob[:oobn], s.dropped)
	}
	return n, from, err
}
