//go:build interop || soak

package flux_test

import (
	"fmt"
	"io"
	"math/bits"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux"
)

const (
	soakNames   = 10_000
	soakTick    = 10 * time.Millisecond // between two writes
	soakBad     = 10_007                // every so manieth point is too old for Blueflood
	soakRun     = 2_000_000             // and of so many,
	soakBadRun  = 12_000                // that many in a row, more than a request holds
	soakTooOld  = 100 * time.Hour
	soakNothing = -1
)

// soakLoad sends numbered points to a server's line input, at a rate. Name and time of a point are decided by its number,
// which is its value.
type soakLoad struct {
	conn  net.Conn
	start int64 // Unix second of the first
	bad   bool  // some are too old
	rate  int   // points a second

	sent atomic.Int64
	end  chan struct{}
	done chan error

	mu    sync.Mutex
	ticks []soakTicks
}

// soakTicks says that the points before a number had been sent by some time.
type soakTicks struct {
	number int64
	at     time.Time
}

func startSoakLoad(t *testing.T, s *flux.Server, rate int, lasts time.Duration, bad bool) *soakLoad {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr("line").String())
	require.NoError(t, err)
	spread := time.Duration(rate) * lasts / soakNames // that the timestamps take
	l := &soakLoad{
		conn: conn, start: time.Now().Add(-spread - time.Hour).Unix(), bad: bad, rate: rate,
		end: make(chan struct{}), done: make(chan error, 1),
	}
	go func() { l.done <- l.run() }()
	t.Cleanup(func() { conn.Close() })
	return l
}

// tooOld reports whether Blueflood will refuse the point.
func (l *soakLoad) tooOld(n int64) bool {
	return l.bad && (n%soakBad == soakBad-1 || n%soakRun < soakBadRun && n > soakRun)
}

func (l *soakLoad) run() error {
	pace := time.NewTicker(soakTick)
	defer pace.Stop()
	began := time.Now()
	var b []byte
	for n := int64(0); ; {
		select {
		case <-l.end:
			return nil
		case <-pace.C:
		}
		due := int64(time.Since(began).Seconds() * float64(l.rate))
		due = min(due, n+int64(l.rate)/10) // what was missed by more is not made up for at once
		b = b[:0]
		for ; n < due; n++ {
			at := l.start + n/soakNames
			if l.tooOld(n) {
				at -= int64(soakTooOld / time.Second)
			}
			b = strconv.AppendInt(append(b, "soak.servers.m"...), n%soakNames, 10)
			b = strconv.AppendInt(append(b, ' '), n, 10)
			b = append(strconv.AppendInt(append(b, ' '), at, 10), '\n')
		}
		if _, err := l.conn.Write(b); err != nil {
			return err
		}
		l.sent.Store(n)
		l.mu.Lock()
		l.ticks = append(l.ticks, soakTicks{n, time.Now()})
		l.mu.Unlock()
	}
}

// finish ends the load, and waits until the server has kept everything. It returns how many points there were.
func (l *soakLoad) finish(t *testing.T) int64 {
	t.Helper()
	close(l.end)
	require.NoError(t, <-l.done)
	require.NoError(t, l.conn.(*net.TCPConn).CloseWrite())
	require.NoError(t, l.conn.SetReadDeadline(time.Now().Add(patience)))
	rest, err := io.ReadAll(l.conn)
	require.NoError(t, err)
	require.Empty(t, rest)
	return l.sent.Load()
}

// age is how long ago the point was sent, about.
func (l *soakLoad) age(n int64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	low, high := 0, len(l.ticks)-1
	if high < 0 || n < 0 {
		return 0
	}
	for low < high {
		if mid := (low + high) / 2; l.ticks[mid].number > n {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return time.Since(l.ticks[low].at)
}

// ledger is which points have arrived somewhere.
type ledger struct {
	mu     sync.Mutex
	bits   []uint64
	writes int64
	newest int64
	wrong  error
	seen   func(n int64) // called with each that was not there before; may be nil
}

func newLedger() *ledger { return &ledger{newest: soakNothing} }

func (g *ledger) add(value float64) {
	n := int64(value)
	g.mu.Lock()
	defer g.mu.Unlock()
	if n < 0 || float64(n) != value {
		g.wrong = fmt.Errorf("%v was never sent", value)
		return
	}
	g.writes++
	for int64(len(g.bits))*64 <= n {
		g.bits = append(g.bits, make([]uint64, 1<<14)...)
	}
	if g.bits[n/64]&(1<<(n%64)) != 0 {
		return
	}
	g.bits[n/64] |= 1 << (n % 64)
	g.newest = max(g.newest, n)
	if g.seen != nil {
		g.seen(n)
	}
}

func (g *ledger) has(n int64) bool {
	return int64(len(g.bits))*64 > n && g.bits[n/64]&(1<<(n%64)) != 0
}

// last is the highest number that has arrived.
func (g *ledger) last() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.newest
}

// count is how many different points have arrived, and how often any did.
func (g *ledger) count() (distinct, writes int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, w := range g.bits {
		distinct += int64(bits.OnesCount64(w))
	}
	return distinct, g.writes
}
