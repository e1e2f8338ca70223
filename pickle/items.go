package pickle

import "unicode/utf8"

// handOut gives each item of a finished message to emit.
func (d *Decoder) handOut(top value, emit func(Datapoint)) error {
	for c := d.walk(top); ; {
		if c.run.n > 0 {
			if err := d.handRun(&c.run, emit); err != nil {
				return err
			}
			continue
		}
		v, ok := c.element()
		if !ok {
			return nil
		}
		if err := d.handItem(v, emit); err != nil {
			return err
		}
	}
}

// handRun gives a run of items that the fast path has read. It is done once a
// datapoint: see the benchmarks before changing it.
func (d *Decoder) handRun(run *value, emit func(Datapoint)) error {
	body, points := d.body, d.points[run.a:run.a+run.n]
	left := d.lim.TotalBytes - d.handed
	for i := range points[:min(len(points), d.lim.Items-d.count)] {
		p := &points[i]
		name := body[p.name : p.name+p.nameLen : p.name+p.nameLen]
		odd := uint64(1 << 7)
		if n := len(name); uint(n-16) <= 64-16 { // as in asciiOnly
			odd = sixteen(name) | sixteen(name[n-16:])
			if n > 32 {
				odd |= sixteen(name[16:]) | sixteen(name[n-32:])
			}
		}
		if left -= len(name); left < 0 {
			return d.limit("TotalBytes", d.lim.TotalBytes)
		}
		if highBits(odd) != 0 && !utf8.Valid(name) {
			d.skip(d.item(run.a+uint32(i)), d.index+i, BadName, errNotUTF8)
			continue
		}
		emit(Datapoint{Name: name, Timestamp: p.timestamp, Value: p.value})
	}
	run.n = 0
	d.handed = d.lim.TotalBytes - left
	d.index += len(points)
	return d.counted(len(points))
}

// counted adds n points or bad items.
func (d *Decoder) counted(n int) error {
	if d.count += n; d.count > d.lim.Items {
		return d.limit("Items", d.lim.Items)
	}
	return nil
}

// named adds the n bytes of a name.
func (d *Decoder) named(n int) error {
	if d.handed += n; d.handed > d.lim.TotalBytes {
		return d.limit("TotalBytes", d.lim.TotalBytes)
	}
	return nil
}

func (d *Decoder) handPoint(name []byte, timestamp, value float64, emit func(Datapoint)) error {
	if err := d.counted(1); err != nil {
		return err
	}
	if err := d.named(len(name)); err != nil {
		return err
	}
	emit(Datapoint{Name: name, Timestamp: timestamp, Value: value})
	return nil
}

// usual returns the parts of an item that is as nearly all are: tuples, a name
// that is UTF-8, and two numbers.
func (d *Decoder) usual(v value) (name []byte, timestamp, x float64, ok bool) {
	if v.kind == kItem {
		p := &d.points[v.a]
		name := d.view(p.name, p.nameLen)
		return name, p.timestamp, p.value, textFlags(name)&isUTF8 != 0
	}
	if v.kind != kTuple || v.n != 2 {
		return nil, 0, 0, false
	}
	item := d.kids[v.a:][:2]
	dp := &item[1]
	if (item[0].kind != kText && item[0].kind != kBytes) || item[0].flags&isUTF8 == 0 || dp.kind != kTuple || dp.n != 2 {
		return nil, 0, 0, false
	}
	pair := d.kids[dp.a:][:2]
	return d.bytes(item[0]), pair[0].float(), pair[1].float(), pair[0].kind == kNum && pair[1].kind == kNum
}

// handItem judges one item and gives its points.
func (d *Decoder) handItem(v value, emit func(Datapoint)) error {
	index := d.index
	d.index++
	if name, t, x, ok := d.usual(v); ok {
		return d.handPoint(name, t, x, emit)
	}
	return d.handOdd(v, index, emit)
}

// handOdd judges any other item.
func (d *Decoder) handOdd(v value, index int, emit func(Datapoint)) error {
	bad := func(reason Reason, cause error) error {
		if err := d.counted(1); err != nil {
			return err
		}
		d.skip(v, index, reason, cause)
		return nil
	}
	if !d.shaped(v) {
		return bad(d.unusable(v, BadShape))
	}
	c := d.walk(v)
	first, _ := c.element()
	name, reason, err := d.name(first)
	if reason != 0 {
		if err := d.counted(1); err != nil {
			return err
		}
		if err := d.named(len(name)); err != nil { // to judge it cost as much as a good one
			return err
		}
		d.skip(v, index, reason, err)
		return nil
	}
	for {
		dp, ok := c.element()
		if !ok {
			return nil
		}
		t, x, reason, err := d.pair(dp)
		if reason != 0 {
			err = bad(reason, err)
		} else {
			err = d.handPoint(name, t, x, emit)
		}
		if err != nil {
			return err
		}
	}
}

// shaped reports whether v has as many elements as an item.
func (d *Decoder) shaped(v value) bool {
	n, ok := d.size(v)
	return ok && (n == 2 || n > 2 && d.MultiPoint)
}

// skip reports a bad item.
func (d *Decoder) skip(v value, index int, reason Reason, cause error) {
	d.bad++
	if d.OnItemError != nil {
		d.OnItemError(ItemError{Index: index, Offset: int(v.off), Reason: reason, Err: cause})
	}
}

// name returns the bytes of a metric name, also of one that is not UTF-8.
func (d *Decoder) name(v value) ([]byte, Reason, error) {
	switch v.kind {
	case kText, kBytes:
		if v.flags&isUTF8 == 0 {
			return d.bytes(v), BadName, errNotUTF8
		}
		return d.bytes(v), 0, nil
	}
	reason, err := d.unusable(v, BadName)
	return nil, reason, err
}

// pair returns the numbers of a (timestamp, value).
func (d *Decoder) pair(v value) (t, x float64, reason Reason, err error) {
	if n, ok := d.size(v); !ok || n != 2 {
		reason, err = d.unusable(v, BadShape)
		return 0, 0, reason, err
	}
	c := d.walk(v)
	tv, _ := c.element()
	xv, _ := c.element()
	if t, reason, err = d.number(tv, BadTimestamp); reason == 0 {
		x, reason, err = d.number(xv, BadValue)
	}
	return t, x, reason, err
}

// spelledTotal bounds the bytes of numbers sent as strings, in multiples of the
// body: the memo could have one long string parsed any number of times.
const spelledTotal = 16

// number returns v as Python's float(v) would.
func (d *Decoder) number(v value, bad Reason) (float64, Reason, error) {
	switch v.kind {
	case kNum:
		return v.float(), 0, nil
	case kText, kBytes:
		text := d.bytes(v)
		d.spelled += len(text)
		if len(text) > d.lim.IntegerBytes || d.spelled > spelledTotal*len(d.body) {
			return 0, BadLimit, &LimitError{Limit: "IntegerBytes", Max: d.lim.IntegerBytes}
		}
		f, scratch, wrong := parseFloatString(text, d.text)
		d.text = scratch
		if wrong != faultNone {
			return 0, bad, errNotNumber
		}
		return f, 0, nil
	}
	reason, err := d.unusable(v, bad)
	return 0, reason, err
}

// unusable explains a value that is of no use where it stands.
func (d *Decoder) unusable(v value, bad Reason) (Reason, error) {
	switch v.kind {
	case kOpaque, kEncode, kByteType:
		return BadUnsafe, d.unsafe(v)
	case kBadNum, kBadText:
		switch fault(v.a) {
		case faultLong:
			if v.kind == kBadText {
				return BadLimit, &LimitError{Limit: "StringBytes", Max: d.lim.StringBytes}
			}
			return BadLimit, &LimitError{Limit: "IntegerBytes", Max: d.lim.IntegerBytes}
		case faultRange:
			return bad, errRange
		}
		return bad, ErrSyntax
	case kNone:
		return bad, errNone
	}
	return bad, nil
}

// salvage hands out what was complete when a message became unreadable: the
// items that the bottom list holds, and those that wait above its open mark.
func (d *Decoder) salvage(emit func(Datapoint)) {
	from := 0
	if len(d.stack) > 0 && (len(d.marks) == 0 || d.marks[0] > 0) {
		switch top := d.stack[0]; top.kind {
		case kList, kSet:
			if d.handOut(top, emit) != nil {
				return
			}
		default:
			return
		}
		from = 1
	}
	if len(d.marks) == 0 || int(d.marks[0]) != from {
		return
	}
	to := len(d.stack)
	if len(d.marks) > 1 {
		to = int(d.marks[1])
	}
	batch := d.stack[from:to]
	for len(batch) > 0 && !d.complete(batch[len(batch)-1]) { // parts of the item that was cut off
		batch = batch[:len(batch)-1]
	}
	for _, v := range batch {
		if d.handItem(v, emit) != nil {
			return
		}
	}
}

// complete reports whether v has the form of an item, a string and then a pair,
// which no part of an item has. It looks at no more than that.
func (d *Decoder) complete(v value) bool {
	if !d.shaped(v) {
		return false
	}
	c := d.walk(v)
	name, _ := c.element()
	if name.kind != kText && name.kind != kBytes {
		return false
	}
	dp, _ := c.element()
	n, ok := d.size(dp)
	return ok && n == 2
}
