package pickle

import "encoding/binary"

// put executes the opcodes that store the top of the stack in the memo.
func (d *Decoder) put(op byte) error {
	index := uint32(d.memoed)
	if op != opMemoize {
		var err error
		if index, err = d.memoIndex(op); err != nil {
			return err
		}
	}
	if len(d.stack) <= d.fence() {
		return d.fail(ErrStack)
	}
	d.retry = true
	return d.store(index, d.stack[len(d.stack)-1])
}

// A memo entry takes four bytes: its lowest bits say where the value is, the
// others are an index there. So the fast path stores what it has read without
// making a value of it.
const (
	memoUnset = iota
	memoValue // in vals
	memoName  // of a point
	memoPair  // of a point: (timestamp, value)
	memoItem  // of a point: all of it
	memoBits  = 3
)

// store sets memo[index]. Picklers count from 0 or 1, so that an index is never
// larger than the body is long; any other is kept aside, where it costs no more
// than its own entry.
func (d *Decoder) store(index uint32, v value) error {
	if uint64(index) > uint64(len(d.body)) {
		if d.far == nil {
			d.far = make(map[uint32]value)
		}
		if _, ok := d.far[index]; !ok {
			d.memoed++
		}
		d.far[index] = v
	} else {
		for int(index) >= len(d.memo) {
			d.memo = append(d.memo, memoUnset)
		}
		e := &d.memo[index]
		switch *e & (1<<memoBits - 1) {
		case memoValue:
			d.vals[*e>>memoBits] = v
		case memoUnset:
			d.memoed++
			fallthrough
		default:
			*e = uint32(len(d.vals))<<memoBits | memoValue
			d.vals = append(d.vals, v)
		}
	}
	if d.memoed > d.lim.Memo {
		return d.limit("Memo", d.lim.Memo)
	}
	return nil
}

// load returns memo[index], or a kUnset.
func (d *Decoder) load(index uint32) value {
	if uint64(index) >= uint64(len(d.memo)) {
		return d.far[index]
	}
	at := d.memo[index] >> memoBits
	switch d.memo[index] & (1<<memoBits - 1) {
	case memoValue:
		return d.vals[at]
	case memoName:
		v := d.literalName(&d.points[at])
		d.memo[index] = uint32(len(d.vals))<<memoBits | memoValue // judge it once
		d.vals = append(d.vals, v)
		return v
	case memoPair:
		return value{kind: kPair, depth: 1, a: at}
	case memoItem:
		return value{kind: kItem, depth: 2, a: at}
	}
	return value{}
}

// literalName returns the name of a point as the machine would have pushed it. It
// is a literal: the item starts with the opcode of the name.
func (d *Decoder) literalName(p *point) value {
	v := value{kind: kText, flags: textFlags(d.view(p.name, p.nameLen)), n: p.nameLen, a: p.name}
	switch d.body[p.off] {
	case opString, opShortBinstring:
		v.kind = kBytes
	}
	return v
}

// get executes the opcodes that push a memo entry.
func (d *Decoder) get(op byte) error {
	index, err := d.memoIndex(op)
	if err != nil {
		return err
	}
	v := d.load(index)
	if v.kind == kUnset {
		return d.fail(ErrMemo)
	}
	v.off = uint32(d.op)
	d.push(v)
	d.retry = true
	return nil
}

// memoIndex reads the index that follows a memo opcode.
func (d *Decoder) memoIndex(op byte) (uint32, error) {
	switch op {
	case opBinput, opBinget:
		b, err := d.take(1)
		if err != nil {
			return 0, err
		}
		return uint32(b[0]), nil
	case opLongBinput, opLongBinget:
		b, err := d.take(4)
		if err != nil {
			return 0, err
		}
		return binary.LittleEndian.Uint32(b), nil
	}
	line, err := d.line()
	if err != nil {
		return 0, err
	}
	n, ok := parseIndex(line)
	if !ok {
		return 0, d.fail(ErrMemo)
	}
	return n, nil
}

// parseIndex reads the decimal index of PUT and GET.
func parseIndex(line []byte) (uint32, bool) {
	if len(line) == 0 || len(line) > 10 {
		return 0, false
	}
	var n uint64
	for _, c := range line {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return uint32(n), n <= 1<<32-1
}
