package pickle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// DefaultMaxFrame is the longest body that a [FrameReader] takes unless told
// otherwise: 1 MiB, as carbon.
const DefaultMaxFrame = 1 << 20

// ErrFrameTooLarge says that a length prefix is over the limit. Most often the
// peer speaks another protocol on this port.
var ErrFrameTooLarge = errors.New("pickle: frame is too large")

// FrameError says that framing is lost: where the next message starts can no
// longer be known, and the connection is of no more use. It wraps
// ErrFrameTooLarge or io.ErrUnexpectedEOF. A message that is well framed but
// cannot be decoded is no FrameError; the next one may be fine.
type FrameError struct {
	Err     error
	Length  uint32 // what the prefix claims; 0 if the prefix itself was cut short
	Max     int    // the limit
	Pending int    // bytes that had arrived of the lost frame, prefix included
	text    bool   // the prefix is printable text
}

func (e *FrameError) Error() string {
	switch {
	case e.text:
		return fmt.Sprintf("%v: the length prefix is text, %q: not a pickle sender", e.Err,
			binary.BigEndian.AppendUint32(nil, e.Length))
	case errors.Is(e.Err, ErrFrameTooLarge):
		return fmt.Sprintf("%v: %d bytes, the limit is %d", e.Err, e.Length, e.Max)
	}
	return fmt.Sprintf("pickle: stream ends inside a frame of %d bytes, after %d: %v", e.Length, e.Pending, e.Err)
}

// Unwrap returns Err.
func (e *FrameError) Unwrap() error { return e.Err }

// frameHeader is the length of the length prefix.
const frameHeader = 4

// Sizes of a FrameReader's buffer.
const (
	firstBuffer = 16 << 10
	usualBuffer = 64 << 10 // grown to at once by a stream that fills it
	smallFrames = 64       // so many small frames in a row give a larger one back
)

// A FrameReader cuts a stream into messages: each is a big-endian uint32 length
// and a body of so many bytes. It reads ahead, so that one read serves many small
// frames, and its buffer grows only as bytes arrive, whatever a prefix claims.
type FrameReader struct {
	r     io.Reader
	max   int
	buf   []byte
	start int // of what is not yet handed out
	end   int
	small int // frames in a row that firstBuffer holds
	err   error
}

// NewFrameReader returns a FrameReader for bodies of at most maxBody bytes; 0
// means 1 MiB.
func NewFrameReader(r io.Reader, maxBody int) *FrameReader {
	if maxBody <= 0 {
		maxBody = DefaultMaxFrame
	}
	return &FrameReader{r: r, max: maxBody}
}

// Next returns the body of the next frame, which may be empty. It is a view into
// the reader's buffer, valid until the next call of Next.
//
// The error is io.EOF if the stream ends between two frames, and a [*FrameError]
// if framing is lost; both are final. Any other error is the stream's own, and
// Next may be called again after it: a read deadline in the middle of a frame
// loses nothing.
func (f *FrameReader) Next() ([]byte, error) {
	if f.err != nil {
		return nil, f.err
	}
	if err := f.need(frameHeader); err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(f.buf[f.start:])
	if uint64(length) > uint64(f.max) {
		return nil, f.lost(ErrFrameTooLarge, length)
	}
	total := frameHeader + int(length)
	if err := f.need(total); err != nil {
		return nil, err
	}
	body := f.buf[f.start+frameHeader : f.start+total : f.start+total]
	f.start += total
	if f.small++; total > firstBuffer {
		f.small = 0
	}
	return body, nil
}

// Ready reports whether Next would return at once, without a read: a whole frame
// is buffered, or the stream has ended.
func (f *FrameReader) Ready() bool {
	if f.err != nil {
		return true
	}
	have := f.end - f.start
	if have < frameHeader {
		return false
	}
	length := binary.BigEndian.Uint32(f.buf[f.start:])
	return uint64(length) > uint64(f.max) || have >= frameHeader+int(length)
}

// Buffered returns how many bytes have been read and not yet returned by Next.
func (f *FrameReader) Buffered() int { return f.end - f.start }

// need reads until n bytes are buffered.
func (f *FrameReader) need(n int) error {
	for empty := 0; f.end-f.start < n; {
		f.room(n)
		m, err := f.r.Read(f.buf[f.end:])
		if m < 0 || m > len(f.buf)-f.end {
			return errors.New("pickle: reader returned an impossible count")
		}
		f.end += m
		switch {
		case f.end-f.start >= n:
			return nil
		case err == io.EOF:
			return f.ended()
		case err != nil:
			return err
		case m > 0:
			empty = 0
		case empty > 100:
			return io.ErrNoProgress
		}
		empty++
	}
	return nil
}

// room makes space to read into. The buffer at most doubles, and only once it is
// full: a prefix that claims much costs nothing before its bytes are here.
func (f *FrameReader) room(n int) {
	switch have := f.end - f.start; {
	case have == 0 && len(f.buf) > usualBuffer && f.small >= smallFrames:
		f.buf, f.start, f.end = make([]byte, usualBuffer), 0, 0
	case have == 0:
		f.start, f.end = 0, 0
	case f.start > 0 && f.start+n > len(f.buf):
		copy(f.buf, f.buf[f.start:f.end])
		f.start, f.end = 0, have
	}
	if f.end == len(f.buf) {
		grown := make([]byte, max(firstBuffer, min(2*len(f.buf), max(n, usualBuffer))))
		copy(grown, f.buf[f.start:f.end])
		f.buf, f.start, f.end = grown, 0, f.end-f.start
	}
}

// ended turns the end of the stream into the final error.
func (f *FrameReader) ended() error {
	if f.end == f.start {
		f.err = io.EOF
		return f.err
	}
	var length uint32
	if f.end-f.start >= frameHeader {
		length = binary.BigEndian.Uint32(f.buf[f.start:])
	}
	return f.lost(io.ErrUnexpectedEOF, length)
}

func (f *FrameReader) lost(cause error, length uint32) error {
	e := &FrameError{Err: cause, Length: length, Max: f.max, Pending: f.end - f.start}
	if cause == ErrFrameTooLarge {
		e.text = true
		for _, c := range f.buf[f.start : f.start+frameHeader] {
			e.text = e.text && (c >= ' ' && c < 0x7f || c >= '\t' && c <= '\r')
		}
	}
	f.err = e
	return e
}

// AppendFrameHeader appends the length prefix of a body of n bytes.
func AppendFrameHeader(dst []byte, n int) []byte {
	return binary.BigEndian.AppendUint32(dst, uint32(n))
}

// WriteFrame writes body with its length prefix in one call of Write.
func WriteFrame(w io.Writer, body []byte) error {
	if uint64(len(body)) > 1<<32-1 {
		return fmt.Errorf("%w: %d bytes", ErrFrameTooLarge, len(body))
	}
	frame := append(AppendFrameHeader(make([]byte, 0, frameHeader+len(body)), len(body)), body...)
	_, err := w.Write(frame)
	return err
}
