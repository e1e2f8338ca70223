package queue_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/queue"
)

func open(t testing.TB, o queue.Options) *queue.Queue {
	t.Helper()
	q, err := queue.Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, q.Release()) })
	return q
}

// onBoth runs the test on a queue in memory and on one in a directory.
func onBoth(t *testing.T, test func(t *testing.T, dir func() string)) {
	t.Run("memory", func(t *testing.T) { test(t, func() string { return "" }) })
	t.Run("directory", func(t *testing.T) {
		base, n := t.TempDir(), 0
		test(t, func() string { n++; return filepath.Join(base, strconv.Itoa(n)) })
	})
}

// expired is a context that has ended: calls with it try once.
func expired() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestOpenChecksItsBound(t *testing.T) {
	_, err := queue.Open(queue.Options{MaxBytes: 10})
	require.ErrorContains(t, err, "bound of 10 bytes")
}

func TestFirstInFirstOut(t *testing.T) { onBoth(t, firstInFirstOut) }

func firstInFirstOut(t *testing.T, dir func() string) {
	q := open(t, queue.Options{Dir: dir(), MaxBytes: 1 << 20})
	ctx := context.Background()
	for i := range 100 {
		pos, err := q.Append(expired(), fmt.Appendf(nil, "record %d", i), 2)
		require.NoError(t, err)
		require.Equal(t, queue.Pos(i+1), pos)
	}
	require.EqualValues(t, 200, q.Stats().Points)
	var rec []byte
	var pos queue.Pos
	var err error
	for i := range 100 {
		rec, pos, err = q.Next(ctx, pos, rec)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("record %d", i), string(rec))
	}
	require.Zero(t, q.Acked(), "reading lets go of nothing")
	require.NoError(t, q.Ack(40))
	require.EqualValues(t, 40, q.Acked())
	require.EqualValues(t, 120, q.Stats().Points)
	rec, pos, err = q.Next(ctx, 0, rec)
	require.NoError(t, err)
	require.Equal(t, "record 40", string(rec), "what is acknowledged is passed over")
	require.EqualValues(t, 41, pos)
	require.NoError(t, q.Ack(1000))
	s := q.Stats()
	require.Zero(t, s.Points)
	require.Zero(t, s.Bytes)
	require.Zero(t, s.Records)
	require.True(t, s.Oldest.IsZero())
}

func TestRecordTooBig(t *testing.T) { onBoth(t, recordTooBig) }

func recordTooBig(t *testing.T, dir func() string) {
	q := open(t, queue.Options{Dir: dir(), MaxBytes: 64 << 10})
	_, err := q.Append(expired(), make([]byte, 32<<10), 1)
	require.ErrorIs(t, err, queue.ErrTooBig)
	require.ErrorContains(t, err, "32768 bytes")
}

func TestFull(t *testing.T) { onBoth(t, full) }

func full(t *testing.T, dir func() string) {
	q := open(t, queue.Options{Dir: dir(), MaxBytes: 64 << 10})
	rec := make([]byte, 20<<10)
	for range 3 {
		_, err := q.Append(expired(), rec, 1)
		require.NoError(t, err)
	}
	_, err := q.Append(expired(), rec, 1)
	require.ErrorIs(t, err, queue.ErrFull)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, q.Ack(1))
	_, err = q.Append(expired(), rec, 1)
	require.NoError(t, err, "room is used again")
}

func TestNobodyPassesThoseWhoWait(t *testing.T) { onBoth(t, nobodyPassesThoseWhoWait) }

func nobodyPassesThoseWhoWait(t *testing.T, dir func() string) {
	synctest.Test(t, func(t *testing.T) {
		q := open(t, queue.Options{Dir: dir(), MaxBytes: 64 << 10})
		big, small := make([]byte, 30<<10), make([]byte, 1<<10)
		for range 2 {
			_, err := q.Append(expired(), big, 1)
			require.NoError(t, err)
		}
		var mu sync.Mutex
		var order []string
		appendAs := func(name string, rec []byte) {
			go func() {
				_, err := q.Append(context.Background(), rec, 1)
				require.NoError(t, err)
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
			}()
			synctest.Wait()
		}
		appendAs("big", big)
		appendAs("small", small)
		_, err := q.Append(expired(), small, 1)
		require.ErrorIs(t, err, queue.ErrFull, "nobody passes those who wait")
		require.Empty(t, order)
		require.NoError(t, q.Ack(1))
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		require.ElementsMatch(t, []string{"big", "small"}, order)
	})
}

func TestOneWhoGivesUpLetsTheNextIn(t *testing.T) { onBoth(t, oneWhoGivesUpLetsTheNextIn) }

func oneWhoGivesUpLetsTheNextIn(t *testing.T, dir func() string) {
	synctest.Test(t, func(t *testing.T) {
		q := open(t, queue.Options{Dir: dir(), MaxBytes: 64 << 10})
		big := make([]byte, 30<<10)
		for range 2 {
			_, err := q.Append(expired(), big, 1)
			require.NoError(t, err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { _, err := q.Append(ctx, big, 1); first <- err }()
		synctest.Wait()
		go func() { _, err := q.Append(context.Background(), []byte("small"), 1); second <- err }()
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-first, queue.ErrFull)
		require.NoError(t, <-second)
	})
}

func TestDropOldest(t *testing.T) { onBoth(t, dropOldest) }

func dropOldest(t *testing.T, dir func() string) {
	q := open(t, queue.Options{Dir: dir(), MaxBytes: 64 << 10, DropOldest: true})
	for i := range 10 {
		_, err := q.Append(expired(), bytes.Repeat([]byte{byte(i)}, 20<<10), 3)
		require.NoError(t, err)
	}
	s := q.Stats()
	require.Equal(t, 3, s.Records)
	require.EqualValues(t, 9, s.Points)
	require.EqualValues(t, 21, s.Dropped)
	rec, pos, err := q.Next(context.Background(), 2, nil)
	require.NoError(t, err)
	require.EqualValues(t, 7, rec[0], "the oldest that is left")
	require.EqualValues(t, 8, pos)
}

func TestNextWaits(t *testing.T) { onBoth(t, nextWaits) }

func nextWaits(t *testing.T, dir func() string) {
	synctest.Test(t, func(t *testing.T) {
		q := open(t, queue.Options{Dir: dir()})
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, _, err := q.Next(ctx, 0, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		go func() {
			time.Sleep(time.Second)
			_, err := q.Append(context.Background(), []byte("late"), 1)
			require.NoError(t, err)
		}()
		rec, _, err := q.Next(context.Background(), 0, nil)
		require.NoError(t, err)
		require.Equal(t, "late", string(rec))
	})
}

func TestClose(t *testing.T) { onBoth(t, closing) }

func closing(t *testing.T, dir func() string) {
	synctest.Test(t, func(t *testing.T) {
		q := open(t, queue.Options{Dir: dir(), MaxBytes: 64 << 10})
		big := make([]byte, 30<<10)
		for range 2 {
			_, err := q.Append(expired(), big, 1)
			require.NoError(t, err)
		}
		errs := make(chan error, 2)
		go func() { _, err := q.Append(context.Background(), big, 1); errs <- err }()
		go func() { _, _, err := q.Next(context.Background(), 2, nil); errs <- err }()
		synctest.Wait()
		require.NoError(t, q.Close())
		require.NoError(t, q.Close())
		require.ErrorIs(t, <-errs, queue.ErrClosed)
		require.ErrorIs(t, <-errs, queue.ErrClosed)
		_, _, err := q.Next(context.Background(), 0, nil)
		require.NoError(t, err, "what stands in a closed queue can be read")
	})
}

// TestManyAppendersOneReader checks under -race that what is read is what was appended, whatever the memory reuse.
func TestManyAppendersOneReader(t *testing.T) { onBoth(t, manyAppendersOneReader) }

func manyAppendersOneReader(t *testing.T, dir func() string) {
	const appenders = 8
	at, each := dir(), 2000
	if at != "" {
		each = 200
	}
	q := open(t, queue.Options{Dir: at, MaxBytes: 256 << 10})
	for a := range appenders {
		go func() {
			r := rand.New(rand.NewPCG(uint64(a), 1))
			for i := range each {
				rec := fmt.Appendf(nil, "%d %d ", a, i)
				rec = append(rec, bytes.Repeat([]byte{'x'}, r.IntN(3000))...)
				if _, err := q.Append(context.Background(), rec, 1); err != nil {
					panic(err)
				}
			}
		}()
	}
	next := make([]int, appenders)
	var rec []byte
	var pos queue.Pos
	for range appenders * each {
		var err error
		rec, pos, err = q.Next(context.Background(), pos, rec)
		require.NoError(t, err)
		var a, i int
		_, err = fmt.Sscanf(string(rec), "%d %d", &a, &i)
		require.NoError(t, err)
		require.Equal(t, next[a], i)
		next[a]++
		if pos%7 == 0 {
			require.NoError(t, q.Ack(pos))
		}
	}
	require.NoError(t, q.Ack(pos))
	require.Zero(t, q.Stats().Bytes)
}

func BenchmarkAppendNextAck(b *testing.B) {
	q := open(b, queue.Options{MaxBytes: 16 << 20})
	rec := make([]byte, 4096)
	var out []byte
	var pos queue.Pos
	b.SetBytes(4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := q.Append(context.Background(), rec, 50); err != nil {
			b.Fatal(err)
		}
		out, pos, _, _ = q.TryNext(pos, out)
		if pos%64 == 0 {
			if err := q.Ack(pos); err != nil {
				b.Fatal(err)
			}
		}
	}
}
