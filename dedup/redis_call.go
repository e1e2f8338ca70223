package dedup

import (
	"math"
	"slices"
	"sync/atomic"
)

// call is one caller's request, with copies of all that it passed, so that the
// caller may leave before the answer comes.
type call struct {
	keys  []byte // keyPrefix + metric, one after the other
	ends  []int  // where each key ends
	marks []callMark
	edit  func(*redisConn) error // instead of raising
	done  chan error
	gone  atomic.Bool // the caller left
}

type callMark struct {
	ts    int64
	value float64
}

// maxCall bounds the keys' bytes of a call that is kept for later.
const maxCall = 1 << 20

// newCall returns a call for m, a used one if there is any: one that was
// answered, so that nobody else knows it.
func (r *Redis) newCall(m []Mark) *call {
	c, _ := r.unused.Get().(*call)
	if c == nil || cap(c.keys) > maxCall {
		c = &call{done: make(chan error, 1)}
	}
	size := 0
	for i := range m {
		size += len(keyPrefix) + len(m[i].Metric)
	}
	c.keys = slices.Grow(c.keys[:0], size)
	c.ends = slices.Grow(c.ends[:0], len(m))[:len(m)]
	c.marks = slices.Grow(c.marks[:0], len(m))[:len(m)]
	for i := range m {
		c.keys = append(append(c.keys, keyPrefix...), m[i].Metric...)
		c.ends[i] = len(c.keys)
		c.marks[i] = callMark{m[i].Timestamp, m[i].Value}
	}
	return c
}

// key returns the string key of mark i.
func (c *call) key(i int) []byte {
	start := 0
	if i > 0 {
		start = c.ends[i-1]
	}
	return c.keys[start:c.ends[i]:c.ends[i]]
}

// later keeps the later of the mark held for i and the one given.
func (c *call) later(i int, ts int64, value float64) {
	if ts > c.marks[i].ts {
		c.marks[i] = callMark{ts, value}
	}
}

// clear makes every mark absent.
func (c *call) clear() {
	for i := range c.marks {
		c.marks[i] = callMark{None, math.NaN()}
	}
}
