package pickle

import (
	"errors"
	"math"
)

// More about bad items.
var (
	errNotUTF8   = errors.New("not UTF-8")
	errNotNumber = errors.New("string is not a number")
	errRange     = errors.New("integer does not fit a float64")
	errNone      = errors.New("is None")
)

// refuse executes the opcodes that import, call, build or load from elsewhere.
// None of that happens: each takes its operands from the stack and leaves a
// kOpaque, which spoils only the item that it is part of. The two exceptions are
// how Python 3 writes bytes in protocols 0 to 2.
func (d *Decoder) refuse(op byte) error {
	switch op {
	case opGlobal, opInst:
		return d.loadGlobal(op)
	case opStackGlobal:
		return d.loadStackGlobal()
	case opReduce:
		return d.reduce()
	case opNewobj, opNewobjEx, opBuild:
		return d.construct(op)
	case opObj:
		at, err := d.popMark()
		if err != nil {
			return err
		}
		if len(d.stack) == at {
			return d.fail(ErrStack)
		}
		class := d.stack[at]
		d.stack = d.stack[:at]
		d.pushInstance(op, class)
		return nil
	case opExt1, opExt2, opExt4:
		if _, err := d.take(1 << (op - opExt1)); err != nil {
			return err
		}
	case opPersid:
		if _, err := d.line(); err != nil {
			return err
		}
	case opBinpersid:
		if _, err := d.pop(); err != nil {
			return err
		}
	case opNextBuffer:
	case opReadonlyBuffer:
		if len(d.stack) <= d.fence() {
			return d.fail(ErrStack)
		}
		return nil
	default:
		return d.fail(ErrOpcode)
	}
	d.pushInstance(op, value{})
	return nil
}

// pushInstance pushes what calling class would give: opaque, named after it if
// it has a name.
func (d *Decoder) pushInstance(op byte, class value) {
	v := value{kind: kOpaque, a: uint32(op), off: uint32(d.op)}
	switch class.kind {
	case kOpaque, kEncode, kByteType:
		v.n, v.a, v.off = class.n, class.a, class.off
	}
	d.push(v)
}

// loadGlobal executes GLOBAL and INST.
func (d *Decoder) loadGlobal(op byte) error {
	var name [2]value
	for i := range name {
		at := d.pos
		line, err := d.line()
		if err != nil {
			return err
		}
		name[i] = value{kind: kBytes, n: uint32(len(line)), a: uint32(at), off: uint32(d.op)}
	}
	if op == opInst {
		at, err := d.popMark()
		if err != nil {
			return err
		}
		d.stack = d.stack[:at]
		d.pushNamed(kOpaque, op, name[0], name[1])
		return nil
	}
	d.pushNamed(d.literal(name[0], name[1]), op, name[0], name[1])
	return nil
}

// pushNamed pushes something refused that has a module and a name.
func (d *Decoder) pushNamed(k kind, op byte, module, name value) {
	d.refs = append(d.refs, ref{module, name})
	d.push(value{kind: k, n: uint32(len(d.refs)), a: uint32(op), off: uint32(d.op)})
}

// loadStackGlobal executes STACK_GLOBAL.
func (d *Decoder) loadStackGlobal() error {
	if len(d.stack)-2 < d.fence() {
		return d.fail(ErrStack)
	}
	name, _ := d.pop()
	module, _ := d.pop()
	k := kOpaque
	if module.kind == kText && name.kind == kText {
		k = d.literal(module, name)
	}
	d.pushNamed(k, opStackGlobal, module, name)
	return nil
}

// literal recognises the two names that only spell a bytes literal; all others
// are opaque.
func (d *Decoder) literal(module, name value) kind {
	switch string(d.bytes(module)) {
	case "_codecs":
		if string(d.bytes(name)) == "encode" {
			return kEncode
		}
	case "__builtin__", "builtins":
		if string(d.bytes(name)) == "bytes" {
			return kByteType
		}
	}
	return kOpaque
}

// reduce executes REDUCE, which in Python calls a function.
func (d *Decoder) reduce() error {
	if len(d.stack)-2 < d.fence() {
		return d.fail(ErrStack)
	}
	args, _ := d.pop()
	callee, _ := d.pop()
	n, _ := d.size(args)
	switch {
	case args.kind != kTuple:
	case callee.kind == kByteType && n == 0:
		d.push(value{kind: kBytes, flags: isASCII | isUTF8, off: uint32(d.op)})
		return nil
	case callee.kind == kEncode && n == 2:
		if done, err := d.encode(d.kids[args.a], d.kids[args.a+1]); done || err != nil {
			return err
		}
	}
	d.pushInstance(opReduce, callee)
	return nil
}

// encode pushes the bytes that _codecs.encode(text, "latin1") stands for.
func (d *Decoder) encode(text, codec value) (done bool, err error) {
	if text.kind != kText || codec.kind != kText && codec.kind != kBytes || text.flags&isUTF8 == 0 {
		return false, nil
	}
	if c := d.bytes(codec); string(c) != "latin1" && string(c) != "latin-1" {
		return false, nil
	}
	if text.flags&isASCII != 0 {
		text.kind, text.off = kBytes, uint32(d.op)
		d.push(text)
		return true, nil
	}
	// One text can be encoded many times by the memo, but no sender does that. One
	// that is no Latin-1 leaves nothing in the arena, but counts.
	d.encoded += int(text.n)
	if most := 2 * len(d.body); d.encoded > most || len(d.arena)+int(text.n) > min(most, math.MaxInt32) {
		return false, d.limit("StringBytes", d.lim.StringBytes)
	}
	from, ok := len(d.arena), false
	if d.arena, ok = latin1(d.arena, d.bytes(text)); !ok {
		d.arena = d.arena[:from]
		return false, nil
	}
	d.pushString(kBytes, d.arena[from:], uint32(from)|inArena)
	return true, nil
}

// construct executes NEWOBJ, NEWOBJ_EX and BUILD.
func (d *Decoder) construct(op byte) error {
	operands := 2
	if op == opNewobjEx {
		operands = 3
	}
	at := len(d.stack) - operands
	if at < d.fence() {
		return d.fail(ErrStack)
	}
	class := d.stack[at]
	d.stack = d.stack[:at]
	d.pushInstance(op, class)
	return nil
}
