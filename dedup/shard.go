package dedup

import "sync"

// shard is the part of the pending table whose metrics' hashes start alike.
// Every method wants its lock held.
type shard struct {
	mu sync.Mutex
	t  table[entry]

	due      []int32           // slots whose due mark nobody is raising; entry.queued
	owed     map[uint32]uint32 // by tag: points evicted and not done yet; they hold their marks back
	changed  chan struct{}     // closed when a reservation ends; nil while nobody waits
	ended    bool              // a reservation ended since the last wake
	bytes    int64
	budget   int64
	hand     int32 // where the next eviction starts
	reserved int64
	pending  int64
	blocked  int64
	unraised int64

	evicted      uint64
	evictedMarks uint64
	_            [40]byte // keeps neighbours' locks off this cache line
}

// What the table takes, roughly: a metric besides its name, a point in far, and
// a metric in owed.
const (
	entryBytes = 176
	pointBytes = 24
	owedBytes  = 32
)

// obtain returns a metric's slot, a new one if need be.
func (sh *shard) obtain(hash uint64, name []byte) int32 {
	if i := sh.t.find(hash, name); i >= 0 {
		return i
	}
	if size := entryBytes + int64(len(name)); sh.bytes+size > sh.budget {
		sh.makeRoom()
	}
	i := sh.t.insert(hash, string(name))
	sh.bytes += entryBytes + int64(len(name))
	sh.t.slots[i].val.due = None
	return i
}

// add puts a point that is not there at index at of the slot's points. A point
// that is reserved pins the slot.
func (sh *shard) add(i int32, at int, q point) {
	grown := sh.t.slots[i].val.insert(at, q)
	sh.count(q.state, 1)
	if grown > 0 {
		sh.bytes += int64(grown) * pointBytes
		if sh.bytes > sh.budget {
			sh.makeRoom()
		}
	}
}

// count keeps the gauges.
func (sh *shard) count(s state, n int64) {
	switch s {
	case reserved:
		sh.reserved += n
	case kept:
		sh.pending += n
	case delivered:
		sh.blocked += n
	}
}

// claim reserves point p of a Judge call, unless it is known. New and twin stand
// until the mark is known.
func (sh *shard) claim(s *scratch, pts []Mark, p int32) Verdict {
	ts := pts[p].Timestamp
	i := sh.obtain(s.hash[p], pts[p].Metric)
	e := &sh.t.slots[i].val
	at, found := e.find(ts)
	if found {
		s.ask[p] = e.ask // for a twin
		return e.view()[at].known(s.call)
	}
	if e.askedBy != s.call {
		e.askedBy, e.ask = s.call, int32(len(s.marks))
		s.marks = append(s.marks, Mark{Metric: asBytes(sh.t.slots[i].name)})
		s.markHash = append(s.markHash, s.hash[p])
		s.markDue = append(s.markDue, e.due)
	}
	s.ask[p], s.slot[p] = e.ask, i
	sh.add(i, at, point{ts: ts, by: s.call, state: reserved})
	return New
}

// keep turns a reservation into a pending point.
func (sh *shard) keep(i int32, ts int64) {
	e := &sh.t.slots[i].val
	if at, found := e.find(ts); found {
		if q := &e.view()[at]; q.state == reserved {
			sh.move(q, kept)
		}
	}
}

// move changes a point's state.
func (sh *shard) move(q *point, to state) {
	sh.count(q.state, -1)
	sh.count(to, 1)
	sh.ended = sh.ended || q.state == reserved
	q.state = to
}

// release drops a reservation, of the call by alone if that is not 0.
func (sh *shard) release(i int32, ts int64, by uint32) {
	e := &sh.t.slots[i].val
	at, found := e.find(ts)
	if !found || e.view()[at].state != reserved || by != 0 && e.view()[at].by != by {
		return
	}
	e.remove(at)
	sh.count(reserved, -1)
	sh.ended = true
	sh.advance(i)
}

// done notes a delivered point. One that the table does not know was evicted,
// or never judged.
func (sh *shard) done(hash uint64, m *Mark) {
	i := sh.t.find(hash, m.Metric)
	if i >= 0 {
		e := &sh.t.slots[i].val
		if at, found := e.find(m.Timestamp); found {
			q := &e.view()[at]
			sh.move(q, delivered)
			q.value = m.Value
			sh.advance(i)
			return
		}
	}
	tag := uint32(hash)
	n := sh.owed[tag]
	switch {
	case n > 1:
		sh.owed[tag] = n - 1
	case n == 1:
		delete(sh.owed, tag)
		sh.bytes -= owedBytes
		if i >= 0 {
			sh.advance(i)
		}
	}
}

// advance moves the due mark as far as delivery allows.
func (sh *shard) advance(i int32) {
	s := &sh.t.slots[i]
	if len(sh.owed) > 0 && sh.owed[uint32(s.hash)] > 0 {
		return
	}
	e := &s.val
	was, before := e.due, len(e.view())
	rose := e.advance()
	sh.count(delivered, int64(len(e.view())-before))
	if !rose {
		return
	}
	if was == None {
		sh.unraised++
	}
	sh.enqueue(i)
}

// enqueue notes that somebody has to raise the slot's due mark.
func (sh *shard) enqueue(i int32) {
	if e := &sh.t.slots[i].val; !e.queued {
		e.queued = true
		sh.due = append(sh.due, i)
	}
}

// raiseDue raises every due mark of the shard at once, in a store that can.
func (sh *shard) raiseDue(m *Memory) {
	var held *memoryShard
	for _, i := range sh.due {
		sl := &sh.t.slots[i]
		held = m.hold(held, sl.hash)
		m.raiseName(held, sl.hash, sl.name, sl.val.due, sl.val.dueValue)
		sl.val.due, sl.val.queued = None, false
		sh.unraised--
	}
	held.unlock()
	sh.due = sh.due[:0]
}

// takeDue moves up to most due marks, the newest entries of the list first,
// into the question.
func (sh *shard) takeDue(s *scratch, most int) {
	for len(sh.due) > 0 && most > 0 {
		k := len(sh.due) - 1
		i := sh.due[k]
		sh.due = sh.due[:k]
		most--
		sl := &sh.t.slots[i]
		sl.val.queued = false
		if sl.val.due == None {
			continue
		}
		s.marks = append(s.marks, Mark{asBytes(sl.name), sl.val.due, sl.val.dueValue})
		s.markHash = append(s.markHash, sl.hash)
		s.markSlot = append(s.markSlot, i)
	}
}

// settle ends the raising of m by the slot i: the mark is in the store, or else
// somebody has to try again. The slot may belong to another metric by now.
func (sh *shard) settle(i int32, m *Mark, ok bool) {
	sl := &sh.t.slots[i]
	if sl.name != asString(m.Metric) || sl.val.due == None {
		return
	}
	switch {
	case !ok:
		sh.enqueue(i)
	case sl.val.due <= m.Timestamp:
		sl.val.due = None
		sh.unraised--
	}
}

// wake tells those who wait that a reservation ended.
func (sh *shard) wake() {
	if sh.ended && sh.changed != nil {
		close(sh.changed)
		sh.changed = nil
	}
	sh.ended = false
}
