package pickle

import "unicode/utf8"

// tuple checks the opcodes that make a tuple.
func (s *scanner) tuple(op byte) error {
	at := len(s.stack)
	switch op {
	case opEmptyTuple:
	case opTuple:
		var err error
		if at, err = s.r.popMark(); err != nil {
			return err
		}
	default:
		if at -= int(op-opTuple1) + 1; at < s.r.fence() {
			return s.r.fail(ErrStack)
		}
	}
	v := shape{kind: sTuple, depth: 1, count: 1}
	if err := s.add(&v, s.stack[at:]); err != nil {
		return err
	}
	// What it takes to recognise _codecs.encode(text, "latin1").
	if len(s.stack)-at == 2 && s.stack[at+1].kind == sText && s.stack[at+1].n == 6 {
		if err := s.touch(s.stack[at]); err != nil {
			return err
		}
		if s.encodable(s.stack[at], s.stack[at+1]) {
			v.n = 2
		}
	}
	if len(s.stack) == at {
		v.n = 1
	}
	s.stack = s.stack[:at]
	return s.push(v)
}

// touch counts the bytes of a string that is about to be looked at or copied
// once more, which the memo makes cheap to ask for.
func (s *scanner) touch(v shape) error {
	if s.touched += int(v.bytes); s.touched > s.r.lim.TotalBytes {
		return s.r.limit("TotalBytes", s.r.lim.TotalBytes)
	}
	return nil
}

// encodable reports whether (text, codec) are arguments of _codecs.encode that
// spell bytes.
func (s *scanner) encodable(text, codec shape) bool {
	if codec.kind != sText || string(s.r.view(codec.at, codec.n)) != "latin1" {
		return false
	}
	switch text.kind {
	case sEscaped:
		return true // og-rek says if it is no Latin-1
	case sText:
		for b := s.r.view(text.at, text.n); len(b) > 0; {
			r, n := utf8.DecodeRune(b)
			if r > 0xff {
				return false
			}
			b = b[n:]
		}
		return true
	}
	return false
}

// container checks the opcodes that make a list or dict.
func (s *scanner) container(op byte) error {
	v := shape{kind: sList, depth: 1, count: 1, at: uint32(len(s.objects))}
	if op == opEmptyDict || op == opDict {
		v.kind = sDict
	}
	s.objects = append(s.objects, object{shape: v})
	if op == opEmptyList || op == opEmptyDict {
		return s.push(v)
	}
	at, err := s.r.popMark()
	if err != nil {
		return err
	}
	if err := s.fill(v.at, s.stack[at:]); err != nil {
		return err
	}
	s.stack = s.stack[:at]
	return s.push(v)
}

// fill adds parts to a list, or as keys and values to a dict.
func (s *scanner) fill(at uint32, parts []shape) error {
	o := &s.objects[at]
	if o.frozen {
		return s.r.fail(ErrUnsupported)
	}
	if o.kind == sDict {
		if len(parts)%2 != 0 {
			return s.r.fail(ErrStack)
		}
		for i := 0; i < len(parts); i += 2 {
			switch parts[i].kind {
			case sNone, sNumber, sText, sEscaped, sBytes:
			default:
				return s.r.fail(ErrUnsupported)
			}
			if err := s.touch(parts[i]); err != nil {
				return err
			}
		}
	}
	o.n += uint32(len(parts))
	return s.add(&o.shape, parts)
}

// extend checks the opcodes that add to a container.
func (s *scanner) extend(op byte) error {
	at := len(s.stack)
	switch op {
	case opAppend:
		at--
	case opSetitem:
		at -= 2
	default:
		var err error
		if at, err = s.r.popMark(); err != nil {
			return err
		}
	}
	if at <= s.r.fence() {
		return s.r.fail(ErrStack)
	}
	to := s.stack[at-1]
	want := sList
	if op == opSetitem || op == opSetitems {
		want = sDict
	}
	if to.kind != want {
		return s.r.fail(ErrStack)
	}
	err := s.fill(to.at, s.stack[at:])
	s.stack = s.stack[:at]
	return err
}

// put checks the opcodes that store in the memo.
func (s *scanner) put(op byte) error {
	d := &s.r
	index := uint32(len(s.memo))
	if op != opMemoize {
		var err error
		if index, err = s.index(op); err != nil {
			return err
		}
	}
	if len(s.stack) <= d.fence() {
		return d.fail(ErrStack)
	}
	v := s.stack[len(s.stack)-1]
	if v.kind == sList {
		v.n = s.objects[v.at].n
	}
	if s.memo == nil {
		s.memo = make(map[uint32]shape)
	}
	if s.memo[index] = v; len(s.memo) > d.lim.Memo {
		return d.limit("Memo", d.lim.Memo)
	}
	return nil
}

// index reads a memo index that is spelled as og-rek spells it.
func (s *scanner) index(op byte) (uint32, error) {
	d := &s.r
	at := d.pos
	index, err := d.memoIndex(op)
	if err == nil && (op == opPut || op == opGet) && d.body[at] == '0' && d.pos-at > 2 {
		err = d.fail(ErrMemo)
	}
	return index, err
}

// get checks the opcodes that push a memo entry. Og-rek's memo holds a list as
// it was when it was stored.
func (s *scanner) get(op byte) error {
	index, err := s.index(op)
	if err != nil {
		return err
	}
	v, ok := s.memo[index]
	if !ok {
		return s.r.fail(ErrMemo)
	}
	return s.again(v)
}

// again pushes a second reference to v.
func (s *scanner) again(v shape) error {
	switch v.kind {
	case sList:
		o := &s.objects[v.at]
		if o.n != v.n {
			return s.r.fail(ErrUnsupported)
		}
		o.frozen = true
	case sDict:
		s.objects[v.at].frozen = true
	}
	return s.push(v)
}

// juggle checks POP and DUP.
func (s *scanner) juggle(op byte) error {
	d := &s.r
	if op == opPop && len(d.marks) > 0 && len(s.stack) == d.fence() {
		d.marks = d.marks[:len(d.marks)-1]
		return nil
	}
	v, err := s.pop()
	if err != nil || op == opPop {
		return err
	}
	s.stack = append(s.stack, v)
	if v.kind == sList {
		v.n = s.objects[v.at].n
	}
	return s.again(v)
}

// call checks GLOBAL, STACK_GLOBAL and REDUCE, of which only what spells bytes
// passes.
func (s *scanner) call(op byte) error {
	d := &s.r
	if op == opReduce {
		return s.reduce()
	}
	d.stack = d.stack[:0]
	if op == opGlobal {
		if err := d.loadGlobal(op); err != nil {
			return err
		}
	} else {
		name, err := s.pop()
		if err != nil {
			return err
		}
		module, err := s.pop()
		if err != nil {
			return err
		}
		if name.kind != sText || module.kind != sText {
			return d.fail(&UnsafeError{Op: opName(op)})
		}
		d.push(value{kind: kText, n: module.n, a: module.at})
		d.push(value{kind: kText, n: name.n, a: name.at})
		marks := d.marks
		d.marks = nil
		err = d.loadStackGlobal()
		d.marks = marks
		if err != nil {
			return err
		}
	}
	v := d.stack[0]
	switch v.kind {
	case kEncode:
		return s.push(shape{kind: sEncode})
	case kByteType:
		return s.push(shape{kind: sByteType})
	}
	return d.fail(d.unsafe(v))
}

func (s *scanner) reduce() error {
	d := &s.r
	args, err := s.pop()
	if err != nil {
		return err
	}
	callee, err := s.pop()
	if err != nil {
		return err
	}
	switch {
	case args.kind == sTuple && args.n == 1 && callee.kind == sByteType:
		return s.push(shape{kind: sArray}) // no key: og-rek keeps it as a call
	case args.kind == sTuple && args.n == 2 && callee.kind == sEncode:
		if err := s.touch(args); err != nil {
			return err
		}
		return s.push(shape{kind: sBytes, bytes: args.bytes, at: 0, n: 0})
	}
	_, err = s.use(callee)
	if err == nil {
		err = d.fail(&UnsafeError{Op: opName(opReduce)})
	}
	return err
}

// imported names the function or type on the stack.
func imported(v shape) (module, name string) {
	if v.kind == sEncode {
		return "_codecs", "encode"
	}
	return "builtins", "bytes"
}
