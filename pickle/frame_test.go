package pickle

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFrameReaderFuzzSeeds(t *testing.T) {
	for _, s := range streams(t) {
		checkFrames(t, s, 0)
		for cut := 0; cut < len(s) && cut < 64; cut += 7 {
			checkFrames(t, s[:cut], 500)
		}
	}
}

func TestFrameLost(t *testing.T) {
	f := func(stream string, cause error, length uint32, pending int, text string) {
		t.Helper()
		r := NewFrameReader(bytes.NewReader([]byte(stream)), 0)
		_, err := r.Next()
		var fe *FrameError
		require.ErrorAs(t, err, &fe)
		require.ErrorIs(t, err, cause)
		require.Equal(t, length, fe.Length)
		require.Equal(t, pending, fe.Pending)
		require.EqualError(t, err, text)
		require.True(t, r.Ready())
	}
	f("\x00\x10\x00\x01rest", ErrFrameTooLarge, 1<<20+1, 8, "pickle: frame is too large: 1048577 bytes, the limit is 1048576")
	f("GET / HTTP/1.0\r\n", ErrFrameTooLarge, 0x47455420, 16, `pickle: frame is too large: the length prefix is text, "GET ": not a pickle sender`)
	f("\x00\x00\x00\x05abc", io.ErrUnexpectedEOF, 5, 7, "pickle: stream ends inside a frame of 5 bytes, after 7: unexpected EOF")
	f("\x00\x00", io.ErrUnexpectedEOF, 0, 2, "pickle: stream ends inside a frame of 0 bytes, after 2: unexpected EOF")
}

// stutter gives what it holds piece by piece, with an error after each.
type stutter struct {
	pieces []string
	failed bool
}

func (s *stutter) Read(p []byte) (int, error) {
	if s.failed = !s.failed; s.failed {
		return 0, os.ErrDeadlineExceeded
	}
	if len(s.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.pieces[0])
	s.pieces = s.pieces[1:]
	return n, nil
}

func TestFrameReaderResumes(t *testing.T) {
	r := NewFrameReader(&stutter{pieces: []string{"\x00", "\x00\x00\x03a", "bc\x00\x00\x00\x00\x00"}}, 0)
	var bodies []string
	deadlines := 0
	for {
		body, err := r.Next()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			deadlines++
			continue
		}
		if err != nil {
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			break
		}
		bodies = append(bodies, string(body))
	}
	require.Equal(t, []string{"abc", ""}, bodies)
	require.Equal(t, 4, deadlines)
	require.Equal(t, 1, r.Buffered())
}

func TestFrameReaderReady(t *testing.T) {
	r := NewFrameReader(bytes.NewReader([]byte("\x00\x00\x00\x01a\x00\x00\x00\x01b\x00\x00")), 0)
	require.False(t, r.Ready())
	_, err := r.Next()
	require.NoError(t, err)
	require.True(t, r.Ready(), "the second frame came with the same read")
	_, err = r.Next()
	require.NoError(t, err)
	require.False(t, r.Ready())
	require.Equal(t, 2, r.Buffered())
}

// claim reads as an endless stream after a prefix that claims much.
type claim struct{ sent, upTo int }

func (c *claim) Read(p []byte) (int, error) {
	n := min(len(p), c.upTo-c.sent, 1000)
	if n == 0 {
		return 0, io.EOF
	}
	clear(p[:n])
	if c.sent == 0 {
		copy(p, "\x3f\xff\xff\xff")
	}
	c.sent += n
	return n, nil
}

// What a prefix claims costs nothing; what arrives costs at most twice as much.
func TestFrameReaderMemory(t *testing.T) {
	for _, sent := range []int{4, 5000, 100000, 1000000} {
		r := NewFrameReader(&claim{upTo: sent}, 1<<30)
		_, err := r.Next()
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.LessOrEqual(t, len(r.buf), 2*sent+usualBuffer)
	}
}

// A buffer that one large frame has grown is given back after many small ones.
func TestFrameReaderShrinks(t *testing.T) {
	var stream []byte
	for _, n := range []int{900000, 10} {
		stream = append(append(stream, AppendFrameHeader(nil, n)...), make([]byte, n)...)
	}
	for range 100000 {
		stream = append(append(stream, AppendFrameHeader(nil, 10)...), make([]byte, 10)...)
	}
	r := NewFrameReader(bytes.NewReader(stream), 0)
	_, err := r.Next()
	require.NoError(t, err)
	require.Greater(t, len(r.buf), 900000)
	for err == nil {
		_, err = r.Next()
	}
	require.Equal(t, io.EOF, err)
	require.Equal(t, usualBuffer, len(r.buf))
}

func TestReaderWithoutProgress(t *testing.T) {
	_, err := NewFrameReader(zeroReader{}, 0).Next()
	require.Equal(t, io.ErrNoProgress, err)
}

type zeroReader struct{}

func (zeroReader) Read([]byte) (int, error) { return 0, nil }

func TestWriteFrame(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, WriteFrame(&b, []byte("abc")))
	require.NoError(t, WriteFrame(&b, nil))
	require.Equal(t, "\x00\x00\x00\x03abc\x00\x00\x00\x00", b.String())
}
