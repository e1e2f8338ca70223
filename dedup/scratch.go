package dedup

import "slices"

// scratch is a call's working room, used again by later calls. Slices by point
// have one element a point of the call.
type scratch struct {
	hash  []uint64  // by point
	slot  []*metric // by point: that of its metric, as warm, claim and judgeOne say
	order []int32   // point indexes by shard, within a shard as given
	runs  []run

	// Judge.
	call     uint32
	ask      []int32 // by point: its metric's index in marks
	undo     []bool  // by point: the claim is to be taken back
	undone   bool    // any of undo
	marks    []Mark  // the question to the store; Done's marks to raise
	markHash []uint64
	markDue  []int64 // the due mark of that metric, None if it has none

	// Done.
	markSlot []*metric

	touched uint64 // nobody reads it
}

// run is a stretch of scratch.order whose points share a shard. last tells that the
// next one is of another shard.
type run struct {
	shard, from, to int32
	last            bool
}

// maxRun bounds the points of a run, for the sake of those who wait for its lock.
const maxRun = 512

// maxScratch bounds the points of a scratch that is kept for later.
const maxScratch = 1 << 16

// scratch returns working room with the points hashed and sorted by shard.
func (f *Filter) scratch(pts []Mark) *scratch {
	s := f.unused.Get().(*scratch)
	n := len(pts)
	s.hash = slices.Grow(s.hash[:0], n)[:n]
	s.order = slices.Grow(s.order[:0], n)[:n]
	s.slot = slices.Grow(s.slot[:0], n)[:n]
	s.ask = slices.Grow(s.ask[:0], n)[:n]
	s.undo = slices.Grow(s.undo[:0], n)[:n]
	s.undone = false
	s.runs = s.runs[:0]

	var at [maxShards]int32
	for i := range pts {
		h := hashName(f.seed, pts[i].Metric)
		s.hash[i] = h
		at[h>>f.shift]++
	}
	from := int32(0)
	for k := range f.shards {
		to := from + at[k]
		at[k] = from
		for from < to {
			end := min(from+maxRun, to)
			s.runs = append(s.runs, run{int32(k), from, end, end == to})
			from = end
		}
	}
	for i, h := range s.hash {
		k := h >> f.shift
		s.order[at[k]] = int32(i)
		at[k]++
	}
	return s
}

func (f *Filter) putScratch(s *scratch) {
	clear(s.marks) // they hold names
	clear(s.markSlot)
	clear(s.slot)
	s.marks, s.markHash, s.markDue, s.markSlot = s.marks[:0], s.markHash[:0], s.markDue[:0], s.markSlot[:0]
	if cap(s.hash) <= maxScratch && cap(s.marks) <= maxScratch {
		f.unused.Put(s)
	}
}
