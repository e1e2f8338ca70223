package queue

import "sort"

const maxPlaces = 32 << 10 // of 56 bytes

// place is where a record ends in its segment.
type place struct {
	pos Pos
	end int64
	at  int64 // when it was appended, Unix nanoseconds
	cum tally // the segment's records up to this one
}

// places remembers records that the reader was given and has not acknowledged, oldest first, so that acknowledging them
// takes no look at the files. What finds no room in it is read once more.
type places struct {
	all  []place
	head int
}

func (p *places) len() int { return len(p.all) - p.head }

func (p *places) push(x place) {
	if p.len() == maxPlaces {
		return
	}
	if len(p.all) == cap(p.all) && p.head > len(p.all)/2 {
		p.all = p.all[:copy(p.all, p.all[p.head:])]
		p.head = 0
	}
	p.all = append(p.all, x)
}

// upTo returns the index of the newest one up to pos, less than p.head when there is none.
func (p *places) upTo(pos Pos) int {
	live := p.all[p.head:]
	return p.head + sort.Search(len(live), func(i int) bool { return live[i].pos > pos }) - 1
}

// at returns the place of the record at pos.
func (p *places) at(pos Pos) (x place, ok bool) {
	if i := p.upTo(pos); i >= p.head && p.all[i].pos == pos {
		return p.all[i], true
	}
	return x, false
}

// rewind forgets those behind pos.
func (p *places) rewind(pos Pos) {
	if p.len() > 0 && p.all[len(p.all)-1].pos > pos {
		p.all = p.all[:p.upTo(pos)+1]
	}
}

// pop forgets those up to pos.
func (p *places) pop(pos Pos) {
	p.head = p.upTo(pos) + 1
	if p.head == len(p.all) {
		p.all, p.head = p.all[:0], 0
	}
}
