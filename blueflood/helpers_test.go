package blueflood_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood"
)

// account collects what an endpoint reports.
type account struct {
	mu        sync.Mutex
	delivered map[string]int
	failed    map[string]string // name: reason
	details   map[string]string
}

func (a *account) attach(cfg *blueflood.EndpointConfig) {
	a.delivered, a.failed, a.details = map[string]int{}, map[string]string{}, map[string]string{}
	cfg.Delivered = func(ms []blueflood.Metric) {
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, m := range ms {
			a.delivered[string(m.Name)]++
		}
	}
	first := cfg.Failed
	cfg.Failed = func(ms []blueflood.Metric, why []blueflood.Failure) error {
		if first != nil {
			if err := first(ms, why); err != nil {
				return err
			}
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		for i, m := range ms {
			a.failed[string(m.Name)] = why[i].Reason
			a.details[string(m.Name)] = why[i].Detail
		}
		return nil
	}
}

// start returns an endpoint that is closed with the test, and its account.
func start(t *testing.T, cfg blueflood.EndpointConfig) (*blueflood.Endpoint, *account) {
	t.Helper()
	a := new(account)
	a.attach(&cfg)
	if cfg.Tenant == "" {
		cfg.Tenant = "ten"
	}
	if cfg.BackoffMin == 0 {
		cfg.BackoffMin, cfg.BackoffMax = time.Millisecond, 4*time.Millisecond
	}
	e, err := blueflood.NewEndpoint(cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = e.Close(ended)
	})
	return e, a
}

// point is a metric of this minute.
func point(name string, value float64) blueflood.Metric {
	return blueflood.Metric{Name: []byte(name), Timestamp: time.Now().UnixMilli(), Value: value}
}

func points(n int) []blueflood.Metric {
	ms := make([]blueflood.Metric, n)
	for i := range ms {
		ms[i] = point(fmt.Sprintf("m%03d", i), float64(i))
	}
	return ms
}

// within is a context for things that take no time at all.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// namesIn returns the names in a body, in order.
func namesIn(t *testing.T, body []byte) (names []string) {
	var rows []struct {
		MetricName string
	}
	require.NoError(t, json.Unmarshal(body, &rows))
	for _, r := range rows {
		names = append(names, r.MetricName)
	}
	return names
}

// transport is an http.RoundTripper without a network, for tests under a fake clock.
type transport func(body []byte, r *http.Request) *http.Response

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	r.Body.Close()
	if err != nil {
		return nil, err
	}
	res := f(body, r)
	if res == nil {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	res.Request = r
	return res, nil
}

func reply(status int, body string, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

// noLeaks fails the test when a goroutine of this package outlives it. Call it first.
func noLeaks(t *testing.T) {
	t.Cleanup(func() {
		deadline := time.Now().Add(10 * time.Second)
		for {
			left := ourGoroutines()
			if left == "" {
				return
			}
			if time.Now().After(deadline) {
				t.Errorf("goroutines left:\n%s", left)
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
}

// ourGoroutines returns the stacks of goroutines that an endpoint or a server started, or made net/http start.
func ourGoroutines() (left string) {
	buf := make([]byte, 1<<20)
	for _, s := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		ours := strings.Contains(s, "fluxkit/") || strings.Contains(s, "net/http.(*persistConn)")
		if ours && !strings.Contains(s, "testing.tRunner") {
			left += s + "\n\n"
		}
	}
	return left
}

var nan, inf = math.NaN(), math.Inf(1)
