package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"testing"

	pickle "github.com/kisielk/og-rek"
	"github.com/stretchr/testify/require"
)

// TestReadFrames reads what another implementation writes, in every protocol whose opcodes are known here, and stops at
// what it does not know.
func TestReadFrames(t *testing.T) {
	var in bytes.Buffer
	var want []point
	for _, protocol := range []int{1, 2} {
		var body bytes.Buffer
		e := pickle.NewEncoderWithConfig(&body, &pickle.EncoderConfig{Protocol: protocol, StrictUnicode: true})
		require.NoError(t, e.Encode([]any{
			pickle.Tuple{"a.b", pickle.Tuple{1700000000.25, 0.1}},
			pickle.Tuple{"ä", pickle.Tuple{int64(1700000000), int64(-7)}},
		}))
		in.Write(binary.BigEndian.AppendUint32(nil, uint32(body.Len())))
		in.Write(body.Bytes())
		want = append(want, point{"a.b", "0.1", "1.70000000025e+09"}, point{"ä", "-7", "1.7e+09"})
	}
	var got []point
	take := func(p point) { got = append(got, p) }
	require.Equal(t, io.EOF, readFrames(bufio.NewReader(&in), take))
	require.Equal(t, want, got)

	require.Equal(t, io.EOF, readFrames(bufio.NewReader(bytes.NewReader([]byte("\x00\x00\x00\x09\x80\x02]"))), take), "cut")
	require.ErrorContains(t, readFrames(bufio.NewReader(bytes.NewReader([]byte("\x00\x00\x00\x03\x80\x02}"))), take), "no pickle")
}
