package dedup

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// served is a connection on which a server has said all it will say.
type served struct {
	net.Conn
	*bytes.Reader
	piece int // most bytes a Read; 0: any
}

func (s served) Read(p []byte) (int, error) {
	if s.piece > 0 {
		p = p[:min(len(p), s.piece)]
	}
	return s.Reader.Read(p)
}

func (served) SetReadDeadline(time.Time) error  { return nil }
func (served) SetWriteDeadline(time.Time) error { return nil }

func wireOf(text string) *wire {
	c := served{Reader: bytes.NewReader([]byte(text))}
	return &wire{Conn: c, r: bufio.NewReaderSize(c, wireBuffer)}
}

// values reads a reply of n strings.
func values(w *wire, n int) ([]string, error) {
	out := make([]string, n)
	err := w.bulks(n, func(i int, b []byte) { out[i] = string(b) })
	return out, err
}

func TestWireReplies(t *testing.T) {
	w := wireOf(":42\r\n*3\r\n$3\r\na\r\n\r\n$-1\r\n$0\r\n\r\n-WRONGTYPE no\r\n:-1\r\n")
	n, err := w.integer()
	require.NoError(t, err)
	require.Equal(t, 42, n)
	got, err := values(w, 3)
	require.NoError(t, err)
	require.Equal(t, []string{"a\r\n", "", ""}, got)
	_, err = values(w, 3)
	require.NoError(t, ignoreWrongType(err))
	require.EqualError(t, err, "WRONGTYPE no")
	require.NoError(t, w.err, "an error reply leaves the connection as it is")
	n, err = w.integer()
	require.NoError(t, err)
	require.Equal(t, -1, n)
}

// However the bytes of a reply arrive, it is the same.
func TestWireRepliesInPieces(t *testing.T) {
	var text strings.Builder
	var want []string
	for size := range 130 {
		word := strings.Repeat("x", size)
		fmt.Fprintf(&text, "$%d\r\n%s\r\n$-1\r\n", size, word)
		want = append(want, word, "")
	}
	reply := fmt.Sprintf("*%d\r\n%s:7\r\n", len(want), text.String())
	for _, piece := range []int{1, 2, 3, 7, 100, 5000, len(reply)} {
		c := served{Reader: bytes.NewReader([]byte(reply)), piece: piece}
		w := &wire{Conn: c, r: bufio.NewReaderSize(c, wireBuffer)}
		got, err := values(w, len(want))
		require.NoError(t, err)
		require.Equal(t, want, got)
		n, err := w.integer()
		require.NoError(t, err)
		require.Equal(t, 7, n)
	}
}

// A value too long for a mark is none, and what follows is read as if it were not
// there.
func TestWireLongValue(t *testing.T) {
	long := strings.Repeat(" ", wireBuffer)
	w := wireOf("*2\r\n$65536\r\n" + long + "\r\n$1\r\nx\r\n:1\r\n")
	got, err := values(w, 2)
	require.NoError(t, err)
	require.Equal(t, []string{"", "x"}, got)
	_, err = w.integer()
	require.NoError(t, err)
}

func TestWireNonsense(t *testing.T) {
	for _, text := range []string{
		"", "\n", "\r\n", "+OK\r\n", "*1\r\n", "*2\r\n$1\r\nx\r\n", "*-1\r\n", "*x\r\n", "*1\n$1\r\nx\r\n", "*1\r\n:1\r\n",
		"*1\r\n-ERR\r\n", "*1\r\n$9223372036854775807\r\n", "*1\r\n$5\r\nab", "*1\r\n$70000\r\nab", "*" + strings.Repeat("1", wireBuffer),
	} {
		w := wireOf(text)
		_, err := values(w, 1)
		require.Error(t, err, "%.20q", text)
		require.Error(t, w.err, "%.20q: the connection is of no use", text)
	}
}

func FuzzWireReplies(f *testing.F) {
	f.Add("*2\r\n$1\r\nx\r\n$-1\r\n:5\r\n", 2)
	f.Add("-ERR x\r\n:5\r\n", 1)
	f.Add("*1\r\n$70000\r\nab", 1)
	f.Fuzz(func(t *testing.T, text string, n int) {
		w := wireOf(text)
		size := 0
		err := w.bulks(n&0xff, func(i int, b []byte) {
			require.Less(t, i, n&0xff)
			size += len(b)
		})
		require.LessOrEqual(t, size, len(text))
		if w.err != nil {
			require.Error(t, err)
			return
		}
		_, _ = w.integer()
	})
}

func TestSizes(t *testing.T) {
	require.EqualValues(t, spanBytes, unsafe.Sizeof(span{}))
	require.EqualValues(t, 128, unsafe.Sizeof(metric{}), "two cache lines")
}
