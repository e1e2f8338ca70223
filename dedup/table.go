package dedup

import (
	"hash/maphash"
	"unsafe"
)

// table maps names to slots: open addressing with linear probing over cells of
// eight bytes, and chunks of slots that keep their number and their place until
// removed. The caller hashes, and locks.
type table[T any] struct {
	cells  []cell // a power of two of them, or none
	chunks []*[chunkSlots]slot[T]
	used   int32   // slots that have been given out, those in free included
	free   []int32 // in the order in which they became free, from freed on
	freed  int
	n      int
}

// chunkSlots is the number of slots in a chunk.
const (
	chunkBits  = 8
	chunkSlots = 1 << chunkBits
)

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

// at returns slot i.
func (t *table[T]) at(i int32) *slot[T] {
	return &t.chunks[uint32(i)>>chunkBits][uint32(i)%chunkSlots]
}

// is tells that the slot is that of name. Names that share their bytes, as those of
// a Filter and its Memory do, are not read.
func (s *slot[T]) is(hash uint64, name []byte) bool {
	return s.hash == hash && s.name == string(name)
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
		if c.tag == tag && t.at(c.slot-1).is(hash, name) {
			return c.slot - 1
		}
	}
}

// home returns the cell where the search for a hash starts.
func (t *table[T]) home(hash uint64) *cell {
	return &t.cells[uint32(hash)&uint32(len(t.cells)-1)]
}

// guess is find without a look at the slots: what it returns has the tag of hash,
// and is that of the name nearly always.
func (t *table[T]) guess(hash uint64) int32 {
	tag, mask := uint32(hash), uint32(len(t.cells)-1)
	for p := tag & mask; ; p = (p + 1) & mask {
		if c := t.cells[p]; c.tag == tag || c.slot == 0 {
			return c.slot - 1
		}
	}
}

// insert adds a name that is not there, with a zero value, and returns its slot.
func (t *table[T]) insert(hash uint64, name string) int32 {
	if (t.n+1)*2 > len(t.cells) {
		t.grow()
	}
	var i int32
	if t.freed < len(t.free) { // first in, first out: what comes in the same order again gets neighbouring slots
		i = t.free[t.freed]
		t.freed++
	} else {
		if i = t.used; i%chunkSlots == 0 {
			t.chunks = append(t.chunks, new([chunkSlots]slot[T]))
		}
		t.used++
	}
	s := t.at(i)
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
	gap := uint32(t.at(i).hash) & mask
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
	*t.at(i) = slot[T]{}
	if t.freed > 0 && len(t.free) == cap(t.free) && t.freed*2 >= len(t.free) {
		t.free, t.freed = t.free[:copy(t.free, t.free[t.freed:])], 0
	}
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
