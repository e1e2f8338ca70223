//go:build interop || soak

package main_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood/bluefloodtest"
	"github.com/fluxmetrics/fluxkit/internal/rig"
)

// harbour is a destination whose weather the test makes. Its methods belong to the test's goroutine.
type harbour interface {
	up()
	down()
	// slow makes it slow, or well again.
	slow(bool)
	// arrived calls f with every point that has arrived, a point that came twice twice.
	arrived(f func(metric string, at, value float64))
}

// carbonHarbour is a sink.
type carbonHarbour struct{ *rig.Sink }

func (h carbonHarbour) up() {
	if !h.Running() {
		h.Restart()
	}
}
func (h carbonHarbour) down() { h.Kill() }

func (h carbonHarbour) slow(slow bool) {
	switch {
	case slow && h.Running():
		h.Pause()
	case h.Running():
		h.Continue()
	}
}

func (h carbonHarbour) arrived(f func(string, float64, float64)) {
	for _, p := range h.Points() {
		f(p.Name, p.Timestamp, p.Value)
	}
}

// bluefloodHarbour is a Blueflood that forgets nothing when it goes down.
type bluefloodHarbour struct {
	t      *testing.T
	addr   string
	server *bluefloodtest.Server

	mu     sync.Mutex
	points []bluefloodtest.Point
}

func newBluefloodHarbour(t *testing.T) *bluefloodHarbour {
	h := &bluefloodHarbour{t: t, addr: rig.FreeAddr(t)}
	t.Cleanup(h.down)
	h.up()
	return h
}

func (h *bluefloodHarbour) up() {
	h.t.Helper()
	if h.server != nil {
		return
	}
	var err error
	h.server, err = bluefloodtest.Start(bluefloodtest.Options{
		IngestAddr: h.addr, OnPoint: h.take, KeepPoints: -1, KeepRequests: -1,
	})
	require.NoError(h.t, err)
}

func (h *bluefloodHarbour) take(p bluefloodtest.Point) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.points = append(h.points, p)
}

func (h *bluefloodHarbour) down() {
	if h.server != nil {
		h.server.Close()
		h.server = nil
	}
}

// slow also loses some answers, after the points were stored or before.
func (h *bluefloodHarbour) slow(slow bool) {
	if h.server == nil {
		return
	}
	if !slow {
		h.server.Fallback(bluefloodtest.Reply{})
		return
	}
	h.server.Fallback(bluefloodtest.Reply{Delay: time.Duration(20+rand.IntN(300)) * time.Millisecond})
	h.server.Queue([]bluefloodtest.Reply{
		{Reset: true}, {Reset: true, Store: true}, {Status: 503}, bluefloodtest.PersistFailed(),
	}[rand.IntN(4)])
}

func (h *bluefloodHarbour) arrived(f func(string, float64, float64)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.points {
		f(p.Metric, float64(p.Timestamp)/1000, p.Value)
	}
}

// weather is what a destination goes through while flux is killed.
type weather string

const (
	fair     weather = "up"
	calm     weather = "down" // until the end
	doldrums weather = "slow"
	squalls  weather = "flapping"
)

var weathers = []weather{fair, calm, doldrums, squalls}

// begin comes before the first round, turn now and then, end after the last one.
func (w weather) begin(h harbour) {
	if w == calm {
		h.down()
	}
}

func (w weather) turn(h harbour) {
	switch w {
	case doldrums:
		h.slow(rand.IntN(3) > 0)
	case squalls:
		switch rand.IntN(4) {
		case 0:
			h.slow(true)
		case 1:
			h.slow(false)
		case 2:
			h.down()
		case 3:
			h.up()
		}
	}
}

func (w weather) end(h harbour) {
	h.slow(false)
	h.down() // with the faults that are left
	h.up()
}

// startSpooled runs flux serve in front of a Carbon, or flux forward in front of a Blueflood, with a spool.
func startSpooled(t *testing.T, forward bool, spool string, args ...string) (*rig.Process, harbour, inputs) {
	t.Helper()
	in := inputs{line: rig.FreeAddr(t), pickle: rig.FreeAddr(t)}
	args = append([]string{"--log-format", "json", "--spool", spool, "--line-listen", in.line}, args...)
	if forward {
		h := newBluefloodHarbour(t)
		_, port, _ := strings.Cut(in.pickle, ":")
		args = append([]string{"forward", "-e", fmt.Sprintf("tcp:%s:interface=127.0.0.1", port),
			"-b", "http://" + h.addr, "-t", "demo", "-i", "0.1"}, args...)
		return rig.StartFlux(t, args...), h, in
	}
	h := carbonHarbour{rig.StartSink(t, rig.SinkOptions{})}
	in.http = rig.FreeAddr(t)
	args = append([]string{"serve", "--listen", in.http, "--key", apiKey, "--max-age", "0",
		"--pickle-listen", in.pickle, "--carbon", h.Pickle}, args...)
	return rig.StartFlux(t, args...), h, in
}

// inputs are addresses; http is empty where there is none.
type inputs struct{ http, line, pickle string }

func (i inputs) all() []string {
	if i.http == "" {
		return []string{i.line, i.pickle}
	}
	return []string{i.http, i.line, i.pickle}
}

func (i inputs) senders() *senders {
	url := ""
	if i.http != "" {
		url = "http://" + i.http + "/flux"
	}
	return startSenders(url, i.line, i.pickle)
}
