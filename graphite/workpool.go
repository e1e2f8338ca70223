package graphite

import (
	"context"
	"sync"
)

// maxWork is how many reads or messages a receiver has in work at once. Each holds a buffer or a decoder, and its
// points; the connections beyond wait, so that many busy ones behind a slow handler need no more memory than this.
const maxWork = 64

// workPool lends out what the work on one read or message needs, maxWork at once.
type workPool[T any] struct {
	once  sync.Once
	slots chan struct{}
	free  sync.Pool
}

func (p *workPool[T]) init(fresh func() *T) {
	p.once.Do(func() {
		p.slots = make(chan struct{}, maxWork)
		p.free.New = func() any { return fresh() }
	})
}

// get waits for its turn, or for the end of ctx.
func (p *workPool[T]) get(ctx context.Context) (*T, error) {
	select {
	case p.slots <- struct{}{}:
	default:
		select {
		case p.slots <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return p.free.Get().(*T), nil
}

func (p *workPool[T]) put(w *T) {
	p.free.Put(w)
	<-p.slots
}
