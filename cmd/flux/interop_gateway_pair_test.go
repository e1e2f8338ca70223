//go:build interop || soak

package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/rig"
)

const (
	pairClients = 8
	pairMetrics = 25 // of each client
	pairBatch   = 20 // points of a request
	pairPace    = 20 * time.Millisecond
	pairRound   = 40              // batches, after which a client waits until the marks have risen
	pairOutage  = 3 * time.Second // of Redis, longer than hold lets a request wait here
)

// pairClient sends the points of its metrics, interleaved at random, each metric's in the order of time, to both
// gateways: to one of them at once, to the other at once or when their marks have risen. It sends again until it is
// answered 204.
type pairClient struct {
	id     int
	next   [pairMetrics]int // of each metric
	bodies [][]byte
	raced  int // points that went to both gateways at once
}

// pair is two gateways on one Redis, and their clients.
type pair struct {
	gateways [2]*gateway
	server   *rig.RedisServer
	start    int64
	done     atomic.Int64 // batches that both gateways have answered
	refused  atomic.Int64 // requests that were answered 503
}

// twoGateways sends points through two gateways with one Redis, which is killed and restarted in the middle.
func twoGateways(t *testing.T, away string, total int) {
	server := rig.Redis(t, "--appendonly", "yes", "--appendfsync", "always")
	sink := rig.StartSink(t, rig.SinkOptions{})
	p := &pair{server: server, start: time.Now().Unix() - 3000}
	for i := range p.gateways {
		p.gateways[i] = startServe(t, sink.Pickle, "--key", apiKey, "--dedup", server.URL, "--dedup-away", away, "--dedup-away-wait", "1s")
	}
	batches := total / pairClients / pairBatch
	clients := make([]*pairClient, pairClients)
	var sending sync.WaitGroup
	errs := make(chan error, pairClients)
	for i := range clients {
		clients[i] = &pairClient{id: i}
		sending.Go(func() { errs <- clients[i].send(p, batches) })
	}
	watching := p.watch(t, clients)
	third := int64(batches * pairClients / 3)
	rig.WaitFor(t, patience, "third of the points", func() error {
		if done := p.done.Load(); done < third {
			return fmt.Errorf("%d of %d", done, third)
		}
		return nil
	})
	server.Kill()
	<-time.After(pairOutage)
	server.Restart()
	sending.Wait()
	for range clients {
		require.NoError(t, <-errs)
	}
	require.NoError(t, p.risen(clients))
	watching.stop(t)
	if away == "deliver" {
		require.Zero(t, p.refused.Load())
	} else {
		require.Positive(t, p.refused.Load())
	}
	requirePair(t, p, sink, clients, away)
}

// requirePair has everything sent once more, which must bring nothing, and compares what arrived with what was sent.
func requirePair(t *testing.T, p *pair, sink *rig.Sink, clients []*pairClient, away string) {
	t.Helper()
	before := p.accepted(t)
	total, raced := 0, 0
	for _, c := range clients {
		total += len(c.bodies) * pairBatch
		raced += c.raced
		for _, body := range c.bodies {
			for i := range p.gateways {
				code, err := p.post(i, body)
				require.NoError(t, err)
				require.Equal(t, 204, code)
			}
		}
	}
	accepted, resent := 0, 0
	for _, gw := range p.gateways {
		a := stop(t, gw.Process)
		require.Zero(t, sum(a.GivenUp))
		accepted += a.Accepted
		resent += a.Resent
	}
	require.Equal(t, before, accepted, "points below their marks were accepted")
	if away != "deliver" {
		require.LessOrEqual(t, accepted-total, raced, "points were accepted twice whose marks had risen")
	}
	arrived := map[string]int{}
	for _, pt := range sink.Points() {
		arrived[fmt.Sprintf("%s %d", pt.Name, int64(pt.Timestamp))]++
	}
	for _, c := range clients {
		for m, n := range c.next {
			for i := range n {
				point := fmt.Sprintf("%s %d", c.metric(m), p.start+int64(i))
				require.Positive(t, arrived[point], point)
				require.LessOrEqual(t, arrived[point], 2+resent, point)
				delete(arrived, point)
			}
		}
	}
	require.Empty(t, arrived, "points that nobody sent")
	if resent == 0 {
		require.Equal(t, accepted, sink.Count(), "what was accepted arrived, each time that it was accepted")
	}
	t.Logf("%d points, %d of them sent to both gateways at once; %d accepted by both, %d requests refused",
		total, raced, accepted-total, p.refused.Load())
}

// accepted is how many points both gateways together have accepted.
func (p *pair) accepted(t *testing.T) (n int) {
	for _, gw := range p.gateways {
		n += gw.figure(t, "flux_points_accepted_total")
	}
	return n
}

// figure is one of the gateway's figures for Prometheus, of all labels together.
func (g *gateway) figure(t *testing.T, name string) (n int) {
	t.Helper()
	resp, err := http.Get(g.URL + "/metrics")
	require.NoError(t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	for line := range strings.Lines(string(answer)) {
		if what, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && (what == name || strings.HasPrefix(what, name+"{")) {
			v, err := strconv.ParseFloat(value, 64)
			require.NoError(t, err, line)
			n += int(v)
		}
	}
	return n
}

func (c *pairClient) metric(m int) string { return fmt.Sprintf("pair.c%d.m%d", c.id, m) }

// send sends so many batches.
func (c *pairClient) send(p *pair, batches int) error {
	first := c.id % 2
	var later [][]byte
	for n := range batches {
		body := c.batch(p)
		c.bodies = append(c.bodies, body)
		to := []int{first}
		if rand.IntN(2) == 0 {
			to = []int{first, 1 - first}
			c.raced += pairBatch
		} else {
			later = append(later, body)
		}
		for _, i := range to {
			if err := p.postUntilTaken(i, body); err != nil {
				return err
			}
			<-time.After(pairPace)
		}
		p.done.Add(1)
		if n%pairRound == pairRound-1 || n == batches-1 {
			if err := p.wait([]*pairClient{c}); err != nil {
				return err
			}
			for _, body := range later {
				if err := p.postUntilTaken(1-first, body); err != nil {
					return err
				}
			}
			later = nil
		}
	}
	return nil
}

// batch is the body of the client's next request.
func (c *pairClient) batch(p *pair) []byte {
	var items []string
	for range pairBatch {
		m := rand.IntN(pairMetrics)
		items = append(items, fmt.Sprintf(`{"metric": %q, "timestamp": %d, "value": %d}`, c.metric(m), p.start+int64(c.next[m]), c.next[m]))
		c.next[m]++
	}
	return fmt.Appendf(nil, `{"key": %q, "metrics": [%s]}`, apiKey, strings.Join(items, ", "))
}

func (p *pair) postUntilTaken(i int, body []byte) error {
	for {
		code, err := p.post(i, body)
		if err != nil || code == http.StatusNoContent {
			return err
		}
		<-time.After(pairPace)
	}
}

// wait returns once all marks of the clients' metrics have risen to their last points, or after a minute.
func (p *pair) wait(clients []*pairClient) error {
	for end := time.Now().Add(patience); ; {
		err := p.risen(clients)
		if err == nil || time.Now().After(end) {
			return err
		}
		<-time.After(pairPace)
	}
}

// post sends a body to one of the gateways.
func (p *pair) post(i int, body []byte) (int, error) {
	resp, err := http.Post(p.gateways[i].URL+"/metric_data_post", "application/json", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return 0, err
	case resp.StatusCode == http.StatusServiceUnavailable:
		if resp.Header.Get("Retry-After") == "" {
			return 0, errors.New("503 without Retry-After")
		}
		p.refused.Add(1)
	case resp.StatusCode != http.StatusNoContent:
		return 0, fmt.Errorf("a post was answered %d %s", resp.StatusCode, answer)
	}
	return resp.StatusCode, nil
}

// watcher looks at marks again and again.
type watcher struct {
	end  chan struct{}
	fell chan string
}

// watch looks whether a mark falls.
func (p *pair) watch(t *testing.T, clients []*pairClient) *watcher {
	w := &watcher{make(chan struct{}), make(chan string, 1)}
	t.Cleanup(func() { close(w.end) })
	go func() {
		last := map[string]int64{}
		for {
			select {
			case <-w.end:
				w.fell <- ""
				return
			case <-time.After(5 * time.Millisecond):
			}
			marks, err := readMarks(p.server, clients)
			if err != nil {
				continue // Redis is away
			}
			for metric, at := range last {
				if marks[metric] < at {
					w.fell <- fmt.Sprintf("the mark of %s fell from %d to %d", metric, at, marks[metric])
					return
				}
			}
			last = marks
		}
	}()
	return w
}

func (w *watcher) stop(t *testing.T) {
	t.Helper()
	select {
	case w.end <- struct{}{}:
		require.Empty(t, <-w.fell)
	case fell := <-w.fell:
		require.Empty(t, fell)
	}
}

// readMarks are all marks as Skyline keeps them.
func readMarks(server *rig.RedisServer, clients []*pairClient) (map[string]int64, error) {
	conn, err := redis.Dial("tcp", server.Addr, redis.DialConnectTimeout(time.Second), redis.DialReadTimeout(time.Second))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	var keys []any
	for _, c := range clients {
		for m := range pairMetrics {
			keys = append(keys, "flux.last."+c.metric(m))
		}
	}
	texts, err := redis.Strings(conn.Do("MGET", keys...))
	if err != nil {
		return nil, err
	}
	marks := map[string]int64{}
	for i, text := range texts {
		at, _, _ := strings.Cut(strings.TrimPrefix(text, "["), ",")
		if n, err := strconv.ParseInt(at, 10, 64); err == nil {
			marks[strings.TrimPrefix(keys[i].(string), "flux.last.")] = n
		}
	}
	return marks, nil
}

// risen returns nil if each mark has risen to the last point of its metric.
func (p *pair) risen(clients []*pairClient) error {
	marks, err := readMarks(p.server, clients)
	if err != nil {
		return err
	}
	for _, c := range clients {
		for m, n := range c.next {
			if want := p.start + int64(n) - 1; n > 0 && marks[c.metric(m)] != want {
				return fmt.Errorf("the mark of %s is %d, not %d", c.metric(m), marks[c.metric(m)], want)
			}
		}
	}
	return nil
}
