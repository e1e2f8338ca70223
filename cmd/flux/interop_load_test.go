//go:build interop || soak

package main_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/rig"
)

// client is one sender of a load. Its n-th point is decided by n alone: the metrics in turn, a second later each round,
// so that a metric's points are in order.
type client struct {
	name    string
	metrics int
	batch   int // points a request; 0: over the line input
	pace    time.Duration

	kept    atomic.Int64 // points 0 to kept-1 were accepted
	refused atomic.Int64 // requests that were answered 503 and made again
}

// loadStart is how long before now the first points are. Carbon keeps a day by the second.
const loadStart = 12 * time.Hour

func (c *client) point(start int64, n int) (metric string, at int64, value float64) {
	return fmt.Sprintf("load.%s.m%d", c.name, n%c.metrics), start + int64(n/c.metrics), float64(n) + 0.1
}

// clients send one point at a time, arrays, and lines. pace is the time between two requests, or writes.
func clients(pace time.Duration) []*client {
	var list []*client
	for i := range 4 {
		list = append(list, &client{name: fmt.Sprintf("single%d", i), metrics: 20, batch: 1, pace: pace})
	}
	for i := range 2 {
		list = append(list, &client{name: fmt.Sprintf("array%d", i), metrics: 50, batch: 50, pace: 5 * pace})
	}
	return append(list, &client{name: "line", metrics: 50, pace: pace})
}

// load is clients at work on a gateway.
type load struct {
	gw      *gateway
	start   int64 // Unix second of the first points
	clients []*client
	end     chan struct{}
	working sync.WaitGroup
	errs    chan error // of the clients, one each
	ended   bool
	hurry   atomic.Bool // clients do without their pace
}

func startLoad(t *testing.T, gw *gateway, list []*client) *load {
	t.Helper()
	l := &load{
		gw: gw, clients: list, start: time.Now().Add(-loadStart).Unix(),
		end: make(chan struct{}), errs: make(chan error, len(list)),
	}
	for _, c := range list {
		work := l.post
		if c.batch == 0 {
			conn := dial(t, gw.Line)
			work = func(c *client) error {
				if err := l.write(c, conn); err != nil {
					return err
				}
				if err := conn.CloseWrite(); err != nil {
					return err
				}
				_, err := io.Copy(io.Discard, conn) // ends once everything is kept
				return err
			}
		}
		l.working.Go(func() {
			if err := work(c); err != nil {
				l.errs <- fmt.Errorf("%s: %w", c.name, err)
			}
		})
	}
	t.Cleanup(l.halt)
	return l
}

// halt ends the clients.
func (l *load) halt() {
	if !l.ended {
		l.ended = true
		close(l.end)
	}
	l.working.Wait()
}

// finish ends the clients, none of which may have failed, and returns how many points were accepted.
func (l *load) finish(t *testing.T) (accepted int) {
	t.Helper()
	l.halt()
	close(l.errs)
	for err := range l.errs {
		require.NoError(t, err)
	}
	for _, n := range l.kept() {
		accepted += n
	}
	return accepted
}

// kept is how many points of each client were accepted so far.
func (l *load) kept() []int {
	kept := make([]int, len(l.clients))
	for i, c := range l.clients {
		kept[i] = int(c.kept.Load())
	}
	return kept
}

// waitKept waits until each client got more points accepted than before, as many more as metrics it has.
func (l *load) waitKept(t *testing.T, before []int) {
	t.Helper()
	rig.WaitFor(t, patience, "more accepted points", func() error {
		for i, n := range l.kept() {
			if more := n - before[i]; more < l.clients[i].metrics {
				return fmt.Errorf("%s: %d more", l.clients[i].name, more)
			}
		}
		return nil
	})
}

// wait waits for the client's next turn. It is false when there is none.
func (l *load) wait(pace time.Duration) bool {
	if l.hurry.Load() {
		select {
		case <-l.end:
			return false
		default:
			return true
		}
	}
	turn := time.NewTimer(pace)
	defer turn.Stop()
	select {
	case <-l.end:
		return false
	case <-turn.C:
		return true
	}
}

// post sends requests, one after the other. One that is answered 503 is made again.
func (l *load) post(c *client) error {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	h := &http.Client{Transport: transport}
	for n := 0; l.wait(c.pace); {
		code, answer, err := l.request(h, l.body(c, n))
		switch {
		case err != nil:
			return err
		case code == http.StatusServiceUnavailable:
			c.refused.Add(1)
		case code == http.StatusNoContent:
			n += c.batch
			c.kept.Store(int64(n))
		default:
			return fmt.Errorf("answered %d %s", code, answer)
		}
	}
	return nil
}

func (l *load) request(h *http.Client, body []byte) (code int, answer string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.gw.URL+"/metric_data_post", bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	resp, err := h.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// body is a request with the client's points from n on.
func (l *load) body(c *client, n int) []byte {
	var items []string
	for i := range c.batch {
		metric, at, value := c.point(l.start, n+i)
		items = append(items, fmt.Sprintf(`"metric": %q, "timestamp": %d, "value": %v`, metric, at, value))
	}
	if c.batch == 1 {
		return fmt.Appendf(nil, `{"key": %q, %s}`, apiKey, items[0])
	}
	return fmt.Appendf(nil, `{"key": %q, "metrics": [{%s}]}`, apiKey, strings.Join(items, "}, {"))
}

// write sends lines. What it has written counts as accepted: the test sees to it that the gateway reads it all.
func (l *load) write(c *client, conn io.Writer) error {
	w := bufio.NewWriter(conn)
	for n := 0; l.wait(c.pace); {
		for range 10 {
			metric, at, value := c.point(l.start, n)
			fmt.Fprintf(w, "%s %v %d\n", metric, value, at)
			n++
		}
		if err := w.Flush(); err != nil {
			return err
		}
		c.kept.Store(int64(n))
	}
	return nil
}

// waitStored waits until the last point of each metric that is accepted now is in Graphite.
func (l *load) waitStored(t *testing.T, g *rig.Graphite) {
	t.Helper()
	from := l.kept()
	for i, c := range l.clients {
		from[i] -= c.metrics
	}
	requireStoredOf(t, g, l.points(from), nil)
}

// points are those that were accepted, from the given number of each client on.
func (l *load) points(from []int) points {
	pts := points{}
	for i, n := range l.kept() {
		for k := from[i]; k < n; k++ {
			pts.add(l.clients[i].point(l.start, k))
		}
	}
	return pts
}

// outage is something that happens to carbon for some time.
type outage struct {
	begin func(*rig.Carbon)
	end   func(*rig.Carbon)
	lasts time.Duration
	loses bool // carbon forgets what it had read and not written
	hurry bool // meanwhile the clients send as fast as they can
}

func stopped(lasts time.Duration) outage {
	return outage{begin: func(c *rig.Carbon) { c.Stop() }, end: func(c *rig.Carbon) { c.Restart() }, lasts: lasts}
}

func paused(lasts time.Duration) outage {
	return outage{begin: func(c *rig.Carbon) { c.Pause() }, end: func(c *rig.Carbon) { c.Continue() }, lasts: lasts}
}

func killed(lasts time.Duration) outage {
	return outage{begin: func(c *rig.Carbon) { c.Kill() }, end: func(c *rig.Carbon) { c.Restart() }, lasts: lasts, loses: true}
}

// surviveOutages puts a gateway under load and lets carbon suffer one outage after the other. Nothing that was accepted
// may be missing in the end, save what carbon itself forgot, and nothing may count as a duplicate. It returns how many
// points were refused for want of room, which were then sent again.
func surviveOutages(t *testing.T, protocol string, list []*client, outages ...outage) (refused int) {
	t.Helper()
	carbon := rig.CarbonCache(t, rig.CarbonOptions{FlushAtStop: true})
	graphite := rig.GraphiteWeb(t, carbon)
	addr := map[string]string{"pickle": carbon.Pickle, "line": carbon.Line}[protocol]
	gw := startServe(t, addr, "--carbon-protocol", protocol, "--key", apiKey, "--max-age", "0")
	l := startLoad(t, gw, list)

	from := make([]int, len(list))
	l.waitKept(t, from)
	l.waitStored(t, graphite) // no file is being created when carbon is killed
	for _, o := range outages {
		o.begin(carbon)
		if o.loses {
			from = l.kept()
		}
		over := time.NewTimer(o.lasts)
		l.waitKept(t, l.kept()) // accepted while carbon is away
		l.hurry.Store(o.hurry)
		<-over.C
		l.hurry.Store(false)
		o.end(carbon)
		l.waitStored(t, graphite)
	}
	accepted := l.finish(t)
	a := stop(t, gw.Process)
	require.Equal(t, []int{accepted, accepted, 0, 0}, []int{a.Accepted, a.Delivered, a.Duplicate, a.Late})
	for _, c := range list {
		refused += int(c.refused.Load()) * c.batch
	}
	require.Equal(t, refused, sum(a.Rejected))
	t.Logf("%d points accepted, %d refused for want of room and sent again, %d resent to carbon", accepted, refused, a.Resent)
	requireStoredOf(t, graphite, l.points(from), l.points(make([]int, len(from))))
	return refused
}
