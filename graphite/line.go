package graphite

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"time"
)

// DefaultMaxLine is carbon's limit for a line, in bytes without the newline.
const DefaultMaxLine = 16384

// LineParser turns carbon's line protocol into points: "name value timestamp\n", the timestamp in Unix seconds.
//
// It reads lines as carbon does, with these choices: fields stand apart by any number of spaces and tabs, and by
// nothing else; "\r\n" ends a line too; a timestamp whose whole part is -1 is now; a fraction of a second is kept to
// the millisecond. Numbers are Python's, so 1_000 is one and 0x10 is not. NaN, infinite values (unless AllowInf) and
// timestamps that are not finite are rejected, as are names that CheckName refuses. Blank lines are passed over. A
// rejected line harms no other, and one over MaxLine is dropped up to the next newline.
//
// The zero value is ready to use. A LineParser keeps a little state from one Parse to the next, so each stream needs
// its own; it is not for concurrent use.
type LineParser struct {
	// Rows are the points of the last Parse, ParseLast or ParseDatagram. The slice is reused by the next call, and the
	// names are views into what was parsed.
	Rows []Point
	// MaxLine is the longest line in bytes without its newline; 0 means DefaultMaxLine.
	MaxLine int
	// AllowInf keeps infinite values.
	AllowInf bool
	// Strict makes of each line the point that carbon on Python 3 makes of it: any Unicode whitespace separates
	// fields, a line must be UTF-8, infinite values are kept, names are not checked, and a stream's last line needs its
	// newline. In a datagram, what carbon gives up with a bad line is given up here too.
	Strict bool
	// Now is the clock for the timestamp -1; nil means time.Now. It is read at most once a call.
	Now func() time.Time
	// OnReject, if set, is called for each rejected line.
	OnReject func(Rejection)

	skipping bool  // inside a line that was over the limit
	now      int64 // this call's now, once asked for
	nowKnown bool
}

// ParseLine parses one line, with or without its newline, by the default rules of LineParser. now replaces a timestamp
// of -1. The point's name is a view into line. The error is a Reason; a blank line is ReasonMalformed.
func ParseLine(line []byte, now time.Time) (Point, error) {
	p := LineParser{now: now.UnixMilli(), nowKnown: true}
	var pt Point
	if r := p.parse(trimEnd(line), &pt); r != 0 {
		return Point{}, r
	}
	return pt, nil
}

// Parse parses every complete line of buf into Rows and returns how many bytes it is done with. The rest, buf[n:], is
// the start of a line: give it again in front of what comes next, or to ParseLast at the end of the stream. It is never
// longer than MaxLine.
func (p *LineParser) Parse(buf []byte) (n int) {
	p.begin()
	limit := p.limit()
	for n < len(buf) {
		i := bytes.IndexByte(buf[n:], '\n')
		if i < 0 {
			break
		}
		line := buf[n : n+i]
		n += i + 1
		switch {
		case p.skipping:
			p.skipping = false
		case i > limit:
			p.reject(ReasonTooLong, line)
		default:
			p.add(line)
		}
	}
	switch tail := buf[n:]; {
	case p.skipping:
		return len(buf)
	case len(tail) > limit:
		p.skipping = true
		p.reject(ReasonTooLong, tail)
		return len(buf)
	}
	return n
}

// ParseLast parses what Parse left over when the stream ends: the last line, which need not end in a newline. In
// strict mode it is rejected as cut, since carbon never looks at it. It also readies the parser for another stream.
func (p *LineParser) ParseLast(tail []byte) {
	p.begin()
	skipping := p.skipping
	p.skipping = false
	switch {
	case len(tail) == 0 || skipping:
	case len(tail) > p.limit():
		p.reject(ReasonTooLong, tail)
	case p.Strict:
		p.reject(ReasonCut, tail)
	default:
		p.add(tail)
	}
}

// ParseDatagram parses a datagram of lines; the last needs no newline.
func (p *LineParser) ParseDatagram(b []byte) {
	p.skipping = false
	if p.Strict {
		p.begin()
		p.parseStrictDatagram(b)
		return
	}
	n := p.Parse(b)
	if n == len(b) {
		p.skipping = false
		return
	}
	p.add(b[n:])
}

func (p *LineParser) begin() {
	p.Rows = p.Rows[:0]
	p.nowKnown = false
}

func (p *LineParser) limit() int {
	if p.MaxLine > 0 {
		return p.MaxLine
	}
	return DefaultMaxLine
}

func (p *LineParser) nowMilli() int64 {
	if !p.nowKnown {
		t := time.Now
		if p.Now != nil {
			t = p.Now
		}
		p.now, p.nowKnown = t().UnixMilli(), true
	}
	return p.now
}

func (p *LineParser) reject(r Reason, text []byte) {
	if p.OnReject != nil {
		p.OnReject(Rejection{Reason: r, Text: text, Bytes: len(text)})
	}
}

// add parses one line into the next row.
func (p *LineParser) add(line []byte) {
	if len(p.Rows) < cap(p.Rows) {
		p.Rows = p.Rows[:len(p.Rows)+1]
	} else {
		p.Rows = append(p.Rows, Point{})
	}
	r := p.parse(trimEnd(line), &p.Rows[len(p.Rows)-1])
	if r == 0 {
		return
	}
	p.Rows = p.Rows[:len(p.Rows)-1]
	if r == ReasonMalformed && blank(line) {
		return
	}
	p.reject(r, line)
}

// parse parses a line without its end into pt.
func (p *LineParser) parse(line []byte, pt *Point) Reason {
	if p.parseFast(line, pt) { // what it takes, both rules take alike
		return 0
	}
	if p.Strict {
		return p.parseStrict(line, pt)
	}
	var f [3][]byte
	if !asciiFields(line, &f) {
		return ReasonMalformed
	}
	if r := checkNameBytes(f[0]); r != 0 {
		return r
	}
	return p.finish(&f, p.AllowInf, pt)
}

// finish reads the numbers of a line and judges them.
func (p *LineParser) finish(f *[3][]byte, allowInf bool, pt *Point) Reason {
	value, ok := pyFloat(f[1])
	if !ok {
		return ReasonNumber
	}
	ts, ok := pyFloat(f[2])
	if !ok {
		return ReasonNumber
	}
	ms, r := judge(ts, value, p.nowMilli, allowInf)
	if r != 0 {
		return r
	}
	*pt = Point{Name: f[0], Timestamp: ms, Value: value}
	return 0
}

// parseFast takes the lines that nearly every sender writes: a printable ASCII name, a number, whole seconds. What it
// does not take may still be a good line.
func (p *LineParser) parseFast(line []byte, pt *Point) bool {
	i := nameEnd(line)
	if i == 0 || i == len(line) || line[i] != ' ' && line[i] != '\t' {
		return false
	}
	name := line[:i:i]
	i = skipBlanks(line, i)
	value, next, ok := decimal(line, i)
	if !ok {
		next = fieldEnd(line, next)
		value, ok = pyFloat(line[i:next])
		if !ok || value-value != 0 { // NaN or infinite
			return false
		}
	}
	ts, next, ok := seconds(line, skipBlanks(line, next))
	if !ok || skipBlanks(line, next) != len(line) {
		return false
	}
	pt.Name, pt.Timestamp, pt.Value = name, ts*1000, value
	return true
}

// nameEnd returns the index of the first byte of b that is not printable ASCII, a blank included. It looks at eight
// bytes at a time. In each, subtracting 0x21 or adding 1 sets the top bit of a byte outside 0x21 to 0x7e; borrows and
// carries come from such bytes alone, so the lowest mark is right.
func nameEnd(b []byte) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		if m := ((x - 0x21*ones) | (x + ones) | x) & tops; m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for i < len(b) && b[i]-0x21 < 0x7f-0x21 {
		i++
	}
	return i
}

func skipBlanks(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t') {
		i++
	}
	return i
}

func fieldEnd(b []byte, i int) int {
	for i < len(b) && b[i] != ' ' && b[i] != '\t' {
		i++
	}
	return i
}

// asciiFields splits line at runs of spaces and tabs and reports whether it has exactly three fields.
func asciiFields(line []byte, f *[3][]byte) bool {
	i := skipBlanks(line, 0)
	for n := range f {
		end := fieldEnd(line, i)
		if end == i {
			return false
		}
		f[n] = line[i:end:end]
		i = skipBlanks(line, end)
	}
	return i == len(line)
}

// trimEnd takes the newline and any carriage returns off a line's end.
func trimEnd(line []byte) []byte {
	n := len(line)
	if n > 0 && line[n-1] == '\n' {
		n--
	}
	for n > 0 && line[n-1] == '\r' {
		n--
	}
	return line[:n]
}

func blank(line []byte) bool {
	for _, c := range line {
		if c != ' ' && c != '\t' && c != '\r' {
			return false
		}
	}
	return true
}
