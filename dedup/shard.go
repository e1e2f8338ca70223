package dedup

import (
	"math"
	"sync"
)

// shard is the part of the pending table whose metrics' hashes start alike.
// Every method wants its lock held.
type shard struct {
	mu sync.Mutex
	t  table[entry]

	due      []int32           // slots whose due mark nobody is raising; entry.queued
	owed     map[uint32]uint32 // by tag: calls of Done still to come for evicted points; they hold their marks back
	owedAny  uint64            // likewise, of metrics that owed had no room for; they hold back all marks
	changed  chan struct{}     // closed when a reservation ends; nil while nobody waits
	ended    bool              // a reservation ended since the last wake
	required uint8             // calls of Done a point that is judged New
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
	sh.add(i, at, point{ts: ts, by: s.call, state: reserved, need: sh.required})
	return New
}

// keep ends a reservation: its point is pending, unless it has been delivered.
func (sh *shard) keep(i int32, ts int64) {
	e := &sh.t.slots[i].val
	at, found := e.find(ts)
	if !found {
		return
	}
	q := &e.view()[at]
	q.by = 0
	switch q.state {
	case reserved:
		sh.move(q, kept)
	case passed:
		e.remove(at)
	}
}

// recovered makes a point pending, or has it wait for one more Done.
func (sh *shard) recovered(i int32, ts int64) {
	e := &sh.t.slots[i].val
	at, found := e.find(ts)
	if !found {
		sh.add(i, at, point{ts: ts, state: kept, need: 1})
		return
	}
	q := &e.view()[at]
	if q.need == math.MaxUint8 {
		sh.owe(sh.t.slots[i].hash, 1)
	} else {
		q.need++
	}
	if q.state != kept {
		sh.move(q, kept)
	}
}

// move changes a point's state.
func (sh *shard) move(q *point, to state) {
	sh.count(q.state, -1)
	sh.count(to, 1)
	sh.ended = sh.ended || q.state == reserved
	q.state = to
}

// release drops a reservation, of the call by alone if that is not 0, and the
// calls of Done that its points were to have. Where some came nevertheless, they
// were an evicted point's with the same timestamp, of which they are owed still.
func (sh *shard) release(i int32, ts int64, by uint32) {
	e := &sh.t.slots[i].val
	at, found := e.find(ts)
	if !found {
		return
	}
	q := &e.view()[at]
	if q.by == 0 || by != 0 && q.by != by {
		return
	}
	q.by = 0
	taken := min(q.need, sh.required)
	q.need -= taken
	switch {
	case q.state == reserved:
		e.remove(at)
		sh.count(reserved, -1)
		sh.ended = true
	case q.state == kept && q.need == 0: // it had been recovered meanwhile
		sh.move(q, delivered)
	case q.state == passed:
		e.remove(at)
	}
	if missing := sh.required - taken; missing > 0 {
		sh.pay(sh.t.slots[i].hash, -1, uint32(missing))
	}
	sh.advance(i)
}

// done notes that a point was delivered once. A call too many is that of an
// evicted point, or of one that was never judged.
func (sh *shard) done(hash uint64, m *Mark) {
	i := sh.t.find(hash, m.Metric)
	if i >= 0 {
		e := &sh.t.slots[i].val
		if at, found := e.find(m.Timestamp); found {
			if q := &e.view()[at]; q.need > 0 {
				q.value = m.Value
				if q.need--; q.need == 0 {
					sh.move(q, delivered)
					sh.advance(i)
				}
				return
			}
		}
	}
	sh.pay(hash, i, 1)
}

// advance moves the due mark as far as delivery allows.
func (sh *shard) advance(i int32) {
	s := &sh.t.slots[i]
	if sh.owes(s.hash) {
		return
	}
	e := &s.val
	was := e.due
	n, rose := e.advance()
	sh.count(delivered, -int64(n))
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
