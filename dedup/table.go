package dedup

import (
	"hash/maphash"
	"unsafe"
)

// table maps names to slots: open addressing with linear probing over cells of
// eight bytes, and a slab of slots that keep their number until removed. The
// caller hashes, and locks.
type table[T any] struct {
	cells []cell // a power of two of them, or none
	slots []slot[T]
	free  []int32
	n     int
}

// cell points to a slot: its number plus one, 0 where the cell is empty. The tag
// is the lower half of the hash; shards are cut by the upper bits.
type cell struct {
	tag  uint32
	slot int32
}

type slot[T any] struct {
	name string
	hash uint64 // 0 where the slot is free
	val  T
}

// hashName returns a hash that is never 0.
func hashName(seed maphash.Seed, name []byte) uint64 {
	return max(maphash.Bytes(seed, name), 1)
}

// find returns the slot of name, or -1.
func (t *table[T]) find(hash uint64, name []byte) int32 {
	tag := uint32(hash)
	if len(t.cells) == 0 {
		return -1
	}
	mask := uint32(len(t.cells) - 1)
	for p := tag & mask; ; p = (p + 1) & mask {
		c := t.cells[p]
		if c.slot == 0 {
			return -1
		}
		if c.tag == tag && t.slots[c.slot-1].name == string(name) {
			return c.slot - 1
		}
	}
}

// insert adds a name that is not there, with a zero value, and returns its
// slot. Pointers into the slab are void afterwards.
func (t *table[T]) insert(hash uint64, name string) int32 {
	if (t.n+1)*2 > len(t.cells) {
		t.grow()
	}
	var i int32
	if k := len(t.free); k > 0 {
		i = t.free[k-1]
		t.free = t.free[:k-1]
	} else {
		t.slots = append(t.slots, slot[T]{})
		i = int32(len(t.slots) - 1)
	}
	s := &t.slots[i]
	s.hash, s.name = hash, name
	t.place(cell{uint32(hash), i + 1})
	t.n++
	return i
}

func (t *table[T]) place(c cell) {
	mask := uint32(len(t.cells) - 1)
	p := c.tag & mask
	for t.cells[p].slot != 0 {
		p = (p + 1) & mask
	}
	t.cells[p] = c
}

func (t *table[T]) grow() {
	old := t.cells
	t.cells = make([]cell, max(16, 2*len(old)))
	for _, c := range old {
		if c.slot != 0 {
			t.place(c)
		}
	}
}

// remove frees slot i, and closes the gap that its cell leaves in the probe
// sequence.
func (t *table[T]) remove(i int32) {
	mask := uint32(len(t.cells) - 1)
	gap := uint32(t.slots[i].hash) & mask
	for t.cells[gap].slot != i+1 {
		gap = (gap + 1) & mask
	}
	for p := (gap + 1) & mask; t.cells[p].slot != 0; p = (p + 1) & mask {
		home := t.cells[p].tag & mask
		if (p-home)&mask >= (p-gap)&mask {
			t.cells[gap] = t.cells[p]
			gap = p
		}
	}
	t.cells[gap] = cell{}
	t.slots[i] = slot[T]{}
	t.free = append(t.free, i)
	t.n--
}

// asBytes returns a view of a name, for callers that only read it.
func asBytes(name string) []byte {
	return unsafe.Slice(unsafe.StringData(name), len(name))
}

// asString returns a view of a name that asBytes returned, or that nobody will
// change.
func asString(name []byte) string {
	return unsafe.String(unsafe.SliceData(name), len(name))
}
