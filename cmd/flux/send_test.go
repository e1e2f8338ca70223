package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux"
	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
)

func TestSendToCarbon(t *testing.T) {
	carbon := graphitetest.Run(t)
	for scheme, addr := range map[string]string{"line": carbon.LineAddr, "pickle": carbon.PickleAddr} {
		to := scheme + "://" + addr
		o := fluxRun("send", "--to", to, "a."+scheme, "-0.5", "1700000000")
		require.Equal(t, exitOK, o.code, o.stderr)
		require.Equal(t, "1 point sent to "+to+", 0 refused\n", o.stdout)
		require.Equal(t, []graphitetest.Sample{{Timestamp: 1700000000, Value: -0.5}}, carbon.Points("a."+scheme))
	}
	to := "pickle://" + carbon.PickleAddr
	o := fluxWith(context.Background(), "b.one 1\n\nb.two 2 1700000000\nb.bad x 1700000000\nb\nb.three 3", nil, "send", "--to", to)
	require.Equal(t, exitFailed, o.code)
	require.Equal(t, "3 points sent to "+to+", 2 refused\n", o.stdout)
	require.Contains(t, o.stderr, `line 4, "b.bad x 1700000000"`)
	require.Contains(t, o.stderr, `line 5, "b": 1 word where METRIC VALUE [TIMESTAMP] is wanted`)
	require.InDelta(t, time.Now().Unix(), carbon.Points("b.one")[0].Timestamp, 60)
	require.Len(t, carbon.Points("b.three"), 1)
}

func TestSendManyLines(t *testing.T) {
	carbon := graphitetest.Run(t)
	var in strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&in, "m.%d %d 1700000000\n", i, i)
	}
	o := fluxWith(context.Background(), in.String(), nil, "send", "--to", "line://"+carbon.LineAddr)
	require.Equal(t, exitOK, o.code, o.stderr)
	require.Contains(t, o.stdout, "5000 points sent")
	require.Equal(t, 5000, carbon.Received())
}

func TestSendLineTooLong(t *testing.T) {
	carbon := graphitetest.Run(t)
	o := fluxWith(context.Background(), strings.Repeat("x", 1<<20), nil, "send", "--to", "line://"+carbon.LineAddr)
	require.Equal(t, exitFailed, o.code)
	require.Contains(t, o.stderr, "line 1 of the input is longer than 65536 bytes")
}

func TestSendToCarbonThatIsHung(t *testing.T) {
	carbon := graphitetest.Run(t)
	carbon.Line().Pause()
	o := fluxRun("send", "--to", "line://"+carbon.LineAddr, "--timeout", "0.1", "a", "1")
	carbon.Line().Resume()
	require.Equal(t, exitFailed, o.code)
	require.Contains(t, o.stdout, "0 points sent")
	require.Contains(t, o.stderr, "1 point not confirmed")
}

func TestSendToGateway(t *testing.T) {
	carbon := graphitetest.Run(t)
	s, err := flux.New(flux.Config{
		HTTP:        &flux.HTTPConfig{Listen: "127.0.0.1:0", Keys: []flux.Key{{Secret: key}}},
		Destination: flux.Destination{Carbon: &graphite.ClientConfig{Addrs: []string{carbon.PickleAddr}}},
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- s.Run(ctx) }()
	to := "http://" + s.Addr("http").String()

	o := fluxRun("send", "--to", to, "--key-file", write(t, key+"\n"), "a.b", "1.5")
	require.Equal(t, exitOK, o.code, o.stderr)
	require.Equal(t, "1 point sent to "+to+", 0 refused\n", o.stdout)

	at := time.Now().Unix()
	o = fluxWith(context.Background(), fmt.Sprintf("c.1 1 %d\nc.old 1 1700000000\nc.2 2 %d\n", at, at), nil, "send", "--to", to+"/", "--key", key)
	require.Equal(t, exitFailed, o.code)
	require.Equal(t, "2 points sent to "+to+"/, 1 refused\n", o.stdout)
	require.Contains(t, o.stderr, "refused: c.old 1 1700000000")
	require.Contains(t, o.stderr, "too old")

	o = fluxRun("send", "--to", to, "--key", "wrong", "a.b", "1")
	require.Equal(t, exitFailed, o.code)
	require.Contains(t, o.stderr, "401 Unauthorized: invalid key")
	o = fluxRun("send", "--to", to+"/nowhere", "--key", key, "a.b", "1")
	require.Contains(t, o.stderr, fmt.Sprint(http.StatusNotFound))

	cancel()
	require.NoError(t, <-stopped)
	require.NoError(t, s.Close(context.Background()))
	require.Equal(t, 3, carbon.Received())
	o = fluxRun("send", "--to", to, "--timeout", "1", "a.b", "1")
	require.Equal(t, exitFailed, o.code)
	require.Contains(t, o.stderr, "refused")
}
