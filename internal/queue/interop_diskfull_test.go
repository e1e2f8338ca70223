//go:build interop

package queue

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// smallDisk mounts a file system of 4 MiB, which takes root.
func smallDisk(t *testing.T) string {
	dir := filepath.Join(t.TempDir(), "small")
	require.NoError(t, os.Mkdir(dir, 0o755))
	out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", dir).CombinedOutput()
	require.NoError(t, err, "mount: %s", out)
	t.Cleanup(func() {
		out, err := exec.Command("umount", dir).CombinedOutput()
		require.NoError(t, err, "umount: %s", out)
	})
	return dir
}

// filler appends records of its own until the disk is full, and knows which were kept.
type filler struct {
	mu    sync.Mutex
	kept  map[Pos]string // and not acknowledged
	acked map[Pos]string
	n     int
}

func (f *filler) record() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	return fmt.Appendf(nil, "%d %s", f.n, strings.Repeat("f", 5000+rand.IntN(15000)))
}

func (f *filler) keep(pos Pos, rec []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kept[pos] = string(rec)
}

// fill has four append until each is told that the disk is full.
func (f *filler) fill(ctx context.Context, t *testing.T, q *Queue) {
	errs := make(chan error, 4)
	for range cap(errs) {
		go func() {
			for {
				rec := f.record()
				patience, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
				pos, err := q.Append(patience, rec, 1)
				cancel()
				if err != nil {
					errs <- err
					return
				}
				f.keep(pos, rec)
			}
		}()
	}
	for range cap(errs) {
		err := <-errs
		require.ErrorIs(t, err, ErrDisk)
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
	require.NoError(t, ctx.Err(), "in time")
}

// check reads everything from the front and compares it with what was kept. It returns how many records it found that
// were acknowledged.
func (f *filler) check(t *testing.T, q *Queue) (again int) {
	n := 0
	for pos := q.Acked(); ; {
		rec, next, ok, err := q.TryNext(pos, nil)
		require.NoError(t, err)
		if !ok {
			break
		}
		require.Greater(t, next, pos)
		if was, ok := f.acked[next]; ok {
			require.True(t, was == string(rec), "position %d", next)
			again++
		} else {
			require.True(t, f.kept[next] == string(rec), "position %d", next)
			n++
		}
		pos = next
	}
	require.Len(t, f.kept, n)
	return again
}

func (f *filler) ack(t *testing.T, q *Queue, upTo Pos) {
	require.NoError(t, q.Ack(upTo))
	for pos, rec := range f.kept {
		if pos <= upTo {
			f.acked[pos] = rec
			delete(f.kept, pos)
		}
	}
}

func TestInteropQueueDiskFull(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	disk := smallDisk(t)
	ballast := filepath.Join(disk, "ballast")
	require.NoError(t, os.WriteFile(ballast, make([]byte, 1<<20), 0o600))
	o := Options{Dir: filepath.Join(disk, "spool"), MaxBytes: 16 << 20}
	q, err := Open(o)
	require.NoError(t, err)
	defer func() { _ = q.Release() }() // before the file system goes
	f := &filler{kept: map[Pos]string{}, acked: map[Pos]string{}}
	f.fill(ctx, t, q)
	require.ErrorIs(t, q.Stats().Failing, syscall.ENOSPC)
	require.Greater(t, q.Stats().Bytes, int64(2<<20))
	require.Zero(t, f.check(t, q))

	var async []Pos // waits for space, in the buffer or in line
	for range 3 {
		rec := f.record()
		res, err := q.Reserve(ctx, len(rec))
		require.NoError(t, err)
		pos, err := res.Append(rec, 1)
		require.NoError(t, err)
		f.keep(pos, rec)
		async = append(async, pos)
	}
	waiting := make(chan error, 3)
	for range cap(waiting) {
		go func() {
			rec := f.record()
			pos, err := q.Append(ctx, rec, 1)
			if err == nil {
				f.keep(pos, rec)
			}
			waiting <- err
		}()
	}
	patience, stop := context.WithTimeout(ctx, 2*time.Second)
	err = q.Sync(patience, async[2])
	stop()
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.Empty(t, waiting)

	require.NoError(t, os.Remove(ballast))
	for range cap(waiting) {
		require.NoError(t, <-waiting)
	}
	require.NoError(t, q.Sync(ctx, async[2]))
	require.NoError(t, q.Stats().Failing)
	require.Zero(t, f.check(t, q))

	f.fill(ctx, t, q) // again; now space comes from what is acknowledged
	require.Zero(t, f.check(t, q))
	f.ack(t, q, q.Last()/2)
	rec := f.record()
	pos, err := q.Append(ctx, rec, 1)
	require.NoError(t, err)
	f.keep(pos, rec)
	require.Zero(t, f.check(t, q))
	require.EqualValues(t, len(f.kept), q.Stats().Points)
	f.fill(ctx, t, q)
	require.NoError(t, q.Release())

	q, err = Open(o) // on a full disk
	require.NoError(t, err)
	require.Zero(t, q.Recovered().Damaged)
	again := f.check(t, q) // a full disk does not always take the acknowledged position
	require.EqualValues(t, len(f.kept)+again, q.Recovered().Points)
	f.ack(t, q, q.Last())
	rec = f.record()
	pos, err = q.Append(ctx, rec, 1)
	require.NoError(t, err)
	f.keep(pos, rec)
	require.Zero(t, f.check(t, q))
	require.NoError(t, q.Release())
}
