package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// anywhere are the options for free ports.
var anywhere = []string{
	"-http=127.0.0.1:0", "-line=127.0.0.1:0", "-pickle=127.0.0.1:0", "-forward-line=127.0.0.1:0",
	"-forward-pickle=127.0.0.1:0", "-render=127.0.0.1:0", "-blueflood=127.0.0.1:0", "-blueflood-query=127.0.0.1:0",
}

// fetch does what a printed line does.
func fetch(t *testing.T, p paste) (int, string) {
	t.Helper()
	p = p.at(fmt.Sprint(time.Now().Unix()))
	var resp *http.Response
	var err error
	if p.body != "" {
		resp, err = http.Post(p.url, "application/x-www-form-urlencoded", strings.NewReader(p.body))
	} else {
		resp, err = http.Get(p.url)
	}
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

func TestPrintedRequestsWork(t *testing.T) {
	p, err := parse(anywhere, io.Discard)
	require.NoError(t, err)
	quiet := &lines{w: io.Discard}
	d, err := start(p, quiet)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var serving sync.WaitGroup
	serving.Go(func() { _ = d.gateway.Run(ctx) })
	serving.Go(func() { _ = d.forwarder.Run(ctx) })
	require.NoError(t, d.hello(ctx))
	for _, s := range d.sends() {
		code, body := fetch(t, s)
		require.Equal(t, 204, code, "%s: %s", s.what, body)
	}
	require.NoError(t, d.carbon.Wait(ctx, 5))
	require.NoError(t, d.blueflood.Wait(ctx, 1))
	wants := [][]string{
		{"demo.get", "demo.post", "demo.many.a", "demo.many.b", "demo.lines"}, {`"numPoints": 1`},
		{`"metric":"demo.post"`, `"accepted":1`}, {`"status":"ok"`, `"up":true`}, {`"status":"ok"`},
		{"flux_points_accepted_total 5\n"},
	}
	require.Len(t, d.reads(), len(wants))
	for i, r := range d.reads() {
		code, body := fetch(t, r)
		require.Equal(t, 200, code, "%s: %s", r.what, body)
		for _, want := range wants[i] {
			require.Contains(t, body, want)
		}
	}
	cancel()
	serving.Wait()
	require.NoError(t, d.stop(quiet))
}

// output keeps what is written and closes ready once it holds text.
type output struct {
	mu    sync.Mutex
	b     strings.Builder
	text  string
	ready chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	before := strings.Contains(o.b.String(), o.text)
	n, err := o.b.Write(p)
	if !before && strings.Contains(o.b.String(), o.text) {
		close(o.ready)
	}
	return n, err
}

func TestRunPrintsAndEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	out := &output{text: "blueflood  demo.started 1", ready: make(chan struct{})}
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, anywhere, out) }()
	select {
	case <-out.ready:
	case err := <-ended:
		require.NoError(t, err, "it ended early")
	}
	cancel()
	require.NoError(t, <-ended)
	require.Equal(t, 10, strings.Count(out.b.String(), "\ncurl "))
	require.Contains(t, out.b.String(), "blueflood: 1 points received, 1 accepted, 0 duplicate, 1 delivered")
}

func TestTakenPortSaysWhatToType(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	for i, option := range []string{"-http", "-line", "-pickle", "-forward-line", "-forward-pickle", "-render", "-blueflood", "-blueflood-query"} {
		args := append([]string(nil), anywhere...)
		args[i] = option + "=" + l.Addr().String()
		err := run(context.Background(), args, io.Discard)
		require.ErrorContains(t, err, l.Addr().String())
		require.ErrorContains(t, err, "choose another with "+option+", such as")
	}
}

func TestOptionsThatAreNone(t *testing.T) {
	require.ErrorContains(t, run(context.Background(), []string{"serve"}, io.Discard), `"serve" is not an option`)
	require.Error(t, run(context.Background(), []string{"-nosuch"}, io.Discard))
}
