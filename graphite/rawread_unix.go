//go:build unix

package graphite

import (
	"io"
	"net"
	"os"
	"syscall"
)

// rawReader reads from a socket without holding a buffer while there is nothing to read.
type rawReader struct {
	sock    syscall.RawConn
	attempt func(fd uintptr) bool // made once, so that a read allocates nothing

	take    func() ([]byte, error)
	release func()
	n       int
	err     error
}

// newRawReader returns nil for a connection that is not plainly a socket of package net: a wrapper's Read may do more.
func newRawReader(c net.Conn) *rawReader {
	var sc syscall.Conn
	switch c := c.(type) {
	case *net.TCPConn:
		sc = c
	case *net.UnixConn:
		sc = c
	default:
		return nil
	}
	sock, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	r := &rawReader{sock: sock}
	r.attempt = r.try
	return r
}

func (r *rawReader) read(take func() ([]byte, error), release func()) (int, error) {
	r.take, r.release, r.n, r.err = take, release, 0, nil
	if err := r.sock.Read(r.attempt); err != nil {
		return 0, err
	}
	return r.n, r.err
}

// try reads once and reports whether that is the end of it: false waits until the socket is readable.
func (r *rawReader) try(fd uintptr) bool {
	b, err := r.take()
	if err != nil {
		r.err = err
		return true
	}
	for {
		n, err := syscall.Read(int(fd), b)
		switch err {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			r.release()
			return false
		case nil:
			if r.n = n; n == 0 {
				r.err = io.EOF
			}
		default:
			r.err = os.NewSyscallError("read", err)
		}
		return true
	}
}
