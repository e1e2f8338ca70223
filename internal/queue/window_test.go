package queue

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// slowDisk makes every sync wait for a turn.
func (m *forgetful) slowDisk() (turn chan struct{}) {
	turn = make(chan struct{})
	m.fail = func(op, _ string) error {
		if op == "sync" {
			m.mu.Unlock()
			<-turn
			m.mu.Lock()
		}
		return nil
	}
	return turn
}

// kept is how many bytes a power cut would leave.
func (m *forgetful) kept() (n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.names {
		n += int64(len(f.synced))
	}
	return n
}

// appendMany has several append without waiting for the disk, 64 KiB at a time. It returns how much they were let in with.
func appendMany(t *testing.T, q *Queue, total int64) *atomic.Int64 {
	var taken atomic.Int64
	const size = 64 << 10
	for range 8 {
		go func() {
			for range total / 8 / size {
				_, err := q.AppendAsync(context.Background(), make([]byte, size-headerSize), 1)
				require.NoError(t, err)
				taken.Add(size)
			}
		}()
	}
	return &taken
}

// TestWhatAKillLoses looks at what was let in and is not on the medium yet, while the disk takes its time.
func TestWhatAKillLoses(t *testing.T) {
	const total = 32 << 20
	synctest.Test(t, func(t *testing.T) {
		m := newForgetful()
		turn := m.slowDisk()
		q := openIn(t, m, func(o *Options) { o.MaxBytes = 64 << 20 })
		taken, syncs := appendMany(t, q, total), 0
		for ; taken.Load() < total; syncs++ {
			synctest.Wait()
			if taken.Load() < total {
				require.EqualValues(t, DefaultCommitBytes, taken.Load()-m.kept(), "no more, and nobody waits for nothing")
			}
			turn <- struct{}{}
		}
		require.LessOrEqual(t, syncs, total/(DefaultCommitBytes/2)+1, "half of it goes with each sync")
		close(turn)
		require.NoError(t, q.Release())
		require.EqualValues(t, total, m.kept())
	})
}

// TestWhatAKillLosesWhileTheDiskIsFull is TestWhatAKillLoses with a disk that takes nothing.
func TestWhatAKillLosesWhileTheDiskIsFull(t *testing.T) {
	const total, room = 8 << 20, 3 << 20
	synctest.Test(t, func(t *testing.T) {
		m := newForgetful()
		m.left = room
		q := openIn(t, m, func(o *Options) { o.MaxBytes = 64 << 20 })
		taken := appendMany(t, q, total)
		time.Sleep(time.Minute)
		require.LessOrEqual(t, taken.Load()-m.kept(), int64(DefaultCommitBytes))
		require.EqualValues(t, room, m.kept(), "to the last record that has room")
		m.mu.Lock()
		m.left = total
		m.mu.Unlock()
		time.Sleep(time.Minute)
		require.EqualValues(t, total, taken.Load())
		require.NoError(t, q.Release())
		require.EqualValues(t, total, m.kept())
	})
}

// TestWhoIsExempt is about those who may leave more than CommitBytes uncommitted: who waits for the commit, who cannot
// wait, and a record that is larger.
func TestWhoIsExempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newForgetful()
		turn := m.slowDisk()
		q := openIn(t, m, func(o *Options) { o.MaxBytes = 64 << 20 })
		rec := make([]byte, DefaultCommitBytes-headerSize)
		_, err := q.AppendAsync(context.Background(), rec, 1)
		require.NoError(t, err)
		synctest.Wait()
		var appended sync.WaitGroup
		appended.Go(func() {
			_, err := q.Append(context.Background(), rec, 1)
			require.NoError(t, err)
		})
		synctest.Wait()
		require.Equal(t, 2, q.Stats().Records)
		_, err = q.AppendAsync(expiredContext(), rec, 1)
		require.NoError(t, err)
		require.Equal(t, 3, q.Stats().Records)
		appended.Go(func() {
			_, err := q.AppendAsync(context.Background(), append(rec, rec...), 1)
			require.NoError(t, err)
		})
		synctest.Wait()
		require.Equal(t, 3, q.Stats().Records)
		close(turn)
		appended.Wait()
		require.NoError(t, q.Sync(context.Background(), q.Last()))
		require.Equal(t, 4, q.Stats().Records)
		require.NoError(t, q.Release())
	})
}

// TestADiskWithLessRoomThanWaits writes more, in the end, than there ever is room for at once.
func TestADiskWithLessRoomThanWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newForgetful()
		m.left = 300 << 10
		q := openIn(t, m, func(o *Options) { o.MaxBytes = 16 << 20 })
		taken := appendMany(t, q, 4<<20)
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		for pos := Pos(0); pos < 4<<20/(64<<10); {
			var err error
			_, pos, err = q.Next(ctx, pos, nil)
			require.NoError(t, err)
			require.NoError(t, q.Ack(pos))
		}
		require.EqualValues(t, 4<<20, taken.Load())
		require.NoError(t, q.Release())
	})
}
