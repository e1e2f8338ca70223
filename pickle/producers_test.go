package pickle

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
)

// producer writes [(name, (timestamp, value)), …] opcode for opcode as a known
// pickler does. The interop tests compare those of Python 3 with the real one.
type producer struct {
	name   string
	encode func(pts []Datapoint) []byte
}

var producers = []producer{
	{"p0-py2", func(p []Datapoint) []byte { return textPickle(p, 'S', 1) }},
	{"p0-py3", func(p []Datapoint) []byte { return textPickle(p, 'V', 0) }},
	{"p1-py2", func(p []Datapoint) []byte { return markPickle(p) }},
	{"p2-py2", func(p []Datapoint) []byte { return binaryPickle(p, 2, 'U') }},
	{"p2-py3", func(p []Datapoint) []byte { return binaryPickle(p, 2, 'X') }},
	{"p4-py3", func(p []Datapoint) []byte { return binaryPickle(p, 4, opShortBinunicode) }},
	{"statsd", statsdPickle},
	{"relay-ng", relayPickle},
}

// memoWriter numbers what a pickler stores.
type memoWriter struct {
	b     []byte
	next  int
	named map[string]int
}

func (w *memoWriter) put(proto int) {
	switch {
	case proto >= 4:
		w.b = append(w.b, opMemoize)
	case proto == 0:
		w.b = fmt.Appendf(w.b, "p%d\n", w.next)
	default:
		w.b = w.b[:len(w.b)+copy(w.b[len(w.b):len(w.b)+5], "\x00\x00\x00\x00\x00")]
		w.b = w.b[:len(w.b)-5+putMemo(w.b[len(w.b)-5:], opBinput, uint32(w.next))]
	}
	w.next++
}

func (w *memoWriter) get(proto, index int) {
	if proto == 0 {
		w.b = fmt.Appendf(w.b, "g%d\n", index)
		return
	}
	var buf [5]byte
	w.b = append(w.b, buf[:putMemo(buf[:], opBinget, uint32(index))]...)
}

// known refers to a name that was stored before.
func (w *memoWriter) known(proto int, name []byte) bool {
	index, ok := w.named[string(name)]
	if ok {
		w.get(proto, index)
	}
	return ok
}

func binint(b []byte, v float64) []byte {
	return binary.LittleEndian.AppendUint32(append(b, opBinint), uint32(int32(v)))
}

func binfloat(b []byte, v float64) []byte {
	return binary.BigEndian.AppendUint64(append(b, opBinfloat), math.Float64bits(v))
}

// binaryPickle writes protocol 2 or 4: with 'U' as cPickle of Python 2 does,
// else as Python 3.
func binaryPickle(pts []Datapoint, proto int, nameOp byte) []byte {
	w := &memoWriter{named: map[string]int{}, b: make([]byte, 0, 200*len(pts)+100)}
	py2 := nameOp == opShortBinstring
	w.b = append(w.b, opProto, byte(proto))
	if proto >= 4 {
		w.b = append(w.b, opFrame, 0, 0, 0, 0, 0, 0, 0, 0)
	}
	if py2 {
		w.next = 1
	}
	w.b = append(w.b, opEmptyList)
	w.put(proto)
	for i, p := range pts {
		if i%1000 == 0 && len(pts) > 1 {
			w.b = append(w.b, opMark)
		}
		if !w.known(proto, p.Name) {
			w.b = append(w.b, nameOp)
			if nameOp == opBinunicode {
				w.b = binary.LittleEndian.AppendUint32(w.b, uint32(len(p.Name)))
			} else {
				w.b = append(w.b, byte(len(p.Name)))
			}
			w.b = append(w.b, p.Name...)
			w.named[string(p.Name)] = w.next
			w.put(proto)
		}
		w.b = append(binfloat(binint(w.b, p.Timestamp), p.Value), opTuple2)
		if !py2 {
			w.put(proto)
		}
		w.b = append(w.b, opTuple2)
		w.put(proto)
		if len(pts) == 1 {
			w.b = append(w.b, opAppend)
		} else if i%1000 == 999 || i == len(pts)-1 {
			w.b = append(w.b, opAppends)
		}
	}
	if proto >= 4 {
		binary.LittleEndian.PutUint64(w.b[3:], uint64(len(w.b)+1-11))
	}
	return append(w.b, opStop)
}

// markPickle writes protocol 1 as cPickle of Python 2 does.
func markPickle(pts []Datapoint) []byte {
	w := &memoWriter{named: map[string]int{}, b: make([]byte, 0, 200*len(pts)+100), next: 1}
	w.b = append(w.b, opEmptyList)
	w.put(1)
	w.b = append(w.b, opMark)
	for _, p := range pts {
		w.b = append(w.b, opMark)
		if !w.known(1, p.Name) {
			w.b = append(append(w.b, opShortBinstring, byte(len(p.Name))), p.Name...)
			w.named[string(p.Name)] = w.next
			w.put(1)
		}
		w.b = append(w.b, opMark)
		w.b = append(binfloat(binint(w.b, p.Timestamp), p.Value), opTuple, opTuple)
		w.put(1)
	}
	return append(w.b, opAppends, opStop)
}

// textPickle writes protocol 0 as cPickle of Python 2 does ('S'), or Python 3.
func textPickle(pts []Datapoint, nameOp byte, first int) []byte {
	w := &memoWriter{named: map[string]int{}, next: first}
	w.b = append(w.b, "(l"...)
	w.put(0)
	for _, p := range pts {
		w.b = append(w.b, '(')
		if !w.known(0, p.Name) {
			if nameOp == 'S' {
				w.b = fmt.Appendf(w.b, "S'%s'\n", p.Name)
			} else {
				w.b = fmt.Appendf(w.b, "V%s\n", p.Name)
			}
			w.named[string(p.Name)] = w.next
			w.put(0)
		}
		w.b = fmt.Appendf(w.b, "(I%d\nF%s\nt", int64(p.Timestamp), strconv.FormatFloat(p.Value, 'g', -1, 64))
		if nameOp != 'S' {
			w.put(0)
		}
		w.b = append(w.b, 't')
		w.put(0)
		w.b = append(w.b, 'a')
	}
	return append(w.b, '.')
}

// statsdPickle writes what statsd and Dropwizard write by hand.
func statsdPickle(pts []Datapoint) []byte {
	b := []byte("(l")
	for _, p := range pts {
		b = fmt.Appendf(b, "(S'%s'\n(L%dL\nS'%s'\ntta", p.Name, int64(p.Timestamp), strconv.FormatFloat(p.Value, 'g', -1, 64))
	}
	return append(b, '.')
}

// relayPickle writes what carbon-relay-ng writes, with any number of points.
func relayPickle(pts []Datapoint) []byte {
	b := []byte("\x80\x02(")
	for _, p := range pts {
		b = append(append(b, opShortBinstring, byte(len(p.Name))), p.Name...)
		b = append(binfloat(binint(b, p.Timestamp), p.Value), opTuple2, opTuple2)
	}
	return append(b, opList, opStop)
}

// samplePoints returns n points with so many distinct names of 25 to 60 bytes.
func samplePoints(n, distinct int) []Datapoint {
	const tail = ".cpu.utilisation.average.per.minute.of.the.hour"
	pts := make([]Datapoint, n)
	for i := range pts {
		id := i % distinct
		name := fmt.Sprintf("servers.dc%d.host%05d.", id%7, id) + tail[1:2+id%37]
		pts[i] = Datapoint{Name: []byte(name), Timestamp: float64(1700000000 + i), Value: float64(i*i%9973)/7 + 0.25}
	}
	return pts
}
