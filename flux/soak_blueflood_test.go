//go:build interop || soak

package flux_test

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood/bluefloodtest"
)

// soakBlueflood is a Blueflood that takes points into a ledger, behind a proxy that can refuse connections and cut
// answers.
type soakBlueflood struct {
	*ledger
	server *bluefloodtest.Server
	addr   string // of the proxy

	mu      sync.Mutex
	ln      net.Listener
	conns   map[*net.TCPConn]bool
	working sync.WaitGroup
	cut     atomic.Int32 // bytes of the next answer that pass; 0: all
	over    atomic.Int64 // answers and ends of connections
	made    map[string]int
}

func newSoakBlueflood(t *testing.T) *soakBlueflood {
	t.Helper()
	b := &soakBlueflood{ledger: newLedger(), addr: "127.0.0.1:0", conns: map[*net.TCPConn]bool{}, made: map[string]int{}}
	b.server = bluefloodtest.RunWith(t, bluefloodtest.Options{
		OnPoint: func(p bluefloodtest.Point) { b.add(p.Value) }, KeepPoints: -1, KeepRequests: -1,
	})
	b.rise(t)
	t.Cleanup(func() {
		b.die()
		b.working.Wait()
	})
	return b
}

func (b *soakBlueflood) url() string { return "http://" + b.addr }

func (b *soakBlueflood) rise(t testing.TB) {
	t.Helper()
	ln, err := net.Listen("tcp", b.addr)
	require.NoError(t, err)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ln, b.addr = ln, ln.Addr().String()
	b.working.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			b.working.Go(func() { b.serve(c.(*net.TCPConn)) })
		}
	})
}

func (b *soakBlueflood) die() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ln.Close()
	for c := range b.conns {
		c.Close()
	}
}

// serve passes a connection on.
func (b *soakBlueflood) serve(c *net.TCPConn) {
	defer c.Close()
	up, err := net.Dial("tcp", b.server.IngestURL()[len("http://"):])
	if err != nil {
		return
	}
	defer up.Close()
	b.mu.Lock()
	b.conns[c] = true
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.conns, c)
		b.mu.Unlock()
	}()
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		_, _ = io.Copy(struct{ io.Writer }{up}, c)
		up.Close()
	}()
	b.answer(c, up)
	c.Close()
	<-asked
}

// answer passes answers on, of which one that is to be cut only in part.
func (b *soakBlueflood) answer(to *net.TCPConn, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		b.over.Add(1)
		if cut := int(b.cut.Swap(0)); n > 0 && cut > 0 {
			_, _ = to.Write(buf[:min(cut, n-1)])
			return
		}
		if _, werr := to.Write(buf[:n]); werr != nil || err != nil {
			return
		}
	}
}

// soakFaults are what a Blueflood does wrong, or what stands in front of it.
var soakFaults = []struct {
	name  string
	reply bluefloodtest.Reply
}{
	{"202", bluefloodtest.Unconfirmed()},
	{"202 and stored", bluefloodtest.Reply{Status: 202, Message: "Timed out persisting metrics", Store: true}},
	{"207 without a list", bluefloodtest.Reply{Status: 207, Store: true}},
	{"207 cut short", bluefloodtest.Reply{Status: 207, Body: `{"errors":[{"tenantId":"own","times`, Store: true}},
	{"400 of a whole request", bluefloodtest.Reply{Status: 400, Message: "Cannot parse content"}},
	{"401", bluefloodtest.Reply{Status: 401}},
	{"404", bluefloodtest.Reply{Status: 404}},
	{"413", bluefloodtest.Reply{Status: 413}},
	{"417", bluefloodtest.Reply{Status: 417}},
	{"429", bluefloodtest.Throttled(time.Second)},
	{"429 without a time", bluefloodtest.Reply{Status: 429}},
	{"503", bluefloodtest.Reply{Status: 503, Header: map[string][]string{"Retry-After": {"1"}}}},
	{"500", bluefloodtest.PersistFailed()},
	{"500 and stored", bluefloodtest.Reply{Status: 500, Message: "Error persisting metrics", Store: true}},
	{"500 unreadable", bluefloodtest.Reply{Status: 500, Message: "Failed parsing content"}},
	{"hung", bluefloodtest.Reply{Hang: true}},
	{"hung and stored", bluefloodtest.Reply{Hang: true, Store: true}},
	{"reset", bluefloodtest.Reply{Reset: true}},
	{"reset and stored", bluefloodtest.Reply{Reset: true, Store: true}},
	{"slow", bluefloodtest.Reply{Delay: 700 * time.Millisecond}},
}

// trouble does something wrong at random until end, about as often as pace says, one thing after the other. The server is
// well again then.
func (b *soakBlueflood) trouble(t testing.TB, end <-chan struct{}, pace time.Duration) {
	next := rand.Perm(len(soakFaults) + 3)
	for i := 0; idle(end, 1, 2*int(pace/time.Millisecond)); i++ {
		over := b.over.Load()
		switch k := next[i%len(next)]; k - len(soakFaults) {
		case 0:
			b.made["refused"]++
			b.die()
			idle(end, 50, 1500)
			b.rise(t)
		case 1:
			b.made["answer cut"]++
			b.cut.Store(int32(1 + rand.IntN(100)))
		case 2:
			b.made["202 until it is given up"]++
			for range 5 {
				b.server.Queue(bluefloodtest.Unconfirmed())
			}
			over += 4
		default:
			b.made[soakFaults[k].name]++
			b.server.Queue(soakFaults[k].reply)
		}
		for b.over.Load() <= over && idle(end, 1, 20) {
		}
	}
}
