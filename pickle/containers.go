package pickle

// loadTuple executes the opcodes that make a tuple.
func (d *Decoder) loadTuple(op byte) error {
	at := len(d.stack)
	switch op {
	case opEmptyTuple:
		d.push(value{kind: kTuple, depth: 1, off: uint32(d.op)})
		return nil
	case opTuple:
		var err error
		if at, err = d.popMark(); err != nil {
			return err
		}
	default:
		at -= int(op-opTuple1) + 1
		if at < d.fence() {
			return d.fail(ErrStack)
		}
	}
	parts := d.stack[at:]
	v := value{kind: kTuple, n: uint32(len(parts)), a: uint32(len(d.kids)), off: uint32(d.op)}
	for i := range parts {
		v.depth = max(v.depth, parts[i].depth)
	}
	if v.depth++; int(v.depth) > d.lim.Depth {
		return d.limit("Depth", d.lim.Depth)
	}
	if len(parts) > 0 {
		v.off = parts[0].off
	}
	d.kids = append(d.kids, parts...)
	d.stack = append(d.stack[:at], v)
	d.retry = true
	return nil
}

// newList makes an empty list, set or dict.
func (d *Decoder) newList(k kind) value {
	d.lists = append(d.lists, list{})
	return value{kind: k, a: uint32(len(d.lists) - 1), off: uint32(d.op)}
}

// loadContainer executes the opcodes that make a list, set or dict.
func (d *Decoder) loadContainer(op byte) error {
	switch op {
	case opEmptyList:
		d.push(d.newList(kList))
		d.retry = true
		return nil
	case opEmptySet:
		d.push(d.newList(kSet))
		return nil
	case opEmptyDict:
		d.push(d.newList(kDict))
		return nil
	}
	at, err := d.popMark()
	if err != nil {
		return err
	}
	var v value
	switch op {
	case opList:
		v = d.newList(kList)
	case opFrozenset:
		v = d.newList(kSet)
	default:
		v = d.newList(kDict)
	}
	if err := d.fill(v, d.stack[at:]); err != nil {
		return err
	}
	d.stack = append(d.stack[:at], v)
	d.retry = true
	return nil
}

// fill appends parts to a container; of a dict's pairs it keeps the keys, since
// that is what iterating over a dict gives.
func (d *Decoder) fill(to value, parts []value) error {
	step := 1
	if to.kind == kDict {
		if step = 2; len(parts)%2 != 0 {
			return d.fail(ErrStack)
		}
	}
	for i := 0; i < len(parts); i += step {
		v := parts[i]
		if v.kind == kItem { // those that follow each other make a run
			n := uint32(1)
			alone := step != 1 || v.off != d.points[v.a].off // by the memo: it has an offset of its own
			for !alone && i+1 < len(parts) && parts[i+1].kind == kItem && parts[i+1].a == v.a+n && parts[i+1].off == d.points[v.a+n].off {
				n++
				i++
			}
			if n > 1 {
				v = value{kind: kRun, n: n, a: v.a}
			}
		}
		d.appendTo(to.a, v)
	}
	return nil
}

// extend executes the opcodes that add to a container.
func (d *Decoder) extend(op byte) error {
	at := len(d.stack)
	switch op {
	case opAppend:
		at--
	case opSetitem:
		at -= 2
	default:
		var err error
		if at, err = d.popMark(); err != nil {
			return err
		}
	}
	if at <= d.fence() {
		return d.fail(ErrStack)
	}
	to := d.stack[at-1]
	want := kList
	switch op {
	case opAdditems:
		want = kSet
	case opSetitem, opSetitems:
		want = kDict
	}
	if to.kind != want && to.kind != kOpaque { // what is refused swallows what it is given
		return d.fail(ErrStack)
	}
	if to.kind != kOpaque {
		if err := d.fill(to, d.stack[at:]); err != nil {
			return err
		}
	}
	d.stack = d.stack[:at]
	d.retry = true
	return nil
}
