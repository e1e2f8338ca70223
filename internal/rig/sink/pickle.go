package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
)

// readFrames reads to the end. A frame that is cut gives nothing.
func readFrames(r *bufio.Reader, take func(point)) error {
	var head [4]byte
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return cut(err)
		}
		body := make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(r, body); err != nil {
			return cut(err)
		}
		if err := readFrame(body, take); err != nil {
			return err
		}
	}
}

func cut(err error) error {
	if err == io.ErrUnexpectedEOF {
		return io.EOF
	}
	return err
}

// readFrame takes [(name, (timestamp, value)), ...].
func readFrame(body []byte, take func(point)) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("no pickle of points: %v: %.200q", p, body)
		}
	}()
	for _, item := range (&machine{in: body}).run().([]any) {
		pair := item.([]any)
		at := pair[1].([]any)
		take(point{pair[0].(string), number(at[1]), number(at[0])})
	}
	return nil
}

func number(v any) string { return strconv.FormatFloat(v.(float64), 'g', -1, 64) }

// mark is what MARK leaves on the stack.
type mark struct{}

// machine knows the part of pickle that senders of points use. It panics at anything else.
type machine struct {
	in    []byte
	stack []any
	memo  []any
}

func (m *machine) run() any {
	for {
		switch op := m.next(1)[0]; op {
		case 0x80: // PROTO
			m.next(1)
		case ']': // EMPTY_LIST
			m.push([]any{})
		case '(': // MARK
			m.push(mark{})
		case 'q', 'r': // BINPUT, LONG_BINPUT
			i := m.size(op == 'r')
			m.memo = append(m.memo, make([]any, max(0, i+1-len(m.memo)))...)
			m.memo[i] = m.stack[len(m.stack)-1]
		case 'h', 'j': // BINGET, LONG_BINGET
			m.push(m.memo[m.size(op == 'j')])
		case 'X', 'T', 'U': // BINUNICODE, BINSTRING, SHORT_BINSTRING
			m.push(string(m.next(m.size(op != 'U'))))
		case 'G': // BINFLOAT
			m.push(math.Float64frombits(binary.BigEndian.Uint64(m.next(8))))
		case 'K', 'J': // BININT1, BININT
			m.push(float64(int32(m.size(op == 'J'))))
		case 0x8a: // LONG1
			m.push(m.long(int(m.next(1)[0])))
		case 0x86: // TUPLE2
			n := len(m.stack) - 2
			m.stack = append(m.stack[:n], []any{m.stack[n], m.stack[n+1]})
		case 'a': // APPEND
			m.extend(len(m.stack)-1, len(m.stack)-1)
		case 'e': // APPENDS
			m.extend(m.mark(), m.mark()+1)
		case 't', 'l': // TUPLE, LIST
			i := m.mark()
			items := slices.Clone(m.stack[i+1:])
			m.stack = append(m.stack[:i], items)
		case '.': // STOP
			return m.stack[0]
		default:
			panic(fmt.Sprintf("opcode %q", op))
		}
	}
}

// extend moves what stands from index from on into the list below index end, and cuts the stack there.
func (m *machine) extend(end, from int) {
	m.stack[end-1] = append(m.stack[end-1].([]any), m.stack[from:]...)
	m.stack = m.stack[:end]
}

// mark is the index of the last MARK.
func (m *machine) mark() int {
	i := len(m.stack) - 1
	for m.stack[i] != any(mark{}) {
		i--
	}
	return i
}

func (m *machine) push(v any) { m.stack = append(m.stack, v) }

func (m *machine) next(n int) []byte {
	b := m.in[:n]
	m.in = m.in[n:]
	return b
}

// size is one byte, or four in the order of small machines.
func (m *machine) size(long bool) int {
	if long {
		return int(binary.LittleEndian.Uint32(m.next(4)))
	}
	return int(m.next(1)[0])
}

func (m *machine) long(n int) float64 {
	v := int64(0)
	for i, b := range m.next(n) {
		v |= int64(b) << (8 * i)
	}
	shift := 64 - 8*n
	return float64(v << shift >> shift)
}
