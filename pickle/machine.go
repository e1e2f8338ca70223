package pickle

import (
	"bytes"
	"encoding/binary"
	"math"
)

// run executes the pickle up to STOP and returns its result. Nothing it does
// depends on more than the kind of a value: there are no objects to call.
func (d *Decoder) run() (value, error) {
	for {
		if d.retry {
			d.retry = false
			d.fast()
		}
		if d.pos >= len(d.body) {
			d.op = d.pos
			return value{}, d.fail(ErrTruncated)
		}
		d.op = d.pos
		op := d.body[d.pos]
		d.pos++
		if op == opStop {
			return d.pop()
		}
		if err := d.step(op); err != nil {
			return value{}, err
		}
	}
}

// step executes one opcode.
func (d *Decoder) step(op byte) error {
	switch op {
	case opMark:
		return d.mark()
	case opBinint, opBinint1, opBinint2, opBinfloat, opLong1, opLong4, opInt, opLong, opFloat, opNewtrue, opNewfalse:
		return d.loadNumber(op)
	case opShortBinstring, opShortBinunicode, opShortBinbytes, opBinstring, opBinunicode, opBinbytes,
		opBinunicode8, opBinbytes8, opBytearray8, opString, opUnicode:
		return d.loadString(op)
	case opTuple, opEmptyTuple, opTuple1, opTuple2, opTuple3:
		return d.loadTuple(op)
	case opEmptyList, opList, opEmptySet, opFrozenset, opEmptyDict, opDict:
		return d.loadContainer(op)
	case opAppend, opAppends, opAdditems, opSetitem, opSetitems:
		return d.extend(op)
	case opPut, opBinput, opLongBinput, opMemoize:
		return d.put(op)
	case opGet, opBinget, opLongBinget:
		return d.get(op)
	case opNone:
		d.push(value{kind: kNone, off: uint32(d.op)})
		return nil
	case opPop, opPopMark, opDup:
		return d.juggle(op)
	case opProto:
		p, err := d.take(1)
		if err == nil && p[0] > highestProtocol {
			err = d.fail(ErrProtocol)
		}
		return err
	case opFrame: // the length is a hint for readers of streams
		_, err := d.take(8)
		return err
	}
	return d.refuse(op)
}

// take returns the next n bytes.
func (d *Decoder) take(n uint64) ([]byte, error) {
	if n > uint64(len(d.body)-d.pos) {
		return nil, d.fail(ErrTruncated)
	}
	b := d.body[d.pos : d.pos+int(n)]
	d.pos += int(n)
	return b, nil
}

// line returns the text up to the next newline.
func (d *Decoder) line() ([]byte, error) {
	n := bytes.IndexByte(d.body[d.pos:], '\n')
	if n < 0 {
		return nil, d.fail(ErrTruncated)
	}
	b := d.body[d.pos : d.pos+n]
	d.pos += n + 1
	return b, nil
}

func (d *Decoder) push(v value) { d.stack = append(d.stack, v) }

// fence is the height below which opcodes may not reach: the topmost mark.
func (d *Decoder) fence() int {
	if len(d.marks) == 0 {
		return 0
	}
	return int(d.marks[len(d.marks)-1])
}

func (d *Decoder) pop() (value, error) {
	if len(d.stack) <= d.fence() {
		return value{}, d.fail(ErrStack)
	}
	v := d.stack[len(d.stack)-1]
	d.stack = d.stack[:len(d.stack)-1]
	return v, nil
}

func (d *Decoder) mark() error {
	if len(d.marks) >= d.lim.Depth {
		return d.limit("Depth", d.lim.Depth)
	}
	d.marks = append(d.marks, uint32(len(d.stack)))
	d.retry = len(d.marks) == 1
	return nil
}

// popMark removes the topmost mark and returns the height of the stack there.
func (d *Decoder) popMark() (int, error) {
	if len(d.marks) == 0 {
		return 0, d.fail(ErrStack)
	}
	at := d.fence()
	d.marks = d.marks[:len(d.marks)-1]
	return at, nil
}

// juggle executes POP, POP_MARK and DUP.
func (d *Decoder) juggle(op byte) error {
	switch {
	case op == opPopMark:
		at, err := d.popMark()
		if err == nil {
			d.stack = d.stack[:at]
		}
		return err
	case op == opPop && len(d.marks) > 0 && len(d.stack) == d.fence():
		d.marks = d.marks[:len(d.marks)-1]
		return nil
	}
	v, err := d.pop()
	if err == nil && op == opDup {
		d.push(v)
		v.off = uint32(d.op)
		d.push(v)
	}
	return err
}

func (d *Decoder) pushNumber(f float64, bad fault) {
	if bad != faultNone {
		d.push(value{kind: kBadNum, a: uint32(bad), off: uint32(d.op)})
		return
	}
	d.push(number(f, d.op))
}

// loadNumber executes the opcodes that push a number.
func (d *Decoder) loadNumber(op byte) error {
	switch op {
	case opBinint:
		b, err := d.take(4)
		if err == nil {
			d.pushNumber(float64(int32(binary.LittleEndian.Uint32(b))), faultNone)
		}
		return err
	case opBinint1:
		b, err := d.take(1)
		if err == nil {
			d.pushNumber(float64(b[0]), faultNone)
		}
		return err
	case opBinint2:
		b, err := d.take(2)
		if err == nil {
			d.pushNumber(float64(binary.LittleEndian.Uint16(b)), faultNone)
		}
		return err
	case opBinfloat:
		b, err := d.take(8)
		if err == nil {
			d.pushNumber(math.Float64frombits(binary.BigEndian.Uint64(b)), faultNone)
		}
		return err
	case opNewtrue:
		d.pushNumber(1, faultNone)
		return nil
	case opNewfalse:
		d.pushNumber(0, faultNone)
		return nil
	case opLong1, opLong4:
		return d.loadLong(op)
	}
	text, err := d.line()
	if err == nil {
		f, bad := d.textNumber(op, text)
		d.pushNumber(f, bad)
	}
	return err
}

// loadLong executes LONG1 and LONG4.
func (d *Decoder) loadLong(op byte) error {
	n, err := d.length(op)
	if err != nil {
		return err
	}
	b, err := d.take(n)
	if err != nil {
		return err
	}
	if len(b) > d.lim.IntegerBytes {
		d.pushNumber(0, faultLong)
		return nil
	}
	f, bad := parseLong(b)
	d.pushNumber(f, bad)
	return nil
}

// textNumber reads the line of INT, LONG or FLOAT.
func (d *Decoder) textNumber(op byte, text []byte) (float64, fault) {
	if len(text) > d.lim.IntegerBytes {
		return 0, faultLong
	}
	if op == opFloat {
		return parseFloatText(text)
	}
	if n := len(text); op == opLong && n > 0 && text[n-1] == 'L' {
		text = text[:n-1]
	}
	return parseInt(text)
}

// length reads the length that follows a counted opcode.
func (d *Decoder) length(op byte) (uint64, error) {
	switch op {
	case opShortBinstring, opShortBinunicode, opShortBinbytes, opLong1:
		b, err := d.take(1)
		if err != nil {
			return 0, err
		}
		return uint64(b[0]), nil
	case opBinunicode8, opBinbytes8, opBytearray8:
		b, err := d.take(8)
		if err != nil {
			return 0, err
		}
		return binary.LittleEndian.Uint64(b), nil
	}
	b, err := d.take(4)
	if err != nil {
		return 0, err
	}
	n := binary.LittleEndian.Uint32(b)
	if (op == opBinstring || op == opLong4) && n > math.MaxInt32 { // signed: negative
		return 0, d.fail(ErrSyntax)
	}
	return uint64(n), nil
}

// loadString executes the opcodes that push a string.
func (d *Decoder) loadString(op byte) error {
	k := kBytes
	switch op {
	case opShortBinunicode, opBinunicode, opBinunicode8, opUnicode:
		k = kText
	}
	if op == opString || op == opUnicode {
		return d.loadEscaped(op, k)
	}
	n, err := d.length(op)
	if err != nil {
		return err
	}
	at := d.pos
	b, err := d.take(n)
	if err == nil {
		d.pushString(k, b, uint32(at))
	}
	return err
}

// pushString pushes a string that lies at position at.
func (d *Decoder) pushString(k kind, b []byte, at uint32) {
	v := value{kind: k, n: uint32(len(b)), a: at, off: uint32(d.op)}
	if len(b) > d.lim.StringBytes {
		v.kind, v.n, v.a = kBadText, 0, uint32(faultLong)
	} else {
		v.flags = textFlags(b)
	}
	d.push(v)
}

// loadEscaped executes STRING and UNICODE. What has no escape stays a view.
func (d *Decoder) loadEscaped(op byte, k kind) error {
	at := d.pos
	line, err := d.line()
	if err != nil {
		return err
	}
	plain := bytes.IndexByte(line, '\\') < 0
	if n := len(line); op == opString && plain && n >= 2 && line[0] == line[n-1] && (line[0] == '\'' || line[0] == '"') {
		d.pushString(k, line[1:n-1], uint32(at+1))
		return nil
	}
	if op == opUnicode && plain && asciiOnly(line) {
		d.pushString(k, line, uint32(at))
		return nil
	}
	from, ok := len(d.arena), false
	if op == opString {
		d.arena, ok = unquote(d.arena, line)
	} else {
		d.arena, ok = unescapeUnicode(d.arena, line)
	}
	if !ok {
		d.arena = d.arena[:from]
		d.push(value{kind: kBadText, a: uint32(faultSyntax), off: uint32(d.op)})
		return nil
	}
	d.pushString(k, d.arena[from:], uint32(from)|inArena)
	return nil
}
