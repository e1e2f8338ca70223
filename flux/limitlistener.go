package flux

import (
	"net"
	"sync"
)

// limited is a listener of which at most so many connections are open at one time. More wait in the kernel.
type limited struct {
	net.Listener
	free   chan struct{} // one for each connection that may still be opened
	closed chan struct{}
	once   sync.Once
}

func limitListener(l net.Listener, n int) net.Listener {
	free := make(chan struct{}, n)
	for range n {
		free <- struct{}{}
	}
	return &limited{Listener: l, free: free, closed: make(chan struct{})}
}

// Accept waits for a place and for a connection.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case <-l.free:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		l.free <- struct{}{}
		return nil, err
	}
	return &limitedConn{lateConn: newLateConn(c), release: func() { l.free <- struct{}{} }}, nil
}

// Close ends a waiting Accept too.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitedConn struct {
	*lateConn
	once    sync.Once
	release func()
}

// Close gives the place back.
func (c *limitedConn) Close() error {
	err := c.lateConn.Close()
	c.once.Do(c.release)
	return err
}
