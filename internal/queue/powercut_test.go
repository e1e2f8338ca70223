package queue

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// ledger is what the appenders of one run know.
type ledger struct {
	mu    sync.Mutex
	tried map[string]bool
	kept  map[string]Pos // appended without an error, or synced
	acked Pos            // asked for
}

func (l *ledger) try(rec string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tried[rec] = true
}

func (l *ledger) keep(rec string, pos Pos) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept[rec] = pos
}

func tryOpen(fs fileSystem) (*Queue, error) {
	return Open(Options{Dir: "d", MaxBytes: MinMaxBytes, fs: fs})
}

// workload opens the queue twice, and appends, reads and acknowledges until it is done or the power goes.
func workload(ctx context.Context, fs fileSystem, l *ledger) {
	for life := range 2 {
		q, err := tryOpen(fs)
		if err != nil {
			return
		}
		var appenders sync.WaitGroup
		for a := range 2 {
			appenders.Go(func() { appendSome(ctx, q, l, fmt.Sprintf("%d-%d", life, a)) })
		}
		reading, stop := context.WithCancel(ctx)
		go func() {
			appenders.Wait()
			stop()
		}()
		var rec []byte
		pos := q.Acked()
		for n := 1; ; n++ {
			if rec, pos, err = q.Next(reading, pos, rec); err != nil {
				break
			}
			if n%5 == 0 {
				l.mu.Lock()
				l.acked = max(l.acked, pos)
				l.mu.Unlock()
				_ = q.Ack(pos)
			}
		}
		appenders.Wait()
		_ = q.Release() // of a queue without power
	}
}

func appendSome(ctx context.Context, q *Queue, l *ledger, name string) {
	r := rand.New(rand.NewPCG(7, uint64(len(name))))
	for i := range 14 {
		rec := fmt.Sprintf("%s %03d %s", name, i, strings.Repeat("x", r.IntN(2500)))
		l.try(rec)
		if i%3 > 0 {
			if pos, err := q.Append(ctx, []byte(rec), 1); err == nil {
				l.keep(rec, pos)
			}
			continue
		}
		pos, err := q.AppendAsync(ctx, []byte(rec), 1)
		if err == nil && q.Sync(ctx, pos) == nil {
			l.keep(rec, pos)
		}
	}
}

// check opens the queue and compares it with what is known.
func (l *ledger) check(t *testing.T, fs fileSystem, hint string) {
	q, err := tryOpen(fs)
	require.NoError(t, err, hint)
	found := map[string]Pos{}
	order := map[string]string{}
	var pos Pos
	for {
		rec, next, ok, err := q.TryNext(pos, nil)
		require.NoError(t, err, hint)
		if !ok {
			break
		}
		require.Greater(t, next, pos, hint)
		pos = next
		s := string(rec)
		require.True(t, l.tried[s], "%s: invented %.20q", hint, s)
		require.NotContains(t, found, s, hint)
		found[s] = pos
		appender, rest, _ := strings.Cut(s, " ")
		require.Less(t, order[appender], rest, "%s: order", hint)
		order[appender] = rest
	}
	require.Equal(t, len(found), q.Stats().Records, hint)
	for rec, pos := range l.kept {
		if pos > l.acked {
			require.Equal(t, pos, found[rec], "%s: lost %.20q, acknowledged up to %d", hint, rec, l.acked)
		}
	}
	p, err := q.Append(context.Background(), []byte("z last"), 1)
	require.NoError(t, err, hint)
	require.Greater(t, p, pos, hint)
	require.NoError(t, q.Release(), hint)
}

func TestPowerCutAtEveryOperation(t *testing.T) {
	run := func(cutAt int, after func(t *testing.T, m *forgetful, l *ledger)) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			m := newForgetful()
			m.cutAt, m.onCut = cutAt, cancel
			l := &ledger{tried: map[string]bool{"z last": true}, kept: map[string]Pos{}}
			workload(ctx, m, l)
			after(t, m, l)
		})
	}
	var ops int
	run(0, func(t *testing.T, m *forgetful, l *ledger) {
		ops = m.ops
		require.Len(t, l.kept, 2*2*14)
		l.check(t, m, "no cut")
	})
	require.Greater(t, ops, 200)
	for cutAt := 1; cutAt <= ops; cutAt++ {
		run(cutAt, func(t *testing.T, m *forgetful, l *ledger) {
			for _, how := range []int{forgotten, survived, mixed, mixed} {
				r := rand.New(rand.NewPCG(uint64(cutAt), uint64(how)))
				l.check(t, m.reboot(how, r), fmt.Sprintf("cut at operation %d of %d, %d", cutAt, ops, how))
			}
		})
	}
}

// TestPowerCutTwice cuts the recovery itself at every operation.
func TestPowerCutTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		m := newForgetful()
		m.cutAt, m.onCut = 90, cancel
		l := &ledger{tried: map[string]bool{"z last": true}, kept: map[string]Pos{}}
		workload(ctx, m, l)
		r := rand.New(rand.NewPCG(1, 2))
		for cutAt := 1; cutAt < 30; cutAt++ {
			second := m.reboot(mixed, r)
			second.cutAt, second.onCut = cutAt, func() {}
			if q, err := tryOpen(second); err == nil {
				_, _ = q.Append(expiredContext(), []byte("z last"), 1)
				_ = q.Release()
			}
			for _, how := range []int{forgotten, survived, mixed} {
				third := second.reboot(how, r)
				q, err := tryOpen(third)
				require.NoError(t, err)
				require.NoError(t, q.Release())
				inspected := map[string]bool{}
				_, err = inspect(third, "d", func(rec Record) error {
					inspected[string(rec.Data)] = true
					require.True(t, l.tried[string(rec.Data)])
					return nil
				})
				require.NoError(t, err)
				for rec, pos := range l.kept {
					if pos > l.acked {
						require.True(t, inspected[rec])
					}
				}
			}
		}
	})
}

func expiredContext() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
