package deliver

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/queue"
	"github.com/fluxmetrics/fluxkit/internal/record"
)

func openDir(t *testing.T, dir string) *queue.Queue {
	t.Helper()
	q, err := queue.Open(queue.Options{Dir: dir})
	require.NoError(t, err)
	t.Cleanup(func() { _ = q.Release() })
	return q
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestDirectoryGoesOn gives a worker a directory whose first position is not 1, and in which numbers are left out.
func TestDirectoryGoesOn(t *testing.T) {
	dir := t.TempDir()
	r := newRig(t, &fakeSender{}, func(o *Options) { o.Queue = openDir(t, dir) })
	for range 5 {
		r.add(t, 2)
	}
	require.NoError(t, r.q.Ack(2))
	require.NoError(t, r.q.Release())

	q := openDir(t, dir)
	require.EqualValues(t, 2, q.Acked())
	next := r.next
	r = newRig(t, &fakeSender{}, func(o *Options) { o.Queue = q })
	r.next = next
	r.add(t, 2)
	require.Greater(t, q.Last(), queue.Pos(5))
	stop := r.run(t)
	require.NoError(t, r.w.Flush(within(t)))
	require.Equal(t, upTo(12)[4:], r.delivered)
	require.NoError(t, r.w.Flush(within(t)), "nothing to wait for")
	stop()
	st := r.w.Stats()
	pending, dropped := st.Balance(q.Stats())
	require.Zero(t, pending)
	require.Empty(t, dropped)
}

// TestFlushOfWhatIsTakenBack: the newest record was not kept, so nobody ever acknowledges it.
func TestFlushOfWhatIsTakenBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "q")
	q := openDir(t, dir)
	r := newRig(t, &fakeSender{}, func(o *Options) { o.Queue = q })
	require.NoError(t, os.Rename(dir, dir+".away"))
	ctx, cancel := context.WithCancel(context.Background())
	failed := make(chan error)
	go func() {
		_, err := q.Append(ctx, []byte("x"), 1)
		failed <- err
	}()
	require.Eventually(t, func() bool { return q.Last() == 1 }, 10*time.Second, time.Millisecond)
	stop := r.run(t)
	flushed := make(chan error)
	go func() { flushed <- r.w.Flush(within(t)) }()
	cancel()
	require.ErrorIs(t, <-failed, queue.ErrDisk)
	require.NoError(t, <-flushed)
	stop()
}

// TestDamagedWhenReadAgain damages a record of which a part was delivered already.
func TestDamagedWhenReadAgain(t *testing.T) {
	dir := t.TempDir()
	q := openDir(t, dir)
	sends := 0
	var r *rig
	s := &fakeSender{send: func(n []string) (Result, error) {
		switch sends++; sends {
		case 1:
			return Result{Taken: 3}, nil
		case 2:
			segs, err := filepath.Glob(filepath.Join(dir, "*.seg"))
			require.NoError(t, err)
			require.Len(t, segs, 1)
			b, err := os.ReadFile(segs[0])
			require.NoError(t, err)
			b[60] ^= 1
			require.NoError(t, os.WriteFile(segs[0], b, 0o600))
			pending, _ := func() (int64, map[string]uint64) { st := r.w.Stats(); return st.Balance(q.Stats()) }()
			require.EqualValues(t, 17, pending, "the first three are delivered, though their record stands")
			return Result{Taken: 1}, nil
		}
		return Result{Taken: len(n)}, nil
	}}
	confirms := 0
	s.confirm = func() error {
		if confirms++; confirms == 2 {
			return errors.New("reset")
		}
		return nil
	}
	r = newRig(t, s, func(o *Options) { o.Queue = q; o.ConfirmBytes = 1; o.BackoffMin = time.Millisecond })
	r.add(t, 10)
	r.add(t, 10)
	stop := r.run(t)
	require.NoError(t, r.w.Flush(within(t)))
	stop()
	require.Equal(t, append(upTo(3), upTo(20)[10:]...), r.delivered)
	st := r.w.Stats()
	pending, dropped := st.Balance(q.Stats())
	require.Zero(t, pending)
	require.Equal(t, map[string]uint64{DroppedDamaged: 7}, dropped)
}

// TestReplayAgeAndDropOldest: when what was sent is dropped before it is sent again, what takes its place is new.
func TestReplayAgeAndDropOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := time.Now().Add(-time.Hour).UnixMilli()
		r := newRig(t, &fakeSender{}, func(o *Options) { o.Queue = openMemory(t, true); o.MaxReplayAge = time.Minute })
		add := func(name string) {
			var w record.Writer
			w.Add(&record.Point{Name: []byte(name), Timestamp: old, Extra: make([]byte, 20<<10)})
			_, err := r.q.Append(context.Background(), w.Bytes(), 1)
			require.NoError(t, err)
		}
		add("a")
		add("b")
		require.True(t, r.w.gather())
		r.w.tried = 2 // both were on their way when the connection broke
		r.w.rewind()
		_, _, ok, err := r.q.TryNext(0, nil) // goes back over them
		require.NoError(t, err)
		require.True(t, ok)
		add("c")
		add("d") // drops b
		require.EqualValues(t, 1, r.q.Stats().Dropped)
		stop := r.run(t)
		require.NoError(t, r.w.Flush(context.Background()))
		require.Equal(t, []string{"a replay_age"}, r.failed)
		require.Equal(t, []string{"c", "d"}, r.delivered)
		stop()
	})
}
