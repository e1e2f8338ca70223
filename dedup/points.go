package dedup

import (
	"math"
	"slices"
)

// state is where a point stands between the door and its delivery.
type state uint8

const (
	reserved  state = iota // judged New; its request has not been stored yet
	kept                   // stored, to be delivered
	delivered              // delivered, but an older point of the metric is not
	passed                 // delivered, and the mark has passed it; only its Kept is missing
)

// span is a run of a metric's points at equal distances of which the same is
// known: what comes every minute takes one, however much of it is pending. A
// point is a span of one. A reservation lasts until Kept or Release, whatever
// Done or Recover make of the point's state meanwhile, and keeps the point here.
type span struct {
	first int64  // timestamp of the oldest
	step  uint32 // milliseconds from one to the next; of a span of one, anything
	n     uint32
	by    uint32 // the Judge call whose reservation of it has not ended; 0: none
	state state
	need  uint8 // calls of Done still to come for each; 0 where it is delivered or passed
}

// last is the timestamp of the newest.
func (q *span) last() int64 { return q.first + int64(q.step)*int64(q.n-1) }

// has tells that one of the points is at ts.
func (q *span) has(ts int64) bool {
	d := ts - q.first
	return d == 0 || d > 0 && q.n > 1 && d <= int64(q.step)*int64(q.n-1) && d%int64(q.step) == 0
}

// cut takes off the oldest k points, of more than k.
func (q *span) cut(k uint32) {
	q.first += int64(q.step) * int64(k)
	q.n -= k
}

// follows tells that q, the next of the metric's points, can be one span with p.
func (q *span) follows(p *span) bool {
	if p.state != q.state || p.need != q.need || p.by != q.by {
		return false
	}
	d := q.first - p.last() // negative where it is more than an int64 holds
	return d > 0 && d <= math.MaxUint32 && (p.n == 1 || d == int64(p.step)) && (q.n == 1 || d == int64(q.step))
}

// entry is what the filter knows of a metric: its points by timestamp, of which
// one or two spans lie in place; if there are more, all lie in far, whose room is
// used again. With its name and hash it fills two cache lines.
type entry struct {
	newest int64 // no point is newer, and the mark in the Memory was not when seen was noted
	far    *spans
	// due is a mark that the store may not have yet: being raised, or waiting
	// for it because the store was away.
	due      int64
	dueValue float64
	mark     int32 // the metric's slot in the Memory plus one, if it is there still
	held     int8  // spans in near; inFar: all are in far
	queued   bool  // in the shard's list of due marks
	fresh    bool  // the store was not known to have a mark when the metric came

	near    [2]span
	seen    uint32 // memoryShard.edits when the mark was read
	askedBy uint32 // the Judge call of ask; 0: none
	ask     int32  // index in that call's question
	no      int32  // the slot's number
}

const inFar = -1

// spans is a list that is taken from at its front.
type spans struct {
	all []span
	at  int // where it starts
}

func (e *entry) view() []span {
	if e.held == inFar {
		return e.far.all[e.far.at:]
	}
	return e.near[:e.held]
}

func (e *entry) empty() bool { return e.held == 0 }

// find returns the index of the span that has ts, or else of the one before which
// a span of it would stand, and whether that is so. Almost always it is the end:
// senders are in order.
func (e *entry) find(ts int64) (int, bool) {
	v := e.view()
	if ts > e.newest {
		return len(v), false
	}
	i := len(v) // the spans from i on are newer
	for lo := 0; lo < i; {
		mid := i - 1
		if i != len(v) {
			mid = int(uint(lo+i) >> 1)
		}
		if v[mid].first <= ts {
			lo = mid + 1
		} else {
			i = mid
		}
	}
	if i > 0 && v[i-1].has(ts) {
		return i - 1, true
	}
	return i, false
}

// insert puts a point that is not there where find said, and returns by how many
// spans the room in far grew.
func (e *entry) insert(i int, q span) (grown int) {
	e.newest = max(e.newest, q.first)
	if v := e.view(); i > 0 && v[i-1].n > 1 && q.first < v[i-1].last() {
		p := &v[i-1]
		k := uint32((q.first-p.first)/int64(p.step)) + 1
		rest := *p
		rest.cut(k)
		p.n = k
		grown = e.place(i, rest)
	}
	return grown + e.place(i, q)
}

// place puts a span at an index.
func (e *entry) place(i int, q span) (grown int) {
	if e.held != inFar {
		if int(e.held) < len(e.near) {
			copy(e.near[i+1:], e.near[i:e.held])
			e.near[i] = q
			e.held++
			return 0
		}
		if e.far == nil {
			e.far = &spans{all: make([]span, 0, 4)}
			grown = cap(e.far.all)
		}
		e.far.all, e.far.at = append(e.far.all[:0], e.near[:]...), 0
		e.held = inFar
	}
	f := e.far
	if n := len(f.all) - f.at; f.at > 0 && (i < n/2 || n == 0) { // there is room in front
		f.at--
		copy(f.all[f.at:], f.all[f.at+1:f.at+1+i])
		f.all[f.at+i] = q
		return grown
	}
	if len(f.all) == cap(f.all) && f.at*4 >= len(f.all) {
		f.pack()
	}
	room := cap(f.all)
	f.all = slices.Insert(f.all, f.at+i, q)
	return grown + cap(f.all) - room
}

// become gives the point at ts another state, given the index of the span that has
// it, and returns by how many spans the room in far grew. Where points change one
// after the other, as they do when a request is kept or a destination delivers,
// each goes from one span to the one before.
func (e *entry) become(i int, ts int64, to state, need uint8, by uint32) (grown int) {
	v := e.view()
	q := &v[i]
	if q.n > 1 {
		one := span{first: ts, n: 1, by: by, state: to, need: need}
		if ts == q.first && i > 0 && one.follows(&v[i-1]) {
			v[i-1].extend(&one)
			q.cut(1)
			return 0
		}
		if ts == q.last() && i+1 < len(v) && v[i+1].follows(&one) {
			one.extend(&v[i+1])
			v[i+1] = one
			q.n--
			return 0
		}
		i, grown = e.single(i, ts)
		q = &e.view()[i]
	}
	q.state, q.need, q.by = to, need, by
	e.join(i)
	return grown
}

// drop takes out the point at ts, given the index of the span that has it, and
// returns by how many spans the room in far grew.
func (e *entry) drop(i int, ts int64) (grown int) {
	if q := &e.view()[i]; q.n > 1 {
		if ts == q.first {
			q.cut(1)
			return 0
		}
		i, grown = e.single(i, ts)
	}
	e.remove(i)
	return grown
}

// extend adds the points of q, which follows p.
func (p *span) extend(q *span) {
	p.step = uint32(q.first - p.last())
	p.n += q.n
}

// single makes the point at ts a span of its own, given the index of the one that
// has it, and returns its index and by how many spans the room in far grew.
func (e *entry) single(i int, ts int64) (at, grown int) {
	q := &e.view()[i]
	if q.n == 1 {
		return i, 0
	}
	before := uint32((ts - q.first) / int64(q.step))
	one, rest := *q, *q
	one.first, one.n = ts, 1
	if before == 0 {
		q.cut(1)
		return i, e.place(i, one)
	}
	q.n = before
	if after := rest.n - before - 1; after > 0 {
		rest.cut(before + 1)
		grown = e.place(i+1, rest)
	}
	return i + 1, grown + e.place(i+1, one)
}

// keepNewest makes the newest point, if it is at ts and reserved by that call, and
// beside one other span at most, pending: nearly all of them.
func (e *entry) keepNewest(ts int64, by uint32) bool {
	if e.held <= 0 {
		return false
	}
	q := &e.near[e.held-1]
	if q.first != ts || q.n != 1 || q.by != by || by == 0 || q.state != reserved {
		return false
	}
	q.by, q.state = 0, kept
	if p := &e.near[0]; e.held == 2 && q.follows(p) {
		p.extend(q)
		e.held = 1
	}
	return true
}

// joinMost bounds the spans among which some are joined. A metric with more of them
// comes at no interval, and to join and part its points would cost more than it
// saves.
const joinMost = 64

// join makes one of the span at an index and those beside it, where they are
// alike.
func (e *entry) join(i int) {
	v := e.view()
	if len(v) > joinMost {
		return
	}
	if i+1 < len(v) && v[i+1].follows(&v[i]) {
		e.fold(i)
		v = e.view()
	}
	if i > 0 && v[i].follows(&v[i-1]) {
		e.fold(i - 1)
	}
}

// fold takes the span after the one at an index into that.
func (e *entry) fold(i int) {
	v := e.view()
	v[i].extend(&v[i+1])
	e.remove(i + 1)
}

// remove takes out the span at an index.
func (e *entry) remove(i int) {
	if i == 0 {
		e.trim(1)
		return
	}
	v := e.view()
	if e.held == inFar && i < len(v)/2 {
		copy(v[1:], v[:i])
		e.trim(1)
		return
	}
	copy(v[i:], v[i+1:])
	e.shorten(1)
}

// shorten takes out the last k spans.
func (e *entry) shorten(k int) {
	if e.held == inFar {
		e.far.all = e.far.all[:len(e.far.all)-k]
		e.settleNear()
		return
	}
	e.held -= int8(k)
}

// trim takes out the first k spans. What stays in far moves only once half the
// room is free, so that a point costs the same however many there are.
func (e *entry) trim(k int) {
	if e.held != inFar {
		copy(e.near[:], e.near[k:e.held])
		e.held -= int8(k)
		return
	}
	f := e.far
	f.at += k
	if f.at*2 >= len(f.all) {
		f.pack()
	}
	e.settleNear()
}

// settleNear brings a last span back from far, whose room stays.
func (e *entry) settleNear() {
	if v := e.view(); len(v) <= 1 {
		e.held = int8(copy(e.near[:], v))
	}
}

func (f *spans) pack() {
	n := copy(f.all, f.all[f.at:])
	f.all, f.at = f.all[:n], 0
}

// room is for how many spans far has room.
func (e *entry) room() int {
	if e.far == nil {
		return 0
	}
	return cap(e.far.all)
}

// shrink gives back far's room where less than a quarter is used, and returns
// by how many spans.
func (e *entry) shrink() int {
	v, room := e.view(), e.room()
	switch {
	case e.held != inFar:
		e.far = nil
	case len(v)*4 > room:
	case len(v) <= len(e.near):
		e.held = int8(copy(e.near[:], v))
		e.far = nil
	default:
		e.far = &spans{all: append(make([]span, 0, len(v)), v...)}
	}
	return room - e.room()
}

// pass moves the points whose reservation has not ended to the end of v, as
// passed, and returns how many other spans there are.
func pass(v []span) (rest int) {
	to := len(v)
	for i := len(v) - 1; i >= 0; i-- {
		if v[i].by != 0 {
			to--
			v[to] = v[i]
			v[to].state = passed
		}
	}
	return to
}

// idle tells that the entry holds nothing worth keeping.
func (e *entry) idle() bool { return e.empty() && e.due == None && !e.queued }

// evict drops the oldest half, or at least two, of the spans without a
// reservation, and calls f for each.
func (e *entry) evict(f func(*span)) {
	v := e.view()
	most := max(2, (len(v)+1)/2)
	n, dropped := 0, 0
	for _, q := range v {
		if q.by != 0 || dropped == most {
			v[n] = q
			n++
			continue
		}
		dropped++
		f(&q)
	}
	e.shorten(dropped)
}

// known is the verdict on a point of the span, in the Judge call given.
func (q *span) known(call uint32) Verdict {
	switch {
	case q.state == reserved && q.by == call:
		return twin
	case q.state == reserved:
		return InFlight
	}
	return Duplicate
}

const noLimit = math.MaxInt64
