package pickle

import (
	"math"
	"unicode/utf8"
)

// shape is what the scan knows of a value.
type shape struct {
	kind  shapeKind
	depth uint16 // of containers
	count uint32 // values in it, itself too, shared ones each time
	bytes uint32 // of strings in it
	at    uint32 // sText, sBytes: where it starts; containers: index in objects
	n     uint32 // sText, sBytes: length; in the memo: elements of a list then
}

type shapeKind uint8

const (
	sNone shapeKind = iota
	sNumber
	sOddNumber // a number that is no key: og-rek makes a pointer of it, or it is a NaN
	sText
	sEscaped // text or Python 2 str with escapes: at and n are of no use
	sBytes
	sArray
	sTuple
	sList
	sDict
	sEncode
	sByteType
)

// object is a list or dict. Once anything refers to it a second time, or holds
// it, it may not change any more: og-rek would lose the change, and a container
// could come to hold itself.
type object struct {
	shape
	frozen bool
}

// scanner runs a pickle without making values of it.
type scanner struct {
	r       Decoder // lent for its methods that read, its marks and its limits
	stack   []shape
	memo    map[uint32]shape
	objects []object
	created int // values
	touched int // bytes of strings, see touch
	wide    int // bytes of integers that do not fit 64 bits
}

// scan returns nil if og-rek may read the body up to r.pos.
func (s *scanner) scan() error {
	d := &s.r
	for {
		d.op = d.pos
		b, err := d.take(1)
		if err != nil {
			return err
		}
		if b[0] == opStop {
			return s.stop()
		}
		if err := s.step(b[0]); err != nil {
			return err
		}
		if s.created > d.lim.Items {
			return d.limit("Items", d.lim.Items)
		}
	}
}

func (s *scanner) stop() error {
	v, err := s.pop()
	if err == nil {
		_, err = s.use(v)
	}
	return err
}

func (s *scanner) step(op byte) error {
	d := &s.r
	switch op {
	case opProto, opFrame:
		return d.step(op)
	case opMark:
		if len(d.marks) >= d.lim.Depth {
			return d.limit("Depth", d.lim.Depth)
		}
		d.marks = append(d.marks, uint32(len(s.stack)))
		return nil
	case opNone:
		return s.push(shape{kind: sNone})
	case opBinint, opBinint1, opBinint2, opBinfloat, opNewtrue, opNewfalse, opInt, opLong, opFloat, opLong1:
		return s.number(op)
	case opString, opUnicode, opShortBinstring, opBinstring, opShortBinunicode, opBinunicode,
		opShortBinbytes, opBinbytes, opBytearray8:
		return s.text(op)
	case opTuple, opTuple1, opTuple2, opTuple3, opEmptyTuple:
		return s.tuple(op)
	case opEmptyList, opEmptyDict, opList, opDict:
		return s.container(op)
	case opAppend, opAppends, opSetitem, opSetitems:
		return s.extend(op)
	case opPut, opBinput, opLongBinput, opMemoize:
		return s.put(op)
	case opGet, opBinget, opLongBinget:
		return s.get(op)
	case opDup, opPop:
		return s.juggle(op)
	case opGlobal, opStackGlobal, opReduce:
		return s.call(op)
	case opLong4, opBinunicode8, opBinbytes8, opEmptySet, opAdditems, opFrozenset, opPopMark, opNextBuffer, opReadonlyBuffer:
		return d.fail(ErrUnsupported)
	case opInst:
		d.stack = d.stack[:0]
		if err := d.loadGlobal(opGlobal); err != nil {
			return err
		}
		v := d.stack[0]
		v.a = opInst
		return d.fail(d.unsafe(v))
	case opPersid, opBinpersid, opObj, opNewobj, opNewobjEx, opBuild, opExt1, opExt2, opExt4:
		return d.fail(&UnsafeError{Op: opName(op)})
	}
	return d.fail(ErrOpcode)
}

func (s *scanner) push(v shape) error {
	d := &s.r
	if v.count == 0 {
		v.count = 1
	}
	s.created++
	switch {
	case int(v.count) > d.lim.Items:
		return d.limit("Items", d.lim.Items)
	case int(v.bytes) > d.lim.TotalBytes:
		return d.limit("TotalBytes", d.lim.TotalBytes)
	case int(v.depth) > d.lim.Depth:
		return d.limit("Depth", d.lim.Depth)
	}
	s.stack = append(s.stack, v)
	return nil
}

// pop takes a value that lies above the topmost mark.
func (s *scanner) pop() (shape, error) {
	if len(s.stack) <= s.r.fence() {
		return shape{}, s.r.fail(ErrStack)
	}
	v := s.stack[len(s.stack)-1]
	s.stack = s.stack[:len(s.stack)-1]
	return v, nil
}

// use returns v as it counts inside another value, and freezes it.
func (s *scanner) use(v shape) (shape, error) {
	switch v.kind {
	case sList, sDict:
		o := &s.objects[v.at]
		o.frozen = true
		return o.shape, nil
	case sEncode, sByteType:
		e := &UnsafeError{Op: opName(opGlobal)}
		e.Module, e.Name = imported(v)
		return v, s.r.fail(e)
	}
	return v, nil
}

// add counts parts as elements of v.
func (s *scanner) add(v *shape, parts []shape) error {
	d := &s.r
	for _, part := range parts {
		part, err := s.use(part)
		if err != nil {
			return err
		}
		v.depth = max(v.depth, part.depth+1)
		count, bytes := uint64(v.count)+uint64(part.count), uint64(v.bytes)+uint64(part.bytes)
		switch {
		case count > uint64(d.lim.Items):
			return d.limit("Items", d.lim.Items)
		case bytes > uint64(d.lim.TotalBytes):
			return d.limit("TotalBytes", d.lim.TotalBytes)
		case int(v.depth) > d.lim.Depth:
			return d.limit("Depth", d.lim.Depth)
		}
		v.count, v.bytes = uint32(count), uint32(bytes)
	}
	return nil
}

// number checks the opcodes that push a number.
func (s *scanner) number(op byte) error {
	d := &s.r
	v := shape{kind: sNumber}
	switch op {
	case opLong1:
		n, err := d.length(op)
		if err != nil {
			return err
		}
		if _, err := d.take(n); err != nil {
			return err
		}
		if n >= 128 { // og-rek takes the length for a rune
			return d.fail(ErrUnsupported)
		}
		v.kind = sOddNumber
		return s.long(v, int(n))
	case opInt, opLong, opFloat:
		line, err := d.line()
		if err != nil {
			return err
		}
		if len(line) > d.lim.IntegerBytes {
			return d.limit("IntegerBytes", d.lim.IntegerBytes)
		}
		if op == opFloat {
			word, under, ok := floatSyntax(line)
			if !ok || under {
				return d.fail(ErrSyntax)
			}
			if math.IsNaN(word) {
				v.kind = sOddNumber
			}
			return s.push(v)
		}
		if n := len(line); op == opLong {
			if v.kind = sOddNumber; n == 0 || line[n-1] != 'L' {
				return d.fail(ErrUnsupported)
			}
			line = line[:n-1]
		}
		if !plainInt(line) && !(op == opInt && (string(line) == "01" || string(line) == "00")) {
			return d.fail(ErrSyntax)
		}
		if len(line) > 18 {
			v.kind = sOddNumber
		}
		return s.long(v, len(line))
	}
	d.stack = d.stack[:0]
	if err := d.loadNumber(op); err != nil {
		return err
	}
	if math.IsNaN(d.stack[0].float()) { // each would be a key of its own
		v.kind = sOddNumber
	}
	return s.push(v)
}

// wideTotal is how many bytes of wide integers there may be, in multiples of
// Limits.IntegerBytes: og-rek's time grows with the square of each.
const wideTotal = 16

func (s *scanner) long(v shape, n int) error {
	d := &s.r
	if n > 20 {
		if s.wide += n; s.wide > wideTotal*d.lim.IntegerBytes {
			return d.limit("IntegerBytes", d.lim.IntegerBytes)
		}
	}
	return s.push(v)
}

// plainInt reports whether text is a decimal integer that Python and og-rek
// read alike.
func plainInt(text []byte) bool {
	if len(text) > 1 && text[0] == '-' {
		text = text[1:]
	}
	if len(text) == 0 || text[0] == '0' && len(text) > 1 {
		return false
	}
	for _, c := range text {
		if c-'0' > 9 {
			return false
		}
	}
	return true
}

// text checks the opcodes that push a string.
func (s *scanner) text(op byte) error {
	d := &s.r
	d.stack, d.arena = d.stack[:0], d.arena[:0]
	if err := d.loadString(op); err != nil {
		return err
	}
	v := d.stack[0]
	if v.kind == kBadText {
		if fault(v.a) == faultLong {
			return d.limit("StringBytes", d.lim.StringBytes)
		}
		return d.fail(ErrSyntax)
	}
	sh := shape{kind: sText, bytes: v.n, at: v.a, n: v.n}
	switch {
	case op == opBytearray8:
		sh.kind = sArray
	case op == opBinbytes || op == opShortBinbytes:
		sh.kind = sBytes
	case v.a&inArena != 0:
		sh.kind = sEscaped
	}
	if v.kind == kText && !utf8.Valid(d.bytes(v)) {
		return d.fail(ErrSyntax)
	}
	return s.push(sh)
}
