package blueflood_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/blueflood/bluefloodtest"
	"github.com/fluxmetrics/fluxkit/internal/deadletter"
	"github.com/fluxmetrics/fluxkit/internal/queue"
)

func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// balanced requires that the account adds up.
func balanced(t *testing.T, st blueflood.Stats) {
	t.Helper()
	sum := func(m map[string]uint64) (n uint64) {
		for _, v := range m {
			n += v
		}
		return n
	}
	require.EqualValues(t, st.Accepted+st.Recovered, int64(st.Delivered+sum(st.Rejected)+sum(st.Dropped))+st.PendingPoints, "%+v", st)
}

// pendingIn is how many points a spool holds.
func pendingIn(t *testing.T, dir string) int {
	t.Helper()
	rep, err := queue.Inspect(dir, nil)
	require.NoError(t, err)
	require.Zero(t, rep.Damaged)
	return int(rep.Points)
}

// recoveredIn makes cfg collect what is recovered.
func recoveredIn(cfg *blueflood.EndpointConfig) *[]string {
	var got []string
	cfg.Recovered = func(ms []blueflood.Metric) {
		for _, m := range ms {
			got = append(got, fmt.Sprintf("%s %v %v %s %d", m.Name, m.Value, m.TTL, m.Unit, m.Tag))
		}
	}
	return &got
}

// TestSpoolSurvivesTheProcess takes the files away under an endpoint that cannot deliver, as if it had been killed then,
// and gives them to another.
func TestSpoolSurvivesTheProcess(t *testing.T) {
	noLeaks(t)
	s := bluefloodtest.Run(t)
	s.Fallback(bluefloodtest.Reply{Status: 503})
	dir := filepath.Join(t.TempDir(), "made", "here")
	cfg := blueflood.EndpointConfig{URL: s.IngestURL(), SpoolDir: dir, Interval: time.Millisecond}
	e, _ := start(t, cfg)
	ms := points(900)
	ms[0].TTL, ms[0].Unit, ms[0].Tag = time.Minute, "s", 7
	require.NoError(t, e.Send(within(t), ms[:500]))
	require.NoError(t, e.SendAsync(within(t), ms[500:899]))
	r, err := e.Reserve(within(t), ms[899:])
	require.NoError(t, err)
	require.NoError(t, r.Send())
	r.Cancel() // does nothing
	require.NoError(t, e.Sync(within(t)))
	killed := t.TempDir()
	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, n := range names {
		b, err := os.ReadFile(filepath.Join(dir, n.Name()))
		if !errors.Is(err, os.ErrNotExist) { // the next acked, for a moment
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(killed, n.Name()), b, 0o600))
		}
	}
	require.Equal(t, 900, pendingIn(t, killed))
	balanced(t, e.Stats())
	require.Positive(t, e.Stats().SpoolBytes)
	require.Error(t, e.Close(ended()))

	cfg.SpoolDir = killed
	got := recoveredIn(&cfg)
	e, a := start(t, cfg)
	require.Len(t, *got, 900, "told before NewEndpoint returns, though the server is down")
	require.Equal(t, "m000 0 1m0s s 7", (*got)[0])
	require.EqualValues(t, 900, e.Stats().Recovered)
	balanced(t, e.Stats())
	s.Fallback(bluefloodtest.Reply{})
	require.NoError(t, e.Flush(within(t)))
	require.Len(t, a.delivered, 900)
	require.Equal(t, 900, s.Received(), "once each")
	balanced(t, e.Stats())
	require.NoError(t, e.Close(within(t)))
	require.Zero(t, pendingIn(t, killed))
}

// TestSpoolOfAnotherTenant has the tenant change while points are pending, and later.
func TestSpoolOfAnotherTenant(t *testing.T) {
	noLeaks(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "tenant")
	var up atomic.Bool
	var paths []string
	cfg := blueflood.EndpointConfig{
		URL: "http://me:hunter2@blueflood.example", SpoolDir: dir, Interval: time.Millisecond,
		Transport: transport(func(_ []byte, r *http.Request) *http.Response {
			if up.Load() {
				paths = append(paths, r.URL.EscapedPath())
				return reply(200, "")
			}
			return reply(503, "")
		}),
	}
	open := func(tenant string) (*blueflood.Endpoint, error) {
		cfg.Tenant = tenant
		return blueflood.NewEndpoint(cfg)
	}
	refused := func(last, now string) {
		t.Helper()
		_, err := open(now)
		var bad *blueflood.SpoolTenantError
		require.ErrorAs(t, err, &bad)
		require.Equal(t, blueflood.SpoolTenantError{SpoolDir: dir, Points: 3, Tenant: last, Instead: now}, *bad)
		require.ErrorContains(t, err, fmt.Sprintf("holds 3 points of the tenant %q, which would go to %q: name that tenant again", last, now))
		require.Equal(t, 3, pendingIn(t, dir), "nothing is lost, and nobody holds it")
	}
	const odd = `a "b c\ ï`
	e, err := open("first")
	require.NoError(t, err)
	require.NoError(t, e.Close(within(t)))
	e, err = open(odd)
	require.NoError(t, err, "nothing is pending")
	require.NoError(t, e.Send(within(t), points(3)))
	require.Error(t, e.Close(ended()))
	refused(odd, "other")
	refused(odd, "first")

	// What says whose points they are may be lost or damaged: they stay deliverable.
	good, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NotContains(t, string(good), "hunter2")
	for n := range good {
		require.NoError(t, os.WriteFile(file, good[:n], 0o600))
		e, err = open("heir")
		require.NoError(t, err)
		require.Error(t, e.Close(ended()))
		refused("heir", odd)
		broken := append([]byte{}, good...)
		broken[n] ^= 1
		require.NoError(t, os.WriteFile(file, broken, 0o600))
		e, err = open("heir")
		require.NoError(t, err)
		require.Error(t, e.Close(ended()))
	}
	require.NoError(t, os.Remove(file))
	e, err = open("heir")
	require.NoError(t, err, "from before such a file was kept")
	require.Error(t, e.Close(ended()))
	refused("heir", "other")

	up.Store(true)
	e, err = open("heir")
	require.NoError(t, err)
	require.NoError(t, e.Close(within(t)))
	require.Equal(t, []string{"/v2.0/heir/ingest"}, paths)
	e, err = open("other")
	require.NoError(t, err)
	require.NoError(t, e.Close(within(t)))
}

// TestSpoolTenantCannotBeNoted still delivers, and does not take the old note for the new tenant's.
func TestSpoolTenantCannotBeNoted(t *testing.T) {
	cfg := blueflood.EndpointConfig{SpoolDir: t.TempDir(), Tenant: "first", Interval: time.Millisecond,
		Transport: transport(func([]byte, *http.Request) *http.Response { return reply(503, "") })}
	e, err := blueflood.NewEndpoint(cfg)
	require.NoError(t, err)
	require.NoError(t, e.Close(within(t)))
	require.NoError(t, os.Mkdir(filepath.Join(cfg.SpoolDir, "tenant.next"), 0o700))
	for range 2 {
		cfg.Tenant = "second"
		e, err = blueflood.NewEndpoint(cfg)
		require.NoError(t, err)
		require.NoFileExists(t, filepath.Join(cfg.SpoolDir, "tenant"))
		require.NoError(t, e.Send(within(t), points(1)))
		require.Error(t, e.Close(ended()))
	}
}

func TestSpoolIsKeptByClose(t *testing.T) {
	noLeaks(t)
	cfg := blueflood.EndpointConfig{
		Tenant: "ten", SpoolDir: t.TempDir(), Interval: time.Millisecond,
		Transport: transport(func([]byte, *http.Request) *http.Response { return reply(503, "") }),
	}
	e, _ := start(t, cfg)
	require.NoError(t, e.Send(within(t), points(7)))
	err := e.Close(ended())
	var left *blueflood.UndeliveredError
	require.ErrorAs(t, err, &left)
	require.EqualValues(t, 7, left.Points)
	require.Equal(t, cfg.SpoolDir, left.SpoolDir)
	require.ErrorContains(t, err, "7 points undelivered, which stay in "+cfg.SpoolDir)
	require.Equal(t, 7, pendingIn(t, cfg.SpoolDir))

	e, _ = start(t, cfg)
	_, err = blueflood.NewEndpoint(cfg)
	var bad *blueflood.ConfigError
	require.ErrorAs(t, err, &bad)
	require.Equal(t, "SpoolDir", bad.Field)
	require.ErrorContains(t, err, cfg.SpoolDir+`": is open already`)
	require.Error(t, e.Close(ended()))

	cfg.SpoolDir = ""
	e, _ = start(t, cfg)
	require.NoError(t, e.Send(within(t), points(2)))
	require.ErrorContains(t, e.Close(ended()), "2 points undelivered, which are lost")
	require.ErrorIs(t, e.SendAsync(within(t), points(1)), blueflood.ErrClosed)
	_, err = e.Reserve(within(t), points(1))
	require.ErrorIs(t, err, blueflood.ErrClosed)
}

// TestPartOfARecordIsPending has a record in two requests, the second of which fails.
func TestPartOfARecordIsPending(t *testing.T) {
	requests := 0
	e, a := start(t, blueflood.EndpointConfig{
		Limit: 1000, SpoolDir: t.TempDir(), Interval: time.Millisecond, BackoffMin: time.Hour, BackoffMax: time.Hour,
		Transport: transport(func([]byte, *http.Request) *http.Response {
			if requests++; requests == 1 {
				return reply(200, "")
			}
			return reply(503, "")
		}),
	})
	require.NoError(t, e.Send(within(t), points(20)))
	require.Eventually(t, func() bool { return e.Stats().LastError != "" }, 10*time.Second, time.Millisecond)
	st := e.Stats()
	require.Len(t, a.delivered, int(st.Delivered))
	require.Positive(t, st.Delivered)
	require.EqualValues(t, 20-st.Delivered, st.PendingPoints)
	balanced(t, st)
	var left *blueflood.UndeliveredError
	require.ErrorAs(t, e.Close(ended()), &left)
	require.Equal(t, st.PendingPoints, left.Points)
}

func TestSpoolDiskFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	e, _ := start(t, blueflood.EndpointConfig{SpoolDir: dir, Interval: time.Hour})
	require.NoError(t, os.Rename(dir, dir+".away"))
	require.ErrorIs(t, e.Send(ended(), points(1)), blueflood.ErrSpool)
	require.NoError(t, e.SendAsync(within(t), points(1)), "it waits for the disk, which may work by then")
	require.Eventually(t, func() bool { return e.Stats().SpoolError != "" }, 10*time.Second, time.Millisecond)
	require.NotEmpty(t, e.Stats().LastError)
	require.False(t, e.Stats().Down)
	err := e.Close(ended())
	require.ErrorIs(t, err, blueflood.ErrSpool)
	require.ErrorContains(t, err, "1 points not kept")
}

// TestDropOldest has no server for a long time.
func TestDropOldest(t *testing.T) {
	for name, dir := range map[string]string{"memory": "", "directory": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			var up atomic.Bool
			e, a := start(t, blueflood.EndpointConfig{
				SpoolDir: dir, SpoolMax: 4 << 20, MemoryMax: 4 << 20, DropOldest: true, Interval: time.Millisecond,
				Transport: transport(func([]byte, *http.Request) *http.Response {
					if up.Load() {
						return reply(200, "")
					}
					return reply(503, "")
				}),
			})
			pad := strings.Repeat("x", 4<<10)
			const n = 2000
			for i := range n {
				bad := point(fmt.Sprintf("bad%d", i), nan)
				require.NoError(t, e.Send(ended(), []blueflood.Metric{point(fmt.Sprint(i, pad), 1), bad}))
			}
			st := e.Stats()
			require.EqualValues(t, 2*n, st.Accepted)
			require.Positive(t, st.Dropped["full"])
			require.Positive(t, st.PendingPoints)
			balanced(t, st)
			up.Store(true)
			require.NoError(t, e.Flush(within(t)))
			st = e.Stats()
			require.Zero(t, st.PendingPoints)
			require.Len(t, a.delivered, int(st.Delivered))
			require.Len(t, a.failed, int(st.Rejected["bad_value"]))
			require.Contains(t, a.delivered, fmt.Sprint(n-1, pad))
			balanced(t, st)
		})
	}
}

// TestReserveAllOrNone reserves with two endpoints, of which one has no room.
func TestReserveAllOrNone(t *testing.T) {
	s := bluefloodtest.Run(t)
	a, got := start(t, blueflood.EndpointConfig{URL: s.IngestURL(), MemoryMax: 64 << 10, Interval: time.Millisecond})
	b, _ := start(t, blueflood.EndpointConfig{URL: s.IngestURL(), MemoryMax: 64 << 10, Interval: time.Hour})
	big := []blueflood.Metric{point(strings.Repeat("x", 20<<10), 1)}
	n, err := 0, error(nil)
	for ; n < 10 && err == nil; n++ {
		var ra, rb *blueflood.Reservation
		ra, err = a.Reserve(within(t), big)
		require.NoError(t, err)
		if rb, err = b.Reserve(ended(), big); err == nil {
			require.NoError(t, ra.Send())
			require.NoError(t, rb.Send())
		}
		ra.Cancel()
	}
	require.ErrorIs(t, err, blueflood.ErrFull)
	require.EqualValues(t, n-1, a.Stats().Accepted)
	require.EqualValues(t, n-1, b.Stats().Accepted)
	require.NoError(t, a.Flush(within(t)))
	require.EqualValues(t, map[string]int{string(big[0].Name): n - 1}, got.delivered)
	none, err := a.Reserve(ended(), nil)
	require.NoError(t, err)
	require.NoError(t, none.Send())
	_, err = a.Reserve(ended(), points(100_000))
	require.ErrorIs(t, err, blueflood.ErrTooBig)
}

// TestDeadLetterFails takes the folder of the file away for a while, and has Failed fail after that.
func TestDeadLetterFails(t *testing.T) {
	noLeaks(t)
	folder := filepath.Join(t.TempDir(), "dead")
	require.NoError(t, os.Mkdir(folder, 0o700))
	var requests atomic.Int32
	var refuse atomic.Int32
	at := time.Unix(1700000000, 0)
	a := new(account)
	cfg := blueflood.EndpointConfig{
		Tenant: "acme", URL: "http://user:secret@blueflood.example", DeadLetter: filepath.Join(folder, "letters"),
		SpoolDir: t.TempDir(), Now: func() time.Time { return at }, Interval: time.Millisecond,
		BackoffMin: time.Millisecond, BackoffMax: time.Millisecond,
		Transport: transport(func(body []byte, _ *http.Request) *http.Response {
			requests.Add(1)
			if strings.Contains(string(body), "cursed") {
				return reply(400, "not this one")
			}
			return reply(200, "")
		}),
	}
	cfg.Failed = func([]blueflood.Metric, []blueflood.Failure) error {
		if refuse.Add(-1) >= 0 {
			return errors.New("not now")
		}
		return nil
	}
	a.attach(&cfg)
	e, err := blueflood.NewEndpoint(cfg)
	require.NoError(t, err)
	require.NoError(t, os.Rename(folder, folder+".away"))
	refuse.Store(2)
	cursed := blueflood.Metric{Name: []byte("cursed"), Timestamp: at.UnixMilli(), Value: 2.5, TTL: time.Minute, Unit: "s", Tag: 9}
	good := blueflood.Metric{Name: []byte("good"), Timestamp: at.UnixMilli(), Value: 1}
	require.NoError(t, e.Send(within(t), []blueflood.Metric{good, cursed}))
	require.Eventually(t, func() bool { return strings.Contains(e.Stats().LastError, folder) }, 10*time.Second, time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, e.Flush(ctx), context.DeadlineExceeded)
	require.LessOrEqual(t, requests.Load(), int32(3), "what is stored does not go again")
	require.EqualValues(t, 2, e.Stats().PendingPoints)
	balanced(t, e.Stats())
	require.NoError(t, os.Rename(folder+".away", folder))
	require.NoError(t, e.Flush(within(t)))
	require.Equal(t, map[string]int{"good": 1}, a.delivered)
	require.Equal(t, map[string]string{"cursed": "refused"}, a.failed)
	require.LessOrEqual(t, requests.Load(), int32(3))
	require.EqualValues(t, 1, e.Stats().DeadLetterPoints, "put on record once")
	balanced(t, e.Stats())
	require.NoError(t, e.Close(within(t)))

	var got []string
	_, err = deadletter.Read(cfg.DeadLetter, func(d deadletter.Entry) error {
		require.NotContains(t, d.Destination, "secret")
		got = append(got, fmt.Sprintf("%s %s %s %s %d %v %v %s %d %v", d.Destination, d.Tenant, d.Reason, d.Name, d.Timestamp, d.Value, d.TTL, d.Unit, d.Tag, d.At.Equal(at)))
		require.Contains(t, d.Detail, "not this one")
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, []string{"http://user:xxxxx@blueflood.example/v2.0/acme/ingest acme refused cursed 1700000000000 2.5 1m0s s 9 true"}, got)
}

// TestBoundedAge: a point that nobody takes is tried until it is older than the server's window, on a timer of its own, and
// then given up.
func TestBoundedAge(t *testing.T) {
	for _, c := range []struct{ limit, age time.Duration }{{0, 72 * time.Hour}, {5 * time.Hour, 5 * time.Hour}} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			var last time.Duration
			e, a := start(t, blueflood.EndpointConfig{
				PastLimit: c.limit, BackoffMin: time.Minute, BackoffMax: time.Minute, Interval: time.Second,
				Transport: transport(func([]byte, *http.Request) *http.Response {
					last = time.Since(begin)
					return reply(503, "")
				}),
			})
			require.NoError(t, e.Send(t.Context(), points(3)))
			time.Sleep(c.age + 2*time.Minute)
			synctest.Wait()
			require.Greater(t, last, c.age-2*time.Minute)
			require.LessOrEqual(t, last, c.age)
			require.Equal(t, map[string]string{"m000": "too_old", "m001": "too_old", "m002": "too_old"}, a.failed)
			require.Zero(t, e.Stats().PendingPoints)
			balanced(t, e.Stats())
			require.NoError(t, e.Close(t.Context()))
		})
	}
}
