//go:build !unix

package graphite

import "net"

// rawReader is for systems whose sockets can be waited for without a buffer.
type rawReader struct{}

func newRawReader(net.Conn) *rawReader { return nil }

func (*rawReader) read(func() ([]byte, error), func()) (int, error) { return 0, nil }
