package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

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

	o = decodeRun(t, "]((U\x01aK\x01K\x02\x86K\x03K\x04\x86t(U\x01 K\x01K\x02\x86te.", "--raw", "--multi-point")
	require.Equal(t, "a 2 1\na 4 3\n", o.stdout)
	require.Contains(t, o.stderr, "message 1 (at byte 0): point 2: pickle: name cannot be sent")
}

func TestDecodeRawBlanks(t *testing.T) {
	one := "]U\x01aK\x01K\x02\x86\x86a."
	require.Equal(t, outcome{0, "a 2 1\na 2 1\na 2 1\n", ""}, decodeRun(t, "\n"+one+"\n"+one+" \t\r\n\v\f"+one, "--raw"))

	o := decodeRun(t, one+"\n\n"+one+"\n\x00", "--raw")
	require.Equal(t, 1, o.code)
	require.Equal(t, "a 2 1\na 2 1\n", o.stdout)
	require.Contains(t, o.stderr, "message 3 (at byte 27): pickle: unknown opcode")

	// A tail that were looked at again after each pickle would take minutes.
	o = decodeRun(t, strings.Repeat(one+"\n", 10000)+strings.Repeat(" ", 16<<20), "--raw")
	require.Equal(t, outcome{0, strings.Repeat("a 2 1\n", 10000), ""}, o)
}

func TestDecodeRawLimit(t *testing.T) {
	one := "]U\x01aK\x01K\x02\x86\x86a."
	proto4, err := hex.DecodeString("80049510000000000000005d948c0161944b014b0286948694612e")
	require.NoError(t, err)
	for _, body := range []string{one, string(proto4), "(l(S'a'\n(L1L\nS'2'\ntta."} {
		for limit := 1; limit < len(body); limit++ {
			o := decodeRun(t, body, "--raw", "--limit", strconv.Itoa(limit))
			require.Equal(t, 1, o.code)
			require.Contains(t, o.stderr, fmt.Sprintf("message 1 (at byte 0): longer than the limit of %d bytes: give a larger --limit", limit))
			require.NotContains(t, o.stderr, "cut short")
		}
		require.Equal(t, outcome{0, "a 2 1\n", ""}, decodeRun(t, body, "--raw", "--limit", strconv.Itoa(len(body))))
	}
	require.Contains(t, decodeRun(t, one[:8], "--raw", "--limit", "8").stderr, "cut short", "the input itself is")
	require.Contains(t, decodeRun(t, "]0000000000", "--raw", "--limit", "8").stderr, "stack does not fit", "not for its length")
}

// live runs flux decode on pipes. The bubble's end proves that no goroutine is left.
func live(t *testing.T, args []string, talk func(in *io.PipeWriter, out *bufio.Reader, cancel func()), want outcome) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		stdin, in := io.Pipe()
		out, stdout := io.Pipe()
		var errs buffer
		code := make(chan int, 1)
		go func() {
			defer stdout.Close()
			code <- run(&cmdContext{ctx: ctx, stdin: stdin, stdout: stdout, stderr: &errs}, append([]string{"decode"}, args...),
				func(string) (string, bool) { return "", false })
		}()
		lines := bufio.NewReader(out)
		talk(in, lines, cancel)
		rest, err := io.ReadAll(lines)
		require.NoError(t, err)
		require.Equal(t, want, outcome{<-code, string(rest), errs.String()})
		in.Close()
	})
}

func TestDecodeLive(t *testing.T) {
	frame := capture(t, []pickle.Datapoint{{Name: []byte("a"), Timestamp: 1, Value: 2}})
	say := func(in io.Writer, text string) {
		_, err := io.WriteString(in, text)
		require.NoError(t, err)
	}
	shown := func(out *bufio.Reader) {
		line, err := out.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "a 2 1\n", line)
	}
	summary := fmt.Sprintf("flux: standard input: at byte %d: interrupted before the end of the input; 0 things could not be read; 2 points could\n", 2*len(frame))

	live(t, nil, func(in *io.PipeWriter, out *bufio.Reader, _ func()) {
		say(in, frame)
		shown(out)
		say(in, frame[:7]) // a part of a frame holds nothing up
		say(in, frame[7:]+frame+frame[:2])
		shown(out)
		shown(out)
		say(in, frame[2:])
		in.Close()
	}, outcome{0, "a 2 1\n", ""})

	live(t, nil, func(in *io.PipeWriter, out *bufio.Reader, cancel func()) {
		say(in, frame+frame+frame[:9])
		shown(out)
		shown(out)
		cancel()
	}, outcome{1, "", summary})

	text := hex.EncodeToString([]byte(frame))
	live(t, []string{"--hex"}, func(in *io.PipeWriter, out *bufio.Reader, cancel func()) {
		say(in, text) // without white space behind it
		shown(out)
		say(in, text[:9])
		say(in, text[9:]+"\n")
		shown(out)
		cancel()
	}, outcome{1, "", summary})

	live(t, []string{"--raw"}, func(in *io.PipeWriter, _ *bufio.Reader, cancel func()) {
		say(in, frame[4:]+"\n"+frame[4:])
		synctest.Wait() // it has been read
		cancel()
	}, outcome{1, "a 2 1\na 2 1\n", "flux: standard input: interrupted before the end of the input; 0 things could not be read; 2 points could\n"})

	live(t, []string{"-", "never-opened"}, func(_ *io.PipeWriter, _ *bufio.Reader, cancel func()) {
		cancel()
	}, outcome{1, "", "flux: standard input: at byte 0: interrupted before the end of the input; 0 things could not be read; 0 points could\n"})
}

// TestDecodeLostOutput ends with the output, though the input is open.
func TestDecodeLostOutput(t *testing.T) {
	frame := capture(t, []pickle.Datapoint{{Name: []byte("a"), Timestamp: 1, Value: 2}})
	synctest.Test(t, func(t *testing.T) {
		stdin, in := io.Pipe()
		out, stdout := io.Pipe()
		out.CloseWithError(errors.New("nobody reads"))
		go io.WriteString(in, frame)
		var errs buffer
		code := run(&cmdContext{ctx: context.Background(), stdin: stdin, stdout: stdout, stderr: &errs}, []string{"decode"},
			func(string) (string, bool) { return "", false })
		require.Equal(t, outcome{1, "", "flux: nobody reads\n"}, outcome{code, "", errs.String()})
		in.Close()
	})
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
	f(frame("]U\x03a bK\x01K\x02\x86\x86a."), "", `message 1 (at byte 0): item 0: pickle: name cannot be sent: U+0020 at byte 1: "a b"`)
	refused := "U\x03a\nbK\x01K\x02\x86\x86"
	f(frame("].")+frame("]("+good+"N"+refused+good+"e."), "good 2 1\ngood 2 1\n",
		`message 2 (at byte 6): item 2: pickle: name cannot be sent: U+000A at byte 1: "a\nb"`)
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
