package queue

import "time"

const keptBuffer = 8 << 20 // a larger one is given back once it is empty

// buffer holds records that are to be committed, one behind the other as in a segment, headers not filled in.
type buffer struct {
	data []byte
	recs []buffered
	head int // recs[head:] are still to be committed
	gone int // records that were taken back, of them
}

type buffered struct {
	pos    Pos
	off    int // of the header in data
	length int
	points int
	at     time.Time
	gone   bool // taken back
}

func (r *buffered) end() int { return r.off + headerSize + r.length }

func (b *buffer) put(pos Pos, rec []byte, points int) {
	r := buffered{pos: pos, off: len(b.data), length: len(rec), points: points, at: time.Now()}
	var none [headerSize]byte
	b.data = append(append(b.data, none[:]...), rec...)
	b.recs = append(b.recs, r)
}

// size is what the records take, those that were taken back included until compact.
func (b *buffer) size() int64 {
	if b.head == len(b.recs) {
		return 0
	}
	return int64(len(b.data) - b.recs[b.head].off)
}

// newest is the position of the newest record, zero when there is none.
func (b *buffer) newest() Pos {
	if b.head == len(b.recs) {
		return 0
	}
	return b.recs[len(b.recs)-1].pos
}

// withdraw takes the record at pos back, if it is here.
func (b *buffer) withdraw(pos Pos) {
	for i := b.head; i < len(b.recs); i++ {
		if b.recs[i].pos == pos && !b.recs[i].gone {
			b.recs[i].gone = true
			b.gone++
		}
	}
}

// count adds the records to t. It returns how many they are and when the oldest was appended.
func (b *buffer) count(t *tally) (records int, oldest time.Time) {
	for _, r := range b.recs[b.head:] {
		if r.gone {
			continue
		}
		if records == 0 {
			oldest = r.at
		}
		records++
		t.add(1, int64(r.points), int64(r.length)+headerSize)
	}
	return records, oldest
}

// compact removes the records that were taken back.
func (b *buffer) compact() {
	if b.gone == 0 {
		return
	}
	kept, data := b.recs[:0], b.data[:0]
	for _, r := range b.recs[b.head:] {
		if r.gone {
			continue
		}
		off := len(data)
		data = append(data, b.data[r.off:r.end()]...)
		r.off = off
		kept = append(kept, r)
	}
	b.recs, b.data, b.head, b.gone = kept, data, 0, 0
}

// drop removes the first n records.
func (b *buffer) drop(n int) {
	b.head += n
	if b.head < len(b.recs) {
		return
	}
	if cap(b.data) > keptBuffer {
		b.data = nil
	}
	b.data, b.recs, b.head, b.gone = b.data[:0], b.recs[:0], 0, 0
}

// run returns how many records, at least one, take no more than room bytes, and their bytes, headers filled in.
func (b *buffer) run(room int64, n nonce) (records int, data []byte) {
	recs := b.recs[b.head:]
	start := recs[0].off
	end := start
	for _, r := range recs {
		if records > 0 && int64(r.end()-start) > room {
			break
		}
		h := header{pos: r.pos, at: r.at, points: uint32(r.points), length: uint32(r.length)}
		h.seal(b.data[r.off:r.end()], n)
		end = r.end()
		records++
	}
	return records, b.data[start:end]
}
