package dedup

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// lane merges calls: while as many runs as allowed are under way, calls gather,
// and the next run takes all of them. Nobody waits for a clock. When a run finds
// that the server is away, the calls that wait fail with it.
type lane struct {
	run func([]*call) error // one batch; sets the calls' marks
	max int                 // runs at the same time

	mu      sync.Mutex
	waiting []*call
	running int
	closed  bool
	wg      sync.WaitGroup
}

// laneBatch bounds the marks of a run that has more than one call.
const laneBatch = 10_000

var errClosed = fmt.Errorf("%w: closed", ErrUnavailable)

// do runs c and waits for it, or for ctx.
func (l *lane) do(ctx context.Context, c *call) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return errClosed
	}
	l.waiting = append(l.waiting, c)
	if l.running < l.max {
		l.running++
		l.wg.Add(1)
		go l.work()
	}
	l.mu.Unlock()
	select {
	case err := <-c.done:
		return err
	case <-ctx.Done():
		c.gone.Store(true)
		return ctx.Err()
	}
}

// work runs batches until no call waits.
func (l *lane) work() {
	defer l.wg.Done()
	var batch []*call
	for {
		if batch = l.take(batch[:0]); len(batch) == 0 {
			return
		}
		err := l.run(batch)
		if err != nil && !errors.Is(err, ErrUnavailable) {
			err = fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		if errors.As(err, new(lost)) {
			l.fail(err) // first: who calls again after an answer shall have another attempt
		}
		for _, c := range batch {
			c.done <- err
		}
	}
}

// fail answers all calls that wait: they would only wait in vain, one after the
// other.
func (l *lane) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.waiting {
		c.done <- err
	}
	clear(l.waiting)
	l.waiting = l.waiting[:0]
}

// take adds the calls of the next run to batch, without those whose caller
// left. There is none when the worker is to end.
func (l *lane) take(batch []*call) []*call {
	l.mu.Lock()
	defer l.mu.Unlock()
	k, size := 0, 0
	for ; k < len(l.waiting); k++ {
		c := l.waiting[k]
		if c.gone.Load() {
			continue
		}
		if len(batch) > 0 && (c.edit != nil || batch[0].edit != nil || size+len(c.marks) > laneBatch) {
			break
		}
		batch = append(batch, c)
		size += len(c.marks)
	}
	rest := copy(l.waiting, l.waiting[k:])
	clear(l.waiting[rest:])
	l.waiting = l.waiting[:rest]
	if len(batch) == 0 {
		l.running--
	}
	return batch
}

// close refuses further calls and waits for those under way.
func (l *lane) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.wg.Wait()
}
