package queue_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/queue"
)

func reserve(t *testing.T, q *queue.Queue, size int) *queue.Reservation {
	t.Helper()
	r, err := q.Reserve(expired(), size)
	require.NoError(t, err)
	return r
}

func TestAReservationHoldsRoom(t *testing.T) { onBoth(t, reservationHoldsRoom) }

func reservationHoldsRoom(t *testing.T, dir func() string) {
	q := open(t, queue.Options{Dir: dir(), MaxBytes: 64 << 10})
	const size = 20 << 10
	held := []*queue.Reservation{reserve(t, q, size), reserve(t, q, size), reserve(t, q, size)}
	_, err := q.Append(expired(), make([]byte, size), 1)
	require.ErrorIs(t, err, queue.ErrFull)
	require.ErrorIs(t, err, context.Canceled)
	_, err = q.Reserve(expired(), size)
	require.ErrorIs(t, err, queue.ErrFull)
	require.Zero(t, q.Stats().Records)
	require.Zero(t, q.Stats().Points)

	held[0].Cancel()
	held[0].Cancel()
	_, err = q.Append(expired(), make([]byte, size), 1)
	require.NoError(t, err, "what was given back is used again, once")
	_, err = q.Reserve(expired(), size)
	require.ErrorIs(t, err, queue.ErrFull)

	for i, r := range held[1:] {
		pos, err := r.Append(make([]byte, size), 5)
		require.NoError(t, err)
		require.EqualValues(t, 2+i, pos)
		r.Cancel()
		_, err = r.Append(nil, 1)
		require.ErrorContains(t, err, "ended")
	}
	require.NoError(t, q.Sync(context.Background(), q.Last()))
	require.EqualValues(t, 11, q.Stats().Points)
	_, err = q.Reserve(expired(), size)
	require.ErrorIs(t, err, queue.ErrFull, "Cancel after Append gives nothing back")
	_, err = held[0].Append(nil, 1)
	require.ErrorContains(t, err, "ended")
}

func TestAReservationTakesShorterRecords(t *testing.T) { onBoth(t, reservationTakesShorter) }

func reservationTakesShorter(t *testing.T, dir func() string) {
	synctest.Test(t, func(t *testing.T) {
		q := open(t, queue.Options{Dir: dir(), MaxBytes: 64 << 10})
		a, b := reserve(t, q, 31<<10), reserve(t, q, 31<<10)
		waiting := make(chan error, 1)
		go func() { _, err := q.Append(context.Background(), make([]byte, 25<<10), 1); waiting <- err }()
		synctest.Wait()
		require.Empty(t, waiting)
		_, err := a.Append(make([]byte, 31<<10+1), 1)
		require.ErrorIs(t, err, queue.ErrTooBig)
		_, err = a.Append([]byte("short"), 1)
		require.NoError(t, err)
		require.NoError(t, <-waiting, "the rest is given back")
		b.Cancel()
	})
}

func TestReserveRefuses(t *testing.T) { onBoth(t, reserveRefuses) }

func reserveRefuses(t *testing.T, dir func() string) {
	q := open(t, queue.Options{Dir: dir(), MaxBytes: 64 << 10})
	_, err := q.Reserve(expired(), 32<<10)
	require.ErrorIs(t, err, queue.ErrTooBig)
	r, late := reserve(t, q, 100), reserve(t, q, 100)
	require.NoError(t, q.Close())
	_, err = q.Reserve(context.Background(), 1)
	require.ErrorIs(t, err, queue.ErrClosed)
	_, err = r.Append([]byte("x"), 1)
	require.ErrorIs(t, err, queue.ErrClosed)
	r.Cancel()
	late.Cancel()
	require.Zero(t, q.Stats().Records)
}

func TestReserveWaitsInLine(t *testing.T) { onBoth(t, reserveWaitsInLine) }

func reserveWaitsInLine(t *testing.T, dir func() string) {
	synctest.Test(t, func(t *testing.T) {
		q := open(t, queue.Options{Dir: dir(), MaxBytes: 64 << 10})
		const size = 30 << 10
		first, second := reserve(t, q, size), reserve(t, q, size)
		order := make(chan string, 4)
		wait := func(ctx context.Context, name string, size int) {
			go func() {
				r, err := q.Reserve(ctx, size)
				if err != nil {
					require.ErrorIs(t, err, queue.ErrFull)
					order <- name + " gave up"
					return
				}
				order <- name
				_, err = r.Append(make([]byte, size), 1)
				require.NoError(t, err)
			}()
			synctest.Wait()
		}
		ctx, cancel := context.WithCancel(context.Background())
		wait(ctx, "impatient", size)
		wait(context.Background(), "big", size)
		wait(context.Background(), "small", 10)
		_, err := q.Append(expired(), []byte("x"), 1)
		require.ErrorIs(t, err, queue.ErrFull, "nobody passes those who wait")
		require.Empty(t, order)
		cancel()
		require.Equal(t, "impatient gave up", <-order)
		synctest.Wait()
		require.Empty(t, order)
		first.Cancel()
		synctest.Wait()
		require.ElementsMatch(t, []string{"big", "small"}, []string{<-order, <-order})
		second.Cancel()
		require.Equal(t, 2, q.Stats().Records)
	})
}

func TestReserveDropsTheOldest(t *testing.T) { onBoth(t, reserveDropsTheOldest) }

func reserveDropsTheOldest(t *testing.T, dir func() string) {
	q := open(t, queue.Options{Dir: dir(), MaxBytes: 64 << 10, DropOldest: true})
	for range 3 {
		_, err := q.Append(expired(), make([]byte, 20<<10), 1)
		require.NoError(t, err)
	}
	r := reserve(t, q, 20<<10)
	require.EqualValues(t, 1, q.Stats().Dropped)
	r.Cancel()
	r = reserve(t, q, 20<<10)
	require.EqualValues(t, 1, q.Stats().Dropped)
	for range 5 {
		_, err := q.Append(expired(), make([]byte, 20<<10), 1)
		require.NoError(t, err)
	}
	require.EqualValues(t, 6, q.Stats().Dropped, "what is held is not dropped")
	_, err := r.Append(make([]byte, 20<<10), 1)
	require.NoError(t, err)
	require.NoError(t, q.Sync(context.Background(), q.Last()))
	require.EqualValues(t, 6, q.Stats().Dropped)
	require.Equal(t, 3, q.Stats().Records)
}

func TestReserveAllocatesLittle(t *testing.T) { onBoth(t, reserveAllocatesLittle) }

func reserveAllocatesLittle(t *testing.T, dir func() string) {
	q := open(t, queue.Options{Dir: dir(), MaxBytes: 8 << 20, CommitBytes: 4 << 20})
	rec := make([]byte, 100)
	allocs := testing.AllocsPerRun(10000, func() {
		r, err := q.Reserve(context.Background(), len(rec))
		if err != nil {
			panic(err)
		}
		defer r.Cancel()
		if _, err := r.Append(rec, 1); err != nil {
			panic(err)
		}
	})
	require.LessOrEqual(t, allocs, 1.0)
}

func ExampleQueue_Reserve() {
	ctx := context.Background()
	near, err := queue.Open(queue.Options{})
	if err != nil {
		panic(err)
	}
	far, err := queue.Open(queue.Options{})
	if err != nil {
		panic(err)
	}
	toBoth := func(rec []byte) error { // or to none
		a, err := near.Reserve(ctx, len(rec))
		if err != nil {
			return err
		}
		defer a.Cancel()
		b, err := far.Reserve(ctx, len(rec))
		if err != nil {
			return err
		}
		defer b.Cancel()
		if _, err := a.Append(rec, 1); err != nil {
			return err
		}
		_, err = b.Append(rec, 1)
		return err
	}
	fmt.Println(toBoth([]byte("for both")), near.Stats().Records, far.Stats().Records)
	// Output:
	// <nil> 1 1
}
