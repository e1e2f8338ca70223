package flux_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/blueflood/bluefloodtest"
	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/flux"
	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
)

// noLeaks fails the test when goroutines of ours are left at its end. Call it first.
func noLeaks(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		var left string
		for range 200 {
			buf := make([]byte, 1<<20)
			left = ""
			for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
				if strings.Contains(g, "fluxkit/") && !strings.Contains(g, "testing.tRunner") {
					left += g + "\n\n"
				}
			}
			if left == "" {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("goroutines left:\n%s", left)
	})
}

// run serves until the test ends.
func (r *rig) run() {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.server.Run(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		require.NoError(r.t, <-ended)
	})
}

// sendAll writes text to a stream input, half-closes, and waits for the answer: then all of it is kept.
func (r *rig) sendAll(input, text string) {
	r.t.Helper()
	c, err := net.Dial("tcp", r.server.Addr(input).String())
	require.NoError(r.t, err)
	defer c.Close()
	_, err = c.Write([]byte(text))
	require.NoError(r.t, err)
	require.NoError(r.t, c.(*net.TCPConn).CloseWrite())
	require.NoError(r.t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	_, err = c.Read(make([]byte, 1))
	require.ErrorContains(r.t, err, "EOF")
}

func points(name string, n int, at time.Time) []graphite.Point {
	var b graphite.Batch
	for i := range n {
		b.Add(fmt.Sprintf("%s.%d", name, i), at, float64(i))
	}
	return b.Points()
}

func TestConfigurations(t *testing.T) {
	carbon := flux.Destination{Carbon: &graphite.ClientConfig{Addrs: []string{"127.0.0.1:1"}}}
	keys := func(secrets ...string) *flux.HTTPConfig {
		h := &flux.HTTPConfig{}
		for _, s := range secrets {
			h.Keys = append(h.Keys, flux.Key{Secret: s})
		}
		return h
	}
	f := func(name string, cfg flux.Config, is error, text string) {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			_, err := flux.New(cfg)
			require.ErrorIs(t, err, flux.ErrConfig)
			if is != nil {
				require.ErrorIs(t, err, is)
			}
			require.ErrorContains(t, err, text)
		})
	}
	f("no destination", flux.Config{}, nil, "exactly one destination")
	f("two destinations", flux.Config{Destination: flux.Destination{
		Carbon: carbon.Carbon, Blueflood: &blueflood.EndpointConfig{Tenant: "t"},
	}}, nil, "exactly one destination")
	f("no key", flux.Config{Destination: carbon, HTTP: keys()}, flux.ErrNoKey, "anybody could send")
	f("the example key", flux.Config{Destination: carbon, HTTP: keys(flux.ExampleKey)}, flux.ErrExampleKey, "")
	f("a short key", flux.Config{Destination: carbon, HTTP: keys("short")}, nil, "key 1 has 5 characters")
	f("a key with a blank", flux.Config{Destination: carbon, HTTP: keys("0123456789 0123456789")}, nil, "A-Z a-z 0-9 _ and -")
	f("a key twice", flux.Config{Destination: carbon, HTTP: keys(testKey, testKey)}, nil, "keys 1 and 2 are the same")
	f("a bad prefix", flux.Config{Destination: carbon, HTTP: &flux.HTTPConfig{Keys: []flux.Key{{Secret: testKey, Prefix: "a..b"}}}}, nil, `prefix "a..b"`)
	f("an input without an address", flux.Config{Destination: carbon, Line: &flux.CarbonInput{}}, nil, "Line input without an address")
	f("an endpoint that is none", flux.Config{Destination: carbon, Line: &flux.CarbonInput{Listen: "tcp:nowhere"}}, nil, "line input")
	f("a tenant that cannot be", flux.Config{Destination: flux.Destination{Blueflood: &blueflood.EndpointConfig{Tenant: "a/b"}}}, nil, "Tenant")
}

func TestAddressInUse(t *testing.T) {
	noLeaks(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, err = flux.New(flux.Config{
		Line:        &flux.CarbonInput{Listen: "127.0.0.1:0"},
		Pickle:      &flux.CarbonInput{Listen: l.Addr().String()},
		Destination: flux.Destination{Carbon: &graphite.ClientConfig{Addrs: []string{"127.0.0.1:1"}}},
	})
	var le *flux.ListenError
	require.ErrorAs(t, err, &le)
	require.Equal(t, "pickle", le.Input)
	require.Equal(t, l.Addr().String(), le.Addr)
}

func TestCarbonInputsAreNotJudged(t *testing.T) {
	noLeaks(t)
	r := newRig(t, func(c *flux.Config) { c.Line = &flux.CarbonInput{Listen: "127.0.0.1:0"} })
	r.run()
	r.sendAll("line", "a 1 1700000000\na 1 1700000000\nbad\na 2 1600000000\n")
	r.flush()
	require.Equal(t, []graphitetest.Sample{{Timestamp: 1700000000, Value: 1}, {Timestamp: 1700000000, Value: 1}, {Timestamp: 1600000000, Value: 2}}, r.carbon.Points("a"))
	st := r.account()
	require.EqualValues(t, 4, st.Received)
	require.EqualValues(t, 1, st.Rejected["malformed"])
	code, body := r.post(single("a", now(), 1))
	require.Equal(t, 204, code, body)
	code, _ = r.post(single("a", now()-60, 1))
	require.Equal(t, 204, code)
	require.EqualValues(t, 0, r.account().Late, "a carbon point raises no mark")
}

func TestCarbonInputsAreJudgedOnRequest(t *testing.T) {
	noLeaks(t)
	at := now()
	r := newRig(t, func(c *flux.Config) {
		c.Line = &flux.CarbonInput{Listen: "127.0.0.1:0"}
		c.Dedup.AllInputs = true
	})
	r.run()
	r.sendAll("line", fmt.Sprintf("a 1 %d\na 1 %d\nfar 1 %d\nnear 1 %d\n", at, at, at+90000, at+80000))
	r.flush()
	r.sendAll("line", fmt.Sprintf("a 1 %d\na 0 %d\n", at, at-1))
	r.flush()
	require.Len(t, r.carbon.Points("a"), 1)
	st := r.account()
	require.EqualValues(t, 2, st.Duplicate)
	require.EqualValues(t, 1, st.Late)
	require.EqualValues(t, 1, st.Rejected["in_future"])
	require.Len(t, r.carbon.Points("near"), 1)
}

func TestTimestampsCanBeOverwritten(t *testing.T) {
	noLeaks(t)
	r := newRig(t, func(c *flux.Config) {
		c.Now = func() time.Time { return time.Unix(1234567890, 0) }
		c.Line = &flux.CarbonInput{Listen: "127.0.0.1:0", OverwriteTimestamps: true}
	})
	r.run()
	r.sendAll("line", "a 1 5\n")
	r.flush()
	require.Equal(t, []graphitetest.Sample{{Timestamp: 1234567890, Value: 1}}, r.carbon.Points("a"))
}

func TestRulesOfCarbonInputs(t *testing.T) {
	noLeaks(t)
	const text = "a 1 1700000000\nb\u00a02 1700000000\nc inf 1700000000\nd 4 1700000000" // a no-break space, no last newline
	f := func(want []string, change func(*flux.CarbonInput)) {
		t.Helper()
		r := newRig(t, func(c *flux.Config) {
			c.Line = &flux.CarbonInput{Listen: "127.0.0.1:0"}
			change(c.Line)
		})
		r.run()
		r.sendAll("line", text)
		r.flush()
		var got []string
		for _, p := range r.carbon.All() {
			got = append(got, p.Metric)
		}
		require.Equal(t, want, got)
		r.account()
	}
	f([]string{"a", "d"}, func(*flux.CarbonInput) {})
	f([]string{"a", "c", "d"}, func(in *flux.CarbonInput) { in.AllowInf = true })
	f([]string{"a", "b", "c"}, func(in *flux.CarbonInput) { in.Strict = true })
	f([]string{"a"}, func(in *flux.CarbonInput) { in.Strict, in.MaxLine = true, 14 })
}

func TestUDPInput(t *testing.T) {
	noLeaks(t)
	r := newRig(t, func(c *flux.Config) { c.UDP = &flux.CarbonInput{Listen: "127.0.0.1:0"} })
	r.run()
	c, err := net.Dial("udp", r.server.Addr("udp").String())
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Write([]byte("a 1 1700000000\nb 2 1700000000"))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	require.NoError(t, r.carbon.Wait(ctx, 2))
}

// TestOneLongNameManyTimes sends a pickle that names one metric of 4,000 bytes in two bytes each, 5,000 times. What
// it unfolds to is far more than the queue holds; it must pass through.
func TestOneLongNameManyTimes(t *testing.T) {
	noLeaks(t)
	const n = 5_000
	r := newRig(t, func(c *flux.Config) {
		c.Pickle = &flux.CarbonInput{Listen: "127.0.0.1:0"}
		c.Destination.Carbon.MemoryMax = 1 << 20
	})
	r.run()
	name := strings.Repeat("x", 4000)
	body := "\x80\x02](" + "X\xa0\x0f\x00\x00" + name + "K\x01K\x02\x86\x86q\x00" + strings.Repeat("h\x00", n-1) + "e."
	r.sendAll("pickle", string([]byte{0, 0, byte(len(body) >> 8), byte(len(body))})+body)
	r.flush()
	require.Equal(t, n, r.carbon.Received())
}

// TestSmallQueueTakesLongReads sends more at once than a record of the queue may hold, and a point that never fits.
func TestSmallQueueTakesLongReads(t *testing.T) {
	noLeaks(t)
	r := newRig(t, func(c *flux.Config) {
		c.Line = &flux.CarbonInput{Listen: "127.0.0.1:0", MaxLine: 60_000}
		c.Destination.Carbon.MemoryMax = 64 << 10
	})
	r.run()
	var text strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&text, "m.%d 1 1700000000\n", i)
	}
	fmt.Fprintf(&text, "%s 1 1700000000\nlast 1 1700000000\n", strings.Repeat("x", 50_000))
	r.sendAll("line", text.String())
	r.flush()
	require.Equal(t, 20_001, r.carbon.Received())
	require.EqualValues(t, 1, r.account().Rejected["too_big"])
}

func TestIngestVerdicts(t *testing.T) {
	noLeaks(t)
	r := newRig(t, func(c *flux.Config) { c.HTTP = nil })
	at := time.Now().Truncate(time.Second)
	res, err := r.server.Ingest(context.Background(), points("a", 2, at))
	require.NoError(t, err)
	require.Equal(t, 2, res.Accepted)
	r.flush()
	var b graphite.Batch
	b.Add("a.0", at, 1)
	b.Add("a.0", at.Add(-time.Second), 1)
	b.Add("a.0", at.Add(time.Second), 1)
	b.Add("a.0", at.Add(time.Second), 1)
	res, err = r.server.Ingest(context.Background(), b.Points())
	require.NoError(t, err)
	require.Equal(t, []flux.Verdict{
		{Outcome: flux.Duplicate}, {Outcome: flux.Late}, {Outcome: flux.Accepted}, {Outcome: flux.Duplicate},
	}, res.Verdicts)
	require.Equal(t, "late", res.Verdicts[1].Outcome.String())
	r.account()
}

func TestTryIngestDoesNotWait(t *testing.T) {
	noLeaks(t)
	r := newRig(t, func(c *flux.Config) {
		c.HTTP = nil
		c.Destination.Carbon.MemoryMax = 64 << 10
		c.Destination.Carbon.Addrs = []string{"127.0.0.1:1"}
	})
	for i := 0; ; i++ {
		require.Less(t, i, 10_000)
		res, err := r.server.TryIngest(points(fmt.Sprint("m", i), 10, time.Now()))
		if err != nil {
			require.ErrorIs(t, err, flux.ErrFull)
			require.Zero(t, res.Accepted)
			require.Equal(t, flux.Outcome(0), res.Verdicts[0].Outcome)
			break
		}
	}
	r.account()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, err := r.server.Ingest(ctx, points("late", 10, time.Now()))
	require.ErrorIs(t, err, flux.ErrFull)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// TestTryIngestDoesNotWaitForOthers has one caller wait for room with a point that another one tries.
func TestTryIngestDoesNotWaitForOthers(t *testing.T) {
	noLeaks(t)
	r := newRig(t, func(c *flux.Config) {
		c.HTTP = nil
		c.Destination.Carbon.MemoryMax = 64 << 10
		c.Destination.Carbon.Addrs = []string{"127.0.0.1:1"}
	})
	for i := 0; ; i++ {
		if _, err := r.server.TryIngest(points(fmt.Sprint("m", i), 1, time.Now())); err != nil {
			break
		}
	}
	at := time.Now()
	ctx, cancel := context.WithCancel(context.Background())
	waited := make(chan error, 1)
	go func() { _, err := r.server.Ingest(ctx, points("same", 1, at)); waited <- err }()
	require.Eventually(t, func() bool {
		_, err := r.server.TryIngest(points("same", 1, at))
		require.ErrorIs(t, err, flux.ErrFull)
		return strings.Contains(err.Error(), "another sender")
	}, 20*time.Second, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-waited, flux.ErrFull)
	r.account()
}

func TestCloseSaysWhatIsLost(t *testing.T) {
	noLeaks(t)
	r := newRig(t, func(c *flux.Config) { c.Destination.Carbon.Addrs = []string{"127.0.0.1:1"} })
	_, err := r.server.Ingest(context.Background(), points("a", 7, time.Now()))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	err = r.server.Close(ctx)
	var left *flux.UndeliveredError
	require.ErrorAs(t, err, &left)
	require.EqualValues(t, 7, left.Points)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, err, r.server.Close(ctx), "a second call says the same")
	_, err = r.server.Ingest(context.Background(), points("b", 1, time.Now()))
	require.ErrorIs(t, err, flux.ErrClosed)
	code, _ := r.post(single("a.b", now(), 1))
	require.Equal(t, 503, code)
}

// TestStopKeepsWhatWasRead stops a server while lines come in: whatever the sender saw acknowledged has arrived.
func TestStopKeepsWhatWasRead(t *testing.T) {
	noLeaks(t)
	r := newRig(t, func(c *flux.Config) { c.Line = &flux.CarbonInput{Listen: "127.0.0.1:0"} })
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.server.Run(ctx) }()
	acknowledged := 0
	for i := range 20 {
		r.sendAll("line", strings.Repeat(fmt.Sprintf("m%d 1 1700000000\n", i), 50))
		acknowledged += 50
	}
	cancel()
	require.NoError(t, <-ended)
	require.NoError(t, r.server.Close(context.Background()))
	require.Equal(t, acknowledged, r.carbon.Received())
}

func TestTwoServersInOneProcess(t *testing.T) {
	noLeaks(t)
	a, b := newRig(t, nil), newRig(t, nil)
	code, _ := a.post(single("same", now(), 1))
	require.Equal(t, 204, code)
	code, _ = b.post(single("same", now(), 2))
	require.Equal(t, 204, code)
	a.flush()
	b.flush()
	require.Equal(t, 1.0, a.carbon.Points("same")[0].Value)
	require.Equal(t, 2.0, b.carbon.Points("same")[0].Value)
}

func TestForwardToBlueflood(t *testing.T) {
	noLeaks(t)
	server := bluefloodtest.Run(t)
	r := newRig(t, func(c *flux.Config) {
		c.Line = &flux.CarbonInput{Listen: "127.0.0.1:0"}
		c.Dedup.AllInputs = true
		c.Destination = flux.Destination{Blueflood: &blueflood.EndpointConfig{
			URL: server.IngestURL(), Tenant: "demo", Prefix: "p", Interval: 10 * time.Millisecond,
		}}
	})
	r.run()
	at := now()
	r.sendAll("line", fmt.Sprintf("a.b 1.5 %d\na.old 1 5\n", at))
	r.flush()
	r.sendAll("line", fmt.Sprintf("a.b 1.5 %d\n", at))
	r.flush()
	pts := server.Points("demo", "p.a.b")
	require.Len(t, pts, 1)
	require.Equal(t, at*1000, pts[0].Timestamp)
	st := r.account()
	require.EqualValues(t, 1, st.Duplicate)
	require.EqualValues(t, 1, st.Destinations[0].GivenUp["too_old"])
}

// awayStore fails until it is back.
type awayStore struct {
	dedup.Memory
	away    atomic.Bool
	refused atomic.Int64
}

func (s *awayStore) Last(ctx context.Context, m []dedup.Mark) error {
	if s.away.Load() {
		s.refused.Add(1)
		return fmt.Errorf("away: %w", dedup.ErrUnavailable)
	}
	return s.Memory.Last(ctx, m)
}

func (s *awayStore) Raise(ctx context.Context, m []dedup.Mark) error {
	if s.away.Load() {
		return fmt.Errorf("away: %w", dedup.ErrUnavailable)
	}
	return s.Memory.Raise(ctx, m)
}

func TestStoreAway(t *testing.T) {
	noLeaks(t)
	store := &awayStore{}
	r := newRig(t, func(c *flux.Config) {
		c.Dedup = flux.DedupConfig{Store: store, AllInputs: true, AwayWait: 150 * time.Millisecond}
		c.Line = &flux.CarbonInput{Listen: "127.0.0.1:0"}
	})
	r.run()
	ts := now()
	code, _ := r.post(single("a", ts, 1))
	require.Equal(t, 204, code)
	store.away.Store(true)
	r.flush()
	code, body := r.post(single("b", ts, 1))
	require.Equal(t, 503, code)
	require.Contains(t, body, "dedup store")
	var sent sync.WaitGroup
	sent.Go(func() { r.sendAll("line", fmt.Sprintf("c 1 %d\n", ts)) })
	require.Eventually(t, func() bool { return store.refused.Load() >= 3 }, 20*time.Second, time.Millisecond, "the line input asks")
	store.away.Store(false)
	sent.Wait()
	r.flush()
	require.Len(t, r.carbon.Points("c"), 1, "nobody else has a point of a carbon input: it is held")
	require.Eventually(t, func() bool {
		m := []dedup.Mark{{Metric: []byte("a")}}
		return store.Last(context.Background(), m) == nil && m[0].Timestamp == ts*1000
	}, 20*time.Second, time.Millisecond, "the mark that could not be raised is raised")
	r.account()
}

// TestConcurrentSendersOfTheSamePoints posts the same points from many clients while the queue is small and Carbon
// comes and goes. What was answered 204 arrives, and the account adds up.
func TestConcurrentSendersOfTheSamePoints(t *testing.T) {
	noLeaks(t)
	r := newRig(t, func(c *flux.Config) {
		c.HTTP.RoomWait = time.Millisecond
		c.Destination.Carbon.MemoryMax = 64 << 10
	})
	const clients, rounds, per = 8, 60, 20
	base := now() - 1000
	var mu sync.Mutex
	answered := map[string]bool{}
	var clientsDone sync.WaitGroup
	for c := range clients {
		clientsDone.Go(func() {
			for i := range rounds {
				var items []string
				for k := range per {
					items = append(items, fmt.Sprintf(`{"metric":"m%d","timestamp":%d,"value":%d}`, k, base+int64(i), i))
				}
				for {
					code, body := r.post(fmt.Sprintf(`{"key":%q,"metrics":[%s]}`, testKey, strings.Join(items, ",")))
					if code == 204 {
						break
					}
					if code != 503 {
						panic(fmt.Sprint(c, code, body))
					}
				}
				mu.Lock()
				answered[fmt.Sprint(base+int64(i))] = true
				mu.Unlock()
			}
		})
	}
	for range 5 {
		time.Sleep(20 * time.Millisecond)
		r.carbon.Pickle().Kill()
		time.Sleep(20 * time.Millisecond)
		require.NoError(t, r.carbon.Pickle().Restore())
	}
	clientsDone.Wait()
	r.flush()
	require.Len(t, answered, rounds)
	st := r.account()
	for k := range per {
		have := map[string]bool{}
		for _, s := range r.carbon.Points(fmt.Sprintf("m%d", k)) {
			have[fmt.Sprint(int64(s.Timestamp))] = true
		}
		for ts := range answered {
			require.True(t, have[ts], "m%d %s was answered 204", k, ts)
		}
	}
	require.EqualValues(t, rounds*per+st.Late, st.Accepted+st.Late)
}

func TestRunEndsWithItsContextAndWithClose(t *testing.T) {
	noLeaks(t)
	inputs := func(c *flux.Config) {
		c.HTTP.Listen = "127.0.0.1:0"
		c.Line = &flux.CarbonInput{Listen: "127.0.0.1:0"}
	}
	r := newRig(t, inputs)
	ctx, cancel := context.WithCancelCause(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.server.Run(ctx) }()
	r.sendAll("line", "a 1 1700000000\n")
	cancel(errors.New("a reason of the caller's"))
	require.NoError(t, <-ended)

	r = newRig(t, inputs)
	go func() { ended <- r.server.Run(context.Background()) }()
	r.sendAll("line", "a 1 1700000000\n")
	require.NoError(t, r.server.Close(context.Background()))
	require.NoError(t, <-ended)
	require.NoError(t, r.server.Run(context.Background()), "a closed server has nothing to run")
	require.Equal(t, 1, r.carbon.Received())
}

// TestMarksAreRaisedBeforeTheEnd closes a server whose store was away when the points were delivered.
func TestMarksAreRaisedBeforeTheEnd(t *testing.T) {
	noLeaks(t)
	store := &awayStore{}
	r := newRig(t, func(c *flux.Config) { c.Dedup.Store = store })
	ts := now()
	code, _ := r.post(single("a", ts, 1))
	require.Equal(t, 204, code)
	store.away.Store(true)
	r.flush()
	store.away.Store(false)
	require.NoError(t, r.server.Close(context.Background()))
	m := []dedup.Mark{{Metric: []byte("a")}}
	require.NoError(t, store.Last(context.Background(), m))
	require.Equal(t, ts*1000, m[0].Timestamp)
}

// hungStore does not answer until its caller gives up.
type hungStore struct{}

func (hungStore) Last(ctx context.Context, _ []dedup.Mark) error { return nil }
func (hungStore) Raise(ctx context.Context, _ []dedup.Mark) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestCloseDoesNotWaitForAStoreThatHangs(t *testing.T) {
	noLeaks(t)
	r := newRig(t, func(c *flux.Config) { c.Dedup.Store = hungStore{} })
	code, _ := r.post(single("a", now(), 1))
	require.Equal(t, 204, code)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_ = r.server.Close(ctx) // returns
}

// TestBodiesTogetherAreBounded opens more large requests than there is memory for, which never end.
func TestBodiesTogetherAreBounded(t *testing.T) {
	noLeaks(t)
	r := newRig(t, func(c *flux.Config) {
		c.HTTP.Listen = "127.0.0.1:0"
		c.HTTP.MaxBody, c.HTTP.MaxBodies = 1<<20, 4<<20
		c.DrainTimeout = 100 * time.Millisecond
	})
	r.run()
	addr := r.server.Addr("http").String()
	body := strings.Repeat(" ", 900<<10)
	for range 8 {
		c, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		defer c.Close()
		_, err = fmt.Fprintf(c, "POST /flux/metric_data_post HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", 1<<20, body)
		if err != nil {
			break // refused already
		}
	}
	require.Eventually(t, func() bool {
		resp, err := http.Post("http://"+addr+"/flux/metric_data_post", "application/json", strings.NewReader(body))
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode == 503 && strings.Contains(string(answer), "too many large requests")
	}, 20*time.Second, 10*time.Millisecond)
	resp, err := http.Post("http://"+addr+"/flux/metric_data_post", "application/json", strings.NewReader(single("small", now(), 1)))
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, 204, resp.StatusCode, "a small one still finds room")
	http.DefaultClient.CloseIdleConnections()
}

func TestConnectionsAreLimited(t *testing.T) {
	noLeaks(t)
	r := newRig(t, func(c *flux.Config) { c.HTTP.Listen = "127.0.0.1:0"; c.HTTP.MaxConns = 2 })
	r.run()
	status := func(c net.Conn) error {
		if _, err := io.WriteString(c, "GET /flux/metric_data?status=true HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return err
		}
		_, err := c.Read(make([]byte, 512))
		return err
	}
	var conns []net.Conn
	for range 3 {
		c, err := net.Dial("tcp", r.server.Addr("http").String())
		require.NoError(t, err)
		defer c.Close()
		conns = append(conns, c)
	}
	require.NoError(t, status(conns[0]))
	require.NoError(t, status(conns[1]))
	require.NoError(t, conns[2].SetDeadline(time.Now().Add(50*time.Millisecond)))
	require.ErrorIs(t, status(conns[2]), os.ErrDeadlineExceeded)
	conns[0].Close()
	require.NoError(t, conns[2].SetDeadline(time.Now().Add(20*time.Second)))
	_, err := conns[2].Read(make([]byte, 512))
	require.NoError(t, err, "the request that waited is answered")
}
