package flux

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// lateConn is a connection whose deadlines cost little to set. net/http sets those of a connection eight times a request,
// and most of them move a timer. Here they are noted, and it is a call that arms a timer when it begins, unless an earlier
// one still runs: that wakes the call before its time, and the call goes on. A deadline ends a call when it is due, as
// ever.
type lateConn struct {
	net.Conn
	read, write lateDeadline
}

func newLateConn(c net.Conn) *lateConn {
	now := time.Now()
	return &lateConn{c, lateDeadline{arm: c.SetReadDeadline, made: now}, lateDeadline{arm: c.SetWriteDeadline, made: now}}
}

func (c *lateConn) Read(p []byte) (n int, err error) {
	for {
		if err = c.read.begin(); err != nil {
			return 0, err
		}
		n, err = c.Conn.Read(p)
		if !c.read.early(err) {
			return n, err
		}
		if n > 0 {
			return n, nil
		}
	}
}

func (c *lateConn) Write(p []byte) (n int, err error) {
	for {
		if err = c.write.begin(); err != nil {
			return n, err
		}
		m, err := c.Conn.Write(p[n:])
		if n += m; !c.write.early(err) {
			return n, err
		}
	}
}

func (c *lateConn) SetReadDeadline(t time.Time) error  { return c.read.set(t) }
func (c *lateConn) SetWriteDeadline(t time.Time) error { return c.write.set(t) }

func (c *lateConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// armedFor is how far ahead a timer is armed at most, so that none has to be moved back for a deadline that is nearer than
// the one before: no deadline of ours is nearer than this.
const armedFor = readHeaderTimeout

// lateDeadline is a deadline, and the one that the connection below has: no later one, as long as a call is under way.
type lateDeadline struct {
	mu    sync.Mutex
	due   time.Time // zero: never
	armed time.Time // zero: not at all
	over  bool      // armed has passed, and ends every call
	calls int       // under way
	arm   func(time.Time) error
	made  time.Time // a deadline before that is one in the past, which net/http sets to end a call
}

func (d *lateDeadline) set(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.due = t
	if d.calls == 0 {
		return nil
	}
	return d.ready()
}

// begin is for a call that begins. Each that does ends with early.
func (d *lateDeadline) begin() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.past() {
		return os.ErrDeadlineExceeded
	}
	err := d.ready()
	if err == nil {
		d.calls++
	}
	return err
}

// early reports whether a call ended with err because of a timer that was armed for an earlier deadline.
func (d *lateDeadline) early(err error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls--
	if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	d.over = true
	return d.due.IsZero() || time.Now().Before(d.due)
}

func (d *lateDeadline) past() bool { return !d.due.IsZero() && d.due.Before(d.made) }

// ready sees to it that a timer is armed for the deadline, or for before it, and none that has passed.
func (d *lateDeadline) ready() error {
	if !d.over && (d.due.IsZero() || !d.armed.IsZero() && !d.due.Before(d.armed)) {
		return nil
	}
	d.armed, d.over = d.due, d.past()
	if next := time.Now().Add(armedFor); next.Before(d.due) {
		d.armed = next
	}
	return d.arm(d.armed)
}
