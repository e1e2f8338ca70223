package pickle

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// programmer writes random pickles that are mostly sound: items in the layouts
// of real picklers, mixed with whatever else the machine knows.
type programmer struct {
	*rand.Rand
	b      []byte
	proto  int
	stored int
}

func (g *programmer) op(op byte, arg ...byte) { g.b = append(append(g.b, op), arg...) }

// put stores the top of the stack as the protocol does, or by chance otherwise.
func (g *programmer) put() {
	index := g.stored
	if g.IntN(60) == 0 {
		index += g.IntN(5) - 2
	}
	index = max(index, 0)
	switch {
	case g.proto >= 4:
		g.op(opMemoize)
	case g.proto == 0:
		g.b = fmt.Appendf(g.b, "p%d\n", index)
	case index < 256 && g.IntN(40) > 0:
		g.op(opBinput, byte(index))
	default:
		g.b = binary.LittleEndian.AppendUint32(append(g.b, opLongBinput), uint32(index))
	}
	g.stored++
}

func (g *programmer) get() {
	index := g.IntN(g.stored + 1)
	switch {
	case g.proto == 0:
		g.b = fmt.Appendf(g.b, "g%d\n", index)
	case index < 256 && g.IntN(40) > 0:
		g.op(opBinget, byte(index))
	default:
		g.b = binary.LittleEndian.AppendUint32(append(g.b, opLongBinget), uint32(index))
	}
}

var randomNames = []string{"a", "servers.web01.cpu.user", "bücher.αβγ.数", "\xff\xfe", "", "it's", `back\slash`, "tab\tname"}

func (g *programmer) text() {
	if g.stored > 0 && g.IntN(4) == 0 {
		g.get()
		return
	}
	name := randomNames[g.IntN(len(randomNames))]
	switch {
	case g.proto == 0 && g.IntN(2) == 0:
		g.b = fmt.Appendf(g.b, "V%s\n", name)
	case g.proto == 0:
		g.b = fmt.Appendf(g.b, "S'%s'\n", name)
	case g.proto >= 4:
		g.op(opShortBinunicode, byte(len(name)))
		g.b = append(g.b, name...)
	case g.IntN(2) == 0:
		g.op(opShortBinstring, byte(len(name)))
		g.b = append(g.b, name...)
	default:
		g.b = binary.LittleEndian.AppendUint32(append(g.b, opBinunicode), uint32(len(name)))
		g.b = append(g.b, name...)
	}
	if g.IntN(10) > 0 {
		g.put()
	}
}

func (g *programmer) number() {
	switch k := g.IntN(14); {
	case g.proto == 0 && k < 4:
		g.b = fmt.Appendf(g.b, "I%d\n", g.IntN(2000000000)-5)
	case g.proto == 0 && k < 8:
		g.b = fmt.Appendf(g.b, "F%v\n", g.NormFloat64())
	case k < 5:
		g.b = binary.LittleEndian.AppendUint32(append(g.b, opBinint), g.Uint32())
	case k < 9:
		g.b = binary.BigEndian.AppendUint64(append(g.b, opBinfloat), math.Float64bits(g.NormFloat64()))
	case k == 9:
		g.op(opBinint1, byte(g.Uint32()))
	case k == 10:
		g.op(opBinint2, byte(g.Uint32()), byte(g.Uint32()))
	case k == 11:
		n := g.IntN(12)
		g.op(opLong1, byte(n))
		for range n {
			g.b = append(g.b, byte(g.Uint32()))
		}
	case k == 12:
		g.b = fmt.Appendf(g.b, "L%d%s\nS'%v'\n0", g.Int64(), []string{"", "L"}[g.IntN(2)], g.Float64())
	default:
		g.any(1)
	}
}

// tuple closes n values.
func (g *programmer) tuple(n int, values func()) {
	marked := g.proto < 2 || n > 3 || g.IntN(30) == 0
	if marked {
		g.op(opMark)
	}
	values()
	if marked {
		g.op(opTuple)
	} else {
		g.op(opTuple1 + byte(n) - 1)
	}
	if g.IntN(8) > 0 && g.proto != 1 {
		g.put()
	}
}

func (g *programmer) item() {
	if g.IntN(20) == 0 {
		g.any(3)
		return
	}
	g.tuple(2, func() {
		g.text()
		g.tuple(2, func() { g.number(); g.number() })
	})
}

// any pushes one value of any kind.
func (g *programmer) any(depth int) {
	switch k := g.IntN(16); {
	case k < 3 && depth > 0:
		g.op(opEmptyList)
		g.put()
		if g.IntN(2) == 0 {
			g.any(depth - 1)
			g.op(opAppend)
			return
		}
		g.op(opMark)
		for range g.IntN(4) {
			g.any(depth - 1)
		}
		g.op(opAppends)
	case k == 3 && depth > 0:
		g.tuple(3, func() { g.any(depth - 1); g.any(0); g.any(0) })
	case k == 4:
		g.b = append(g.b, "cnumpy\nfloat64\n)R"...)
	case k == 5:
		g.b = append(g.b, "c_codecs\nencode\n(X\x03\x00\x00\x00a\xc3\xa4X\x06\x00\x00\x00latin1tR"...)
	case k == 6:
		g.op(opNone)
	case k == 7:
		g.op(opNone)
		g.op(opDup)
		g.op(opPop)
	case k == 8 && depth > 0:
		g.op(opEmptyDict)
		g.any(0)
		g.any(depth - 1)
		g.op(opSetitem)
	case k == 9:
		g.op(opMark)
		g.any(0)
		g.op(opPopMark)
		g.op(opEmptyTuple)
	case k == 10 && depth > 0:
		g.item()
	case k < 13:
		g.text()
	default:
		if depth > 0 {
			g.number()
			return
		}
		g.op(opNewtrue)
	}
}

// program writes one pickle.
func (g *programmer) program() []byte {
	g.b, g.stored, g.proto = g.b[:0], 0, g.IntN(6)
	if g.proto >= 2 {
		g.op(opProto, byte(g.proto))
	}
	if g.proto >= 4 {
		g.op(opFrame, make([]byte, 8)...)
	}
	if g.proto > 0 && g.proto < 4 && g.IntN(2) == 0 {
		g.stored = 1 // as cPickle
	}
	style := g.IntN(8)
	switch {
	case style == 0:
		g.op(opMark)
	case g.proto == 0:
		g.op(opMark)
		g.op(opList)
		g.put()
	default:
		g.op(opEmptyList)
		g.put()
	}
	for range 1 + g.IntN(3) {
		items := 1 + g.IntN(6)
		if g.IntN(30) == 0 {
			items = 300
		}
		batch := style != 0 && g.proto > 0
		if batch {
			g.op(opMark)
		}
		for range items {
			g.item()
			if style != 0 && !batch {
				g.op(opAppend)
			}
		}
		if batch {
			g.op(opAppends)
		}
	}
	if style == 0 {
		g.op([]byte{opList, opTuple, opFrozenset}[g.IntN(3)])
	}
	g.op(opStop)
	switch g.IntN(6) {
	case 0: // cut short
		g.b = g.b[:g.IntN(len(g.b))]
	case 1: // a byte changed
		g.b[g.IntN(len(g.b))] = byte(g.Uint32())
	}
	return g.b
}

// Both paths, and og-rek where it is right, agree on every program.
func TestRandomPrograms(t *testing.T) {
	rounds := 10000
	if testing.Short() {
		rounds = 1000
	}
	g := &programmer{Rand: rand.New(rand.NewPCG(1, 2))}
	for range rounds {
		body := g.program()
		checkDecode(t, body)
		checkUnmarshal(t, body)
		if t.Failed() {
			t.Fatalf("body: %q", body)
		}
	}
}
