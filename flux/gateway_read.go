package flux

import (
	"errors"
	"fmt"
	"io"
	"net/http"
)

const (
	firstBody = 4 << 10 // where a body's buffer begins
	smallBody = 16 << 10
	keptBody  = 1 << 20 // a larger buffer is left to the garbage collector
)

// errBody is wrapped by errors that are the client's: its body cannot be read.
var errBody = errors.New("flux: request body")

// errBusy is returned when the bodies of other requests take all the memory there is for bodies.
var errBusy = errors.New("flux: too many large requests at once")

// hold takes memory for x's body until x is put back. A small one is free, so that large ones cannot keep it out.
func (g *gateway) hold(x *exchange) error {
	more := int64(cap(x.body)) - x.held
	if cap(x.body) <= smallBody || more == 0 {
		return nil
	}
	if g.body.Add(more) > g.cfg.MaxBodies {
		g.body.Add(-more)
		return errBusy
	}
	x.held += more
	return nil
}

// read reads the decoded body of r into x. Memory is taken as bytes arrive, not as they are announced.
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
	if encoding := header(r, "Content-Encoding"); encoding != "" {
		decoded, err := g.decoders.Open(body, encoding, limit)
		if err != nil {
			return unreadable(err)
		}
		defer decoded.Close()
		body = decoded
	}
	x.body = x.body[:0]
	if cap(x.body) == 0 || g.hold(x) != nil { // a large buffer of an earlier request, and no room for it now
		x.body = make([]byte, 0, firstBody)
	}
	for {
		if len(x.body) == cap(x.body) {
			x.body = append(x.body, 0)[:len(x.body)]
		}
		if err := g.hold(x); err != nil {
			return err
		}
		n, err := body.Read(x.body[len(x.body):cap(x.body)])
		x.body = x.body[:len(x.body)+n]
		switch {
		case int64(len(x.body)) > limit:
			return &http.MaxBytesError{Limit: limit}
		case err == io.EOF:
			return nil
		case err != nil:
			return unreadable(err)
		}
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
