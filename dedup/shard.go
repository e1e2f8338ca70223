package dedup

import (
	"math"
	"sync"
)

// metric is a slot of the pending table.
type metric = slot[entry]

// shard is the part of the pending table whose metrics' hashes start alike.
// Every method wants its lock held.
type shard struct {
	mu sync.Mutex
	t  table[entry]

	values   map[valueKey]float64
	memory   *Memory           // the store, if it is one
	marks    *memoryShard      // its part for these metrics, while Done holds its lock
	due      []*metric         // those whose due mark nobody is raising; entry.queued
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
	_            [8]byte // keeps neighbours' locks off this cache line
}

// valueKey is a point whose value is known before its mark can rise.
type valueKey struct {
	slot int32
	ts   int64
}

// What the table takes, roughly: a metric besides its name, a span in far, a
// metric in owed, and a value.
const (
	entryBytes = 176
	spanBytes  = 24
	owedBytes  = 32
	valueBytes = 64
)

// find returns a metric's slot, or nil.
func (sh *shard) find(hash uint64, name []byte) *metric {
	if i := sh.t.find(hash, name); i >= 0 {
		return sh.t.at(i)
	}
	return nil
}

// obtain returns a metric's slot, a new one if lookup found none.
func (sh *shard) obtain(sl *metric, hash uint64, name []byte) *metric {
	if sl == nil {
		sl = sh.create(hash, string(name))
	}
	return sl
}

// create makes a slot for a metric that has none. The name must never change.
func (sh *shard) create(hash uint64, name string) *metric {
	size := entryBytes + int64(len(name))
	if sh.bytes+size > sh.budget {
		sh.makeRoom()
	}
	i := sh.t.insert(hash, name)
	sh.bytes += size
	sl := sh.t.at(i)
	sl.val.due, sl.val.newest, sl.val.no, sl.val.fresh = None, None, i, true
	return sl
}

// createFor is create with the name that the Memory has, if it has one.
func (sh *shard) createFor(m *memoryShard, hash uint64, name []byte) *metric {
	k := m.t.find(hash, name)
	if k < 0 {
		sl := sh.create(hash, string(name))
		sl.val.seen = m.edits
		return sl
	}
	sl := sh.create(hash, m.t.at(k).name)
	sl.val.mark, sl.val.fresh = k+1, false
	return sl
}

// add puts a point that is not there at index at of the slot's spans. A point
// that is reserved pins the slot.
func (sh *shard) add(sl *metric, at int, q span) {
	grown := sl.val.insert(at, q)
	sh.count(q.state, 1)
	sl.val.join(at)
	if grown > 0 {
		sh.bytes += int64(grown) * spanBytes
		if sh.bytes > sh.budget {
			sh.makeRoom()
		}
	}
}

// append is add for a point that is newer than all others and reserved by a call.
func (sh *shard) append(sl *metric, ts int64, call uint32) {
	e := &sl.val
	if uint(e.held) >= uint(len(e.near)) || e.held > 0 && e.near[e.held-1].by == call {
		sh.add(sl, len(e.view()), span{first: ts, n: 1, by: call, state: reserved, need: sh.required})
		return
	}
	q := &e.near[e.held] // filled in field by field: a processor waits for a span that is written so and copied at once
	q.first, q.step, q.n, q.by, q.state, q.need = ts, 0, 1, call, reserved, sh.required
	e.held++
	e.newest = ts
	sh.reserved++
}

// become gives the point at ts another state, given the index of its span.
func (sh *shard) become(sl *metric, at int, ts int64, to state, need uint8, by uint32) {
	if was := sl.val.view()[at].state; was != to {
		sh.count(was, -1)
		sh.count(to, 1)
		sh.ended = sh.ended || was == reserved
	}
	sh.bytes += int64(sl.val.become(at, ts, to, need, by)) * spanBytes
}

// drop takes out the point at ts, which is counted no more, given the index of its
// span.
func (sh *shard) drop(sl *metric, at int, ts int64) {
	sh.bytes += int64(sl.val.drop(at, ts)) * spanBytes
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
	sl := sh.obtain(sh.lookup(s, p, pts[p].Metric), s.hash[p], pts[p].Metric)
	e := &sl.val
	at, found := e.find(ts)
	if found {
		s.ask[p] = e.ask // for a twin
		return e.view()[at].known(s.call)
	}
	if e.askedBy != s.call {
		e.askedBy, e.ask = s.call, int32(len(s.marks))
		s.marks = append(s.marks, Mark{Metric: asBytes(sl.name)})
		s.markHash = append(s.markHash, s.hash[p])
		s.markDue = append(s.markDue, e.due)
	}
	s.ask[p], s.slot[p] = e.ask, sl
	sh.add(sl, at, span{first: ts, n: 1, by: s.call, state: reserved, need: sh.required})
	return New
}

// keep ends a reservation, of the call by alone if that is not 0: its point is
// pending, unless it has been delivered.
func (sh *shard) keep(sl *metric, ts int64, by uint32) {
	e := &sl.val
	if e.keepNewest(ts, by) {
		sh.reserved--
		sh.pending++
		sh.ended = true
		return
	}
	at, found := e.find(ts)
	if !found {
		return
	}
	q := &e.view()[at]
	if q.by == 0 || by != 0 && q.by != by {
		return
	}
	switch q.state {
	case reserved:
		sh.become(sl, at, ts, kept, q.need, 0)
	case passed:
		sh.drop(sl, at, ts)
		sh.rest(sl)
	default:
		sh.become(sl, at, ts, q.state, q.need, 0)
	}
}

// recovered makes a point pending, or has it wait for one more Done.
func (sh *shard) recovered(sl *metric, ts int64) {
	e := &sl.val
	at, found := e.find(ts)
	if !found {
		sh.add(sl, at, span{first: ts, n: 1, state: kept, need: 1})
		return
	}
	q := e.view()[at]
	if q.need == math.MaxUint8 {
		sh.owe(sl.hash, 1)
	} else {
		q.need++
	}
	sh.become(sl, at, ts, kept, q.need, q.by)
	if sh.bytes > sh.budget {
		sh.makeRoom()
	}
}

// release drops a reservation, of the call by alone if that is not 0, and the
// calls of Done that its points were to have. Where some came nevertheless, they
// were an evicted point's with the same timestamp, of which they are owed still.
func (sh *shard) release(sl *metric, ts int64, by uint32) {
	e := &sl.val
	at, found := e.find(ts)
	if !found {
		return
	}
	q := e.view()[at]
	if q.by == 0 || by != 0 && q.by != by {
		return
	}
	taken := min(q.need, sh.required)
	q.need -= taken
	switch {
	case q.state == reserved:
		sh.drop(sl, at, ts)
		sh.forget(sl, ts)
		sh.count(reserved, -1)
		sh.ended = true
	case q.state == kept && q.need == 0: // it had been recovered meanwhile, and done
		sh.become(sl, at, ts, delivered, 0, 0)
	case q.state == passed:
		sh.drop(sl, at, ts)
	default:
		sh.become(sl, at, ts, q.state, q.need, 0)
	}
	if missing := sh.required - taken; missing > 0 {
		sh.pay(sl.hash, nil, uint32(missing))
	}
	sh.advance(sl, nil)
	sh.rest(sl)
}

// done notes that a point was delivered once. A call too many is that of an
// evicted point, or of one that was never judged. Without a slot the metric has none.
func (sh *shard) done(sl *metric, hash uint64, m *Mark) {
	if sl == nil || !sh.doneFirst(sl, m) && !sh.doneOnce(sl, m) {
		sh.pay(hash, sl, 1)
	}
	if sh.bytes > sh.budget {
		sh.makeRoom()
	}
}

// doneFirst is doneOnce for a point that is the metric's oldest, waits for this call alone
// and holds back no other that is delivered: nearly all of them.
func (sh *shard) doneFirst(sl *metric, m *Mark) bool {
	e := &sl.val
	v := e.view()
	if len(v) == 0 || sh.owes(sl.hash) {
		return false
	}
	switch q := &v[0]; {
	case q.first != m.Timestamp || q.state != kept || q.need != 1 || q.by != 0:
		return false
	case q.n > 1:
		q.cut(1)
	case len(v) > 1 && v[1].state >= delivered:
		return false
	default:
		e.trim(1)
	}
	sh.pending--
	sh.forget(sl, m.Timestamp)
	sh.rise(sl, m.Timestamp, m.Value)
	sh.rest(sl)
	return true
}

// doneOnce is done for a point that waits for it. It is false where there is none.
func (sh *shard) doneOnce(sl *metric, m *Mark) bool {
	e := &sl.val
	at, found := e.find(m.Timestamp)
	if !found || e.view()[at].need == 0 {
		return false
	}
	q := e.view()[at]
	if q.need == 1 {
		sh.become(sl, at, m.Timestamp, delivered, 0, q.by)
		sh.advance(sl, m)
		sh.rest(sl)
		return true
	}
	if q.by != 0 { // a Release may end what it waits for
		sh.remember(sl, m)
	}
	sh.become(sl, at, m.Timestamp, q.state, q.need-1, q.by)
	return true
}

// advance takes the delivered points that nothing older holds back off the front
// of the slot's points, and makes the newest of them the due mark. Those whose
// Kept is still to come stay, as passed. If done is not nil it is the point that
// was delivered just now; the values of others are remembered.
func (sh *shard) advance(sl *metric, done *Mark) {
	e := &sl.val
	n, k, open := int64(0), 0, 0
	top, value := int64(None), 0.0
	if v := e.view(); !sh.owes(sl.hash) {
		for ; k < len(v) && v[k].state >= delivered; k++ {
			if v[k].state == delivered {
				top, value = v[k].last(), sh.forgetAll(sl, &v[k])
				n += int64(v[k].n)
			}
			if v[k].by != 0 {
				open++
			}
		}
		if open > 0 {
			k = pass(v[:k])
		}
	}
	if done != nil && top < done.Timestamp {
		sh.remember(sl, done)
	} else if done != nil && top == done.Timestamp {
		value = done.Value
	}
	if n == 0 {
		return
	}
	sh.count(delivered, -n)
	e.trim(k)
	sh.rise(sl, top, value)
}

// remember keeps the value of a point of slot i until its mark can rise.
func (sh *shard) remember(sl *metric, m *Mark) {
	if sh.values == nil {
		sh.values = make(map[valueKey]float64)
	}
	n := len(sh.values)
	sh.values[valueKey{sl.val.no, m.Timestamp}] = m.Value
	sh.bytes += int64(len(sh.values)-n) * valueBytes
}

// forget drops the value that remember keeps of a point, if any, and returns it.
func (sh *shard) forget(sl *metric, ts int64) float64 {
	if len(sh.values) == 0 {
		return math.NaN()
	}
	k := valueKey{sl.val.no, ts}
	v, found := sh.values[k]
	if !found {
		return math.NaN()
	}
	delete(sh.values, k)
	sh.bytes -= valueBytes
	return v
}

// forgetAll is forget for all points of a span. It returns the newest one's value.
func (sh *shard) forgetAll(sl *metric, q *span) (value float64) {
	value = sh.forget(sl, q.last())
	if int64(q.n) > int64(len(sh.values)) {
		for k := range sh.values {
			if k.slot == sl.val.no && q.has(k.ts) {
				sh.forget(sl, k.ts)
			}
		}
		return value
	}
	for k := range q.n - 1 {
		sh.forget(sl, q.first+int64(q.step)*int64(k))
	}
	return value
}

// wake tells those who wait that a reservation ended.
func (sh *shard) wake() {
	if sh.ended && sh.changed != nil {
		close(sh.changed)
		sh.changed = nil
	}
	sh.ended = false
}
