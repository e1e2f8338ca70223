package bluefloodtest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
)

const (
	maxStartLine = 4096 // of a request, as the genuine server's HTTP codec has it
	maxHeader    = 8192
	maxHead      = 1 << 20 // what is read of a head at all
)

// Request is one request that the ingest API read.
type Request struct {
	Method string
	Target string // path and query as sent
	Header http.Header
	Body   []byte // after inflation, as far as the server read it
	Wire   int    // length of the body as sent
	Status int    // of the answer, 0 when there was none
	Conn   int    // number of the connection, from 1
}

// conn reads requests from a connection and writes answers to it, byte for byte as the genuine server does it. The
// server of net/http cannot leave a request unanswered, nor an answer without a date.
type conn struct {
	net.Conn
	id int
	br *bufio.Reader
}

func newConn(c net.Conn, id int) *conn {
	return &conn{Conn: c, id: id, br: bufio.NewReaderSize(c, 64<<10)}
}

// request is one request on its way through the server.
type request struct {
	*http.Request
	keepAlive bool
	longLine  bool   // its start line is too long to be understood
	bigHeader bool   // its header is too long, and the server sees no body
	expect    bool   // it waits for 100 Continue
	settled   func() // to be called before the peer can learn the outcome; nil on the query API
}

var errHead = errors.New("bluefloodtest: head of a request too long")

// readHead reads a request up to its body.
func (c *conn) readHead() (*request, error) {
	var head []byte
	first := 0
	for {
		line, err := c.br.ReadSlice('\n')
		head = append(head, line...)
		if errors.Is(err, bufio.ErrBufferFull) && len(head) < maxHead {
			continue
		}
		if err != nil {
			return nil, err
		}
		if len(head) > maxHead {
			return nil, errHead
		}
		if first == 0 {
			if len(bytes.TrimSpace(head)) == 0 {
				head = head[:0] // an empty line between requests
				continue
			}
			first = len(head)
		}
		if bytes.HasSuffix(head, []byte("\n\r\n")) || bytes.HasSuffix(head, []byte("\n\n")) {
			break
		}
	}
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		return &request{longLine: true}, nil
	}
	q := &request{Request: r, longLine: first > maxStartLine, bigHeader: len(head)-first > maxHeader}
	connection := strings.ToLower(r.Header.Get("Connection"))
	q.keepAlive = connection == "keep-alive" || r.ProtoAtLeast(1, 1) && connection != "close"
	q.expect = strings.EqualFold(r.Header.Get("Expect"), "100-continue")
	return q, nil
}

// readBody reads the body to its end and returns as much as limit+1 bytes of it, with its full length.
func (c *conn) readBody(r *request, limit int) (data []byte, length int, err error) {
	src := io.LimitReader(c.br, max(0, r.ContentLength))
	chunked := len(r.TransferEncoding) > 0
	if chunked {
		src = httputil.NewChunkedReader(c.br)
	}
	var buf bytes.Buffer
	n, err := io.Copy(&buf, io.LimitReader(src, int64(limit)+1))
	if err != nil {
		return nil, 0, err
	}
	more, err := io.Copy(io.Discard, src)
	if err != nil {
		return nil, 0, err
	}
	n += more
	if chunked {
		if err := c.skipTrailer(); err != nil {
			return nil, 0, err
		}
	} else if n < r.ContentLength {
		return nil, 0, io.ErrUnexpectedEOF
	}
	return buf.Bytes(), int(n), nil
}

func (c *conn) skipTrailer() error {
	for {
		line, err := c.br.ReadSlice('\n')
		if err != nil || len(bytes.TrimSpace(line)) == 0 {
			return err
		}
	}
}

// response is what is answered.
type response struct {
	status int
	header http.Header
	body   []byte
}

// write sends an answer.
func (c *conn) write(r *response, keepAlive bool) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", r.status, http.StatusText(r.status))
	_ = r.header.Write(&b) // a buffer takes everything
	fmt.Fprintf(&b, "Content-Length: %d\r\n", len(r.body))
	if keepAlive {
		b.WriteString("Connection: keep-alive\r\n")
	}
	b.WriteString("\r\n")
	b.Write(r.body)
	_, err := c.Write(b.Bytes())
	return err
}

// reset breaks the connection so that the peer sees it broken, not closed.
func (c *conn) reset() {
	if t, ok := c.Conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	c.Close()
}

// idle waits until the peer sends something more or goes away.
func (c *conn) idle() error {
	_, err := c.br.Peek(1)
	return err
}
