package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"math"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood/bluefloodtest"
)

// forwarder is a flux forward that runs in this process.
type forwarder struct {
	t    *testing.T
	log  buffer
	addr map[string]string // by input
	end  context.CancelFunc
	code chan int
}

// forwarded runs flux forward to a Blueflood, as the tenant "ten", with an input for lines beside the one for pickles.
// More options, and other ones, are in args.
func forwarded(t *testing.T, s *bluefloodtest.Server, args ...string) *forwarder {
	t.Helper()
	return startForwarder(t, append([]string{"-e", "127.0.0.1:0", "--line-listen", "127.0.0.1:0", "-b", s.IngestURL(), "-t", "ten", "-i", "0.01"}, args...)...)
}

func startForwarder(t *testing.T, args ...string) *forwarder {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f := &forwarder{t: t, addr: map[string]string{}, end: cancel, code: make(chan int, 1)}
	before := runtime.NumGoroutine()
	go func() {
		c := &cmdContext{ctx: ctx, stdin: strings.NewReader(""), stdout: io.Discard, stderr: &f.log}
		f.code <- run(c, append([]string{"forward", "--log-format", "json"}, args...), func(string) (string, bool) { return "", false })
		close(f.code)
	}()
	t.Cleanup(func() {
		cancel()
		<-f.code
		require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+1 }, 20*time.Second, time.Millisecond,
			"goroutines are left, beside the one that runs this")
	})
	require.Eventually(t, func() bool {
		return len(f.code) > 0 || strings.Contains(f.log.String(), "accepted points are kept in")
	}, 20*time.Second, time.Millisecond)
	for _, r := range f.records("listening") {
		f.addr[r["input"].(string)] = r["address"].(string)
	}
	return f
}

// records are those of the log with a message.
func (f *forwarder) records(msg string) (out []map[string]any) {
	for line := range strings.Lines(f.log.String()) {
		var r map[string]any
		if json.Unmarshal([]byte(line), &r) == nil && r["msg"] == msg {
			out = append(out, r)
		}
	}
	return out
}

// forwardAccount is what flux logs last.
type forwardAccount struct {
	Received, Accepted, Duplicate, Late int
	Rejected                            map[string]int
	Destinations                        map[string]struct {
		Accepted, Recovered, Delivered, Pending int
		GivenUp                                 map[string]int `json:"given_up"`
		Dropped                                 map[string]int
	}
}

// stop ends the forwarder, which must succeed with every point accounted for.
func (f *forwarder) stop() forwardAccount {
	f.t.Helper()
	f.end()
	require.Equal(f.t, exitOK, <-f.code, f.log.String())
	return f.account()
}

func (f *forwarder) account() (a forwardAccount) {
	f.t.Helper()
	total := func(m map[string]int) (n int) {
		for _, v := range m {
			n += v
		}
		return n
	}
	for line := range strings.Lines(f.log.String()) {
		if strings.Contains(line, `"msg":"account"`) {
			require.NoError(f.t, json.Unmarshal([]byte(line), &a))
		}
	}
	require.NotEmpty(f.t, a.Destinations, f.log.String())
	require.Equal(f.t, a.Received, a.Accepted+a.Duplicate+a.Late+total(a.Rejected))
	for name, d := range a.Destinations {
		require.Equal(f.t, d.Accepted+d.Recovered, d.Delivered+total(d.GivenUp)+total(d.Dropped)+d.Pending, name)
	}
	return a
}

// send gives an input bytes, and waits until it has kept what they hold.
func (f *forwarder) send(input, text string) {
	f.t.Helper()
	conn, err := net.Dial("tcp", f.addr[input])
	require.NoError(f.t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, text)
	require.NoError(f.t, err)
	require.NoError(f.t, conn.(*net.TCPConn).CloseWrite())
	require.NoError(f.t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
	_, err = conn.Read(make([]byte, 1))
	require.ErrorIs(f.t, err, io.EOF)
}

// arrive waits until so many different points are stored.
func arrive(t *testing.T, s *bluefloodtest.Server, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	require.NoError(t, s.Wait(ctx, n))
}

// frame is a carbon pickle of protocol 2, a list of items, with its length in front.
func frame(items ...string) string {
	return framed("\x80\x02](" + strings.Join(items, "") + "e.")
}

// framed is a pickle with its length in front.
func framed(body string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(body)))) + body
}

// item is a point in a frame.
func item(name string, timestamp, value float64) string {
	return itemOf(name, pickled(timestamp), pickled(value))
}

// itemOf is a point of other things.
func itemOf(name, timestamp, value string) string {
	return "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(name)))) + name + timestamp + value + "\x86\x86"
}

func pickled(v float64) string {
	return "G" + string(binary.BigEndian.AppendUint64(nil, math.Float64bits(v)))
}
