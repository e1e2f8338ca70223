package flux

import "math/bits"

// place returns which place is the metric's, taking one where it has none and a point of it was received; else that is -1.
// It looks at guess first.
func (t *tracer) place(h traceHash, guess int, received bool) int {
	i := guess
	if uint(i) >= uint(len(t.places)) || !t.places[i].is(h) {
		if i = t.find(h); i < 0 {
			if received {
				i = t.take(h)
			}
			return i
		}
	}
	if received {
		t.heard.add(i)
	}
	return i
}

// is reports whether the place is that of a metric, or to nobody's harm of another, where 48 bits of the hash agree.
func (p *tracePlace) is(h traceHash) bool { return p.tag == h.tag && p.rest == h.rest }

// find returns which place is the metric's, or -1.
func (t *tracer) find(h traceHash) int {
	mask := uint32(len(t.cells) - 1)
	for at := h.tag & mask; ; at = (at + 1) & mask {
		switch c := t.cells[at]; {
		case c.place == 0:
			return -1
		case c.tag == h.tag && t.places[c.place-1].is(h):
			return int(c.place - 1)
		}
	}
}

// take gives a newcomer a place.
func (t *tracer) take(h traceHash) int {
	i := len(t.places)
	if i < t.most {
		t.places = append(t.places, tracePlace{})
		if 2*len(t.places) > len(t.cells) {
			t.grow()
		}
	} else {
		i = t.turn()
		t.forget(i)
	}
	t.places[i] = tracePlace{tag: h.tag, rest: h.rest}
	t.waits.remove(i)
	t.point(traceCell{h.tag, uint32(i + 1)})
	return i
}

func (t *tracer) grow() {
	old := t.cells
	t.cells = make([]traceCell, 2*len(old))
	for _, c := range old {
		if c.place != 0 {
			t.point(c)
		}
	}
}

func (t *tracer) point(c traceCell) {
	mask := uint32(len(t.cells) - 1)
	at := c.tag & mask
	for t.cells[at].place != 0 {
		at = (at + 1) & mask
	}
	t.cells[at] = c
}

// forget empties the cell of a place, and closes the gap that this leaves among those after it.
func (t *tracer) forget(i int) {
	mask := uint32(len(t.cells) - 1)
	gap := t.places[i].tag & mask
	for t.cells[gap].place != uint32(i+1) {
		gap = (gap + 1) & mask
	}
	for at := (gap + 1) & mask; t.cells[at].place != 0; at = (at + 1) & mask {
		if home := t.cells[at].tag & mask; (at-home)&mask >= (at-gap)&mask {
			t.cells[gap] = t.cells[at]
			gap = at
		}
	}
	t.cells[gap] = traceCell{}
}

// turnMost is how many times 64 places the hand passes for a newcomer.
const turnMost = 4

// turn returns the place that a newcomer gets when all are taken: the next one that was not heard of and has nothing
// pending. Where there is none not far from the hand, it is one that has nothing pending, or else the one at the hand.
func (t *tracer) turn() int {
	heard, first := -1, t.hand
	for range turnMost {
		word, from := t.hand>>6, t.hand&63
		rest := ^uint64(0) << from
		if end := len(t.places) - word*64; end < 64 {
			rest &= 1<<end - 1
		}
		free := rest &^ t.waits[word]
		if i := free &^ t.heard[word]; i != 0 {
			at := bits.TrailingZeros64(i)
			t.heard[word] &^= rest & (1<<at - 1)
			t.advance(word*64 + at + 1)
			return word*64 + at
		}
		if heard < 0 && free != 0 {
			heard = word*64 + bits.TrailingZeros64(free)
		}
		t.heard[word] &^= rest
		t.advance((word + 1) * 64)
	}
	if heard < 0 {
		heard = first
		t.advance(first + 1)
	}
	return heard
}

func (t *tracer) advance(to int) {
	if t.hand = to; to >= len(t.places) {
		t.hand = 0
	}
}

// warm reads where the search for each starts, and that for those that are likely to make room for them, so that the cache
// misses overlap.
func (t *tracer) warm(run []traceHash, received bool) {
	for _, h := range run {
		t.touched += t.home(h.tag).tag
	}
	if !received || len(t.places) < t.most {
		return
	}
	next := t.places[t.hand:]
	for i := range next[:min(len(run), len(next))] {
		t.touched += t.home(next[i].tag).tag
	}
}

// home is the cell where the search for a metric starts.
func (t *tracer) home(tag uint32) *traceCell { return &t.cells[tag&uint32(len(t.cells)-1)] }
