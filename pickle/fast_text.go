package pickle

import "bytes"

// textItems reads items of protocol 0, each appended to the list on its own:
//
//	MARK STRING 'servers.web.cpu' PUT  MARK INT FLOAT TUPLE PUT  TUPLE PUT APPEND
//
// with PUT as it comes, LONG or a quoted number for INT and FLOAT, and GET or
// UNICODE for STRING. Of an item with a quoted number, only the name may be PUT.
func (d *Decoder) textItems() {
	s := textScan{b: d.body, at: d.pos, dec: d}
	for s.item() && d.memoed+len(s.stored[:s.used]) <= d.lim.Memo && len(d.memo) < maxFast {
		index := uint32(len(d.points)) << memoBits
		for _, tag := range s.stored[:s.used] {
			d.memo = append(d.memo, index|tag)
		}
		d.memoed += s.used
		d.points = append(d.points, s.pt)
		d.pos = s.at
	}
}

// textScan reads one item at a time.
type textScan struct {
	b      []byte
	at     int
	dec    *Decoder
	pt     point
	stored [3]uint32 // what the memo entries of the item are
	used   int
	quoted bool // a number of the item was
}

// item reads an item; false if it is of another form.
func (s *textScan) item() bool {
	s.used, s.quoted = 0, false
	s.pt.off = uint32(s.at + 1)
	if !s.op(opMark) || !s.name() || !s.op(opMark) {
		return false
	}
	s.pt.dpOff = uint32(s.at)
	ok := true
	if s.pt.timestamp, ok = s.number(); !ok {
		return false
	}
	if s.pt.value, ok = s.number(); !ok || !s.op(opTuple) {
		return false
	}
	if !s.quoted { // else it has to be a string to those who get it
		s.put(memoPair)
	}
	if !s.op(opTuple) {
		return false
	}
	if !s.quoted {
		s.put(memoItem)
	}
	return s.op(opAppend)
}

// op skips an opcode without argument.
func (s *textScan) op(op byte) bool {
	if s.at >= len(s.b) || s.b[s.at] != op {
		return false
	}
	s.at++
	return true
}

// line skips an opcode and its line, and returns the line.
func (s *textScan) line() ([]byte, bool) {
	if s.at+1 >= len(s.b) {
		return nil, false
	}
	rest := s.b[s.at+1:]
	n := bytes.IndexByte(rest, '\n')
	if n < 0 {
		return nil, false
	}
	s.at += n + 2
	return rest[:n], true
}

// name reads STRING, UNICODE or GET, if what it gives lies in the body as it is.
func (s *textScan) name() bool {
	if s.at >= len(s.b) {
		return false
	}
	op, from := s.b[s.at], uint32(s.at+1)
	line, ok := s.line()
	if !ok {
		return false
	}
	switch op {
	case opGet:
		return s.get(line)
	case opString:
		if line, ok = quoted(line); !ok {
			return false
		}
		from++
	case opUnicode:
		if !asciiOnly(line) || bytes.IndexByte(line, '\\') >= 0 {
			return false
		}
	default:
		return false
	}
	if len(line) > s.dec.lim.StringBytes {
		return false
	}
	s.pt.name, s.pt.nameLen = from, uint32(len(line))
	s.put(memoName)
	return true
}

// quoted returns what is between the quotes of a STRING without escapes.
func quoted(line []byte) ([]byte, bool) {
	n := len(line)
	if n < 2 || line[0] != line[n-1] || line[0] != '\'' && line[0] != '"' || bytes.IndexByte(line, '\\') >= 0 {
		return nil, false
	}
	return line[1 : n-1], true
}

// get takes the name from the memo.
func (s *textScan) get(line []byte) bool {
	index, ok := parseIndex(line)
	if !ok {
		return false
	}
	name, length, ok := s.dec.memoName(index)
	s.pt.name, s.pt.nameLen = uint32(name), uint32(length)
	return ok
}

// put skips a PUT of the next index, if there is one, and notes what it stores.
func (s *textScan) put(tag uint32) {
	if s.at >= len(s.b) || s.b[s.at] != opPut {
		return
	}
	want := uint32(len(s.dec.memo) + s.used)
	var index uint32
	for i := s.at + 1; i < len(s.b) && i < s.at+10; i++ {
		c := s.b[i]
		if c == '\n' {
			if index == want && i > s.at+1 {
				s.stored[s.used] = tag
				s.used++
				s.at = i + 1
			}
			return
		}
		if c -= '0'; c > 9 {
			return
		}
		index = index*10 + uint32(c)
	}
}

// number reads INT, LONG, FLOAT, or a STRING that is a number.
func (s *textScan) number() (float64, bool) {
	if s.at+2 >= len(s.b) {
		return 0, false
	}
	text := s.b[s.at+1:]
	switch op := s.b[s.at]; op {
	case opInt:
		n, length := shortInt(text, '\n')
		s.at += length + 2
		return float64(n), length > 0
	case opLong:
		n, length := shortInt(text, 'L')
		s.at += length + 2
		return float64(n), length > 0 && s.op('\n')
	case opFloat, opString:
		end, skip := byte('\n'), 0
		if op == opString {
			end, skip, s.quoted = text[0], 1, true
		}
		if f, length := shortFloat(text[skip:], end); length > 0 && (end == '\n' || end == '\'' || end == '"') {
			s.at += length + 2 + skip
			return f, op == opFloat || s.op('\n')
		}
		line, ok := s.line()
		if op == opString && ok {
			line, ok = quoted(line)
		}
		if !ok {
			return 0, false
		}
		return usualFloat(line)
	}
	return 0, false
}

// usualFloat reads a float as repr writes it, of at most 32 bytes.
func usualFloat(text []byte) (float64, bool) {
	if len(text) == 0 || len(text) > 32 {
		return 0, false
	}
	for _, c := range text {
		if c-'0' > 9 && c != '.' && c != '-' && c != 'e' && c != '+' {
			return 0, false
		}
	}
	f, err := parseFloat(text)
	return f, err == nil
}
