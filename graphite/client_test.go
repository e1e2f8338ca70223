package graphite_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
	"github.com/fluxmetrics/fluxkit/pickle"
)

// watched is a client with what it reported.
type watched struct {
	*graphite.Client
	t   testing.TB
	log *logBuffer

	mu        sync.Mutex
	delivered []string // "name value tag"
	failed    []string // "name reason"
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func limit(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// newWatched starts a client that confirms and retries fast, and checks at the end that it leaves no goroutine.
func newWatched(t testing.TB, cfg graphite.ClientConfig) *watched {
	t.Helper()
	r := &watched{t: t, log: &logBuffer{}}
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&cfg.ConfirmAfter, 5*time.Millisecond)
	set(&cfg.BackoffMin, time.Millisecond)
	set(&cfg.BackoffMax, 5*time.Millisecond)
	cfg.Logger = slog.New(slog.NewTextHandler(r.log, nil))
	cfg.Delivered = func(pts []graphite.Point, tags []byte) {
		r.mu.Lock()
		defer r.mu.Unlock()
		for i, p := range pts {
			r.delivered = append(r.delivered, fmt.Sprintf("%s %v %d", p.Name, p.Value, tags[i]))
		}
	}
	first := cfg.Failed
	cfg.Failed = func(pts []graphite.Point, tags []byte, why []graphite.Failure) error {
		if first != nil {
			if err := first(pts, tags, why); err != nil {
				return err
			}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for i, p := range pts {
			r.failed = append(r.failed, fmt.Sprintf("%.10s %s %d", p.Name, why[i].Reason, tags[i]))
		}
		return nil
	}
	c, err := graphite.NewClient(cfg)
	require.NoError(t, err)
	r.Client = c
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = c.Close(ctx)
		// A goroutine that was waited for may still stand on its last line.
		if !assert.Eventually(t, func() bool { return clientGoroutines() == "" }, 10*time.Second, time.Millisecond) {
			t.Log(clientGoroutines())
		}
		if t.Failed() {
			t.Logf("%.4000s", r.log.String())
		}
	})
	return r
}

func clientGoroutines() string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var out []string
	for _, g := range strings.Split(string(buf), "\n\n") {
		if strings.Contains(g, "graphite.(*carbon") || strings.Contains(g, "deliver.(*Worker)") ||
			strings.Contains(g, "queue.(*disk)") {
			out = append(out, g)
		}
	}
	return strings.Join(out, "\n\n")
}

// send sends points numbered from first, each by its value.
func (r *watched) send(first, n int) {
	r.t.Helper()
	var b graphite.Batch
	for i := range n {
		b.Add(fmt.Sprintf("servers.web.%d", (first+i)%100), time.Unix(1700000000, 0), float64(first+i))
		if b.Len() == 100 || i == n-1 {
			require.NoError(r.t, r.Send(limit(r.t), b.Points()))
			b.Reset()
		}
	}
}

func (r *watched) flush() {
	r.t.Helper()
	require.NoError(r.t, r.Flush(limit(r.t)), "%+v", r.Stats())
}

// whole requires that the points 0 to n arrived, and in order: after a break they may start again from an earlier one,
// but none is ever skipped.
func (r *watched) whole(s *graphitetest.Server, n int) {
	r.t.Helper()
	all := s.All()
	next := 0
	for _, p := range all {
		require.LessOrEqual(r.t, int(p.Value), next, "a point was skipped")
		next = max(next, int(p.Value)+1)
	}
	require.Equal(r.t, n, next)
	require.Zero(r.t, s.Invalid())
	r.mu.Lock()
	defer r.mu.Unlock()
	require.Len(r.t, r.delivered, n)
	for i, d := range r.delivered {
		require.Equal(r.t, fmt.Sprintf("servers.web.%d %v 0", i%100, float64(i)), d)
	}
	st := r.Stats()
	require.EqualValues(r.t, n, st.Accepted)
	require.EqualValues(r.t, n, st.Delivered)
	require.Zero(r.t, st.PendingPoints)
}

func comesTrue(t testing.TB, what string, f func() bool) {
	t.Helper()
	require.Eventually(t, f, time.Minute, time.Millisecond, what)
}

// both runs a test with each protocol.
func both(t *testing.T, test func(t *testing.T, p graphite.Protocol, s *graphitetest.Server, st *graphitetest.Stream, addr string)) {
	for _, p := range []graphite.Protocol{graphite.Pickle, graphite.Line} {
		t.Run(p.String(), func(t *testing.T) {
			s := graphitetest.Run(t)
			if p == graphite.Line {
				test(t, p, s, s.Line(), s.LineAddr)
			} else {
				test(t, p, s, s.Pickle(), s.PickleAddr)
			}
		})
	}
}

func TestClientDelivers(t *testing.T) {
	both(t, func(t *testing.T, p graphite.Protocol, s *graphitetest.Server, st *graphitetest.Stream, addr string) {
		r := newWatched(t, graphite.ClientConfig{Addrs: []string{addr}, Protocol: p})
		r.send(0, 20000)
		r.flush()
		r.whole(s, 20000)
		require.Equal(t, 20000, s.Received(), "without a break nothing arrives twice")
		stats := r.Stats()
		require.Zero(t, stats.Resent)
		require.Zero(t, stats.Assumed)
		require.Equal(t, addr, stats.Address)
		require.False(t, stats.Down)
		require.Empty(t, stats.LastError)
		require.EqualValues(t, st.Accepted(), stats.Connects)
		require.Equal(t, stats.Connects, stats.Confirmations)
		require.NoError(t, r.Close(limit(t)))
		require.ErrorIs(t, r.Close(limit(t)), graphite.ErrClosed)
		require.ErrorIs(t, r.Send(limit(t), make([]graphite.Point, 1)), graphite.ErrClosed)
	})
}

func TestClientWritesValuesAndTimes(t *testing.T) {
	both(t, func(t *testing.T, p graphite.Protocol, s *graphitetest.Server, st *graphitetest.Stream, addr string) {
		r := newWatched(t, graphite.ClientConfig{Addrs: []string{addr}, Protocol: p})
		require.NoError(t, r.SendTagged(limit(t), []graphite.Point{
			{Name: []byte("a.b"), Timestamp: 1700000000000, Value: 1.5},
			{Name: []byte("a;k=v"), Timestamp: 1700000000250, Value: -7},
			{Name: []byte("ä"), Timestamp: 4102444800000, Value: math.Inf(1)},
			{Name: []byte("small"), Timestamp: 0, Value: 1e-300},
		}, []byte{0, 1, 64, 127}))
		r.flush()
		require.Equal(t, "[{a.b 1.7e+09 1.5} {a;k=v 1.70000000025e+09 -7} {ä 4.1024448e+09 +Inf} {small 0 1e-300}]",
			fmt.Sprint(s.All()))
		require.Equal(t, []string{"a.b 1.5 0", "a;k=v -7 1", "ä +Inf 64", "small 1e-300 127"}, r.delivered)
	})
}

func TestClientGivesUpWhatCarbonCannotTake(t *testing.T) {
	both(t, func(t *testing.T, p graphite.Protocol, s *graphitetest.Server, st *graphitetest.Stream, addr string) {
		r := newWatched(t, graphite.ClientConfig{Addrs: []string{addr}, Protocol: p})
		point := func(name string, v float64) graphite.Point {
			return graphite.Point{Name: []byte(name), Timestamp: 1700000000000, Value: v}
		}
		huge := strings.Repeat("x", 2<<20)
		require.NoError(t, r.SendTagged(limit(t), []graphite.Point{
			point("", 1), point("good.1", 1), point("a b", 1), point("a\nb", 1), point("a\xff", 1), point("good.2", 2),
			point("nan", math.NaN()), point(huge, 1), point("good.3", 3), point("e f", math.NaN()),
		}, []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}))
		r.flush()
		require.Equal(t, []string{"good.1 1 2", "good.2 2 6", "good.3 3 9"}, r.delivered)
		require.Equal(t, 3, s.Received())
		require.Len(t, r.failed, 7)
		require.Equal(t, "e f name_space 10", r.failed[6])
		require.Equal(t, []string{" name_empty 1", "a b name_space 3", "a\nb name_space 4", "a\xff name_utf8 5", "nan nan 7"}, r.failed[:5])
		require.Regexp(t, "xxxxxxxxxx (too_long|item) 8", r.failed[5])
		stats := r.Stats()
		require.EqualValues(t, 3, stats.Rejected["name_space"])
		require.EqualValues(t, 10, stats.Accepted)
		require.EqualValues(t, 3, stats.Delivered)
	})
}

// TestFramesAndLinesJudgeNamesAlike: a client leaves the names in frames to the pickle encoder.
func TestFramesAndLinesJudgeNamesAlike(t *testing.T) {
	alike := func(name string) {
		if (graphite.CheckName(name) == nil) != (pickle.CheckName([]byte(name)) == nil) {
			t.Fatalf("%q", name)
		}
	}
	alike("")
	for _, around := range []string{"", "servers.", "servers.web.cpu.user.", "servers.é."} {
		for r := range rune(0x10ffff) {
			alike(around + string(r) + around)
		}
		for b := range 256 {
			for c := range 256 {
				alike(around + string([]byte{byte(b), byte(c)}) + around)
			}
		}
	}
}

func TestClientOutlastsARefusal(t *testing.T) {
	both(t, func(t *testing.T, p graphite.Protocol, s *graphitetest.Server, st *graphitetest.Stream, addr string) {
		st.Refuse()
		r := newWatched(t, graphite.ClientConfig{Addrs: []string{addr}, Protocol: p})
		r.send(0, 500)
		comesTrue(t, "down", func() bool { return r.Stats().Down && r.Stats().LastError != "" })
		require.EqualValues(t, 500, r.Stats().PendingPoints)
		require.Positive(t, r.Stats().Oldest)
		require.NoError(t, st.Restore())
		r.flush()
		require.False(t, r.Stats().Down)
		st.Refuse()
		r.send(500, 500)
		require.NoError(t, st.Restore())
		r.flush()
		r.whole(s, 1000)
		require.Equal(t, 1000, s.Received())
	})
}

// TestClientSendsAgainAfterABreak breaks connections after every interesting number of bytes, in both ways.
func TestClientSendsAgainAfterABreak(t *testing.T) {
	both(t, func(t *testing.T, p graphite.Protocol, s *graphitetest.Server, st *graphitetest.Stream, addr string) {
		for name, breakAfter := range map[string]func(int64){"reset": st.ResetAfter, "close": st.CloseAfter} {
			t.Run(name, func(t *testing.T) {
				s.Forget()
				before, invalid := s.Received(), s.Invalid()
				sizes := []int64{0, 1, 2, 3, 4, 5, 7, 60, 61, 500, 4096, 5000, 64 << 10, 65<<10 - 1, 100_000, 200_000}
				for _, n := range sizes {
					breakAfter(n)
				}
				r := newWatched(t, graphite.ClientConfig{Addrs: []string{addr}, Protocol: p})
				r.send(0, 10000)
				r.flush()
				// What the faults left for the connections to come goes to these.
				for i := 10000; st.Pending() > 0; i += 100 {
					r.send(i, 100)
					r.flush()
				}
				n := int(r.Stats().Accepted)
				require.Equal(t, invalid, s.Invalid())
				r.whole(s, n)
				require.Greater(t, s.Received()-before, n, "something arrived twice")
				require.Positive(t, r.Stats().Resent)
			})
		}
	})
}

// TestClientTrustsNoKernel is the loss that other senders suffer: the peer's kernel takes the bytes and acknowledges
// them, the peer's process never reads them and dies.
func TestClientTrustsNoKernel(t *testing.T) {
	both(t, func(t *testing.T, p graphite.Protocol, s *graphitetest.Server, st *graphitetest.Stream, addr string) {
		st.Pause()
		r := newWatched(t, graphite.ClientConfig{Addrs: []string{addr}, Protocol: p, SlowAfter: time.Millisecond})
		r.send(0, 300)
		comesTrue(t, "slow", func() bool { return r.Stats().Slow })
		st.Kill()
		require.Empty(t, r.delivered)
		st.Resume()
		require.NoError(t, st.Restore())
		r.flush()
		r.whole(s, 300)
	})
}

func TestClientKilledTwentyTimesUnderLoad(t *testing.T) {
	both(t, func(t *testing.T, p graphite.Protocol, s *graphitetest.Server, st *graphitetest.Stream, addr string) {
		r := newWatched(t, graphite.ClientConfig{Addrs: []string{addr}, Protocol: p})
		const n = 40000
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.send(0, n)
		}()
		for i := range 20 {
			before := s.Received()
			st.Pause()
			st.Kill()
			require.NoError(t, st.Restore())
			st.Resume()
			if i < 19 && r.Stats().Delivered < n {
				comesTrue(t, "it goes on", func() bool { return s.Received() > before || r.Stats().Delivered == n })
			}
		}
		<-done
		r.flush()
		r.whole(s, n)
	})
}

// TestClientWaitsForASlowPeer shows that a peer which stops reading keeps its connection, be it in the middle of a write
// or of a confirmation.
func TestClientWaitsForASlowPeer(t *testing.T) {
	for name, n := range map[string]int{"confirming": 100, "writing": 100_000} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, p graphite.Protocol, _ *graphitetest.Server, _ *graphitetest.Stream, _ string) {
				s := graphitetest.RunOptions(t, graphitetest.Options{ReadBuffer: 256 << 10})
				st, addr := s.Pickle(), s.PickleAddr
				if p == graphite.Line {
					st, addr = s.Line(), s.LineAddr
				}
				r := newWatched(t, graphite.ClientConfig{
					Addrs: []string{addr}, Protocol: p, SlowAfter: 20 * time.Millisecond, AssumeAfter: time.Millisecond,
				})
				r.send(0, 1)
				r.flush() // it has answered once
				st.Pause()
				r.send(1, n)
				comesTrue(t, "slow", func() bool { return r.Stats().Slow && r.Stats().Down })
				require.Equal(t, 2, st.Accepted())
				ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
				defer cancel()
				require.ErrorIs(t, r.Flush(ctx), context.DeadlineExceeded)
				require.Equal(t, 2, st.Accepted(), "it is not dialled again")
				require.EqualValues(t, 1, r.Stats().Delivered)
				st.Resume()
				r.flush()
				r.whole(s, n+1)
				require.Equal(t, n+1, s.Received())
				require.False(t, r.Stats().Slow)
				require.Zero(t, r.Stats().Assumed)
			})
		})
	}
}

func TestClientAssumesOfAPeerThatNeverAnswers(t *testing.T) {
	both(t, func(t *testing.T, p graphite.Protocol, s *graphitetest.Server, st *graphitetest.Stream, addr string) {
		st.Silent(true)
		r := newWatched(t, graphite.ClientConfig{Addrs: []string{addr}, Protocol: p, AssumeAfter: 20 * time.Millisecond})
		r.send(0, 10)
		r.flush()
		r.send(10, 10)
		r.flush()
		require.EqualValues(t, 20, r.Stats().Assumed)
		require.Equal(t, 1, strings.Count(r.log.String(), "never answered a half-close"))
		st.Silent(false)
		r.send(20, 10)
		r.flush()
		require.EqualValues(t, 20, r.Stats().Assumed)
		require.EqualValues(t, 30, r.Stats().Delivered)

		st.Silent(true) // now it is known to answer, so it hangs
		r.send(30, 10)
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, r.Flush(ctx), context.DeadlineExceeded)
		require.EqualValues(t, 30, r.Stats().Delivered)
		st.Silent(false)
		r.flush()
		r.whole(s, 40)
		require.Equal(t, 40, s.Received())
	})
}

func TestClientFailsOverAndBack(t *testing.T) {
	both(t, func(t *testing.T, p graphite.Protocol, s1 *graphitetest.Server, st1 *graphitetest.Stream, addr1 string) {
		s2 := graphitetest.Run(t)
		addr2 := s2.PickleAddr
		if p == graphite.Line {
			addr2 = s2.LineAddr
		}
		r := newWatched(t, graphite.ClientConfig{Addrs: []string{addr1, addr2}, Protocol: p})
		r.send(0, 10)
		r.flush()
		require.Equal(t, 10, s1.Received())
		st1.Kill()
		r.send(10, 10)
		r.flush()
		require.Equal(t, 10, s2.Received())
		require.Equal(t, addr2, r.Stats().Address)
		require.NoError(t, st1.Restore())
		n := 20
		for s1.Received() == 10 {
			r.send(n, 10)
			r.flush()
			n += 10
		}
		require.Equal(t, addr1, r.Stats().Address)
		require.Equal(t, n, s1.Received()+s2.Received())
		require.EqualValues(t, n, r.Stats().Delivered)
	})
}

func TestClientOverTLS(t *testing.T) {
	certs := httptest.NewTLSServer(nil)
	defer certs.Close()
	both(t, func(t *testing.T, p graphite.Protocol, _ *graphitetest.Server, _ *graphitetest.Stream, _ string) {
		s := graphitetest.RunOptions(t, graphitetest.Options{TLS: certs.TLS, ReadBuffer: 256 << 10})
		st, addr := s.Pickle(), s.PickleAddr
		if p == graphite.Line {
			st, addr = s.Line(), s.LineAddr
		}
		r := newWatched(t, graphite.ClientConfig{
			Addrs: []string{addr}, Protocol: p, TLS: certs.Client().Transport.(*http.Transport).TLSClientConfig,
			SlowAfter: 20 * time.Millisecond, DialTimeout: 100 * time.Millisecond,
		})
		r.send(0, 5000)
		r.flush()
		require.Equal(t, 5000, s.Received())
		require.Zero(t, r.Stats().Assumed)
		st.ResetAfter(3000)
		r.send(5000, 1000)
		r.flush()
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.send(6000, 100_000)
		}()
		require.NoError(t, s.Wait(limit(t), s.Received()+1000))
		st.Pause() // perhaps inside a handshake
		comesTrue(t, "down", func() bool { return r.Stats().Down })
		st.Kill()
		require.NoError(t, st.Restore())
		st.Resume()
		<-done
		r.flush()
		r.whole(s, 106_000)
	})
}

func TestClientRefusesAnUnknownCertificate(t *testing.T) {
	certs := httptest.NewTLSServer(nil)
	defer certs.Close()
	s := graphitetest.RunOptions(t, graphitetest.Options{TLS: certs.TLS})
	r := newWatched(t, graphite.ClientConfig{Addrs: []string{s.PickleAddr}, TLS: &tls.Config{}})
	r.send(0, 1)
	comesTrue(t, "the error shows", func() bool { return strings.Contains(r.Stats().LastError, "certificate") })
	require.Zero(t, s.Received())
}

func TestClientOnAUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "carbon.sock")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	defer l.Close()
	r := newWatched(t, graphite.ClientConfig{Addrs: []string{"unix:" + path}, Protocol: graphite.Line})
	r.send(0, 2)

	accept := func() net.Conn {
		c, err := l.Accept()
		require.NoError(t, err)
		return c
	}
	c := accept() // closes with bytes unread
	b := make([]byte, 1)
	_, err = c.Read(b)
	require.NoError(t, err)
	require.NoError(t, c.Close())

	c = accept() // shuts its side down with bytes unread
	_, err = c.Read(b)
	require.NoError(t, err)
	require.NoError(t, c.(*net.UnixConn).CloseWrite())
	comesTrue(t, "the client leaves", func() bool { return r.Stats().Connects >= 3 })
	require.NoError(t, c.Close())
	require.Zero(t, r.Stats().Delivered)

	c = accept() // reads to the end
	var got bytes.Buffer
	_, err = got.ReadFrom(c)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	r.flush()
	require.Equal(t, "servers.web.0 0 1700000000\nservers.web.1 1 1700000000\n", got.String())
}

func TestClientFull(t *testing.T) {
	s := graphitetest.Run(t)
	s.Pickle().Refuse()
	r := newWatched(t, graphite.ClientConfig{Addrs: []string{s.PickleAddr}, MemoryMax: 64 << 10})
	pts := []graphite.Point{{Name: bytes.Repeat([]byte("x"), 20<<10), Timestamp: 1}}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	sent := 0
	var err error
	for ; err == nil; sent++ {
		err = r.Send(ended, pts)
	}
	require.Equal(t, 4, sent)
	require.ErrorIs(t, err, graphite.ErrFull)
	require.ErrorIs(t, err, context.Canceled)
	require.EqualValues(t, 3, r.Stats().Accepted)
	pts[0].Name = bytes.Repeat([]byte("x"), 40<<10)
	require.ErrorIs(t, r.Send(ended, pts), graphite.ErrTooBig)

	err = r.Close(ended)
	var left *graphite.UndeliveredError
	require.True(t, errors.As(err, &left))
	require.EqualValues(t, 3, left.Points)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "3 points")
	require.ErrorIs(t, r.Flush(limit(t)), graphite.ErrClosed)
}

func TestClientCloseDelivers(t *testing.T) {
	both(t, func(t *testing.T, p graphite.Protocol, s *graphitetest.Server, st *graphitetest.Stream, addr string) {
		r := newWatched(t, graphite.ClientConfig{Addrs: []string{addr}, Protocol: p, ConfirmAfter: time.Hour})
		r.send(0, 1000)
		require.NoError(t, r.Close(limit(t)), "Close asks for the confirmation itself")
		r.whole(s, 1000)
	})
}

func TestClientCloseGivesUpOnAHungPeer(t *testing.T) {
	both(t, func(t *testing.T, p graphite.Protocol, s *graphitetest.Server, st *graphitetest.Stream, addr string) {
		st.Pause()
		r := newWatched(t, graphite.ClientConfig{Addrs: []string{addr}, Protocol: p})
		r.send(0, 100_000)
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		var left *graphite.UndeliveredError
		require.ErrorAs(t, r.Close(ctx), &left)
		require.EqualValues(t, 100_000, left.Points)
	})
}

func TestClientTags(t *testing.T) {
	s := graphitetest.Run(t)
	r := newWatched(t, graphite.ClientConfig{Addrs: []string{s.PickleAddr}})
	pts := []graphite.Point{{Name: []byte("a")}, {Name: []byte("b")}}
	require.ErrorContains(t, r.SendTagged(limit(t), pts, []byte{1}), "1 tags for 2 points")
	require.ErrorContains(t, r.SendTagged(limit(t), pts, []byte{1, 128}), "tag 128 of point 1")
	require.NoError(t, r.Send(limit(t), nil))
	require.Zero(t, r.Stats().Accepted)
}

func TestClientConfig(t *testing.T) {
	for name, test := range map[string]struct {
		cfg  graphite.ClientConfig
		want string
	}{
		"no address":     {graphite.ClientConfig{}, "Addrs is empty"},
		"no port":        {graphite.ClientConfig{Addrs: []string{"carbon"}}, "missing port"},
		"no host":        {graphite.ClientConfig{Addrs: []string{":2004"}}, "lacks its host"},
		"no path":        {graphite.ClientConfig{Addrs: []string{"unix:"}}, "names no path"},
		"protocol":       {graphite.ClientConfig{Addrs: []string{"a:1"}, Protocol: 7}, "Protocol(7)"},
		"negative":       {graphite.ClientConfig{Addrs: []string{"a:1"}, StallTimeout: -1}, "StallTimeout"},
		"backoff":        {graphite.ClientConfig{Addrs: []string{"a:1"}, BackoffMin: 2, BackoffMax: 1}, "BackoffMax"},
		"little memory":  {graphite.ClientConfig{Addrs: []string{"a:1"}, MemoryMax: 1}, "MemoryMax"},
		"confirm bytes":  {graphite.ClientConfig{Addrs: []string{"a:1"}, ConfirmBytes: -1}, "ConfirmBytes"},
		"minimum beyond": {graphite.ClientConfig{Addrs: []string{"a:1", "b"}}, `address "b"`},
		"little spool":   {graphite.ClientConfig{Addrs: []string{"a:1"}, SpoolDir: t.TempDir(), SpoolMax: 1 << 10}, "SpoolMax is 1024 bytes, less than the 65536"},
		"negative spool": {graphite.ClientConfig{Addrs: []string{"a:1"}, SpoolMax: -1}, "SpoolMax"},
		"no directory":   {graphite.ClientConfig{Addrs: []string{"a:1"}, SpoolDir: "/dev/null/x"}, "SpoolDir /dev/null/x"},
		"dead letters":   {graphite.ClientConfig{Addrs: []string{"a:1"}, DeadLetterMax: 1}, "DeadLetterMax"},
		"no dead letter": {graphite.ClientConfig{Addrs: []string{"a:1"}, DeadLetter: "/dev/null/x"}, "DeadLetter /dev/null/x"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := graphite.NewClient(test.cfg)
			require.ErrorContains(t, err, test.want)
			require.ErrorContains(t, err, "graphite: ")
		})
	}
	c, err := graphite.NewClient(graphite.ClientConfig{Addrs: []string{"a:1"}, BackoffMin: time.Hour})
	require.NoError(t, err)
	require.NoError(t, c.Close(limit(t)))
}

// TestClientDisbelievesAnEarlyEnd has a peer whose side ends while its kernel still refuses bytes for want of room: an
// end of file like that of a peer which has read everything.
func TestClientDisbelievesAnEarlyEnd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	r := newWatched(t, graphite.ClientConfig{
		Addrs: []string{l.Addr().String()}, Protocol: graphite.Line, ConfirmAfter: time.Hour, SlowAfter: 20 * time.Millisecond,
	})
	r.send(0, 20_000)
	flushed := make(chan error, 1) // a flush asks for the confirmation once everything is written
	go func() { flushed <- r.Flush(limit(t)) }()
	for range 3 {
		c, err := l.Accept()
		require.NoError(t, err)
		require.NoError(t, c.(*net.TCPConn).SetReadBuffer(4096))
		connects := r.Stats().Connects
		comesTrue(t, "slow", func() bool { return r.Stats().Slow })
		require.NoError(t, c.(*net.TCPConn).CloseWrite())
		comesTrue(t, "the client leaves", func() bool { st := r.Stats(); return st.Connects > connects && st.LastError != "" })
		require.Zero(t, r.Stats().Delivered)
		require.Regexp(t, "before it was asked to|without having read all of it", r.Stats().LastError)
		require.NoError(t, c.Close())
	}
	lines := 0
	for lines < 20_000 {
		c, err := l.Accept()
		require.NoError(t, err)
		var got bytes.Buffer
		_, err = got.ReadFrom(c)
		require.NoError(t, err)
		lines += bytes.Count(got.Bytes(), []byte("\n"))
		require.NoError(t, c.Close())
	}
	require.NoError(t, <-flushed)
	require.EqualValues(t, 20_000, r.Stats().Delivered)
}
