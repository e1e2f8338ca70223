package queue

import (
	"context"
	"fmt"
)

// acquire waits for room for a record of size bytes and reserves it. awaited says that its commit will be waited for: what
// is not is lost when the process dies, and may not be much. It returns zero when DropOldest cannot make any room: then the
// record itself is to be dropped.
func (d *disk) acquire(ctx context.Context, size int, awaited bool) (held int64, err error) {
	need := int64(size) + headerSize
	w := want{need: need, most: d.bufMax}
	if !awaited && ctx.Err() == nil { // who cannot wait would drop its points, for fear of losing them
		w.most = d.asyncMax
	}
	if need > d.opts.MaxBytes/2 || size > maxRecord {
		return 0, tooBig(size, d.opts.MaxBytes)
	}
	if d.closed {
		return 0, ErrClosed
	}
	held, ok := d.line.enter(w)
	if !ok {
		d.sweep(true)
		if d.opts.DropOldest || need > w.most-d.buffered()-d.reserved {
			d.hurry() // only what is committed can be dropped, and leaves the buffer
		}
		held, ok = d.line.wait(ctx, &d.mu, w)
	}
	switch {
	case d.closed:
		return 0, ErrClosed
	case ok:
		return held, nil
	case d.failing != nil:
		return 0, fmt.Errorf("%w: %w", d.failing, ctx.Err())
	case d.opts.DropOldest || need <= d.opts.MaxBytes-d.taken():
		return 0, fmt.Errorf("%w: %w: %d bytes are to be committed in %s: %w", ErrFull, ErrBusy, d.buffered(), d.opts.Dir, ctx.Err())
	}
	return 0, fmt.Errorf("%w: %d of %d bytes taken in %s: %w", ErrFull, d.taken(), d.opts.MaxBytes, d.opts.Dir, ctx.Err())
}

// grant reserves the bytes, if they are free or DropOldest makes them so. A record that is larger than most is let in
// once it has the buffer for itself.
func (d *disk) grant(w want) (held int64, ok bool) {
	need := w.need
	if d.failing != nil {
		return 0, false
	}
	if d.opts.DropOldest && need > d.opts.MaxBytes-d.taken() {
		if need > d.opts.MaxBytes-d.given() {
			return 0, true
		}
		d.dropFor(need)
	}
	if inMemory := d.buffered() + d.reserved; inMemory > 0 && need > w.most-inMemory {
		return 0, false
	}
	if need > d.opts.MaxBytes-d.taken() {
		return 0, false
	}
	d.reserved += need
	return need, true
}

func (d *disk) buffered() int64 { return d.waiting.size() + d.batch.size() }

// taken is what counts against the bound.
func (d *disk) taken() int64 { return d.disk + d.buffered() + d.reserved }

// unread returns where the segments begin of which the reader was given nothing that it has neither acknowledged nor gone
// back over.
func (d *disk) unread() int {
	if d.reading != nil {
		for i, g := range d.segs {
			if g == d.reading {
				return i + 1
			}
		}
	}
	return 0
}

// given is the size of the segments before those.
func (d *disk) given() (size int64) {
	for _, g := range d.segs[:d.unread()] {
		size += g.size
	}
	return size
}

// dropFor drops the oldest segments of those that the reader was given nothing of, until need bytes are free or none is
// left but the one that is being written.
func (d *disk) dropFor(need int64) {
	i := d.unread()
	for need > d.opts.MaxBytes-d.taken() && i < len(d.segs) {
		g := d.segs[i]
		if g == d.active && d.writing {
			return
		}
		d.dropped += g.pending().points
		if i == 0 {
			d.passed(g, g.last)
		} else {
			d.forget(g, g.total)
		}
		d.doom(i)
	}
}

func (d *disk) reserve(ctx context.Context, size int) (held int64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.acquire(ctx, size, false)
}

func (d *disk) unreserve(held int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reserved -= held
	d.line.admit()
}

func (d *disk) fill(held int64, rec []byte, points int) (Pos, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return 0, ErrClosed
	}
	return d.put(held, rec, points), nil
}

// put appends a record into the room that is held for it.
func (d *disk) put(held int64, rec []byte, points int) Pos {
	d.newest++
	if held == 0 {
		d.dropped += int64(points)
		return d.newest
	}
	if d.buffered() == 0 {
		d.wake()
	}
	d.waiting.put(d.newest, rec, points)
	d.reserved -= held
	if int64(len(rec))+headerSize < held {
		d.line.admit()
	}
	if d.waiting.size() >= d.commitAt {
		d.hurry()
	}
	return d.newest
}
