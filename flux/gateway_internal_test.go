package flux

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite"
)

// TestStalledBodies has bodies that take memory and do not go on: they are ended, and what they held is free again. A
// small body has its time.
func TestStalledBodies(t *testing.T) {
	s, err := New(Config{
		HTTP:        &HTTPConfig{Listen: "127.0.0.1:0", NoAuth: true, MaxBody: 1 << 20},
		Destination: Destination{Carbon: &graphite.ClientConfig{Addrs: []string{"127.0.0.1:1"}}}, DrainTimeout: time.Millisecond,
	})
	require.NoError(t, err)
	s.gateway.stall = 20 * time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	defer s.Close(ctx)
	defer running.Wait()
	defer cancel()
	open := func(n, have int) net.Conn {
		c, err := net.Dial("tcp", s.Addr("http").String())
		require.NoError(t, err)
		_, err = fmt.Fprintf(c, "POST /flux/metric_data_post HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", n, strings.Repeat(" ", have))
		require.NoError(t, err)
		return c
	}
	small := open(1000, 10)
	defer small.Close()
	for _, have := range []int{40 << 10, 300 << 10} {
		c := open(500<<10, have)
		defer c.Close()
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		require.Equal(t, 408, resp.StatusCode)
		resp.Body.Close()
	}
	require.Eventually(t, func() bool {
		s.gateway.memory.mu.Lock()
		defer s.gateway.memory.mu.Unlock()
		return s.gateway.memory.all == 0 && s.gateway.memory.strangers == 0
	}, 20*time.Second, time.Millisecond)
	at := time.Now().Unix()
	body := fmt.Sprintf(`{"metric":"a","timestamp":%d,"value":1}`, at)
	_, err = fmt.Fprint(small, strings.Repeat(" ", 990-len(body))+body)
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(small), nil)
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, 204, resp.StatusCode, "a small one that took longer")
	require.Equal(t, map[string]uint64{"body": 2}, s.Stats().Unread)

	// Nor does one that does not say how long it is draw what a large one has left behind.
	x := s.gateway.newExchange()
	x.body = make([]byte, 0, 200<<10)
	s.gateway.put(x)
	chunked := s.gateway.exchangeFor(&http.Request{ContentLength: -1}, false)
	require.Zero(t, chunked.held)
	require.LessOrEqual(t, chunked.size()+chunked.parser.Footprint(), int64(smallBody))
}

// TestBudget shares memory out between those that have a key and strangers.
func TestBudget(t *testing.T) {
	b := budget{most: 100}
	require.True(t, b.take(50, false))
	require.False(t, b.take(1, false), "strangers have half")
	require.True(t, b.take(50, true))
	require.False(t, b.take(1, true))
	b.adopt(50)
	b.give(50, true)
	require.True(t, b.take(50, false))
	b.give(50, false)
	b.give(50, true)
	require.Zero(t, b.all)
	require.Zero(t, b.strangers)
}
