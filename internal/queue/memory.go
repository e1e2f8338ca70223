package queue

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const entryOverhead = 64 // what keeping a record in memory costs beside its bytes

// memory is a queue that ends with its process.
type memory struct {
	mu      sync.Mutex
	opts    Options
	entries []entry // entries[head:] are pending
	head    int
	newest  Pos // of the newest record ever appended
	store   slabs
	bytes   int64
	points  int64
	dropped int64
	line    line
	data    chan struct{} // closed when a record is appended; nil when nobody waits
	closed  bool
}

type entry struct {
	rec    []byte
	slab   *slab
	points int
	at     time.Time
}

func newMemory(o Options) *memory {
	m := &memory{opts: o}
	m.line.free = func(int64) int64 { return o.MaxBytes - m.bytes }
	return m
}

func (m *memory) append(ctx context.Context, rec []byte, points int, _ bool) (Pos, error) {
	need := int64(len(rec)) + entryOverhead
	m.mu.Lock()
	defer m.mu.Unlock()
	if need > m.opts.MaxBytes/2 {
		return 0, tooBig(len(rec), m.opts.MaxBytes)
	}
	if !m.closed && m.opts.DropOldest {
		for m.bytes+need > m.opts.MaxBytes {
			m.dropped += int64(m.entries[m.head].points)
			m.pop()
		}
	}
	if !m.closed && (len(m.line.room) > 0 || m.bytes+need > m.opts.MaxBytes) && !m.line.wait(ctx, &m.mu, need) {
		return 0, fmt.Errorf("%w: %d of %d bytes taken: %w", ErrFull, m.bytes, m.opts.MaxBytes, ctx.Err())
	}
	if m.closed {
		return 0, ErrClosed
	}
	e := entry{points: points, at: time.Now()}
	e.rec, e.slab = m.store.put(rec)
	m.entries = append(m.entries, e)
	m.newest++
	m.bytes += need
	m.points += int64(points)
	if m.data != nil {
		close(m.data)
		m.data = nil
	}
	return m.newest, nil
}

func (m *memory) tryNext(after Pos, dst []byte) (rec []byte, pos Pos, ok bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	gone := m.gone()
	after = max(after, gone)
	if after >= m.newest {
		if m.closed {
			return dst, after, false, ErrClosed
		}
		return dst, after, false, nil
	}
	e := &m.entries[m.head+int(after-gone)]
	return append(dst[:0], e.rec...), after + 1, true, nil
}

func (m *memory) ready(after Pos) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.newest > max(after, m.gone()) || m.closed {
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
	upTo = min(upTo, m.newest)
	for m.gone() < upTo {
		m.pop()
	}
	m.line.admit(0)
	return nil
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
func (m *memory) gone() Pos { return m.newest - Pos(len(m.entries)-m.head) }

// pop lets go of the oldest record.
func (m *memory) pop() {
	e := &m.entries[m.head]
	m.bytes -= int64(len(e.rec)) + entryOverhead
	m.points -= int64(e.points)
	m.store.free(e.slab)
	*e = entry{}
	m.head++
	if m.head == len(m.entries) {
		m.entries, m.head = m.entries[:0], 0
	} else if m.head > 1024 && m.head > len(m.entries)/2 {
		n := copy(m.entries, m.entries[m.head:])
		clear(m.entries[n:])
		m.entries, m.head = m.entries[:n], 0
	}
}

func (m *memory) stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := Stats{
		Records: len(m.entries) - m.head, Points: m.points, Bytes: m.bytes,
		MaxBytes: m.opts.MaxBytes, Dropped: m.dropped,
	}
	if s.Records > 0 {
		s.Oldest = m.entries[m.head].at
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
