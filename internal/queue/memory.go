package queue

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"
)

// memory is a queue that ends with its process.
type memory struct {
	mu       sync.Mutex
	opts     Options
	entries  entries
	newest   Pos // of the newest record ever appended
	store    slabs
	bytes    int64
	points   int64
	reserved int64
	dropped  int64
	holed    *slab // that DropOldest dropped from last
	holedAt  Pos   // of the first record that it dropped there
	line     line
	data     chan struct{} // closed when a record is appended; nil when nobody waits
	closed   bool
}

func newMemory(o Options) *memory {
	m := &memory{opts: o}
	m.line.grant = m.grant
	return m
}

func (m *memory) append(ctx context.Context, rec []byte, points int, _ bool) (Pos, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	held, err := m.acquire(ctx, len(rec))
	if err != nil {
		return 0, err
	}
	return m.put(held, rec, points), nil
}

func (m *memory) reserve(ctx context.Context, size int) (held int64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.acquire(ctx, size)
}

func (m *memory) fill(held int64, rec []byte, points int) (Pos, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return 0, ErrClosed
	}
	return m.put(held, rec, points), nil
}

func (m *memory) unreserve(held int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reserved -= held
	m.line.admit()
}

// acquire waits for room for a record of size bytes and reserves it. It returns zero when DropOldest cannot make any: then
// the record itself is to be dropped.
func (m *memory) acquire(ctx context.Context, size int) (held int64, err error) {
	w := want{need: int64(size) + entryOverhead}
	if w.need > m.opts.MaxBytes/2 {
		return 0, tooBig(size, m.opts.MaxBytes)
	}
	if m.closed {
		return 0, ErrClosed
	}
	held, ok := m.line.enter(w)
	if !ok {
		held, ok = m.line.wait(ctx, &m.mu, w)
	}
	if m.closed {
		return 0, ErrClosed
	}
	if !ok {
		return 0, fmt.Errorf("%w: %d of %d bytes taken: %w", ErrFull, m.bytes+m.reserved, m.opts.MaxBytes, ctx.Err())
	}
	return held, nil
}

// grant reserves the bytes, if they are free or DropOldest makes them so.
func (m *memory) grant(w want) (held int64, ok bool) {
	need := w.need
	if m.opts.DropOldest && m.bytes+m.reserved+need > m.opts.MaxBytes {
		if m.entries.bytes+need > m.opts.MaxBytes {
			return 0, true
		}
		m.dropFor(need)
	}
	if m.bytes+m.reserved+need > m.opts.MaxBytes {
		return 0, false
	}
	m.reserved += need
	return need, true
}

// dropFor drops the oldest records of those that the reader was not given, until need bytes are free or none is left.
func (m *memory) dropFor(need int64) {
	s := &m.entries
	for m.bytes+m.reserved+need > m.opts.MaxBytes && s.unread < len(s.all) {
		e := &s.all[s.unread]
		if e.slab != m.holed {
			m.vacate()
			m.holed, m.holedAt = e.slab, e.pos
		}
		m.dropped += int64(e.points)
		m.forget(e)
		s.popUnread()
	}
}

// vacate moves what the reader was given out of the slab that records were dropped from last: a few must not keep all of
// its memory.
func (m *memory) vacate() {
	s := &m.entries
	for i := s.given - 1; m.holed != nil && i >= s.head; i-- {
		e := &s.all[i]
		if e.slab == m.holed {
			e.rec, e.slab = bytes.Clone(e.rec), nil
			m.holed.seen = true
			m.store.free(m.holed)
		} else if e.pos < m.holedAt {
			return
		}
	}
}

// put appends a record into the room that is held for it.
func (m *memory) put(held int64, rec []byte, points int) Pos {
	m.newest++
	if held == 0 {
		m.dropped += int64(points)
		return m.newest
	}
	e := entry{pos: m.newest, points: points, at: time.Now().UnixNano()}
	e.rec, e.slab = m.store.put(rec)
	m.entries.push(e)
	m.reserved -= held
	m.bytes += e.size()
	m.points += int64(points)
	if e.size() < held {
		m.line.admit()
	}
	if m.data != nil {
		close(m.data)
		m.data = nil
	}
	return m.newest
}

// tryNext gives out the record itself. Nothing is written over it as long as it may be looked at: a record that the reader
// was given last is neither acknowledged nor dropped, and if vacate moves it, the old memory is not used again.
func (m *memory) tryNext(after Pos, dst []byte) (rec []byte, pos Pos, ok bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	after = max(after, m.gone())
	if e := m.entries.next(after); e != nil {
		return e.rec, e.pos, true, nil
	}
	if m.closed {
		err = ErrClosed
	}
	return dst, after, false, err
}

func (m *memory) ready(after Pos) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.entries.newest() > after || m.closed {
		return closedChan
	}
	if m.data == nil {
		m.data = make(chan struct{})
	}
	return m.data
}

func (m *memory) sync(context.Context, Pos) error { return nil }

func (m *memory) ack(upTo Pos) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.entries.len() > 0 && m.entries.oldest().pos <= upTo {
		m.forget(m.entries.oldest())
		m.entries.pop()
	}
	m.line.admit()
	return nil
}

// forget takes e out of the account and frees its memory.
func (m *memory) forget(e *entry) {
	m.bytes -= e.size()
	m.points -= int64(e.points)
	if e.slab != nil {
		m.store.free(e.slab)
	}
}

func (m *memory) acked() Pos {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.gone()
}

func (m *memory) last() Pos {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.newest
}

// gone is the position up to which records have been let go.
func (m *memory) gone() Pos {
	if m.entries.len() == 0 {
		return m.newest
	}
	return m.entries.oldest().pos - 1
}

func (m *memory) stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := Stats{
		Records: m.entries.len(), Points: m.points, Bytes: m.bytes,
		MaxBytes: m.opts.MaxBytes, Dropped: m.dropped,
	}
	if s.Records > 0 {
		s.Oldest = time.Unix(0, m.entries.oldest().at)
	}
	return s
}

func (m *memory) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	m.line.dissolve()
	if m.data != nil {
		close(m.data)
		m.data = nil
	}
	return nil
}

func (m *memory) release() error    { return m.close() }
func (m *memory) recovered() Report { return Report{} }
