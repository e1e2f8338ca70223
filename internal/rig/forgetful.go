package rig

import (
	"io"
	"net"
	"testing"
)

// Forgetful is the address of a peer for benchmarks, in this process. It reads each connection to its end and closes it, as
// carbon does, and forgets what it read.
func Forgetful(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				// Neither side is to be spliced: a Carbon would not be.
				_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, 256<<10))
			}()
		}
	}()
	return l.Addr().String()
}
