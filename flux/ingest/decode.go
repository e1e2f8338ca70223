package ingest

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"sync"
)

// Decoders undo the Content-Encoding of bodies. They keep what a decoder needs from one body to the next. The zero
// value is ready to use, by any number of goroutines at once.
type Decoders struct {
	plain, gzip, deflate sync.Pool // *decoder
}

// CheckEncoding returns the *Error with which Decoders.Open refuses an encoding that is not known, nil for others.
func CheckEncoding(encoding string) error {
	if encoding == "" {
		return nil
	}
	switch strings.ToLower(encoding) {
	case "identity", "gzip", "x-gzip", "deflate":
		return nil
	}
	return &Error{Code: http.StatusUnsupportedMediaType, Item: -1, Reason: ReasonEncoding,
		Message: "Content-Encoding " + quote(encoding) + " is not known here - send gzip, deflate or none"}
}

// Open returns a reader of what r holds, decoded. encoding is the header Content-Encoding, in any case: empty or
// "identity", "gzip" or "x-gzip", or "deflate", which clients send with the header and checksum of zlib (RFC 9110) and
// without. Close does not close r.
//
// More than limit decoded bytes fail with an *http.MaxBytesError, so a bomb costs no more than a body of that size. An
// encoding that is not known (415), and data that is not in it, that is cut short or that goes on after its end (400),
// is an *Error with ReasonEncoding. Errors of r itself are returned as they are.
func (d *Decoders) Open(r io.Reader, encoding string, limit int64) (io.ReadCloser, error) {
	if err := CheckEncoding(encoding); err != nil {
		return nil, err
	}
	pool, start := &d.plain, (*decoder).startPlain
	switch strings.ToLower(encoding) {
	case "gzip", "x-gzip":
		pool, start = &d.gzip, (*decoder).startGzip
	case "deflate":
		pool, start = &d.deflate, (*decoder).startDeflate
	}
	z, _ := pool.Get().(*decoder)
	if z == nil {
		z = new(decoder)
	}
	z.limit, z.left = limit, limit
	if err := start(z, r); err != nil {
		err = z.refuse(err)
		z.release(pool)
		return nil, err
	}
	return &decoded{z, pool}, nil
}

// decoded is a body that is read. It lets go of the decoder when it is closed, so that a second Close does no harm.
type decoded struct {
	z    *decoder
	pool *sync.Pool
}

func (d *decoded) Read(b []byte) (int, error) {
	if d.z == nil {
		return 0, fs.ErrClosed
	}
	return d.z.read(b)
}

func (d *decoded) Close() error {
	if d.z != nil {
		d.z.release(d.pool)
		d.z = nil
	}
	return nil
}

// decoder reads one body after another.
type decoder struct {
	from        io.Reader // one of those below, or the body itself
	name        string    // of the encoding; empty for none
	src         *bufio.Reader
	gzip        *gzip.Reader
	zlib        io.ReadCloser
	flate       io.ReadCloser
	limit, left int64 // decoded bytes
}

// source makes z.src read r. Decoders take single bytes from it, so that it knows where the data ends.
func (z *decoder) source(r io.Reader) {
	if z.src == nil {
		z.src = bufio.NewReader(r)
		return
	}
	z.src.Reset(r)
}

func (z *decoder) startPlain(r io.Reader) error {
	z.from = r
	return nil
}

func (z *decoder) startGzip(r io.Reader) (err error) {
	z.source(r)
	z.name = "gzip"
	if z.gzip == nil {
		z.gzip, err = gzip.NewReader(z.src)
	} else {
		err = z.gzip.Reset(z.src)
	}
	if err == nil {
		z.gzip.Multistream(false) // so that what follows is told from what is cut short
	}
	z.from = z.gzip
	return err
}

// nextGzip begins with what follows the end of gzip data: more of it (RFC 1952, 2.2), or nothing.
func (z *decoder) nextGzip() error {
	if _, err := z.src.Peek(1); err != nil {
		return err
	}
	if z.gzip.Reset(z.src) != nil {
		return errTrailing
	}
	z.gzip.Multistream(false)
	return nil
}

// startDeflate tells zlib by its header. Data without one cannot look like it: it would start with a stored block whose
// padding is not zero.
func (z *decoder) startDeflate(r io.Reader) (err error) {
	z.source(r)
	z.name = "deflate"
	head, err := z.src.Peek(2)
	if len(head) < 2 {
		return err
	}
	isZlib := head[0]&0x8f == 8 && (uint(head[0])<<8|uint(head[1]))%31 == 0
	switch {
	case isZlib && z.zlib == nil:
		z.zlib, err = zlib.NewReader(z.src)
		z.from = z.zlib
	case isZlib:
		err = z.zlib.(zlib.Resetter).Reset(z.src, nil)
		z.from = z.zlib
	case z.flate == nil:
		z.flate = flate.NewReader(z.src)
		z.from = z.flate
	default:
		err = z.flate.(flate.Resetter).Reset(z.src, nil)
		z.from = z.flate
	}
	return err
}

// read reads decoded bytes.
func (z *decoder) read(b []byte) (n int, err error) {
	if int64(len(b)) > z.left {
		b = b[:z.left+1] // the byte too many tells that there is one
	}
	n, err = z.from.Read(b)
	if int64(n) > z.left {
		n, err = int(z.left), &http.MaxBytesError{Limit: z.limit}
		z.left = 0
		return n, err
	}
	z.left -= int64(n)
	switch {
	case err == nil:
	case err != io.EOF:
		err = z.refuse(err)
	case z.name == "gzip":
		if err = z.nextGzip(); err != nil && err != io.EOF {
			err = z.refuse(err)
		}
	case z.src != nil:
		if _, more := z.src.ReadByte(); more == nil {
			err = z.refuse(errTrailing)
		}
	}
	return n, err
}

var errTrailing = errors.New("data after its end")

// refuse tells an error of the data from one of the reader that it comes from.
func (z *decoder) refuse(err error) error {
	var corrupt flate.CorruptInputError
	switch {
	case z.name == "":
		return err
	case err == io.EOF, err == io.ErrUnexpectedEOF:
		err = errors.New("the data is cut short")
	case errors.As(err, &corrupt), err == errTrailing, err == gzip.ErrHeader, err == gzip.ErrChecksum,
		err == zlib.ErrHeader, err == zlib.ErrChecksum, err == zlib.ErrDictionary:
	default:
		return err
	}
	return &Error{Code: http.StatusBadRequest, Item: -1, Reason: ReasonEncoding,
		Message: fmt.Sprintf("invalid %s data - %v", z.name, err)}
}

// release keeps the decoder for another body.
func (z *decoder) release(pool *sync.Pool) {
	z.from = nil
	if z.src != nil {
		z.src.Reset(nil)
	}
	pool.Put(z)
}
