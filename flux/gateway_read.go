package flux

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
)

// A body of which more than smallBody is in memory must go on arriving: so many bytes in that time.
const (
	stallBytes = 64 << 10
	stallTime  = 10 * time.Second
)

// errBody is wrapped by errors that are the client's: its body cannot be read.
var errBody = errors.New("flux: request body")

// read reads the decoded body of r into x. Memory is taken as bytes arrive, not as they are announced. A compressed body
// is decoded once it is all there, so that neither a decoder nor what it made waits for a client.
func (g *gateway) read(w http.ResponseWriter, r *http.Request, x *exchange) error {
	limit := g.cfg.MaxBody
	if r.ContentLength > limit {
		w.Header().Set("Connection", "close")
		return &http.MaxBytesError{Limit: limit}
	}
	body := io.Reader(r.Body)
	if r.ContentLength < 0 {
		body = http.MaxBytesReader(w, r.Body, limit)
	}
	encoding := header(r, "Content-Encoding")
	if err := ingest.CheckEncoding(encoding); err != nil {
		return err
	}
	into := &x.body
	if encoding != "" {
		into = &x.zipped
	}
	p := patience{w: w, most: g.stall}
	if err := g.readAll(body, x, into, &p); err != nil {
		return err // within the time that it has been given what is left of the body is passed over
	}
	p.end()
	if encoding != "" {
		return g.decode(x, encoding)
	}
	return nil
}

// decode makes x's body of what came.
func (g *gateway) decode(x *exchange, encoding string) error {
	x.extra = decoderBytes
	if err := g.hold(x, x.parser.Footprint()); err != nil {
		return err
	}
	decoded, err := g.decoders.Open(bytes.NewReader(x.zipped), encoding, g.cfg.MaxBody)
	if err != nil {
		return unreadable(err)
	}
	defer decoded.Close()
	return g.readAll(decoded, x, &x.body, nil)
}

// readAll reads all of r into buf, one of x's.
func (g *gateway) readAll(r io.Reader, x *exchange, buf *[]byte, p *patience) error {
	*buf = (*buf)[:0]
	for {
		if len(*buf) == cap(*buf) {
			if err := g.enlarge(x, buf); err != nil {
				return err
			}
		}
		if p != nil && x.held > 0 {
			p.expect(len(*buf))
		}
		n, err := r.Read((*buf)[len(*buf):cap(*buf)])
		*buf = (*buf)[:len(*buf)+n]
		switch {
		case int64(len(*buf)) > g.cfg.MaxBody:
			return &http.MaxBytesError{Limit: g.cfg.MaxBody}
		case err == io.EOF:
			return nil
		case err != nil:
			return unreadable(err)
		}
	}
}

// enlarge makes buf, one of x's, twice as large, once that memory is counted. A byte beyond what a body may have tells
// that there is one.
func (g *gateway) enlarge(x *exchange, buf *[]byte) error {
	size := min(max(firstBody, 2*cap(*buf)), int(g.cfg.MaxBody)+1)
	more := int64(size - cap(*buf))
	x.extra += more
	err := g.hold(x, x.parser.Footprint())
	x.extra -= more
	if err == nil {
		*buf = append(make([]byte, 0, size), *buf...)
	}
	return err
}

// patience ends bodies that take memory and stall. A connection that knows no deadlines is left alone.
type patience struct {
	w       http.ResponseWriter
	most    time.Duration // for stallBytes
	started time.Time     // zero: there was no deadline yet
	mark    int           // how much was there when it was set
}

// expect sets a deadline for more, when so much is there.
func (p *patience) expect(have int) {
	if p.started.IsZero() {
		p.started = time.Now()
	} else if have-p.mark < stallBytes {
		return
	}
	p.mark = have
	until := p.started.Add(readTimeout)
	if next := time.Now().Add(p.most); next.Before(until) {
		until = next
	}
	p.set(until)
}

// end gives the connection the time back that it has without patience.
func (p *patience) end() {
	if !p.started.IsZero() {
		p.set(p.started.Add(readTimeout))
	}
}

func (p *patience) set(until time.Time) {
	switch w := p.w.(type) {
	case interface{ SetReadDeadline(time.Time) error }:
		_ = w.SetReadDeadline(until)
	case interface{ Unwrap() http.ResponseWriter }:
		_ = http.NewResponseController(p.w).SetReadDeadline(until)
	}
}

// unreadable tells what is wrong with a body from what kept it from arriving.
func unreadable(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) || asRefusal(err) != nil {
		return err
	}
	return fmt.Errorf("%w: %w", errBody, err)
}
