//go:build interop || soak

package main_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fluxmetrics/fluxkit/internal/rig"
)

const (
	spoolMetrics = 50
	spoolFrame   = 20                    // points of a pickle
	spoolBurst   = 60                    // points written at a time
	spoolPace    = 5 * time.Millisecond  // between two bursts
	spoolSample  = 20 * time.Millisecond // between two looks at what was read of a connection
	spoolAgain   = 5 * time.Millisecond  // until a request or a connection is tried again

	connectionsAtOnce = 4 // of senders
)

// stream is a sequence of numbered points that one client sends. Name, time and value of its n-th point are decided by
// the stream's number and n alone.
type stream struct {
	id    int
	start int64 // Unix second of the first points
}

func (s stream) point(n int) (metric string, at int64, value float64) {
	return fmt.Sprintf("spool.s%d.m%d", s.id, n%spoolMetrics), s.start + int64(n/spoolMetrics), float64(n) + 0.25
}

func (s stream) line(b []byte, n int) []byte {
	metric, at, value := s.point(n)
	return fmt.Appendf(b, "%s %s %d\n", metric, strconv.FormatFloat(value, 'g', -1, 64), at)
}

// frame appends the points from n on as carbon's pickle of protocol 2.
func (s stream) frame(b []byte, n int) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0, 0x80, 2, ']', '(')
	for i := range spoolFrame {
		metric, second, value := s.point(n + i)
		b = append(b, 'X')
		b = binary.LittleEndian.AppendUint32(b, uint32(len(metric)))
		b = append(append(b, metric...), 'J')
		b = binary.LittleEndian.AppendUint32(b, uint32(second))
		b = binary.BigEndian.AppendUint64(append(b, 'G'), math.Float64bits(value))
		b = append(b, 0x86, 0x86)
	}
	b = append(b, 'e', '.')
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	return b
}

// body is a request with the stream's points from n on.
func (s stream) body(n, points int) []byte {
	var items []string
	for i := range points {
		metric, at, value := s.point(n + i)
		items = append(items, fmt.Sprintf(`"metric": %q, "timestamp": %d, "value": %v`, metric, at, value))
	}
	if points == 1 {
		return fmt.Appendf(nil, `{"key": %q, %s}`, apiKey, items[0])
	}
	return fmt.Appendf(nil, `{"key": %q, "metrics": [{%s}]}`, apiKey, strings.Join(items, "}, {"))
}

// poster is an HTTP client. What was not answered 204 it posts again until it is.
type poster struct {
	stream
	batch    int
	answered atomic.Int64 // points
	refused  atomic.Int64 // requests that were answered 503
}

// wire is one connection of lines or pickles.
type wire struct {
	stream
	protocol string
	conn     *net.TCPConn
	taken    atomic.Int64 // bytes that were written

	// Guarded by senders.gate.
	ends    []int64 // how many bytes had been written with each point
	written int64
	asked   time.Time
	samples []sample // of what flux had read
	kept    bool     // the half-close was answered
	killed  time.Time
}

// sample says that so many bytes of a connection had been read.
type sample struct {
	at   time.Time
	read int64
}

// senders are clients that go on over any number of lives of flux.
type senders struct {
	url, line, pickle string // url may be empty
	start             int64
	hurry             atomic.Bool // connections that are not half-closed do without their pace

	posters []*poster
	end     chan struct{}
	working sync.WaitGroup
	errs    chan error
	ended   bool

	gate  sync.RWMutex // held for reading while something is written or noted
	mu    sync.Mutex
	wires []*wire // all that there were
	ids   int
}

// startSenders has two clients that post, one of each protocol that goes on for as long as its connection does, and one
// of each that half-closes again and again.
func startSenders(url, line, pickle string) *senders {
	s := &senders{
		url: url, line: line, pickle: pickle, start: time.Now().Add(-loadStart).Unix(),
		end: make(chan struct{}), errs: make(chan error, 6),
	}
	if url != "" {
		for _, batch := range []int{1, 30} {
			p := &poster{stream: s.stream(), batch: batch}
			s.posters = append(s.posters, p)
			s.working.Go(func() { s.post(p) })
		}
	}
	for protocol, addr := range map[string]string{"line": line, "pickle": pickle} {
		for _, closes := range []bool{false, true} {
			s.working.Go(func() {
				for s.wait(spoolAgain) {
					if w := s.dial(protocol, addr); w != nil {
						s.write(w, closes)
						w.conn.Close()
					}
				}
			})
		}
	}
	return s
}

func (s *senders) stream() stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids++
	return stream{id: s.ids, start: s.start}
}

// wait is false when the senders are to end.
func (s *senders) wait(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-s.end:
		return false
	case <-t.C:
		return true
	}
}

// halt ends the senders. Each connection that is left is half-closed and its end awaited.
func (s *senders) halt() error {
	if !s.ended {
		s.ended = true
		close(s.end)
	}
	s.working.Wait()
	select {
	case err := <-s.errs:
		return err
	default:
		return nil
	}
}

// abandon ends the senders of a test that may have failed, whatever flux does.
func (s *senders) abandon() {
	if s.ended {
		return
	}
	s.ended = true
	close(s.end)
	ended := make(chan struct{})
	go func() {
		s.working.Wait()
		close(ended)
	}()
	for {
		for _, w := range s.open() {
			_ = w.conn.Close() // of one that is closed it does not matter
		}
		select {
		case <-ended:
			return
		case <-time.After(spoolSample): // one may have been dialled since
		}
	}
}

func (s *senders) post(p *poster) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	h := &http.Client{Transport: transport, Timeout: patience}
	for n := 0; ; {
		resp, err := h.Post(s.url+"/metric_data_post", "application/json", bytes.NewReader(p.body(n, p.batch)))
		code, answer := 0, []byte(nil)
		if err == nil {
			code = resp.StatusCode
			answer, _ = io.ReadAll(resp.Body) // the status is what counts
			resp.Body.Close()
		}
		switch code {
		case http.StatusNoContent:
			n += p.batch
			p.answered.Store(int64(n))
		case http.StatusServiceUnavailable:
			p.refused.Add(1)
		case 0: // no answer: flux was killed
		default:
			s.errs <- fmt.Errorf("a post was answered %d %s", code, answer)
			return
		}
		if !s.wait(spoolAgain) {
			return
		}
	}
}

func (s *senders) dial(protocol, addr string) *wire {
	s.gate.RLock()
	defer s.gate.RUnlock()
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return nil // flux is not there
	}
	w := &wire{stream: s.stream(), protocol: protocol, conn: conn.(*net.TCPConn)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wires = append(s.wires, w)
	return w
}

// write sends points until the connection breaks or the senders are to end; one that closes, only some hundred. Where
// it was not broken, it half-closes the connection and waits for the other end.
func (s *senders) write(w *wire, closes bool) {
	most := math.MaxInt
	if closes {
		most = 100 + rand.IntN(1000)
	}
	for n := 0; n < most; n += spoolBurst {
		if pace := s.pace(closes); !s.wait(pace) {
			break
		}
		if !s.burst(w, n) {
			return
		}
	}
	if w.conn.CloseWrite() != nil {
		return
	}
	if got, err := w.conn.Read(make([]byte, 1)); got == 0 && errors.Is(err, io.EOF) {
		s.gate.RLock()
		w.kept = true
		s.gate.RUnlock()
	}
}

func (s *senders) pace(closes bool) time.Duration {
	if s.hurry.Load() && !closes {
		return 0
	}
	return spoolPace
}

func (s *senders) burst(w *wire, n int) bool {
	s.gate.RLock()
	defer s.gate.RUnlock()
	var b []byte
	ends := make([]int64, spoolBurst)
	for i := range ends {
		if w.protocol == "line" {
			b = w.line(b, n+i)
			ends[i] = w.written + int64(len(b))
		} else if i%spoolFrame == 0 {
			b = w.frame(b, n+i)
		}
	}
	if w.protocol == "pickle" {
		ends = frameEnds(b, w.written)
	}
	w.ends = append(w.ends, ends...)
	wrote, err := w.conn.Write(b)
	w.written += int64(wrote)
	w.taken.Add(int64(wrote))
	if err != nil {
		return false
	}
	if time.Since(w.asked) >= spoolSample {
		w.asked = time.Now()
		w.look()
	}
	return true
}

// frameEnds is where each point's frame ends.
func frameEnds(b []byte, before int64) (ends []int64) {
	for off := 0; off < len(b); {
		off += 4 + int(binary.BigEndian.Uint32(b[off:]))
		for range spoolFrame {
			ends = append(ends, before+int64(off))
		}
	}
	return ends
}

// look notes how much has been read by now.
func (w *wire) look() {
	if unread, err := rig.Unread(w.conn); err == nil {
		w.samples = append(w.samples, sample{time.Now(), w.written - int64(unread)})
	}
}

// still has nothing more written, nor any connection made, while f is called with those that no kill has ended. Writes
// that are stuck end.
func (s *senders) still(f func(open []*wire)) {
	for _, w := range s.open() {
		_ = w.conn.SetWriteDeadline(time.Now()) // of one that is closed it does not matter
	}
	s.gate.Lock()
	defer s.gate.Unlock()
	f(s.open())
}

func (s *senders) open() (open []*wire) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.wires {
		if w.killed.IsZero() {
			open = append(open, w)
		}
	}
	return open
}
