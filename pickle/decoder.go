package pickle

// A Decoder reads carbon messages: pickles of [(name, (timestamp, value)), …].
// The zero value is ready, with the default limits. A Decoder keeps scratch
// memory from one message to the next, so use one for each connection; it is not
// for concurrent use, nor may emit or OnItemError call it.
type Decoder struct {
	// Limits bounds what one message may cost. The zero value is safe.
	Limits Limits
	// MultiPoint accepts items of several points, (name, (t, v), (t, v), …), as
	// go-carbon does. Without it such an item is bad, as it is for carbon.
	MultiPoint bool
	// OnItemError is told of each item that is skipped, in the order of the
	// list, between the calls of emit. If it is nil, bad items are counted
	// silently; see BadItems.
	OnItemError func(ItemError)

	body    []byte
	pos     int // of the next byte
	op      int // of the opcode at work
	lim     Limits
	slow    bool // never use the fast path: for tests
	peak    int  // scratch of the last message, in bytes
	roomy   bool // the limits leave room for the fast path
	retry   bool // the fast path may fit again
	bad     int
	handed  int // bytes of names handed out, or found not to be UTF-8
	spelled int // bytes of numbers sent as strings
	encoded int // bytes of text that were to be encoded
	index   int // of the item at hand
	count   int // points and bad items so far

	stack  []value
	marks  []uint32         // heights of the stack at the open marks
	memo   []uint32         // see store
	vals   []value          // values of the memo
	memoed int              // entries in memo and far
	far    map[uint32]value // entries with indices longer than the body
	kids   []value          // elements of tuples
	lists  []list
	nodes  []node
	points []point
	refs   []ref
	arena  []byte // strings that had to be rewritten
	text   []byte // scratch for numbers
}

// Decode reads one message, without its length prefix, and calls emit for each
// datapoint in order.
//
// The Name of a datapoint is a view: into body, or for names written with
// escapes into memory of the Decoder. It stays valid, and as it is, until the
// next Decode, as long as the caller leaves body alone. Copy it to keep it
// longer.
//
// A bad item is skipped and told to OnItemError; its siblings arrive. Decode
// returns an error only when the rest of the message cannot be read: always a
// [*DecodeError] with the offset, which matches one of this package's sentinel
// errors. The items that the list held by then have been handed out, and those of
// an unfinished batch; what follows the last that has the form of an item there
// is taken for a part of the one that was cut off, and told to nobody. Bytes after
// the end of the pickle are ignored, as by carbon; see Consumed.
func (d *Decoder) Decode(body []byte, emit func(Datapoint)) error {
	d.reset(body)
	defer d.release()
	if len(body) > d.lim.Body {
		return d.limit("Body", d.lim.Body)
	}
	top, err := d.run()
	if err != nil {
		d.salvage(emit)
		return err
	}
	switch top.kind {
	case kList, kSet, kTuple, kItem, kPair:
		return d.handOut(top, emit)
	case kOpaque, kEncode, kByteType:
		d.op = int(top.off)
		return d.fail(d.unsafe(top))
	}
	return d.fail(ErrNotList)
}

// BadItems returns how many items of the last message were skipped.
func (d *Decoder) BadItems() int { return d.bad }

// Consumed returns how many bytes of the last body were read: up to and
// including STOP after a Decode without error. A file of pickles, one after
// the other, is read by decoding body[Consumed():] again.
func (d *Decoder) Consumed() int { return d.pos }

// keepScratch is how much memory a Decoder holds on to between messages.
const keepScratch = 4 << 20

func (d *Decoder) reset(body []byte) {
	d.lim = d.Limits.withDefaults()
	d.body, d.pos, d.op = body, 0, 0
	d.bad, d.handed, d.spelled, d.encoded, d.index, d.count, d.memoed = 0, 0, 0, 0, 0, 0, 0
	d.roomy, d.retry = d.lim.fastFits(), false
	d.stack, d.marks, d.memo, d.vals = d.stack[:0], d.marks[:0], d.memo[:0], d.vals[:0]
	d.kids, d.lists, d.nodes = d.kids[:0], d.lists[:0], d.nodes[:0]
	d.points, d.refs, d.arena = d.points[:0], d.refs[:0], d.arena[:0]
	d.far = nil
}

// release lets go of what a huge message needed. The arena stays until the next
// message has replaced it, since names point into it.
func (d *Decoder) release() {
	d.body, d.far = nil, nil
	if d.peak = d.scratch(); d.peak > keepScratch {
		d.stack, d.marks, d.memo, d.vals, d.kids = nil, nil, nil, nil, nil
		d.lists, d.nodes, d.points, d.refs = nil, nil, nil, nil
		d.arena, d.text = nil, nil
	}
}

// scratch returns how many bytes the scratch takes.
func (d *Decoder) scratch() int {
	return 16*(cap(d.stack)+cap(d.vals)+cap(d.kids)) + 4*(cap(d.marks)+cap(d.memo)) +
		12*cap(d.lists) + 20*cap(d.nodes) + 32*cap(d.points) + 32*cap(d.refs) +
		48*len(d.far) + cap(d.arena) + cap(d.text)
}

// fail wraps err with the opcode at work.
func (d *Decoder) fail(err error) error {
	e := &DecodeError{Offset: d.op, Err: err}
	if d.op < len(d.body) {
		e.Op = opName(d.body[d.op])
	}
	return e
}

func (d *Decoder) limit(field string, max int) error {
	return d.fail(&LimitError{Limit: field, Max: max})
}

// unsafe describes a kOpaque.
func (d *Decoder) unsafe(v value) *UnsafeError {
	e := &UnsafeError{Op: opName(byte(v.a))}
	if v.n > 0 {
		r := d.refs[v.n-1]
		e.Module, e.Name = d.label(r.module), d.label(r.name)
	}
	return e
}

// label returns the text of v, cut to what fits an error message.
func (d *Decoder) label(v value) string {
	const most = 80
	if v.kind != kText && v.kind != kBytes {
		return "?"
	}
	return string(d.view(v.a, min(v.n, most)))
}
