package main

import (
	"context"
	"encoding/hex"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/pickle"
)

// capture is the stream of frames that a sender would write.
func capture(t *testing.T, frames ...[]pickle.Datapoint) string {
	var stream []byte
	for _, pts := range frames {
		out, n, err := new(pickle.Encoder).AppendFrame(stream, pts)
		require.NoError(t, err)
		require.Equal(t, len(pts), n)
		stream = out
	}
	return string(stream)
}

func decodeRun(t *testing.T, stdin string, args ...string) outcome {
	return fluxWith(context.Background(), stdin, nil, append([]string{"decode"}, args...)...)
}

func TestDecodeFrames(t *testing.T) {
	stream := capture(t,
		[]pickle.Datapoint{{Name: []byte("a.b"), Timestamp: 1700000000, Value: 0.5}, {Name: []byte("ä"), Timestamp: 1.5, Value: -1e-9}},
		[]pickle.Datapoint{{Name: []byte("c"), Timestamp: 1 << 33, Value: math.Inf(1)}, {Name: []byte("d"), Timestamp: -1, Value: math.NaN()}})
	lines := "a.b 0.5 1700000000\nä -1e-09 1.5\nc inf 8589934592\nd nan -1\n"

	require.Equal(t, outcome{0, lines, ""}, decodeRun(t, stream))
	require.Equal(t, outcome{0, lines, ""}, decodeRun(t, stream, "-"))
	text := hex.EncodeToString([]byte(stream))
	require.Equal(t, outcome{0, lines, ""}, decodeRun(t, text[:5]+" \n"+text[5:9]+":"+text[9:]+"\n", "--hex"))

	file := filepath.Join(t.TempDir(), "capture")
	require.NoError(t, os.WriteFile(file, []byte(stream), 0o600))
	require.Equal(t, outcome{0, lines + lines, ""}, decodeRun(t, "", file, file))

	require.Equal(t, `{"message":1,"metric":"a.b","timestamp":1700000000,"value":0.5}
{"message":1,"metric":"ä","timestamp":1.5,"value":-1e-09}
{"message":2,"metric":"c","timestamp":8589934592,"value":"inf"}
{"message":2,"metric":"d","timestamp":-1,"value":"nan"}
`, decodeRun(t, stream, "--format", "json").stdout)
}

func TestDecodeRaw(t *testing.T) {
	one, two := "]U\x01aK\x01K\x02\x86\x86a.", "(l(S'b'\n(L1L\nS'2.5'\ntta."
	require.Equal(t, outcome{0, "a 2 1\nb 2.5 1\na 2 1\n", ""}, decodeRun(t, one+two+one+"\n", "--raw"))
	require.Equal(t, outcome{0, "a 2 1\n", ""}, decodeRun(t, "5d 55 01 61 4b 01 4b 02 86 86 61 2e", "--raw", "--hex"))
	require.Equal(t, outcome{0, "a 2 1\na 4 3\n", ""}, decodeRun(t, "]((U\x01aK\x01K\x02\x86K\x03K\x04\x86te.", "--raw", "--multi-point"))

	o := decodeRun(t, "\x80\x02"+one)
	require.Equal(t, 1, o.code)
	require.Contains(t, o.stderr, "try --raw")
}

func TestDecodeReports(t *testing.T) {
	good := "U\x04goodK\x01K\x02\x86\x86"
	frame := func(body string) string { return string(pickle.AppendFrameHeader(nil, len(body))) + body }
	f := func(stream, stdout string, stderr ...string) {
		t.Helper()
		o := decodeRun(t, stream)
		require.Equal(t, 1, o.code)
		require.Equal(t, stdout, o.stdout)
		for _, want := range stderr {
			require.Contains(t, o.stderr, want)
		}
	}
	f(frame("].")+frame("]("+good+"N"+good+"e."), "good 2 1\ngood 2 1\n",
		"standard input: message 2 (at byte 6): pickle: item 1 (at byte 14): bad shape", "1 thing could not be read; 2 points could")
	f(frame("]("+good+"cos\nsystem\ne.")+frame("cos\nsystem\n.")+frame("]("+good+"e."), "good 2 1\ngood 2 1\n",
		`refused to import or call: GLOBAL "os" "system"`, "message 2 (at byte 31)", "2 things")
	f(frame("]U\x03a bK\x01K\x02\x86\x86a."), "", `name cannot be sent: U+0020 at byte 1: "a b"`)
	f(frame("]"+good+"a.]"+good+"a."), "good 2 1\n", "15 bytes after the end of the pickle are ignored")
	f(frame("]("+good), "good 2 1\n", "cut short")
	f(frame("].")+"\x00\x00\x00\x09abc", "", "standard input: at byte 6: pickle: stream ends inside a frame of 9 bytes")
	f("GET / HTTP/1.1\r\n", "", "not a pickle sender")

	require.Equal(t, 1, decodeRun(t, "", filepath.Join(t.TempDir(), "missing")).code)
	require.Equal(t, 1, decodeRun(t, "zz", "--hex").code)
	require.Equal(t, 1, decodeRun(t, "800", "--hex", "--raw").code)
	require.Equal(t, 1, decodeRun(t, frame("].      "), "--limit", "4").code)
	require.Equal(t, 2, decodeRun(t, "", "--limit", "0").code)
	require.Equal(t, 2, decodeRun(t, "", "--format", "xml").code)
}

func TestDecodeEmpty(t *testing.T) {
	require.Equal(t, outcome{}, decodeRun(t, ""))
	require.Equal(t, outcome{}, decodeRun(t, "", "--raw"))
	require.Equal(t, outcome{}, decodeRun(t, strings.Repeat("\n", 3), "--hex"))
}
