package graphite_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
	"github.com/fluxmetrics/fluxkit/internal/deadletter"
	"github.com/fluxmetrics/fluxkit/internal/queue"
)

// ended is a context that has.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// snapshot copies the files of a spool as they stand, as a kill of the process would leave them.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, n := range names {
		b, err := os.ReadFile(filepath.Join(dir, n.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(to, n.Name()), b, 0o600))
	}
	return to
}

// pendingIn is how many points a spool holds.
func pendingIn(t *testing.T, dir string) int {
	t.Helper()
	rep, err := queue.Inspect(dir, nil)
	require.NoError(t, err)
	require.Zero(t, rep.Damaged)
	return int(rep.Points)
}

// balanced requires that the account adds up.
func balanced(t *testing.T, st graphite.ClientStats) {
	t.Helper()
	sum := func(m map[string]uint64) (n uint64) {
		for _, v := range m {
			n += v
		}
		return n
	}
	require.EqualValues(t, st.Accepted+st.Recovered, int64(st.Delivered+sum(st.Rejected)+sum(st.Dropped))+st.PendingPoints, "%+v", st)
}

// recoveredIn makes cfg collect what is recovered, as watched does what is delivered.
func recoveredIn(cfg *graphite.ClientConfig) *[]string {
	var got []string
	cfg.Recovered = func(pts []graphite.Point, tags []byte) {
		for i, p := range pts {
			got = append(got, fmt.Sprintf("%s %v %d", p.Name, p.Value, tags[i]))
		}
	}
	return &got
}

// TestSpoolSurvivesTheProcess takes the files away under a client that cannot deliver, as if it had been killed then, and
// gives them to another.
func TestSpoolSurvivesTheProcess(t *testing.T) {
	s := graphitetest.Run(t)
	s.Pickle().Refuse()
	cfg := graphite.ClientConfig{Addrs: []string{s.PickleAddr}, SpoolDir: filepath.Join(t.TempDir(), "made", "here")}
	first := newWatched(t, cfg)
	first.send(0, 3000)
	killed := snapshot(t, cfg.SpoolDir)
	require.Equal(t, 3000, pendingIn(t, killed), "Send returns once the points are on disk")
	require.Positive(t, first.Stats().SpoolBytes)
	var left *graphite.UndeliveredError
	require.ErrorAs(t, first.Close(ended()), &left)

	cfg.SpoolDir = killed
	got := recoveredIn(&cfg)
	second := newWatched(t, cfg)
	require.Len(t, *got, 3000, "told before NewClient returns, though Carbon is down")
	require.EqualValues(t, 3000, second.Stats().Recovered)
	require.EqualValues(t, 3000, second.Stats().PendingPoints)
	balanced(t, second.Stats())
	second.send(3000, 500)
	require.NoError(t, s.Pickle().Restore())
	second.flush()
	require.Equal(t, *got, second.delivered[:3000], "what was recovered is delivered first")
	require.Len(t, second.delivered, 3500)
	require.Equal(t, 3500, s.Received(), "once each")
	require.EqualValues(t, 500, second.Stats().Accepted)
	require.EqualValues(t, 3500, second.Stats().Delivered)
	balanced(t, second.Stats())
	require.NoError(t, second.Close(limit(t)))

	third := newWatched(t, graphite.ClientConfig{Addrs: cfg.Addrs, SpoolDir: killed})
	require.Zero(t, third.Stats().Recovered)
}

func TestSpoolIsKeptByClose(t *testing.T) {
	s := graphitetest.Run(t)
	s.Pickle().Refuse()
	cfg := graphite.ClientConfig{Addrs: []string{s.PickleAddr}, SpoolDir: t.TempDir()}
	r := newWatched(t, cfg)
	r.send(0, 300)
	require.NoError(t, r.SendAsync(limit(t), []graphite.Point{{Name: []byte("last"), Timestamp: 1, Value: 7}}, []byte{9}))
	err := r.Close(ended())
	var left *graphite.UndeliveredError
	require.ErrorAs(t, err, &left)
	require.EqualValues(t, 301, left.Points)
	require.Equal(t, cfg.SpoolDir, left.SpoolDir)
	require.ErrorContains(t, err, "301 points undelivered, which stay in "+cfg.SpoolDir)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 301, pendingIn(t, cfg.SpoolDir))
	balanced(t, r.Stats())

	require.NoError(t, s.Pickle().Restore())
	got := recoveredIn(&cfg)
	r = newWatched(t, cfg)
	require.NoError(t, r.Close(limit(t)))
	require.Len(t, *got, 301)
	require.Equal(t, "last 7 9", (*got)[300])
	require.Equal(t, *got, r.delivered)
	require.Zero(t, pendingIn(t, cfg.SpoolDir))
	balanced(t, r.Stats())

	mem := newWatched(t, graphite.ClientConfig{Addrs: []string{"127.0.0.1:1"}})
	mem.send(0, 2)
	require.ErrorContains(t, mem.Close(ended()), "2 points undelivered, which are lost")
}

func TestSpoolInUse(t *testing.T) {
	cfg := graphite.ClientConfig{Addrs: []string{"127.0.0.1:1"}, SpoolDir: t.TempDir()}
	r := newWatched(t, cfg)
	_, err := graphite.NewClient(cfg)
	require.ErrorContains(t, err, "SpoolDir "+cfg.SpoolDir+" is open already")
	require.NoError(t, r.Close(limit(t)))
	again := newWatched(t, cfg)
	require.NoError(t, again.Close(limit(t)))
}

// TestSpoolDamage flips a byte in a record of a spool.
func TestSpoolDamage(t *testing.T) {
	s := graphitetest.Run(t)
	s.Pickle().Refuse()
	cfg := graphite.ClientConfig{Addrs: []string{s.PickleAddr}, SpoolDir: t.TempDir()}
	r := newWatched(t, cfg)
	r.send(0, 300)
	require.Error(t, r.Close(ended()))
	segs, err := filepath.Glob(filepath.Join(cfg.SpoolDir, "*.seg"))
	require.NoError(t, err)
	require.NotEmpty(t, segs)
	b, err := os.ReadFile(segs[0])
	require.NoError(t, err)
	b[len(b)/2] ^= 1
	require.NoError(t, os.WriteFile(segs[0], b, 0o600))

	got := recoveredIn(&cfg)
	require.NoError(t, s.Pickle().Restore())
	r = newWatched(t, cfg)
	r.flush()
	require.Len(t, *got, 200)
	require.Equal(t, *got, r.delivered)
	require.EqualValues(t, 200, r.Stats().Recovered)
	balanced(t, r.Stats())
}

// TestSpoolUndecodable has a record of another make in the spool.
func TestSpoolUndecodable(t *testing.T) {
	dir := t.TempDir()
	q, err := queue.Open(queue.Options{Dir: dir})
	require.NoError(t, err)
	_, err = q.Append(limit(t), []byte{9, 3, 0, 0, 0, 'x', 'y', 'z'}, 3)
	require.NoError(t, err)
	require.NoError(t, q.Release())

	s := graphitetest.Run(t)
	cfg := graphite.ClientConfig{Addrs: []string{s.PickleAddr}, SpoolDir: dir}
	got := recoveredIn(&cfg)
	r := newWatched(t, cfg)
	r.send(0, 5)
	r.flush()
	st := r.Stats()
	require.Empty(t, *got)
	require.EqualValues(t, 3, st.Recovered)
	require.EqualValues(t, 5, st.Delivered)
	require.Equal(t, map[string]uint64{"damaged": 3}, st.Dropped)
	require.Contains(t, r.log.String(), "a damaged record is passed over")
	balanced(t, st)
}

func TestSendAsyncAndSync(t *testing.T) {
	for name, dir := range map[string]string{"memory": "", "directory": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			s := graphitetest.Run(t)
			s.Pickle().Refuse()
			r := newWatched(t, graphite.ClientConfig{Addrs: []string{s.PickleAddr}, SpoolDir: dir})
			require.NoError(t, r.Sync(limit(t)), "nothing to wait for")
			pts := []graphite.Point{{Name: []byte("a"), Timestamp: 1000, Value: 1}}
			for i := range 100 {
				require.NoError(t, r.SendAsync(limit(t), pts, []byte{byte(i)}))
			}
			require.NoError(t, r.Sync(limit(t)))
			if dir != "" {
				require.Equal(t, 100, pendingIn(t, snapshot(t, dir)))
			}
			pts[0].Name[0] = 'z'
			require.NoError(t, s.Pickle().Restore())
			r.flush()
			require.Equal(t, 100, s.Received())
			require.Equal(t, "a 1 99", r.delivered[99])
			balanced(t, r.Stats())
			require.NoError(t, r.Close(limit(t)))
			require.ErrorIs(t, r.SendAsync(limit(t), pts, nil), graphite.ErrClosed)
			require.NoError(t, r.Sync(limit(t)), "all of it is kept")
		})
	}
}

// TestSpoolDiskFails takes the directory away for a while.
func TestSpoolDiskFails(t *testing.T) {
	s := graphitetest.Run(t)
	s.Pickle().Refuse()
	dir := filepath.Join(t.TempDir(), "spool")
	r := newWatched(t, graphite.ClientConfig{Addrs: []string{s.PickleAddr}, SpoolDir: dir, SpoolMax: 256 << 10, BackoffMin: time.Hour, BackoffMax: time.Hour})
	r.send(0, 100)
	comesTrue(t, "the worker rests, and reads nothing", func() bool { return r.Stats().LastError != "" })
	require.NoError(t, os.Rename(dir, dir+".away"))
	pts := []graphite.Point{{Name: []byte(strings.Repeat("x", 15<<10)), Timestamp: 1000, Value: 1}}
	require.ErrorIs(t, r.Send(ended(), pts), graphite.ErrSpool)
	comesTrue(t, "the error shows", func() bool { return r.Stats().SpoolError != "" })
	err := r.Send(ended(), pts)
	require.ErrorIs(t, err, graphite.ErrSpool)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.EqualValues(t, 100, r.Stats().PendingPoints)
	require.NoError(t, os.Rename(dir+".away", dir))
	require.NoError(t, r.Send(limit(t), pts), "it is waited for")
	comesTrue(t, "it works again", func() bool { return r.Stats().SpoolError == "" })
	require.NoError(t, s.Pickle().Restore())
	r.flush()
	require.EqualValues(t, 101, r.Stats().Delivered)
	balanced(t, r.Stats())
}

// TestSpoolDiskFailsForGood: what a SendAsync has not brought to the disk is lost with the client, and Close says so.
func TestSpoolDiskFailsForGood(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	r := newWatched(t, graphite.ClientConfig{Addrs: []string{"127.0.0.1:1"}, SpoolDir: dir})
	require.NoError(t, os.Rename(dir, dir+".away"))
	require.NoError(t, r.SendAsync(limit(t), []graphite.Point{{Name: []byte("a"), Timestamp: 1000}}, nil))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, r.Sync(ctx), context.DeadlineExceeded)
	err := r.Close(ended())
	require.ErrorIs(t, err, graphite.ErrSpool)
	require.ErrorContains(t, err, "1 points not kept")
}

func TestReserve(t *testing.T) {
	up, down := graphitetest.Run(t), graphitetest.Run(t)
	down.Pickle().Refuse()
	for name, dir := range map[string]string{"memory": "", "directory": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			config := func(s *graphitetest.Server, sub string) graphite.ClientConfig {
				cfg := graphite.ClientConfig{Addrs: []string{s.PickleAddr}, MemoryMax: 64 << 10, SpoolMax: 64 << 10}
				if dir != "" {
					cfg.SpoolDir = filepath.Join(dir, sub)
				}
				return cfg
			}
			a, b := newWatched(t, config(up, "a")), newWatched(t, config(down, "b"))
			before := up.Received()
			pts := []graphite.Point{{Name: []byte(strings.Repeat("x", 20<<10)), Timestamp: 1000, Value: 1}}
			// both is the all or none of several destinations.
			both := func() error {
				ra, err := a.Reserve(limit(t), pts, []byte{5})
				require.NoError(t, err)
				defer ra.Cancel()
				rb, err := b.Reserve(ended(), pts, []byte{5})
				if err != nil {
					return err
				}
				defer rb.Cancel()
				pts[0].Name[0] = 'y' // they were copied
				require.NoError(t, ra.Send())
				require.NoError(t, rb.Send())
				require.NoError(t, rb.Send(), "does nothing")
				pts[0].Name[0] = 'x'
				return nil
			}
			n := 0
			var err error
			for ; err == nil; n++ {
				err = both()
			}
			require.ErrorIs(t, err, graphite.ErrFull)
			require.ErrorIs(t, err, context.Canceled)
			n--
			require.Positive(t, n)
			require.EqualValues(t, n, b.Stats().Accepted)
			a.flush()
			require.EqualValues(t, n, a.Stats().Delivered)
			require.Equal(t, before+n, up.Received())
			require.Equal(t, pts[0].Name[0], a.delivered[0][0])
			require.True(t, strings.HasSuffix(a.delivered[0], " 1 5"))
			for range 10 { // what was cancelled does not hold room
				require.Error(t, both())
			}
			r, err := a.Reserve(ended(), pts, nil)
			require.NoError(t, err)
			none, err := a.Reserve(ended(), nil, nil)
			require.NoError(t, err)
			require.NoError(t, none.Send())
			none.Cancel()
			_, err = a.Reserve(ended(), pts, []byte{1, 2})
			require.Error(t, err)
			balanced(t, a.Stats())
			balanced(t, b.Stats())
			require.NoError(t, a.Close(limit(t)))
			require.ErrorIs(t, r.Send(), graphite.ErrClosed)
			_, err = a.Reserve(ended(), pts, nil)
			require.ErrorIs(t, err, graphite.ErrClosed)
		})
	}
}

func TestDropOldest(t *testing.T) {
	for name, dir := range map[string]string{"memory": "", "directory": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			s := graphitetest.Run(t)
			s.Pickle().Refuse()
			r := newWatched(t, graphite.ClientConfig{
				Addrs: []string{s.PickleAddr}, SpoolDir: dir, SpoolMax: 2 << 20, MemoryMax: 2 << 20, DropOldest: true,
			})
			const n = 1000
			for i := range n {
				require.NoError(t, r.SendTagged(ended(), []graphite.Point{
					{Name: []byte(strings.Repeat("x", 4<<10)), Timestamp: 1000, Value: float64(i)},
					{Name: []byte("bad name"), Timestamp: 1000},
				}, nil))
			}
			st := r.Stats()
			require.EqualValues(t, 2*n, st.Accepted)
			require.Positive(t, st.Dropped["full"])
			require.Positive(t, st.PendingPoints)
			balanced(t, st)
			require.NoError(t, s.Pickle().Restore())
			r.flush()
			st = r.Stats()
			require.Zero(t, st.PendingPoints)
			require.EqualValues(t, s.Received(), st.Delivered)
			require.Equal(t, st.Delivered, st.Rejected["name_space"])
			require.Len(t, r.delivered, int(st.Delivered))
			require.True(t, strings.HasSuffix(r.delivered[len(r.delivered)-1], fmt.Sprintf(" %d 0", n-1)), "the newest is kept")
			balanced(t, st)
		})
	}
}

// TestDeadLetterFails takes the folder of the file away for a while: points that cannot be put on record are kept.
func TestDeadLetterFails(t *testing.T) {
	s := graphitetest.Run(t)
	folder := filepath.Join(t.TempDir(), "dead")
	require.NoError(t, os.Mkdir(folder, 0o700))
	cfg := graphite.ClientConfig{Addrs: []string{s.PickleAddr}, SpoolDir: t.TempDir(), DeadLetter: filepath.Join(folder, "letters")}
	r := newWatched(t, cfg)
	send := func(name string) {
		require.NoError(t, r.SendTagged(limit(t), []graphite.Point{
			{Name: []byte("good"), Timestamp: 1500, Value: 1}, {Name: []byte(name), Timestamp: 2500, Value: 2},
		}, []byte{1, 2}))
	}
	send("first bad")
	r.flush()
	require.EqualValues(t, 1, r.Stats().DeadLetterPoints)
	require.NoError(t, os.Rename(folder, folder+".away"))
	send("second bad")
	comesTrue(t, "the error shows", func() bool { return strings.Contains(r.Stats().LastError, folder) })
	received := s.Received()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, r.Flush(ctx), context.DeadlineExceeded)
	require.Equal(t, received, s.Received(), "the good one does not go again")
	st := r.Stats()
	require.EqualValues(t, 2, st.PendingPoints)
	require.EqualValues(t, 1, st.Rejected["name_space"])
	balanced(t, st)
	require.NoError(t, os.Rename(folder+".away", folder))
	r.flush()
	require.Empty(t, r.Stats().LastError)
	require.Equal(t, []string{"good 1 1", "good 1 1"}, r.delivered)
	require.Equal(t, []string{"first bad name_space 2", "second bad name_space 2"}, r.failed)
	balanced(t, r.Stats())
	require.NoError(t, r.Close(limit(t)))

	var got []string
	_, err := deadletter.Read(cfg.DeadLetter, func(e deadletter.Entry) error {
		got = append(got, fmt.Sprintf("%s|%s|%s|%d|%v|%d", e.Destination, e.Reason, e.Name, e.Timestamp, e.Value, e.Tag))
		require.NotEmpty(t, e.Detail)
		require.WithinDuration(t, time.Now(), e.At, time.Minute)
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, []string{
		"carbon " + s.PickleAddr + "|name_space|first bad|2500|2|2",
		"carbon " + s.PickleAddr + "|name_space|second bad|2500|2|2",
	}, got)
}

func TestFailedRefuses(t *testing.T) {
	s := graphitetest.Run(t)
	path := filepath.Join(t.TempDir(), "letters")
	var calls atomic.Int32
	r := newWatched(t, graphite.ClientConfig{
		Addrs: []string{s.PickleAddr}, DeadLetter: path,
		Failed: func(pts []graphite.Point, _ []byte, _ []graphite.Failure) error {
			if calls.Add(1) <= 2 {
				return errors.New("not now")
			}
			return nil
		},
	})
	require.NoError(t, r.Send(limit(t), []graphite.Point{{Name: []byte("a b")}, {Name: []byte("good"), Value: 1}}))
	r.flush()
	require.EqualValues(t, 3, calls.Load())
	require.Equal(t, []string{"a b name_space 0"}, r.failed)
	require.Equal(t, []string{"good 1 0"}, r.delivered)
	require.Equal(t, 1, s.Received())
	require.EqualValues(t, 1, r.Stats().DeadLetterPoints, "put on record once")
	balanced(t, r.Stats())
}
