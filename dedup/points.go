package dedup

import "math"

// state is where a point stands between the door and its delivery.
type state uint8

const (
	reserved  state = iota // judged New; its request has not been stored yet
	kept                   // stored, to be delivered
	delivered              // delivered, but an older point of the metric is not
	passed                 // delivered, and the mark has passed it; only its Kept is missing
)

// point fills 16 bytes. A reservation lasts until Kept or Release, whatever Done
// or Recover make of the point's state meanwhile, and keeps the point here. The
// value of one that an older one holds back is in shard.values.
type point struct {
	ts    int64
	by    uint32 // the Judge call whose reservation of it has not ended; 0: none
	state state
	need  uint8 // calls of Done still to come; 0 where it is delivered or passed
}

// entry is what the filter knows of a metric: its points by timestamp, of which
// one or two lie in place; once there have been more, all lie in far, whose room
// is used again. With its name and hash it fills two cache lines, and what Judge
// needs of a point that is newer than all others is in the first.
type entry struct {
	newest int64 // no point is newer
	far    []point
	at     int32 // far's points start here; while far is nil, points in near
	mark   int32 // the metric's slot in the Memory plus one, if it is there still

	near [2]point
	// due is a mark that the store may not have yet: being raised, or waiting
	// for it because the store was away.
	due      int64
	dueValue float64
	askedBy  uint32 // the Judge call of ask; 0: none
	ask      int32  // index in that call's question
	no       int32  // the slot's number
	queued   bool   // in the shard's list of due marks
	fresh    bool   // the store was not known to have a mark when the metric came
}

func (e *entry) view() []point {
	if e.far != nil {
		return e.far[e.at:]
	}
	return e.near[:e.at]
}

// find returns the index of ts, or where it would stand. Almost always that is
// the end: senders are in order.
func (e *entry) find(ts int64) (int, bool) {
	v := e.view()
	if ts > e.newest {
		return len(v), false
	}
	lo, hi := 0, len(v)
	for lo < hi {
		mid := hi - 1
		if hi != len(v) {
			mid = int(uint(lo+hi) >> 1)
		}
		switch {
		case v[mid].ts == ts:
			return mid, true
		case v[mid].ts < ts:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return lo, false
}

// findOldest is find that looks at the oldest point first: delivery is in order,
// too.
func (e *entry) findOldest(ts int64) (int, bool) {
	if v := e.view(); len(v) > 0 && v[0].ts == ts {
		return 0, true
	}
	return e.find(ts)
}

// insert puts q at index i and returns by how many points the room in far grew.
func (e *entry) insert(i int, q point) (grown int) {
	e.newest = max(e.newest, q.ts)
	if e.far == nil {
		if e.at < int32(len(e.near)) {
			copy(e.near[i+1:], e.near[i:e.at])
			e.near[i] = q
			e.at++
			return 0
		}
		e.far = append(make([]point, 0, 4), e.near[:]...)
		e.at, grown = 0, 4
	}
	if len(e.far) == cap(e.far) && e.at > 0 {
		e.pack()
	}
	room := cap(e.far)
	e.far = append(e.far, point{})
	v := e.view()
	copy(v[i+1:], v[i:])
	v[i] = q
	return grown + cap(e.far) - room
}

// remove takes out the point at index i.
func (e *entry) remove(i int) {
	if i == 0 {
		e.trim(1)
		return
	}
	v := e.view()
	copy(v[i:], v[i+1:])
	e.shorten()
}

func (e *entry) shorten() {
	if e.far == nil {
		e.at--
		return
	}
	e.far = e.far[:len(e.far)-1]
	if int(e.at) == len(e.far) {
		e.far, e.at = e.far[:0], 0
	}
}

// trim takes out the first k points. What stays moves only once half the room
// is free, so that a point costs the same however many there are.
func (e *entry) trim(k int) {
	if e.far == nil {
		copy(e.near[:], e.near[k:e.at])
		e.at -= int32(k)
		return
	}
	e.at += int32(k)
	if int(e.at)*2 >= len(e.far) {
		e.pack()
	}
}

func (e *entry) pack() {
	n := copy(e.far, e.far[e.at:])
	e.far, e.at = e.far[:n], 0
}

// shrink gives back far's room where less than a quarter is used, and returns
// by how many points.
func (e *entry) shrink() int {
	n, room := len(e.view()), cap(e.far)
	if e.far == nil || n*4 > room {
		return 0
	}
	e.pack()
	if n <= len(e.near) {
		e.at = int32(copy(e.near[:], e.far))
		e.far = nil
		return room
	}
	e.far = append(make([]point, 0, n), e.far...)
	return room - cap(e.far)
}

// pass moves the points whose reservation has not ended to the end of v, as
// passed, and returns how many others there are.
func pass(v []point) (rest int) {
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
func (e *entry) idle() bool { return len(e.view()) == 0 && e.due == None && !e.queued }

// evict drops the oldest half, or at least two, of the points without a
// reservation, calls f for each, and returns how many they were.
func (e *entry) evict(f func(*point)) (dropped int) {
	v := e.view()
	most := max(2, (len(v)+1)/2)
	n := 0
	for _, q := range v {
		if q.by != 0 || dropped == most {
			v[n] = q
			n++
			continue
		}
		dropped++
		f(&q)
	}
	for range dropped {
		e.shorten()
	}
	return dropped
}

// known is the verdict on a point that equals this one, in the Judge call given.
func (q *point) known(call uint32) Verdict {
	switch {
	case q.state == reserved && q.by == call:
		return twin
	case q.state == reserved:
		return InFlight
	}
	return Duplicate
}

const noLimit = math.MaxInt64
