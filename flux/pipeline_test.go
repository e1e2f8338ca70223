package flux_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/blueflood/bluefloodtest"
	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/flux"
	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
	"github.com/fluxmetrics/fluxkit/internal/queue"
)

const patience = 30 * time.Second

// nowhere is an address that nobody listens on.
const nowhere = "127.0.0.1:1"

// toCarbon is a destination with short waits.
func toCarbon(addr string, change ...func(*flux.Destination)) flux.Destination {
	d := flux.Destination{Carbon: &graphite.ClientConfig{
		Addrs: []string{addr}, ConfirmAfter: 10 * time.Millisecond, BackoffMin: 5 * time.Millisecond, BackoffMax: 20 * time.Millisecond,
	}}
	for _, f := range change {
		f(&d)
	}
	return d
}

func toBlueflood(server *bluefloodtest.Server, change ...func(*flux.Destination)) flux.Destination {
	d := flux.Destination{Blueflood: &blueflood.EndpointConfig{
		URL: server.IngestURL(), Tenant: "own", Interval: 10 * time.Millisecond, BackoffMin: 5 * time.Millisecond, BackoffMax: 20 * time.Millisecond,
	}}
	for _, f := range change {
		f(&d)
	}
	return d
}

func required(d *flux.Destination)   { d.Required = true }
func smallQueue(d *flux.Destination) { d.Carbon.MemoryMax = 64 << 10 }

// soon is a context that ends after patience.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// ended is a context that has ended.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// newServer starts one that is closed, at once, when the test ends.
func newServer(t *testing.T, cfg flux.Config) *flux.Server {
	t.Helper()
	s, err := flux.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close(ended()) })
	return s
}

// balanced checks the accounts of the door and of every destination.
func balanced(t testing.TB, s *flux.Server) flux.Stats {
	t.Helper()
	st := s.Stats()
	sum := st.Accepted + st.Duplicate + st.Late
	for _, n := range st.Rejected {
		sum += n
	}
	require.Equal(t, st.Received, sum, "%+v", st)
	for _, d := range st.Destinations {
		out := d.Delivered + uint64(d.Pending)
		for _, m := range []map[string]uint64{d.GivenUp, d.Dropped} {
			for _, n := range m {
				out += n
			}
		}
		require.Equal(t, d.Accepted+d.Recovered, out, "%+v", d)
	}
	return st
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	require.Eventually(t, f, patience, time.Millisecond, what)
}

// markOf is a metric's mark in seconds, 0 when there is none.
func markOf(t testing.TB, store dedup.Store, metric string) int64 {
	t.Helper()
	m := []dedup.Mark{{Metric: []byte(metric)}}
	require.NoError(t, store.Last(context.Background(), m))
	if m[0].Timestamp == dedup.None {
		return 0
	}
	return m[0].Timestamp / 1000
}

func TestEveryDestinationGetsEveryPoint(t *testing.T) {
	noLeaks(t)
	a, b, bf := graphitetest.Run(t), graphitetest.Run(t), bluefloodtest.Run(t)
	store := &dedup.Memory{}
	s := newServer(t, flux.Config{
		Destination: toCarbon(a.PickleAddr),
		Also:        []flux.Destination{toBlueflood(bf, required), toCarbon(b.LineAddr, func(d *flux.Destination) { d.Carbon.Protocol = graphite.Line })},
		Dedup:       flux.DedupConfig{Store: store},
	})
	at := time.Now().Truncate(time.Second)
	for i := range 10 {
		res, err := s.Ingest(soon(t), points(fmt.Sprint("m", i), 20, at))
		require.NoError(t, err)
		require.Equal(t, 20, res.Accepted)
	}
	require.NoError(t, s.Flush(soon(t)))
	require.NoError(t, b.Wait(soon(t), 200))
	require.Equal(t, 200, a.Received())
	require.Equal(t, 200, bf.Distinct())
	require.Equal(t, at.Unix(), markOf(t, store, "m3.7"))
	eventually(t, "the third confirms, too", func() bool { return s.Stats().Destinations[2].Pending == 0 })
	st := balanced(t, s)
	require.EqualValues(t, 200, st.Accepted)
	for i, name := range []string{"carbon", "blueflood", "carbon-2"} {
		require.Equal(t, name, st.Destinations[i].Name)
		require.Equal(t, i < 2, st.Destinations[i].Required)
		require.EqualValues(t, 200, st.Destinations[i].Accepted)
	}
}

// TestADeadDestinationHoldsNobodyUp has one that is not required dead, with a queue that is soon full.
func TestADeadDestinationHoldsNobodyUp(t *testing.T) {
	noLeaks(t)
	a, b := graphitetest.Run(t), graphitetest.Run(t)
	s := newServer(t, flux.Config{
		Destination: toCarbon(a.PickleAddr),
		Also:        []flux.Destination{toCarbon(nowhere, smallQueue), toCarbon(b.PickleAddr, required)},
	})
	const batches, per = 200, 50
	for i := range batches {
		_, err := s.TryIngest(points(fmt.Sprint("m", i), per, time.Now()))
		require.NoError(t, err, "nobody waits for the dead one")
	}
	big := points("big", 2000, time.Now())
	_, err := s.Ingest(soon(t), big)
	require.NoError(t, err, "nor minds that its queue is too small")
	require.NoError(t, s.Flush(soon(t)))
	require.Equal(t, batches*per+len(big), a.Received())
	require.Equal(t, batches*per+len(big), b.Received())
	st := balanced(t, s)
	dead := st.Destinations[1]
	require.EqualValues(t, batches*per+len(big), dead.Accepted)
	require.EqualValues(t, len(big), dead.Dropped["too_big"])
	require.EqualValues(t, batches*per-uint64(dead.Pending), dead.Dropped["full"])
	require.Positive(t, dead.Pending)

	err = s.Close(soonEnded(t))
	var left *flux.UndeliveredError
	require.ErrorAs(t, err, &left)
	require.Equal(t, dead.Pending, left.Lost)
	require.Zero(t, left.Kept)
	require.Equal(t, "carbon-2", left.Destinations[0].Name)
	require.False(t, left.Destinations[0].Required)
}

// soonEnded is a context that ends after a moment.
func soonEnded(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// TestAllRequiredOrNone fills the second of two required destinations: what it cannot take the first must not have.
func TestAllRequiredOrNone(t *testing.T) {
	noLeaks(t)
	a, b := graphitetest.Run(t), graphitetest.Run(t)
	b.Pickle().Kill()
	store := &dedup.Memory{}
	s := newServer(t, flux.Config{
		Destination: toCarbon(a.PickleAddr),
		Also:        []flux.Destination{toCarbon(b.PickleAddr, required, smallQueue)},
		Dedup:       flux.DedupConfig{Store: store},
	})
	at := time.Now().Truncate(time.Second)
	kept := 0
	var refused []graphite.Point
	for refused == nil {
		pts := points(fmt.Sprint("m", kept), 10, at)
		if _, err := s.TryIngest(pts); err != nil {
			require.ErrorIs(t, err, flux.ErrFull)
			require.ErrorContains(t, err, "carbon-2")
			refused = pts
			break
		}
		kept += 10
	}
	require.Positive(t, kept)
	require.NoError(t, a.Wait(soon(t), kept))
	st := balanced(t, s)
	require.EqualValues(t, kept, st.Destinations[0].Accepted, "the first has none of what was refused")
	require.EqualValues(t, kept, st.Destinations[1].Accepted)
	require.Zero(t, markOf(t, store, "m0.0"), "a mark waits for both")

	require.NoError(t, b.Pickle().Restore())
	res, err := s.Ingest(soon(t), refused)
	require.NoError(t, err)
	require.Equal(t, 10, res.Accepted, "what was refused is no duplicate")
	require.NoError(t, s.Flush(soon(t)))
	require.Equal(t, kept+10, a.Received())
	require.Equal(t, kept+10, b.Received())
	require.Equal(t, at.Unix(), markOf(t, store, "m0.0"))
	balanced(t, s)
}

// TestManySendersSeveralDestinations has everything at once: two required destinations that come and go, one of them
// with tenants, one that is dead, small queues, senders of the same points. The accounts must add up.
func TestManySendersSeveralDestinations(t *testing.T) {
	noLeaks(t)
	a, bf := graphitetest.Run(t), bluefloodtest.Run(t)
	s := newServer(t, flux.Config{
		Destination: toCarbon(a.PickleAddr, smallQueue),
		Also: []flux.Destination{
			toCarbon(nowhere, smallQueue),
			toBlueflood(bf, required, func(d *flux.Destination) {
				d.Tenants = []flux.TenantRule{{`^m[0-3]\.`, "low"}, {`^m[45]`, "mid"}}
				d.Blueflood.MemoryMax = 64 << 10
			}),
		},
	})
	const senders, rounds, per = 8, 40, 30
	at := time.Now().Truncate(time.Second)
	var sending sync.WaitGroup
	for c := range senders {
		sending.Go(func() {
			for i := range rounds {
				pts := points(fmt.Sprintf("m%d.%d", i%10, i), per, at) // from all senders the same
				for {
					var err error
					if c%2 == 0 {
						_, err = s.Ingest(soonEnded(t), pts)
					} else {
						_, err = s.TryIngest(pts)
					}
					if err == nil {
						break
					}
					if !strings.Contains(err.Error(), flux.ErrFull.Error()) {
						panic(err)
					}
				}
			}
		})
	}
	for range 5 {
		a.Pickle().Kill()
		bf.Queue(bluefloodtest.Reply{Status: 500}, bluefloodtest.Reply{Reset: true})
		time.Sleep(5 * time.Millisecond)
		require.NoError(t, a.Pickle().Restore())
		time.Sleep(5 * time.Millisecond)
	}
	sending.Wait()
	require.NoError(t, s.Flush(soon(t)))
	st := balanced(t, s)
	require.EqualValues(t, rounds*per, st.Accepted)
	require.Equal(t, rounds*per, bf.Distinct())
	names := map[string]bool{}
	for _, p := range a.All() {
		names[p.Metric] = true
	}
	require.Len(t, names, rounds*per)
	var tenants uint64
	for _, d := range st.Destinations[2:] {
		tenants += d.Delivered
	}
	require.EqualValues(t, rounds*per, tenants)
}

func TestTenants(t *testing.T) {
	noLeaks(t)
	dir := t.TempDir()
	bf := bluefloodtest.Run(t)
	s := newServer(t, flux.Config{
		Destination: toBlueflood(bf, func(d *flux.Destination) {
			d.Blueflood.Prefix = "acme" // rules do not see it
			d.Tenants = []flux.TenantRule{{`^acme\.`, "a b"}, {`^web[0-9]+\.`, "web"}, {`\.own$`, "own"}, {`^db\.`, "web"}}
		}),
		SpoolDir: dir,
	})
	var b graphite.Batch
	at := time.Now()
	for _, name := range []string{"acme.x", "web1.x", "web.x", "db.x", "x.own", "acme.own"} {
		b.Add(name, at, 1)
	}
	_, err := s.Ingest(soon(t), b.Points())
	require.NoError(t, err)
	_, err = s.Ingest(soon(t), points("acme", 3, at))
	require.NoError(t, err)
	require.NoError(t, s.Flush(soon(t)))
	require.ElementsMatch(t, []string{"acme.acme.x", "acme.acme.own", "acme.acme.0", "acme.acme.1", "acme.acme.2"}, bf.Metrics("a b"))
	require.ElementsMatch(t, []string{"acme.web1.x", "acme.db.x"}, bf.Metrics("web"))
	require.ElementsMatch(t, []string{"acme.web.x", "acme.x.own"}, bf.Metrics("own"))
	st := balanced(t, s)
	for i, want := range []struct {
		name, tenant string
		points       uint64
	}{{"blueflood", "own", 2}, {"blueflood-a%20b", "a b", 5}, {"blueflood-web", "web", 2}} {
		d := st.Destinations[i]
		require.Equal(t, want.name, d.Name)
		require.Equal(t, want.tenant, d.Tenant)
		require.Equal(t, want.points, d.Delivered)
		require.DirExists(t, filepath.Join(dir, want.name))
	}
}

func TestDestinationsThatCannotBe(t *testing.T) {
	bf := flux.Destination{Blueflood: &blueflood.EndpointConfig{Tenant: "own"}}
	tenants := func(rules ...flux.TenantRule) flux.Destination {
		d := bf
		d.Tenants = rules
		return d
	}
	named := func(name string) flux.Destination {
		return toCarbon(nowhere, func(d *flux.Destination) { d.Name = name })
	}
	f := func(name, text string, cfg flux.Config) {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			_, err := flux.New(cfg)
			require.ErrorIs(t, err, flux.ErrConfig)
			require.ErrorContains(t, err, text)
		})
	}
	f("a second that is none", "destination 2", flux.Config{Destination: bf, Also: []flux.Destination{{}}})
	f("a name with a slash", `name "a/b" of destination 1`, flux.Config{Destination: named("a/b")})
	f("a name twice", `the name "x"`, flux.Config{Destination: named("x"), Also: []flux.Destination{named("x")}})
	f("a name that is another's default", `the name "carbon-2"`, flux.Config{Destination: named("carbon-2"), Also: []flux.Destination{named("")}})
	f("a name that is a tenant's", `the name "blueflood-t"`, flux.Config{Destination: tenants(flux.TenantRule{"a", "t"}), Also: []flux.Destination{named("blueflood-t")}})
	f("tenants of Carbon", "knows no tenants", flux.Config{Destination: toCarbon(nowhere, func(d *flux.Destination) { d.Tenants = []flux.TenantRule{{"a", "t"}} })})
	f("a rule that does not compile", `tenant rule 2 of destination "blueflood", "(": error parsing regexp`, flux.Config{Destination: tenants(flux.TenantRule{"a", "t"}, flux.TenantRule{"(", "u"})})
	f("a rule without a pattern", "tenant rule 1", flux.Config{Destination: tenants(flux.TenantRule{"", "t"})})
	f("a rule without a tenant", "names no tenant", flux.Config{Destination: tenants(flux.TenantRule{"a", ""})})
	f("a tenant that cannot be", `tenant rule 2, "^b", of destination "blueflood"`, flux.Config{Destination: tenants(flux.TenantRule{"^a", "t"}, flux.TenantRule{"^b", "a/b"})})
	f("dropping what is required", "required", flux.Config{Destination: toCarbon(nowhere, func(d *flux.Destination) { d.Carbon.DropOldest = true })})
	f("a negative bound", "SpoolMax -1", flux.Config{Destination: bf, SpoolMax: -1})
	f("a bound that is too small", "MemoryMax", flux.Config{Destination: bf, MemoryMax: 1})
	f("a dead-letter file in the place of a directory", "DeadLetter", flux.Config{Destination: bf, DeadLetter: t.TempDir()})
	f("a bound of the dead-letter file that is too small", "DeadLetter", flux.Config{Destination: bf, DeadLetter: filepath.Join(t.TempDir(), "d"), DeadLetterMax: 1})
}

// TestPendingPointsOutliveTheServer stops a server whose Carbon is down, and starts another with its spool.
func TestPendingPointsOutliveTheServer(t *testing.T) {
	noLeaks(t)
	carbon := graphitetest.Run(t)
	carbon.Pickle().Kill()
	store := &dedup.Memory{}
	cfg := flux.Config{
		HTTP:        &flux.HTTPConfig{Keys: []flux.Key{{Secret: testKey}}},
		Destination: toCarbon(carbon.PickleAddr), SpoolDir: t.TempDir(), Dedup: flux.DedupConfig{Store: store},
	}
	r := &rig{t: t, server: newServer(t, cfg), carbon: carbon}
	ts := now()
	code, body := r.post(single("a", ts, 1))
	require.Equal(t, 204, code, body)
	code, body = r.post(single("a", ts+1, 2))
	require.Equal(t, 204, code, body)
	err := r.server.Close(ended())
	var left *flux.UndeliveredError
	require.ErrorAs(t, err, &left)
	require.EqualValues(t, 2, left.Kept)
	require.Zero(t, left.Lost)
	require.NotErrorIs(t, err, flux.ErrSpool)
	require.Equal(t, filepath.Join(cfg.SpoolDir, "carbon"), left.Destinations[0].SpoolDir)

	r.server = newServer(t, cfg)
	require.EqualValues(t, 2, balanced(t, r.server).Destinations[0].Recovered)
	code, body = r.post(single("a", ts, 1))
	require.Equal(t, 204, code, body)
	code, body = r.post(single("a", ts+2, 3))
	require.Equal(t, 204, code, body)
	require.EqualValues(t, 1, r.server.Stats().Duplicate, "what is pending is known")
	require.Zero(t, markOf(t, store, "a"))

	require.NoError(t, carbon.Pickle().Restore())
	r.flush()
	require.Len(t, carbon.Points("a"), 3, "each once")
	require.Equal(t, ts+2, markOf(t, store, "a"))
	code, body = r.post(single("a", ts+2, 3))
	require.Equal(t, 204, code, body)
	code, body = r.post(single("a", ts+1, 2))
	require.Equal(t, 204, code, body)
	st := balanced(t, r.server)
	require.EqualValues(t, 2, st.Duplicate)
	require.EqualValues(t, 1, st.Late)
	require.Len(t, carbon.Points("a"), 3)
}

// TestMarksWaitForEverySpool restarts a server of which one destination had the points and the other had not.
func TestMarksWaitForEverySpool(t *testing.T) {
	noLeaks(t)
	a, b := graphitetest.Run(t), graphitetest.Run(t)
	b.Pickle().Kill()
	store := &dedup.Memory{}
	cfg := flux.Config{
		Destination: toCarbon(a.PickleAddr), Also: []flux.Destination{toCarbon(b.PickleAddr, required)},
		SpoolDir: t.TempDir(), Dedup: flux.DedupConfig{Store: store},
	}
	at := time.Now().Truncate(time.Second)
	s := newServer(t, cfg)
	_, err := s.Ingest(soon(t), points("first", 1, at))
	require.NoError(t, err)
	require.NoError(t, a.Wait(soon(t), 1))
	eventually(t, "the first has confirmed", func() bool { return s.Stats().Destinations[0].Pending == 0 })
	a.Pickle().Kill()
	_, err = s.Ingest(soon(t), points("second", 1, at))
	require.NoError(t, err)
	var left *flux.UndeliveredError
	require.ErrorAs(t, s.Close(ended()), &left)
	require.EqualValues(t, 3, left.Kept)

	require.NoError(t, a.Pickle().Restore())
	s = newServer(t, cfg)
	eventually(t, "the first is done", func() bool { return s.Stats().Destinations[0].Pending == 0 })
	require.Zero(t, markOf(t, store, "first.0"))
	require.Zero(t, markOf(t, store, "second.0"))
	res, err := s.Ingest(soon(t), append(points("first", 1, at), points("second", 1, at)...))
	require.NoError(t, err)
	require.Equal(t, 2, res.Duplicate)

	require.NoError(t, b.Pickle().Restore())
	require.NoError(t, s.Flush(soon(t)))
	require.Equal(t, at.Unix(), markOf(t, store, "first.0"))
	require.Equal(t, at.Unix(), markOf(t, store, "second.0"))
	require.Equal(t, 2, b.Received())
	balanced(t, s)
}

// TestAHalfCloseIsAnsweredOnceAllIsOnDisk looks at the disk as soon as a sender has seen the end of file.
func TestAHalfCloseIsAnsweredOnceAllIsOnDisk(t *testing.T) {
	noLeaks(t)
	dir := t.TempDir()
	r := newRig(t, func(c *flux.Config) {
		c.Line = &flux.CarbonInput{Listen: "127.0.0.1:0"}
		c.Destination = toCarbon(nowhere)
		c.Also = []flux.Destination{toCarbon(nowhere, required)}
		c.SpoolDir = dir
	})
	r.run()
	for i := range 20 {
		r.sendAll("line", strings.Repeat("m 1 1700000000\n", 100))
		for _, name := range []string{"carbon", "carbon-2"} {
			rep, err := queue.Inspect(filepath.Join(dir, name), nil)
			require.NoError(t, err)
			require.EqualValues(t, 100*(i+1), rep.Points, name)
		}
	}
	balanced(t, r.server)
}

// TestTheDiskFails takes the spool's directory away, and gives it back.
func TestTheDiskFails(t *testing.T) {
	noLeaks(t)
	f := func(name string, also ...flux.Destination) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			store := &dedup.Memory{}
			r := newRig(t, func(c *flux.Config) {
				c.SpoolDir, c.Also, c.Dedup.Store = dir, also, store
				c.HTTP.RoomWait = 20 * time.Millisecond
			})
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "carbon")))
			ts := now()
			for range 3 {
				code, body := r.post(single("a", ts, 1))
				require.Equal(t, 503, code, body)
				require.Contains(t, body, "disk")
			}
			_, err := r.server.TryIngest(points("b", 1, time.Unix(ts, 0)))
			require.ErrorIs(t, err, flux.ErrSpool)
			require.Zero(t, markOf(t, store, "a"))
			require.NoError(t, os.Mkdir(filepath.Join(dir, "carbon"), 0o750))
			eventually(t, "the disk is back", func() bool {
				code, _ := r.post(single("a", ts, 1))
				return code == 204
			})
			_, err = r.server.Ingest(soon(t), points("b", 1, time.Unix(ts, 0)))
			require.NoError(t, err)
			r.flush()
			require.Len(t, r.carbon.Points("a"), 1, "once, however often it was sent")
			require.Len(t, r.carbon.Points("b.0"), 1)
			require.Equal(t, ts, markOf(t, store, "a"))
			balanced(t, r.server)
		})
	}
	other := graphitetest.Run(t)
	f("of the only destination")
	f("of one of two that are required", toCarbon(other.PickleAddr, required))
	f("with one that is not", toCarbon(other.PickleAddr))
}

// TestTheDiskOfADestinationThatIsNotRequired fails, and only that one loses by it.
func TestTheDiskOfADestinationThatIsNotRequired(t *testing.T) {
	noLeaks(t)
	dir := t.TempDir()
	r := newRig(t, func(c *flux.Config) {
		c.SpoolDir = dir
		c.Also = []flux.Destination{toCarbon(nowhere)}
	})
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "carbon-2")))
	sent := 0
	eventually(t, "the disk is missed", func() bool {
		sent++
		_, err := r.server.TryIngest(points(fmt.Sprint("m", sent), 1, time.Now()))
		require.NoError(t, err)
		return r.server.Stats().Destinations[1].Dropped["spool"] > 0
	})
	r.flush()
	require.Equal(t, sent, r.carbon.Received())
	balanced(t, r.server)
}

func TestWhatIsGivenUpIsOnRecord(t *testing.T) {
	noLeaks(t)
	bf := bluefloodtest.Run(t)
	path := filepath.Join(t.TempDir(), "made", "dead.jsonl")
	store := &dedup.Memory{}
	var told []string
	s := newServer(t, flux.Config{
		Destination: toBlueflood(bf, func(d *flux.Destination) {
			d.Tenants = []flux.TenantRule{{`^t\.`, "other"}}
			d.Blueflood.Failed = func(ms []blueflood.Metric, _ []blueflood.Failure) error {
				for _, m := range ms {
					told = append(told, string(m.Name))
				}
				return nil
			}
		}),
		DeadLetter: path, Dedup: flux.DedupConfig{Store: store},
	})
	old := time.Now().Add(-100 * 24 * time.Hour).Truncate(time.Second)
	var b graphite.Batch
	b.Add("t.old", old, 1)
	b.Add("t.new", time.Now(), 2)
	_, err := s.Ingest(soon(t), b.Points())
	require.NoError(t, err)
	require.NoError(t, s.Flush(soon(t)))
	require.Equal(t, []string{"t.old"}, told)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, want := range []string{`"destination":"blueflood-other"`, `"tenant":"other"`, `"reason":"too_old"`, `"metric":"t.old"`, fmt.Sprintf(`"timestamp":%d`, old.UnixMilli())} {
		require.Contains(t, string(text), want)
	}
	require.Equal(t, old.Unix(), markOf(t, store, "t.old"), "on record is as good as delivered")
	st := balanced(t, s)
	require.EqualValues(t, 1, st.DeadLetter.Points)
	require.EqualValues(t, len(text), st.DeadLetter.Bytes)
	require.EqualValues(t, 1, st.Destinations[1].GivenUp["too_old"])
}

// TestWhatCannotBeRecordedIsKept has a dead-letter file that cannot be written for a while.
func TestWhatCannotBeRecordedIsKept(t *testing.T) {
	noLeaks(t)
	bf := bluefloodtest.Run(t)
	dir := filepath.Join(t.TempDir(), "dead")
	path := filepath.Join(dir, "letters")
	store := &dedup.Memory{}
	s := newServer(t, flux.Config{Destination: toBlueflood(bf), DeadLetter: path, Dedup: flux.DedupConfig{Store: store}})
	require.NoError(t, os.RemoveAll(dir))
	old := time.Now().Add(-100 * 24 * time.Hour).Truncate(time.Second)
	_, err := s.Ingest(soon(t), points("old", 1, old))
	require.NoError(t, err)
	eventually(t, "it is tried", func() bool { return s.Stats().Destinations[0].Down })
	require.EqualValues(t, 1, balanced(t, s).Destinations[0].Pending)
	require.Zero(t, markOf(t, store, "old.0"))
	require.NoError(t, os.Mkdir(dir, 0o750))
	require.NoError(t, s.Flush(soon(t)))
	require.EqualValues(t, 1, balanced(t, s).Destinations[0].GivenUp["too_old"])
	require.EqualValues(t, 1, s.Stats().DeadLetter.Points)
	require.Equal(t, old.Unix(), markOf(t, store, "old.0"))
}

func TestASpoolOfNobodyIsReported(t *testing.T) {
	noLeaks(t)
	dir := t.TempDir()
	var log bytes.Buffer
	cfg := flux.Config{
		Destination: toCarbon(nowhere, func(d *flux.Destination) { d.Name = "before" }), SpoolDir: dir,
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}
	s := newServer(t, cfg)
	_, err := s.Ingest(soon(t), points("a", 7, time.Now()))
	require.NoError(t, err)
	require.Error(t, s.Close(ended()))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "lost+found"), 0o750))
	require.NotContains(t, log.String(), "flux spool replay")

	cfg.Destination.Name = "after"
	s = newServer(t, cfg)
	require.Contains(t, log.String(), "flux spool replay")
	require.Contains(t, log.String(), filepath.Join(dir, "before"))
	require.Contains(t, log.String(), "points=7")
	require.NotContains(t, log.String(), "lost+found")
	require.NoError(t, s.Close(soon(t)))
}

func TestASpoolInUse(t *testing.T) {
	noLeaks(t)
	cfg := flux.Config{Destination: toCarbon(nowhere), SpoolDir: t.TempDir()}
	newServer(t, cfg)
	_, err := flux.New(cfg)
	require.ErrorIs(t, err, flux.ErrConfig)
	require.ErrorContains(t, err, filepath.Join(cfg.SpoolDir, "carbon"))

	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	cfg.SpoolDir = file
	_, err = flux.New(cfg)
	require.ErrorIs(t, err, flux.ErrSpool)
}

// TestCloseSaysWhatIsLeftWhere closes a server of which three destinations are dead, one kept on disk.
func TestCloseSaysWhatIsLeftWhere(t *testing.T) {
	noLeaks(t)
	dir := filepath.Join(t.TempDir(), "mine")
	alive := graphitetest.Run(t)
	s := newServer(t, flux.Config{
		Destination: toCarbon(nowhere, func(d *flux.Destination) { d.Carbon.SpoolDir = dir }),
		Also:        []flux.Destination{toCarbon(alive.PickleAddr), toCarbon(nowhere), toCarbon(nowhere, required)},
	})
	_, err := s.Ingest(soon(t), points("a", 5, time.Now()))
	require.NoError(t, err)
	err = s.Close(soonEnded(t))
	var left *flux.UndeliveredError
	require.ErrorAs(t, err, &left)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, [3]int64{15, 5, 10}, [3]int64{left.Points, left.Kept, left.Lost})
	for i, want := range []flux.Undelivered{
		{Name: "carbon", Required: true, Points: 5, SpoolDir: dir}, {Name: "carbon-3", Points: 5}, {Name: "carbon-4", Required: true, Points: 5},
	} {
		left.Destinations[i].Err = nil
		require.Equal(t, want, left.Destinations[i])
	}
	require.Equal(t, 5, alive.Received())
}

// TestOverwrittenTimestampsKeepEveryPoint sends several points of one series in one read: a Blueflood that had them at
// one millisecond would keep the last alone.
func TestOverwrittenTimestampsKeepEveryPoint(t *testing.T) {
	noLeaks(t)
	bf := bluefloodtest.Run(t)
	at := time.Now().Truncate(time.Millisecond)
	r := newRig(t, func(c *flux.Config) {
		c.HTTP, c.Destination = nil, toBlueflood(bf)
		c.Now = func() time.Time { return at }
		c.Line = &flux.CarbonInput{Listen: "127.0.0.1:0", OverwriteTimestamps: true}
		c.Pickle = &flux.CarbonInput{Listen: "127.0.0.1:0", OverwriteTimestamps: true}
	})
	r.run()
	r.sendAll("line", "a 1 5\na 2 5\nb 1 5\na 3 6\n")
	body := "\x80\x02](U\x01aK\x07K\x04\x86\x86e."
	r.sendAll("pickle", string([]byte{0, 0, 0, byte(len(body))})+body)
	r.flush()
	var got []string
	for _, p := range bf.Points("own", "a") {
		got = append(got, fmt.Sprint(p.Timestamp-at.UnixMilli(), " ", p.Value))
	}
	require.ElementsMatch(t, []string{"0 1", "1 2", "2 3", "3 4"}, got)
	require.Zero(t, r.server.Stats().SharedTimestamps)
}

// TestAKilledServerLeavesSpoolsThatDiffer has the second of two spools lack what the first holds, as a kill between
// their commits leaves them. The sender had no answer, and sends again.
func TestAKilledServerLeavesSpoolsThatDiffer(t *testing.T) {
	noLeaks(t)
	a, b := graphitetest.Run(t), graphitetest.Run(t)
	a.Pickle().Kill()
	b.Pickle().Kill()
	store := &dedup.Memory{}
	dir := t.TempDir()
	cfg := flux.Config{
		Destination: toCarbon(a.PickleAddr), Also: []flux.Destination{toCarbon(b.PickleAddr, required), toCarbon(nowhere)},
		SpoolDir: dir, Dedup: flux.DedupConfig{Store: store},
	}
	at := time.Now().Truncate(time.Second)
	s := newServer(t, cfg)
	_, err := s.Ingest(soon(t), points("both", 3, at))
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(dir, "carbon", "unfinished"))
	require.Error(t, s.Close(ended()))
	require.NoFileExists(t, filepath.Join(dir, "carbon", "unfinished"))
	require.NoFileExists(t, filepath.Join(dir, "carbon-2", "unfinished"))

	alone := cfg
	alone.Also = nil
	s = newServer(t, alone)
	_, err = s.Ingest(soon(t), points("half", 2, at))
	require.NoError(t, err)
	require.Error(t, s.Close(ended()))

	s = newServer(t, cfg)
	st := balanced(t, s)
	require.EqualValues(t, 5, st.Destinations[0].Pending)
	require.EqualValues(t, 3, st.Destinations[1].Pending, "after a clean end each has what it should")
	require.Error(t, s.Close(ended()))

	require.NoError(t, os.WriteFile(filepath.Join(dir, "carbon", "unfinished"), nil, 0o600))
	s = newServer(t, cfg)
	st = balanced(t, s)
	require.EqualValues(t, 5, st.Destinations[0].Pending)
	require.EqualValues(t, 5, st.Destinations[1].Pending)
	res, err := s.Ingest(soon(t), append(points("half", 2, at), points("both", 3, at)...))
	require.NoError(t, err)
	require.Equal(t, 5, res.Duplicate)
	require.NoError(t, a.Pickle().Restore())
	eventually(t, "the first is done", func() bool { return s.Stats().Destinations[0].Pending == 0 })
	require.Zero(t, markOf(t, store, "half.0"))
	require.NoError(t, b.Pickle().Restore())
	require.NoError(t, s.Flush(soon(t)))
	require.Equal(t, 5, a.Received())
	require.Equal(t, 5, b.Received())
	require.Equal(t, at.Unix(), markOf(t, store, "half.0"))
	require.Equal(t, at.Unix(), markOf(t, store, "both.2"))
	balanced(t, s)
}
