package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func openIn(t testing.TB, fs fileSystem, change func(*Options)) *Queue {
	t.Helper()
	o := Options{Dir: "d", MaxBytes: 1 << 20, fs: fs}
	if change != nil {
		change(&o)
	}
	q, err := Open(o)
	require.NoError(t, err)
	return q
}

func mustAppend(t testing.TB, q *Queue, rec string, points int) Pos {
	t.Helper()
	pos, err := q.Append(context.Background(), []byte(rec), points)
	require.NoError(t, err)
	return pos
}

// drain returns all records that can be read, without acknowledging them.
func drain(t testing.TB, q *Queue) (recs []string) {
	t.Helper()
	for pos := Pos(0); ; {
		rec, next, ok, err := q.TryNext(pos, nil)
		require.NoError(t, err)
		if !ok {
			return recs
		}
		require.Greater(t, next, pos)
		recs, pos = append(recs, string(rec)), next
	}
}

// build returns a file system with a queue of these records in one segment, and the segment's path.
func build(t testing.TB, recs ...string) (m *forgetful, path string) {
	t.Helper()
	m = newForgetful()
	q := openIn(t, m, nil)
	for _, rec := range recs {
		mustAppend(t, q, rec, 3)
	}
	require.NoError(t, q.Release())
	return m, m.segments(t)[0]
}

func (m *forgetful) segments(t testing.TB) (paths []string) {
	ids, err := listSegments(m, "d")
	require.NoError(t, err)
	for _, id := range ids {
		paths = append(paths, filepath.Join("d", id.name()))
	}
	return paths
}

func TestWhatWasKeptIsThereAfterAReopening(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	o := Options{Dir: dir, MaxBytes: 256 << 10}
	q, err := Open(o)
	require.NoError(t, err)
	before := time.Now()
	for i := range 100 {
		_, err := q.Append(context.Background(), fmt.Appendf(nil, "record %d %s", i, strings.Repeat("x", 1000)), 2)
		require.NoError(t, err)
	}
	require.NoError(t, q.Ack(33))
	was := q.Stats()
	require.NoError(t, q.Release())
	require.NoError(t, q.Release())

	q, err = Open(o)
	require.NoError(t, err)
	s := q.Stats()
	require.Equal(t, 67, s.Records)
	require.EqualValues(t, 134, s.Points)
	require.Equal(t, was.Bytes, s.Bytes)
	require.Equal(t, was.Oldest.UnixNano(), s.Oldest.UnixNano())
	require.False(t, s.Oldest.Before(before.Round(0)))
	require.EqualValues(t, 33, q.Acked())
	require.EqualValues(t, 100, q.Last())
	rep := q.Recovered()
	require.Equal(t, 67, rep.Records)
	require.Zero(t, rep.Damaged)
	require.Zero(t, rep.TornBytes)
	rec, pos, err := q.Next(context.Background(), 0, nil)
	require.NoError(t, err)
	require.True(t, bytes.HasPrefix(rec, []byte("record 33 ")))
	require.EqualValues(t, 34, pos)
	pos, err = q.Append(context.Background(), []byte("more"), 1)
	require.NoError(t, err)
	require.EqualValues(t, 101, pos)
	require.NoError(t, q.Ack(101))
	require.NoError(t, q.Release())

	n := 0
	inspected, err := Inspect(dir, func(Record) error { n++; return nil })
	require.NoError(t, err)
	require.Zero(t, n)
	require.Zero(t, inspected.Records)
	q, err = Open(o)
	require.NoError(t, err)
	require.EqualValues(t, 101, q.Last(), "positions go on")
	require.EqualValues(t, 101, q.Acked())
	require.NoError(t, q.Release())
}

func TestOnlyOneOpensADirectory(t *testing.T) {
	dir := t.TempDir()
	q, err := Open(Options{Dir: dir})
	require.NoError(t, err)
	require.EqualValues(t, DefaultDirMaxBytes, q.Stats().MaxBytes)
	_, err = Open(Options{Dir: dir})
	require.ErrorIs(t, err, ErrInUse)
	require.ErrorContains(t, err, dir)
	require.NoError(t, q.Release())
	q, err = Open(Options{Dir: dir})
	require.NoError(t, err)
	require.NoError(t, q.Release())
	_, err = Open(Options{Dir: filepath.Join(dir, lockName, "below a file")})
	require.ErrorIs(t, err, ErrDisk)
	_, err = Open(Options{Dir: dir, CommitEvery: -1})
	require.ErrorContains(t, err, "CommitEvery")
}

func TestEveryByteOfARecordFlipped(t *testing.T) {
	recs := []string{"first", "the second record", "third", "the fourth and last"}
	m, path := build(t, recs...)
	good := m.read(path)
	starts := []int{0}
	for _, r := range recs {
		starts = append(starts, starts[len(starts)-1]+headerSize+len(r))
	}
	for k := range recs {
		rest := append(append([]string(nil), recs[:k]...), recs[k+1:]...)
		for i := starts[k]; i < starts[k+1]; i++ {
			for _, flip := range []byte{1, 0x80, 0xff} {
				bad := bytes.Clone(good)
				bad[i] ^= flip
				m := newForgetful()
				m.put(path, bad)
				q := openIn(t, m, nil)
				require.Equal(t, rest, drain(t, q), "byte %d of record %d", i-starts[k], k)
				rep := q.Recovered()
				require.Len(t, rep.Gaps, 1)
				require.Equal(t, Gap{File: filepath.Base(path), Offset: int64(starts[k]), Bytes: int64(headerSize + len(recs[k])),
					Torn: rep.TornBytes > 0}, rep.Gaps[0])
				if k < len(recs)-1 {
					require.Equal(t, 1, rep.Damaged)
					require.Equal(t, 1, q.Stats().Damaged)
				}
				require.Equal(t, 3, q.Stats().Records)
				require.EqualValues(t, 9, q.Stats().Points)
				require.NoError(t, q.Ack(q.Last()))
				require.Equal(t, q.Last(), q.Acked())
				require.Zero(t, q.Stats().Points)
				require.NoError(t, q.Release())
			}
		}
	}
}

// TestEveryByteFlippedWhileOpen damages the file behind the back of a queue that has it open.
func TestEveryByteFlippedWhileOpen(t *testing.T) {
	recs := []string{"first", "the second record", "third"}
	for k := range recs {
		for i := range headerSize + len(recs[k]) {
			m := newForgetful()
			q := openIn(t, m, nil)
			off := i
			for j, r := range recs {
				mustAppend(t, q, r, 1)
				if j < k {
					off += headerSize + len(r)
				}
			}
			path := m.segments(t)[0]
			bad := m.read(path)
			bad[off] ^= 0x55
			m.put(path, bad)
			require.Equal(t, append(append([]string(nil), recs[:k]...), recs[k+1:]...), drain(t, q))
			require.Equal(t, 1, q.Stats().Damaged)
			drain(t, q)
			require.Equal(t, 1, q.Stats().Damaged, "counted once")
			require.True(t, isReady(q, 0))
			require.False(t, isReady(q, 3), "nothing can be read behind the third")
			last := Pos(3)
			if k == 2 {
				last = 2
			}
			require.NoError(t, q.Ack(last))
			_, _, ok, err := q.TryNext(last, nil)
			require.NoError(t, err)
			require.False(t, ok)
			require.False(t, isReady(q, 0))
			require.EqualValues(t, 3, q.Acked(), "a damaged last record keeps nobody waiting")
			require.Zero(t, q.Stats().Records)
			mustAppend(t, q, "more", 1)
			require.Equal(t, []string{"more"}, drain(t, q))
			require.NoError(t, q.Release())
		}
	}
}

func isReady(q *Queue, after Pos) bool {
	select {
	case <-q.Ready(after):
		return true
	default:
		return false
	}
}

func TestCutAtEveryByteOfTheLastRecord(t *testing.T) {
	recs := []string{"first", "the second record", "the last"}
	m, path := build(t, recs...)
	good := m.read(path)
	start := len(good) - headerSize - len(recs[2])
	for size := start; size < len(good); size++ {
		m := newForgetful()
		m.put(path, good[:size])
		q := openIn(t, m, nil)
		require.Equal(t, recs[:2], drain(t, q))
		rep := q.Recovered()
		require.Zero(t, rep.Damaged, "a torn tail is normal")
		require.EqualValues(t, size-start, rep.TornBytes)
		mustAppend(t, q, "new", 1)
		require.Equal(t, append(recs[:2:2], "new"), drain(t, q))
		require.NoError(t, q.Release())
	}
	for size := range start { // nor does a shorter file keep the queue from opening
		m := newForgetful()
		m.put(path, good[:size])
		q := openIn(t, m, nil)
		mustAppend(t, q, "new", 1)
		require.NoError(t, q.Release())
	}
}

func TestBytesTakenOutOfTheMiddle(t *testing.T) {
	recs := []string{"first", "the second record", "third", "fourth"}
	m, path := build(t, recs...)
	good := m.read(path)
	second, third := headerSize+5, 2*headerSize+5+17
	for i := second; i < third; i++ {
		m := newForgetful()
		m.put(path, append(bytes.Clone(good[:i]), good[i+1:]...))
		q := openIn(t, m, nil)
		require.Equal(t, []string{"first", "third", "fourth"}, drain(t, q))
		require.NoError(t, q.Release())
	}
}

func TestAPayloadForgesNoRecord(t *testing.T) {
	other, path := build(t, "forged one", "forged two")
	stolen := string(other.read(path))
	recs := []string{"first", "before " + stolen + " behind", "third"}
	m, path := build(t, recs...)
	bad := m.read(path)
	bad[headerSize+5+30] ^= 1 // in the header of the second
	m.put(path, bad)
	q := openIn(t, m, nil)
	require.Equal(t, []string{"first", "third"}, drain(t, q))
	require.NoError(t, q.Release())
}

func TestUnreadablePages(t *testing.T) {
	var recs []string
	for i := range 40 {
		recs = append(recs, fmt.Sprintf("%02d %s", i, strings.Repeat("y", 997)))
	}
	m, _ := build(t, recs...)
	bad := unreadable{m, 8192, 12288}
	q := openIn(t, bad, nil)
	got := drain(t, q)
	require.Len(t, got, 40-5, "those that touch the page")
	require.Subset(t, recs, got)
	require.True(t, q.Recovered().Gaps[0].Unreadable)
	require.NoError(t, q.Release())
}

// unreadable fails to read a range of every file.
type unreadable struct {
	*forgetful
	from, to int64
}

type unreadableFile struct {
	file
	from, to int64
}

func (u unreadable) Open(path string) (file, error) {
	f, err := u.forgetful.Open(path)
	return unreadableFile{f, u.from, u.to}, err
}

func (f unreadableFile) ReadAt(b []byte, off int64) (int, error) {
	if off < f.to && off+int64(len(b)) > f.from {
		return 0, syscall.EIO
	}
	return f.file.ReadAt(b, off)
}

func TestTheAcknowledgedPositionNeverHidesRecords(t *testing.T) {
	recs := []string{"a", "b", "c", "d"}
	m := newForgetful()
	q := openIn(t, m, nil)
	for _, r := range recs {
		mustAppend(t, q, r, 1)
	}
	require.NoError(t, q.Ack(2))
	require.NoError(t, q.Release())
	ackPath := filepath.Join("d", ackName)
	good := m.read(ackPath)
	q = openIn(t, m, nil)
	require.Equal(t, recs[2:], drain(t, q))
	require.NoError(t, q.Release())

	again := func(ack []byte) {
		t.Helper()
		m.put(ackPath, ack)
		q := openIn(t, m, nil)
		require.Equal(t, recs, drain(t, q))
		require.NoError(t, q.Release())
	}
	for i := range good {
		again(good[:i])
		bad := bytes.Clone(good)
		bad[i] ^= 4
		again(bad)
	}
	again(append(bytes.Clone(good), 0))
	q = openIn(t, m, nil)
	require.NoError(t, q.Release())

	// A valid one of another life, with the same positions.
	other := newForgetful()
	q = openIn(t, other, nil)
	for _, r := range recs {
		mustAppend(t, q, r, 1)
	}
	require.NoError(t, q.Ack(3))
	require.NoError(t, q.Release())
	again(other.read(ackPath))
}

// failOnce returns a hook that makes the n-th operation of a kind fail.
func failOnce(kind string, n int, err error) func(op, path string) error {
	return func(op, _ string) error {
		if op == kind {
			if n--; n == 0 {
				return err
			}
		}
		return nil
	}
}

func TestAFailedOperationLosesNothing(t *testing.T) {
	for _, op := range []string{"sync", "write", "create", "syncdir", "truncate", "remove", "openwrite", "writeat"} {
		for n := 1; n <= 4; n++ {
			t.Run(fmt.Sprint(op, n), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := newForgetful()
					m.fail = failOnce(op, n, syscall.EIO)
					q := openIn(t, m, func(o *Options) { o.MaxBytes = MinMaxBytes })
					var want []string
					for i := range 12 {
						rec := fmt.Sprintf("%02d %s", i, strings.Repeat("z", 1500))
						mustAppend(t, q, rec, 1) // waits for the retry
						want = append(want, rec)
					}
					require.Equal(t, want, drain(t, q))
					require.NoError(t, q.Ack(3))
					require.NoError(t, q.Stats().Failing)
					synctest.Wait()
					cut := m.reboot(forgotten, nil)
					require.NoError(t, q.Release())
					for _, m := range []*forgetful{m.reboot(forgotten, nil), m.reboot(survived, nil), cut} {
						q := openIn(t, m, nil)
						got := drain(t, q)
						require.Equal(t, want[12-len(got):], got)
						require.GreaterOrEqual(t, len(got), 9)
						require.NoError(t, q.Release())
					}
				})
			})
		}
	}
}

func TestWhatAFailedSyncCoveredIsWrittenAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newForgetful()
		q := openIn(t, m, nil)
		mustAppend(t, q, "before", 1)
		m.fail = failOnce("sync", 1, syscall.EIO)
		start := time.Now()
		mustAppend(t, q, "meanwhile", 1)
		require.Equal(t, retryMin, time.Since(start))
		require.Len(t, m.segments(t), 2, "the segment was abandoned")
		require.Equal(t, []string{"before", "meanwhile"}, drain(t, q))
		require.NoError(t, q.Release())
		q = openIn(t, m.reboot(forgotten, nil), nil)
		require.Equal(t, []string{"before", "meanwhile"}, drain(t, q))
		require.NoError(t, q.Release())
	})
}

// TestWhatAnAbandonedSegmentStillHoldsCountsOnce is about a file that cannot even be truncated: all of it survives.
func TestWhatAnAbandonedSegmentStillHoldsCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newForgetful()
		q := openIn(t, m, nil)
		mustAppend(t, q, "before", 1)
		failed := false
		m.fail = func(op, path string) error {
			if op == "truncate" || op == "sync" && !failed {
				failed = true
				return syscall.EIO
			}
			return nil
		}
		_, err := q.Append(expiredContext(), []byte("refused"), 1)
		require.ErrorIs(t, err, ErrDisk)
		mustAppend(t, q, "meanwhile", 1)
		path := m.segments(t)[0]
		id, _ := parseName(filepath.Base(path))
		whole := make([]byte, headerSize+len("refused"))
		copy(whole[headerSize:], "refused")
		h := header{pos: 2, at: time.Now(), points: 1, length: 7}
		h.seal(whole, id.nonce)
		m.put(path, append(m.read(path)[:headerSize+len("before")], whole...))
		require.Equal(t, []string{"before", "meanwhile"}, drain(t, q))
		require.NoError(t, q.Release())
		m.fail = nil
		q = openIn(t, m, nil)
		require.Equal(t, []string{"before", "meanwhile"}, drain(t, q))
		require.NoError(t, q.Release())
	})
}

func TestWhatWasRefusedDoesNotComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newForgetful()
		m.kind = true
		q := openIn(t, m, nil)
		mustAppend(t, q, "kept", 1)
		m.fail = failOnce("sync", 1, syscall.EIO)
		_, err := q.Append(expiredContext(), []byte("refused"), 1)
		require.ErrorIs(t, err, syscall.EIO)
		require.Equal(t, 1, q.Stats().Records)
		require.NoError(t, q.Release())
		q = openIn(t, m.reboot(survived, nil), nil)
		require.Equal(t, []string{"kept"}, drain(t, q))
		require.NoError(t, q.Release())
	})
}

// TestWhileACommitIsUnderWay appends, acknowledges and gives up while a sync takes its time, and then fails or not.
func TestWhileACommitIsUnderWay(t *testing.T) {
	t.Run("works", func(t *testing.T) { underWay(t, nil) })
	t.Run("fails", func(t *testing.T) { underWay(t, syscall.EIO) })
}

func underWay(t *testing.T, outcome error) {
	synctest.Test(t, func(t *testing.T) {
		m := newForgetful()
		q := openIn(t, m, func(o *Options) { o.MaxBytes = MinMaxBytes })
		big := strings.Repeat("_", 30<<10)
		mustAppend(t, q, "first", 1)
		slow := make(chan error)
		m.fail = func(op, _ string) error {
			if op == "sync" {
				return <-slow
			}
			return nil
		}
		results := make(chan error, 3)
		try := func(ctx context.Context, rec string) {
			go func() { _, err := q.Append(ctx, []byte(rec), 1); results <- err }()
			synctest.Wait()
		}
		ctx, cancel := context.WithCancel(context.Background())
		try(context.Background(), "second") // being synced
		try(ctx, "gives up"+big)            // gathered
		_, err := q.AppendAsync(ctx, []byte("async"+big), 1)
		require.NoError(t, err)
		try(context.Background(), "last"+big) // waits for room
		require.NoError(t, q.Ack(1))
		require.Zero(t, q.Stats().Points-3)
		slow <- outcome
		want := []string{"second", "async", "last"}
		if outcome == nil {
			want = []string{"second", "gives up", "async"}
			require.NoError(t, <-results)
			close(slow)
			require.NoError(t, <-results)
			synctest.Wait()
			require.Equal(t, want, short(drain(t, q)))
			require.NoError(t, q.Ack(2))
			synctest.Wait()
			require.Empty(t, results)
			require.NoError(t, q.Ack(3))
			require.NoError(t, <-results)
			cancel()
			require.Equal(t, []string{"async", "last"}, short(drain(t, q)))
			require.NoError(t, q.Release())
			return
		}
		synctest.Wait()
		require.Empty(t, results)
		cancel()
		synctest.Wait()
		require.ErrorIs(t, <-results, ErrDisk)
		close(slow)
		require.NoError(t, <-results)
		require.NoError(t, <-results)
		require.Equal(t, want, short(drain(t, q)))
		require.NoError(t, q.Release())
	})
}

// short cuts the padding off.
func short(recs []string) (out []string) {
	for _, r := range recs {
		out = append(out, strings.TrimRight(r, "_"))
	}
	return out
}

func TestWhatAKilledProcessLeftIsMadeToLast(t *testing.T) {
	m, path := build(t, "written, not synced")
	m.names[path].synced, m.lasting = nil, map[string]*inode{}
	q := openIn(t, m, nil)
	require.NoError(t, q.Sync(context.Background(), q.Last()))
	after := m.reboot(forgotten, nil)
	require.NoError(t, q.Release())
	q = openIn(t, after, nil)
	require.Equal(t, []string{"written, not synced"}, drain(t, q))
	require.NoError(t, q.Release())
}

func TestASegmentWithoutRecordsOutdoesNothing(t *testing.T) {
	m, _ := build(t, "first", "second")
	for _, content := range []string{"", "no record"} {
		id := segmentID{ordinal: 99, first: 1, nonce: 5}
		m.put(filepath.Join("d", id.name()), []byte(content))
		q := openIn(t, m, nil)
		require.Equal(t, []string{"first", "second"}, drain(t, q))
		require.NoError(t, q.Release())
		require.Len(t, m.segments(t), 1)
	}
}

func TestDiskFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newForgetful()
		m.left = 20 << 10
		q := openIn(t, m, func(o *Options) { o.MaxBytes = MinMaxBytes })
		big := strings.Repeat("b", 3000)
		var kept []string
		for i := 0; ; i++ {
			rec := fmt.Sprint(i, big)
			_, err := q.Append(expiredContext(), []byte(rec), 1)
			if err != nil {
				require.ErrorIs(t, err, ErrDisk)
				require.ErrorIs(t, err, syscall.ENOSPC)
				require.ErrorIs(t, err, context.Canceled)
				require.NotErrorIs(t, err, ErrFull)
				break
			}
			kept = append(kept, rec)
		}
		require.Len(t, kept, 6)
		require.ErrorIs(t, q.Stats().Failing, syscall.ENOSPC)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_, err := q.Append(ctx, []byte("refused"+big), 1)
		require.ErrorIs(t, err, ErrDisk)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, kept, drain(t, q))
		require.Equal(t, 6, q.Stats().Records, "what was refused is not pending")

		async, err := q.AppendAsync(context.Background(), []byte("7"+big), 1)
		require.NoError(t, err)
		require.ErrorIs(t, q.Sync(ctx, async), context.DeadlineExceeded)
		waiting := make(chan error, 1)
		go func() { _, err := q.Append(context.Background(), []byte("8"+big), 1); waiting <- err }()
		time.Sleep(10 * time.Second)
		require.Empty(t, waiting)
		require.Equal(t, kept, drain(t, q))
		require.NoError(t, q.Ack(3), "space comes from acknowledgements")
		start := time.Now()
		require.NoError(t, <-waiting)
		require.Zero(t, time.Since(start), "at once")
		require.NoError(t, q.Sync(context.Background(), async))
		require.NoError(t, q.Stats().Failing)
		want := append(kept[3:], "7"+big, "8"+big)
		require.Equal(t, want, drain(t, q))
		require.NoError(t, q.Release())
		q = openIn(t, m.reboot(forgotten, nil), nil)
		require.Equal(t, want, drain(t, q))
		require.NoError(t, q.Release())
	})
}

func TestCloseWhileTheDiskFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newForgetful()
		q := openIn(t, m, nil)
		mustAppend(t, q, "kept", 1)
		m.fail = func(op, _ string) error {
			if op == "write" {
				return syscall.ENOSPC
			}
			return nil
		}
		_, err := q.AppendAsync(context.Background(), []byte("async"), 5)
		require.NoError(t, err)
		waiting := make(chan error, 2)
		for range 2 {
			go func() { _, err := q.Append(context.Background(), []byte("waits"), 1); waiting <- err }()
			synctest.Wait()
		}
		err = q.Close()
		require.ErrorIs(t, err, ErrDisk)
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.ErrorIs(t, <-waiting, ErrClosed)
		require.ErrorIs(t, <-waiting, ErrClosed)
		require.Equal(t, []string{"kept"}, drain(t, q))
		require.ErrorContains(t, q.Release(), "1 records with 5 points not kept")
		_, _, _, err = q.TryNext(0, nil)
		require.ErrorIs(t, err, ErrClosed)
		require.ErrorIs(t, q.Ack(1), ErrClosed)
	})
}

func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newForgetful()
		syncs := 0
		m.fail = func(op, _ string) error {
			if op == "sync" {
				syncs++
			}
			return nil
		}
		q := openIn(t, m, nil)
		for range 100 {
			_, err := q.AppendAsync(context.Background(), []byte("record"), 1)
			require.NoError(t, err)
		}
		_, _, ok, err := q.TryNext(0, nil)
		require.NoError(t, err)
		require.False(t, ok, "not committed yet")
		require.Equal(t, 100, q.Stats().Records)
		require.EqualValues(t, 0, q.Acked())
		start := time.Now()
		_, _, err = q.Next(context.Background(), 99, nil)
		require.NoError(t, err)
		require.Equal(t, DefaultCommitEvery, time.Since(start))
		require.Equal(t, 1, syncs)
		pos, err := q.AppendAsync(context.Background(), []byte("record"), 1)
		require.NoError(t, err)
		require.NoError(t, q.Sync(context.Background(), pos))
		require.Equal(t, DefaultCommitEvery, time.Since(start), "Sync does not wait for the clock")
		require.Equal(t, 2, syncs)
		require.NoError(t, q.Release())

		q = openIn(t, m, func(o *Options) { o.CommitBytes, o.CommitEvery = 1000, time.Hour })
		start = time.Now()
		for range 50 {
			_, err := q.AppendAsync(context.Background(), []byte("record"), 1)
			require.NoError(t, err)
		}
		_, _, err = q.Next(context.Background(), 101, nil)
		require.NoError(t, err)
		require.Zero(t, time.Since(start))
		require.NoError(t, q.Release(), "commits the rest")
		q = openIn(t, m, nil)
		require.Equal(t, 151, q.Stats().Records)
		require.NoError(t, q.Release())
	})
}

// TestBoundOfTheFiles checks that the files never take more than the bound, whatever is acknowledged when.
func TestBoundOfTheFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 4))
		m := newForgetful()
		q := openIn(t, m, func(o *Options) { o.MaxBytes = MinMaxBytes })
		go func() {
			for pos := Pos(0); ; {
				var err error
				if _, pos, err = q.Next(context.Background(), pos, nil); err != nil {
					return
				}
				if r.IntN(7) == 0 {
					_ = q.Ack(pos - Pos(r.IntN(3)))
				}
				if _, _, ok, _ := q.TryNext(pos, nil); !ok { // all that is there has been read
					_ = q.Ack(pos)
				}
			}
		}()
		for i := range 500 {
			_, err := q.Append(context.Background(), make([]byte, (i*7919)%9000), 1)
			require.NoError(t, err)
			require.LessOrEqual(t, m.used(), MinMaxBytes)
			require.LessOrEqual(t, q.Stats().DiskBytes, int64(MinMaxBytes))
		}
		require.NoError(t, q.Release())
	})
}

func TestDropOldestOnDisk(t *testing.T) {
	m := newForgetful()
	q := openIn(t, m, func(o *Options) { o.MaxBytes, o.DropOldest = MinMaxBytes, true })
	for i := range 200 {
		mustAppend(t, q, fmt.Sprintf("%03d %s", i, strings.Repeat("d", 1000)), 2)
	}
	got := drain(t, q)
	s := q.Stats()
	require.Len(t, got, s.Records)
	require.EqualValues(t, 400, s.Points+s.Dropped)
	require.Greater(t, s.Records, 50)
	require.True(t, strings.HasPrefix(got[len(got)-1], "199 "))
	require.NoError(t, q.Release())
	q = openIn(t, m, nil)
	require.Equal(t, got, drain(t, q))
	require.NoError(t, q.Release())
}

func TestASegmentThatVanishes(t *testing.T) {
	m := newForgetful()
	q := openIn(t, m, func(o *Options) { o.MaxBytes = MinMaxBytes })
	for i := range 4 {
		mustAppend(t, q, fmt.Sprint(i, strings.Repeat("v", 4000)), 1)
	}
	require.NoError(t, m.Remove(m.segments(t)[1]))
	got := drain(t, q)
	require.Len(t, got, 3)
	require.Equal(t, 1, q.Stats().Damaged)
	require.NoError(t, q.Ack(4))
	require.Zero(t, q.Stats().Points)
	require.NoError(t, q.Release())
}

func TestASegmentThatCannotBeOpenedForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newForgetful()
		q := openIn(t, m, nil)
		mustAppend(t, q, "record", 1)
		m.fail = failOnce("open", 1, syscall.EMFILE)
		start := time.Now()
		rec, _, err := q.Next(context.Background(), 0, nil)
		require.NoError(t, err)
		require.Equal(t, "record", string(rec))
		require.Equal(t, openRetry, time.Since(start))
		m.fail = failOnce("open", 1, syscall.EMFILE)
		mustAppend(t, q, "another", 1)
		require.NoError(t, q.Ack(1))
		require.EqualValues(t, 1, q.Acked())
		require.NoError(t, q.Ack(2))
		require.Zero(t, q.Stats().Points)
		require.NoError(t, q.Release())
	})
}

// TestASegmentThatCannotBeOpenedIsReportedOnceASecond has commits wake a reader that cannot open a file.
func TestASegmentThatCannotBeOpenedIsReportedOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newForgetful()
		var log bytes.Buffer
		q := openIn(t, m, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		opened := 0
		m.fail = func(op, _ string) error {
			if op == "open" {
				opened++
				return syscall.EMFILE
			}
			return nil
		}
		ctx, cancel := context.WithCancel(context.Background())
		read := make(chan error, 1)
		go func() { _, _, err := q.Next(ctx, 0, nil); read <- err }()
		for range 55 {
			mustAppend(t, q, "record", 1)
			synctest.Wait()
			time.Sleep(openRetry / 20)
		}
		require.GreaterOrEqual(t, opened, 55, "it is tried at every commit")
		require.Equal(t, 3, strings.Count(log.String(), "cannot be opened"))
		m.mu.Lock()
		m.fail = nil
		m.mu.Unlock()
		require.NoError(t, <-read)
		cancel()
		require.NoError(t, q.Release())
	})
}

func TestInspect(t *testing.T) {
	m, path := build(t, "first", "second", "third")
	bad := m.read(path)
	bad[2*headerSize+5+1] ^= 1
	m.put(path, append(bad, "torn"...))
	var got []string
	rep, err := inspect(m, "d", func(r Record) error {
		got = append(got, fmt.Sprintf("%d %s %d at %d", r.Pos, r.Data, r.Points, r.Offset))
		require.Equal(t, filepath.Base(path), r.File)
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, []string{"1 first 3 at 0", "3 third 3 at 91"}, got)
	require.Equal(t, 1, rep.Damaged)
	require.EqualValues(t, 46, rep.DamagedBytes)
	require.EqualValues(t, 4, rep.TornBytes)
	require.Equal(t, 2, rep.Records)
	require.EqualValues(t, 6, rep.Points)
	require.False(t, rep.Oldest.IsZero())
	enough := errors.New("enough")
	_, err = inspect(m, "d", func(Record) error { return enough })
	require.ErrorIs(t, err, enough)
	_, err = Inspect(filepath.Join(t.TempDir(), "none"), nil)
	require.ErrorIs(t, err, ErrDisk)
}

// TestReleaseEndsAllGoroutines relies on synctest, which fails a test that leaves one behind.
func TestReleaseEndsAllGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, err := Open(Options{Dir: t.TempDir(), MaxBytes: MinMaxBytes})
		require.NoError(t, err)
		for range 2 {
			mustAppend(t, q, strings.Repeat("x", 30<<10), 1)
		}
		go func() {
			_, err := q.Append(context.Background(), make([]byte, 30<<10), 1)
			require.ErrorIs(t, err, ErrClosed)
		}()
		go func() { _, _, err := q.Next(context.Background(), 2, nil); require.ErrorIs(t, err, ErrClosed) }()
		synctest.Wait()
		require.NoError(t, q.Release())
	})
}

func FuzzRecordReader(f *testing.F) {
	const n nonce = 0x1122334455667788
	one := func(pos Pos, rec string) []byte {
		b := append(make([]byte, headerSize), rec...)
		h := header{pos: pos, at: time.Unix(1, 2), points: 3, length: uint32(len(rec))}
		h.seal(b, n)
		return b
	}
	good := append(append(one(1, "first"), one(2, "")...), one(9, strings.Repeat("r", 300))...)
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(good[7:])
	f.Add(append(bytes.Clone(good[:50]), good[20:]...))
	f.Add(append(one(2, "two"), one(1, "one")...))
	f.Add(one(1, string(one(2, "inner"))))
	m := n.marker()
	f.Add(bytes.Repeat(m[:], 20))
	f.Fuzz(func(t *testing.T, b []byte) {
		var covered int64
		s := scanner{f: bytes.NewReader(b), nonce: n, end: int64(len(b)), skipped: func(g gap) {
			require.Positive(t, g.n)
			require.Equal(t, covered, g.off)
			covered += g.n
		}}
		last := Pos(0)
		for {
			h, payload, off, ok := s.next()
			if !ok {
				break
			}
			require.Equal(t, covered, off)
			require.Greater(t, h.pos, last)
			require.Equal(t, b[off+headerSize:off+h.size()], append([]byte{}, payload...))
			last = h.pos
			covered += h.size()
		}
		require.EqualValues(t, len(b), covered)
	})
}

// TestAReservationIsGoodWhileTheDiskFails appends into room that was held before, and holds none meanwhile.
func TestAReservationIsGoodWhileTheDiskFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newForgetful()
		q := openIn(t, m, nil)
		held, other := mustReserve(t, q, 10), mustReserve(t, q, 10)
		m.left = 0
		_, err := q.Append(expiredContext(), []byte("refused"), 1)
		require.ErrorIs(t, err, syscall.ENOSPC)
		_, err = q.Reserve(expiredContext(), 10)
		require.ErrorIs(t, err, ErrDisk)
		require.ErrorIs(t, err, syscall.ENOSPC)
		pos, err := held.Append([]byte("held"), 1)
		require.NoError(t, err)
		waiting := make(chan error, 1)
		go func() {
			r, err := q.Reserve(context.Background(), 10)
			if err == nil {
				_, err = r.Append([]byte("waits"), 1)
			}
			waiting <- err
		}()
		time.Sleep(time.Minute)
		require.Empty(t, waiting)
		other.Cancel()
		m.mu.Lock()
		m.left = 1 << 20
		m.mu.Unlock()
		require.NoError(t, q.Sync(context.Background(), pos))
		require.NoError(t, <-waiting)
		require.NoError(t, q.Sync(context.Background(), q.Last()))
		require.Equal(t, []string{"held", "waits"}, drain(t, q))
		require.NoError(t, q.Release())
	})
}

func mustReserve(t *testing.T, q *Queue, size int) *Reservation {
	t.Helper()
	r, err := q.Reserve(context.Background(), size)
	require.NoError(t, err)
	return r
}

// TestReservationsHoldTheBuffer is about the memory that waits to be committed, which is less than the bound.
func TestReservationsHoldTheBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := openIn(t, newForgetful(), func(o *Options) { o.MaxBytes = 64 << 20 })
		const size = DefaultCommitBytes/2 - headerSize
		a, b := mustReserve(t, q, size), mustReserve(t, q, size)
		soon, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := q.Reserve(soon, 1)
		require.ErrorIs(t, err, ErrFull)
		waiting := make(chan *Reservation, 1)
		go func() { waiting <- mustReserve(t, q, 2*minBuffer) }() // has the buffer for itself
		synctest.Wait()
		_, err = a.Append(make([]byte, size), 1)
		require.NoError(t, err)
		synctest.Wait()
		require.Empty(t, waiting)
		b.Cancel()
		synctest.Wait()
		pos, err := (<-waiting).Append(make([]byte, 2*minBuffer), 1)
		require.NoError(t, err)
		require.NoError(t, q.Sync(context.Background(), pos))
		require.Equal(t, 2, q.Stats().Records)
		require.NoError(t, q.Release())
	})
}

// TestBusy tells a disk that is slower than those who append from a bound that is reached.
func TestBusy(t *testing.T) {
	for _, drop := range []bool{false, true} {
		t.Run(fmt.Sprint(drop), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newForgetful()
				q := openIn(t, m, func(o *Options) { o.MaxBytes, o.DropOldest = 16<<20, drop })
				hold := make(chan struct{})
				m.fail = func(op, _ string) error {
					if op == "sync" {
						m.mu.Unlock()
						<-hold
						m.mu.Lock()
					}
					return nil
				}
				rec := make([]byte, 512<<10)
				n := 0
				for ; ; n++ {
					if _, err := q.AppendAsync(expiredContext(), rec, 1); err != nil {
						require.ErrorIs(t, err, ErrFull)
						require.ErrorIs(t, err, ErrBusy)
						break
					}
				}
				require.Equal(t, map[bool]int{false: minBuffer, true: dropBuffer}[drop]/(len(rec)+headerSize), n, "as many as the buffer holds")
				waiting := make(chan error, 1)
				go func() {
					_, err := q.AppendAsync(context.Background(), rec, 1)
					waiting <- err
				}()
				synctest.Wait()
				require.Empty(t, waiting)
				close(hold)
				require.NoError(t, <-waiting)
				require.Zero(t, q.Stats().Dropped)
				if !drop {
					for {
						synctest.Wait()
						if _, err := q.Append(expiredContext(), rec, 1); err != nil {
							require.ErrorIs(t, err, ErrFull)
							require.NotErrorIs(t, err, ErrBusy)
							break
						}
					}
				}
				require.NoError(t, q.Release())
			})
		})
	}
}

// TestDropOldestWaitsForACommit appends, with a clock that never makes a commit due, what must be committed before it can
// be dropped.
func TestDropOldestWaitsForACommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := openIn(t, newForgetful(), func(o *Options) {
			o.MaxBytes, o.DropOldest, o.CommitEvery = MinMaxBytes, true, time.Hour
		})
		start := time.Now()
		for range 50 {
			_, err := q.AppendAsync(context.Background(), make([]byte, 10<<10), 1)
			require.NoError(t, err)
		}
		require.Zero(t, time.Since(start))
		s := q.Stats()
		require.EqualValues(t, 50, s.Points+s.Dropped)
		require.Positive(t, s.Dropped)
		require.LessOrEqual(t, s.DiskBytes, s.MaxBytes)
		require.NoError(t, q.Release())
	})
}
