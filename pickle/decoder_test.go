package pickle

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// got is what a Decode gives: points as "name timestamp value", and errors.
type got struct {
	points []string
	bad    []ItemError
	err    error
}

func decode(d *Decoder, body string) (g got) {
	d.OnItemError = func(e ItemError) { g.bad = append(g.bad, e) }
	g.err = d.Decode([]byte(body), func(p Datapoint) {
		g.points = append(g.points, fmt.Sprintf("%s %v %v", p.Name, p.Timestamp, p.Value))
	})
	return g
}

func TestDecodeShapes(t *testing.T) {
	f := func(name, body string, want ...string) {
		t.Helper()
		g := decode(&Decoder{}, body)
		require.NoError(t, g.err, name)
		require.Empty(t, g.bad, name)
		require.Equal(t, want, g.points, name)
	}
	f("empty list", "].")
	f("empty list, protocol 4", "\x80\x04\x5d\x94.")
	f("lists for tuples", "](](U\x01a](K\x01K\x02eee.", "a 1 2")
	f("a list referred to twice", "](U\x01a]q\x05(K\x01K\x02e\x86U\x01bh\x05\x86e.", "a 1 2", "b 1 2")
	f("a list referred to before it is filled", "]q\x00](U\x01a]q\x05\x86U\x01bh\x05\x86e0h\x00(U\x01c](K\x01K\x02e\x86e.", "c 1 2")
	f("the same, filled later", "]U\x01a]q\x05\x86ah\x05(K\x01K\x02e0.", "a 1 2")
	f("an item referred to twice", "](U\x01aJ\x01\x00\x00\x00G?\xf0\x00\x00\x00\x00\x00\x00\x86\x86q\x00h\x00h\x00e.", "a 1 1", "a 1 1", "a 1 1")
	f("tuple at the top", "U\x01aK\x01K\x02\x86\x86\x85.", "a 1 2")
	f("set", "\x80\x04\x8f(\x8c\x01aK\x01K\x02\x86\x86\x90.", "a 1 2")
	f("frozen set", "\x80\x04(\x8c\x01aK\x01K\x02\x86\x86\x91.", "a 1 2")
	f("LONG4", "]U\x01aK\x01\x8b\x03\x00\x00\x00\x00\x00\x01\x86\x86a.", "a 1 65536")
	f("8-byte lengths", "](\x8d\x01\x00\x00\x00\x00\x00\x00\x00aK\x01K\x02\x86\x86\x8e\x01\x00\x00\x00\x00\x00\x00\x00bK\x01K\x02\x86\x86\x96\x01\x00\x00\x00\x00\x00\x00\x00cK\x01K\x02\x86\x86e.", "a 1 2", "b 1 2", "c 1 2")
	f("bools", "](U\x01aI01\nI00\n\x86\x86U\x01b\x88\x89\x86\x86e.", "a 1 0", "b 1 0")
	f("numeric strings", "]U\x01aU\x041_0 X\x05\x00\x00\x00 1.5\n\x86\x86a.", "a 10 1.5")
	f("infinite and not a number", "](U\x01aFinf\nF-nan\n\x86\x86U\x01bS'-Infinity'\nS'NaN'\n\x86\x86e.", "a +Inf NaN", "b -Inf NaN")
	f("hexadecimal and octal text", "]U\x01aI0x10\nL-0o17L\n\x86\x86a.", "a 16 -15")
	f("bytes name, protocol 2", "]c_codecs\nencode\n(X\x05\x00\x00\x00a\xc3\x83\xc2\xa9X\x06\x00\x00\x00latin1tRK\x01K\x02\x86\x86a.", "aé 1 2")
	f("names with escapes", "](S'it\\'s \\x41\\102\\q'\nK\x01K\x02\x86\x86V\\u0416\\U0001F600\xe4\nK\x01K\x02\x86\x86e.", `it's AB\q 1 2`, "Ж😀ä 1 2")
	f("quotes that are not escaped", "]S'it's'\nK\x01K\x02\x86\x86a.", "it's 1 2")
	f("empty bytes name", "]c__builtin__\nbytes\n)RK\x01K\x02\x86\x86a.", " 1 2")
	f("far memo index", "]U\x01ar\xff\xff\xff\xffK\x01K\x02\x86\x86a0](j\xff\xff\xff\xffK\x01K\x02\x86\x86e.", "a 1 2")
	f("two pickles", "]U\x01aK\x01K\x02\x86\x86a.]U\x01bK\x01K\x02\x86\x86a.", "a 1 2")
	f("bogus frame", "\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xff]U\x01aK\x01K\x02\x86\x86a.", "a 1 2")
	f("pop and dup", "]U\x01aK\x01K\x02\x86\x8620(K\x07K\x081a.", "a 1 2")
}

func TestDecodeConsumed(t *testing.T) {
	d := Decoder{}
	body := []byte("].junk")
	require.NoError(t, d.Decode(body, nil))
	require.Equal(t, 2, d.Consumed())
}

func TestItemErrors(t *testing.T) {
	f := func(name, item string, reason Reason, cause error) {
		t.Helper()
		body := "](U\x05firstK\x01K\x02\x86\x86" + item + "U\x04lastK\x01K\x02\x86\x86e."
		g := decode(&Decoder{}, body)
		require.NoError(t, g.err, name)
		require.Equal(t, []string{"first 1 2", "last 1 2"}, g.points, name)
		require.Len(t, g.bad, 1, name)
		e := g.bad[0]
		require.Equal(t, 1, e.Index, name)
		require.Equal(t, reason, e.Reason, "%s: %v", name, e)
		require.GreaterOrEqual(t, e.Offset, strings.Index(body, item), "%s: %v", name, e)
		require.Less(t, e.Offset, strings.Index(body, item)+len(item), "%s: %v", name, e)
		if cause != nil {
			require.ErrorIs(t, e, cause, name)
		}
		quiet := Decoder{}
		require.NoError(t, quiet.Decode([]byte(body), func(Datapoint) {}))
		require.Equal(t, 1, quiet.BadItems())
	}
	f("None", "N", BadShape, nil)
	f("number", "K\x05", BadShape, nil)
	f("two-letter string", "U\x02ab", BadShape, nil)
	f("one element", "U\x01a\x85", BadShape, nil)
	f("flat", "U\x01aK\x01K\x02\x87", BadShape, nil)
	f("several points", "U\x01aK\x01K\x02\x86K\x01K\x02\x86\x87", BadShape, nil)
	f("three numbers", "U\x01aK\x01K\x02K\x03\x87\x86", BadShape, nil)
	f("dict", "}U\x01aK\x01s", BadShape, nil)
	f("no name", "NK\x01K\x02\x86\x86", BadName, nil)
	f("number for a name", "K\x05K\x01K\x02\x86\x86", BadName, nil)
	f("name not UTF-8", "U\x10abcdefghijklmno\xffK\x01K\x02\x86\x86", BadName, nil)
	f("name not UTF-8, fast layout", "U\x01\xffJ\x01\x00\x00\x00G\x00\x00\x00\x00\x00\x00\x00\x00\x86\x86", BadName, nil)
	f("lone surrogate", "V\\ud800\nK\x01K\x02\x86\x86", BadName, nil)
	f("bad escape", "S'\\x1'\nK\x01K\x02\x86\x86", BadName, ErrSyntax)
	f("no quotes", "Sab\nK\x01K\x02\x86\x86", BadName, ErrSyntax)
	f("no timestamp", "U\x01aNK\x02\x86\x86", BadTimestamp, nil)
	f("no value", "U\x01aK\x01N\x86\x86", BadValue, nil)
	f("empty value", "U\x01aK\x01U\x00\x86\x86", BadValue, nil)
	f("word for a value", "U\x01aK\x01U\x03abc\x86\x86", BadValue, nil)
	f("hex string", "U\x01aK\x01U\x040x10\x86\x86", BadValue, nil)
	f("malformed float", "U\x01aK\x01F1_0.5\n\x86\x86", BadValue, ErrSyntax)
	f("huge int", "U\x01aK\x01\x8a\x90"+strings.Repeat("\x7f", 0x90)+"\x86\x86", BadValue, nil)
	f("long int", "U\x01aK\x01I"+strings.Repeat("9", 2000)+"\n\x86\x86", BadLimit, ErrLimit)
	f("long string for a value", "U\x01aK\x01S'"+strings.Repeat("9", 2000)+"'\n\x86\x86", BadLimit, ErrLimit)
	f("long name", "V"+strings.Repeat("a", DefaultMaxStringBytes+1)+"\nK\x01K\x02\x86\x86", BadLimit, ErrLimit)
	f("numpy scalar", "U\x01aK\x01cnumpy.core.multiarray\nscalar\n(K\x01tR\x86\x86", BadUnsafe, ErrUnsafe)
	f("persistent id", "U\x01aK\x01Pid\n\x86\x86", BadUnsafe, ErrUnsafe)
	f("instance", "U\x01aK\x01(K\x05idecimal\nDecimal\n\x86\x86", BadUnsafe, ErrUnsafe)
	f("built object", "cm\nC\n)\x81}b", BadUnsafe, ErrUnsafe)
	f("codec that is not Latin-1", "c_codecs\nencode\n(U\x01aU\x05utf-8tRK\x01K\x02\x86\x86", BadUnsafe, ErrUnsafe)
}

func TestUnsafeNamesWhatItRefused(t *testing.T) {
	f := func(body, op, module, name string) {
		t.Helper()
		g := decode(&Decoder{}, body)
		var e *UnsafeError
		require.ErrorAs(t, g.err, &e, "%q", body)
		require.Equal(t, UnsafeError{op, module, name}, *e, "%q", body)
		_, err := Unmarshal([]byte(body), Limits{})
		require.ErrorAs(t, err, &e, "%q: %v", body, err)
		require.Equal(t, op, e.Op)
	}
	f("cos\nsystem\n.", "GLOBAL", "os", "system")
	f("cos\nsystem\n(U\x04truetR.", "GLOBAL", "os", "system")
	f("\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.", "STACK_GLOBAL", "posix", "system")
	f("(ios\nsystem\n.", "INST", "os", "system")
	f("Pid\n.", "PERSID", "", "")
	f("NQ.", "BINPERSID", "", "")
	f("\x82\x01.", "EXT1", "", "")
	f("\x83\x01\x01.", "EXT2", "", "")
	f("\x84\x01\x01\x01\x01.", "EXT4", "", "")
	f("N)\x81.", "NEWOBJ", "", "")
	f("N)}\x92.", "NEWOBJ_EX", "", "")
	f("N}b.", "BUILD", "", "")
	f("(No.", "OBJ", "", "")
	f("N)R.", "REDUCE", "", "")
	f("c_codecs\nencode\n.", "GLOBAL", "_codecs", "encode")
}

func TestUnreadable(t *testing.T) {
	f := func(name, body string, cause error, points ...string) {
		t.Helper()
		g := decode(&Decoder{}, body)
		var e *DecodeError
		require.ErrorAs(t, g.err, &e, name)
		require.ErrorIs(t, g.err, cause, name)
		require.LessOrEqual(t, e.Offset, len(body), name)
		require.Equal(t, points, g.points, name)
	}
	f("empty", "", ErrTruncated)
	f("empty, as io", "", io.ErrUnexpectedEOF)
	f("STOP alone", ".", ErrStack)
	f("string at the top", "U\x02ab.", ErrNotList)
	f("None at the top", "N.", ErrNotList)
	f("dict at the top", "}.", ErrNotList)
	f("no mark", "e.", ErrStack)
	f("append to a number", "K\x01K\x02a.", ErrStack)
	f("underflow at a mark", "N(\x85.", ErrStack)
	f("odd dict", "(Nd.", ErrStack)
	f("unknown opcode", "\xff.", ErrOpcode)
	f("protocol 6", "\x80\x06].", ErrProtocol)
	f("missing memo", "h\x05.", ErrMemo)
	f("negative memo", "Np-1\n.", ErrMemo)
	f("huge memo index", "Ng99999999999\n.", ErrMemo)
	f("length of 4 GiB", "X\xff\xff\xff\xff.", ErrTruncated)
	f("length of 2**63", "\x8e\x00\x00\x00\x00\x00\x00\x00\x80.", ErrTruncated)
	f("negative length", "T\xff\xff\xff\xff.", ErrSyntax)
	f("negative LONG4", "\x8b\xff\xff\xff\xff.", ErrSyntax)
	f("cut in a batch", "](U\x01aK\x01K\x02\x86\x86U\x01bK\x01K\x02\x86\x86U\x01cK", ErrTruncated, "a 1 2", "b 1 2")
	f("cut without a list", "(U\x01aK\x01K\x02\x86\x86U\x01bK\x01K", ErrTruncated, "a 1 2")
	f("cut in protocol 0", "(l(S'a'\n(I1\nI2\nttaS", ErrTruncated, "a 1 2")
	f("cut in protocol 1", "]((U\x01a(K\x01K\x02tt(U\x01b(K\x01", ErrTruncated, "a 1 2")
}

func TestLimits(t *testing.T) {
	item := func(name string) string {
		return "U" + string(byte(len(name))) + name + "J\x01\x00\x00\x00K\x02\x86\x86"
	}
	f := func(field string, lim Limits, body string, points int) {
		t.Helper()
		for _, slow := range []bool{false, true} {
			g := decode(&Decoder{Limits: lim, slow: slow}, body)
			var e *LimitError
			require.ErrorAs(t, g.err, &e, field)
			require.Equal(t, field, e.Limit)
			require.ErrorIs(t, g.err, ErrLimit)
			require.Len(t, g.points, points, field)
		}
	}
	f("Body", Limits{Body: 10}, "]"+item("a")+"a.", 0)
	f("Items", Limits{Items: 2}, "]("+strings.Repeat(item("a"), 3)+"e.", 2)
	f("Items", Limits{Items: 2}, "](NNNNe.", 0)
	f("Depth", Limits{Depth: 3}, "((((tttt.", 0)
	f("Depth", Limits{Depth: 3}, "N\x85\x85\x85\x85.", 0)
	f("Depth", Limits{Depth: 1}, "]("+item("a")+"e.", 0)
	f("Depth", Limits{Depth: 1}, "(l(S'a'\n(I1\nI2\ntta.", 0)
	f("TotalBytes", Limits{TotalBytes: 2}, "]("+strings.Repeat(item("a"), 3)+"e.", 2)
	f("TotalBytes", Limits{TotalBytes: 2}, "]("+item("\xff\xfe")+item("a")+"e.", 0)
	f("Memo", Limits{Memo: 2}, "]q\x00(U\x01aq\x01K\x01K\x02\x86q\x02\x86e.", 0)
	f("TotalBytes", Limits{TotalBytes: 5}, "](U\x02abq\x00K\x01K\x02\x86\x86h\x00K\x01K\x02\x86\x86h\x00K\x01K\x02\x86\x86e.", 2)
	f("StringBytes", Limits{}, "]X\xc8\x00\x00\x00"+strings.Repeat("ä", 100)+"q\x010X\x06\x00\x00\x00latin1q\x020"+
		"c_codecs\nencode\nq\x030"+strings.Repeat("h\x03h\x01h\x02\x86R0", 99)+".", 0)
	// A numeric string that the memo repeats out of all proportion.
	g := decode(&Decoder{}, "](S'"+strings.Repeat("9", 300)+"'\nq\x00U\x01aq\x010h\x01h\x00h\x00\x86\x86q\x02"+strings.Repeat("h\x02", 100)+"e.")
	require.NoError(t, g.err)
	require.Len(t, g.points, 14)
	require.Len(t, g.bad, 102-14)
	require.ErrorIs(t, g.bad[50], ErrLimit)

	spoil := func(lim Limits, body string) {
		t.Helper()
		for _, slow := range []bool{false, true} {
			ok := decode(&Decoder{Limits: lim, slow: slow}, body)
			require.NoError(t, ok.err)
			require.Equal(t, []string{"abc 1 2"}, ok.points)
			require.Len(t, ok.bad, 1)
			require.Equal(t, BadLimit, ok.bad[0].Reason)
			require.ErrorIs(t, ok.bad[0], ErrLimit)
		}
	}
	spoil(Limits{StringBytes: 3}, "]("+item("abcd")+item("abc")+"e.")
	spoil(Limits{StringBytes: 40}, "]("+item(strings.Repeat("d", 41))+item("abc")+"e.")
	spoil(Limits{StringBytes: 3}, "(l(S'abcd'\n(I1\nI2\ntta(S'abc'\n(I1\nI2\ntta.")
	spoil(Limits{StringBytes: 3}, "(l(S'b'\n(I1\nS'1234'\ntta(S'abc'\n(I1\nI2\ntta.")
	spoil(Limits{IntegerBytes: 3}, "(l(S'b'\n(I1234\nI2\ntta(S'abc'\n(I1\nI2\ntta.")
	spoil(Limits{IntegerBytes: 3}, "(l(S'b'\n(I1\nF1.25\ntta(S'abc'\n(I1\nI2\ntta.")
	spoil(Limits{IntegerBytes: 3}, "(l(S'b'\n(L123L\nI2\ntta(S'abc'\n(I1\nI2\ntta.")
	spoil(Limits{IntegerBytes: 3}, "(l(S'b'\n(I1\nS'1.25'\ntta(S'abc'\n(I1\nI2\ntta.")
}

// Where the fast path and the machine take over from each other, nothing shows.
func TestSeam(t *testing.T) {
	const fl = "4a01000000" + "470000000000000000" + "8686"
	f := func(name, body string, points []string, bad ...ItemError) {
		t.Helper()
		text, err := hex.DecodeString(strings.ReplaceAll(body, " ", ""))
		if err != nil {
			text = []byte(body)
		}
		for _, slow := range []bool{false, true} {
			g := decode(&Decoder{slow: slow}, string(text))
			require.NoError(t, g.err, name)
			require.Equal(t, points, g.points, name)
			for i := range g.bad {
				g.bad[i].Err = nil
			}
			require.Equal(t, bad, g.bad, name)
		}
		checkDecode(t, text)
	}
	pad := strings.Repeat("4b0030", 20)
	f("memo index beyond the body", "4e727d000000305d28550161727e000000"+fl+"550162727e000000306a7e000000"+fl+"652e"+pad,
		[]string{"a 1 0", "b 1 0"})
	f("memo entry counted twice", "4e726a000000726b000000305d28550161726b000000"+fl+"94655d680230302e"+pad, []string{"a 1 0"})
	f("kind of a name in the memo", "5d285501617100"+fl+"635f636f646563730a656e636f64650a680058060000006c6174696e3186524b014b028686652e",
		[]string{"a 1 0"}, ItemError{Index: 1, Offset: 23, Reason: BadUnsafe})
	f("item from the memo before a run", "5d285501ff4a010000004b01868671006800550162"+fl+"652e",
		[]string{"b 1 0"}, ItemError{Index: 0, Offset: 2, Reason: BadName}, ItemError{Index: 1, Offset: 16, Reason: BadName})
	f("pair that was text", "(l(S'a'\n(S'1'\nS'2'\ntp0\ntag0\na.", []string{"a 1 2"}, ItemError{Index: 1, Offset: 25, Reason: BadShape})
	long := "S'" + strings.Repeat("1", 32) + "'\n"
	checkDecode(t, []byte("(l(S'a'\n("+long+long+"ttp0\na("+strings.Repeat("h\x00", 500)+"e."))
}

// What an unfinished batch holds is judged, but for the parts of the item that was
// cut off.
func TestCutBatch(t *testing.T) {
	f := func(name, tail string, bad ...Reason) {
		t.Helper()
		for _, item := range []string{"U\x01aK\x01K\x02\x86\x86", "U\x01aJ\x01\x00\x00\x00K\x02\x86\x86"} {
			body := "](" + item + "NU\x01bK\x01N\x86\x86" + item + tail
			for _, slow := range []bool{false, true} {
				g := decode(&Decoder{slow: slow}, body)
				require.ErrorIs(t, g.err, ErrTruncated, name)
				require.Equal(t, []string{"a 1 2", "a 1 2"}, g.points, name)
				var reasons []Reason
				for _, e := range g.bad {
					reasons = append(reasons, e.Reason)
				}
				require.Equal(t, append([]Reason{BadShape, BadValue}, bad...), reasons, name)
			}
			checkDecode(t, []byte(body))
		}
	}
	f("at the end of an item", "")
	f("after a name", "U\x01c")
	f("after a timestamp", "U\x01cK\x01")
	f("in a number", "U\x01cJ\x01")
	f("after a pair", "U\x01cK\x01K\x02\x86")
	f("after a pair of strings", "U\x01cU\x011U\x012\x86")
	f("in a tuple", "(U\x01cK\x01K\x02\x86")
	f("after a bad item", "U\x01\xffK\x01K\x02\x86\x86", BadName)
	f("after what no item is", "NN")
}

func TestMultiPoint(t *testing.T) {
	body := "](U\x01aK\x01K\x02\x86NK\x03K\x04\x86tU\x01b](K\x01K\x02e](K\x03K\x04el(U\x01c\x85(U\x01dK\x01K\x02\x86te."
	body = "]((U\x01aK\x01K\x02\x86NK\x03K\x04\x86t](U\x01b](K\x01K\x02e](K\x03K\x04eeU\x01c\x85U\x01dK\x01K\x02\x86\x86e."
	g := decode(&Decoder{MultiPoint: true}, body)
	require.NoError(t, g.err)
	require.Equal(t, []string{"a 1 2", "a 3 4", "b 1 2", "b 3 4", "d 1 2"}, g.points)
	require.Len(t, g.bad, 2)
	require.Equal(t, 0, g.bad[0].Index)
	require.Equal(t, 2, g.bad[1].Index)

	g = decode(&Decoder{}, body)
	require.NoError(t, g.err)
	require.Equal(t, []string{"d 1 2"}, g.points)
	require.Len(t, g.bad, 3)
}

// Every producer's layout is read by the fast path but for protocol 1, with the
// same result as without it.
func TestProducers(t *testing.T) {
	for _, p := range producers {
		for _, n := range []int{0, 1, 2, 85, 300, 2500} {
			for _, distinct := range []int{1, 7, 2500} {
				pts := samplePoints(n, distinct)
				body := p.encode(pts)
				d := &Decoder{}
				i := 0
				require.NoError(t, d.Decode(body, func(got Datapoint) {
					require.Equal(t, pts[i], got)
					i++
				}))
				require.Equal(t, n, i)
				if p.name != "p1-py2" && n > 0 && (n > 1 || p.name[0] != 'p' || p.name[1] == '0') {
					require.Len(t, d.points, n, p.name)
				}
				checkDecode(t, body)
			}
		}
	}
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	for _, p := range producers {
		for _, distinct := range []int{20, 1000} {
			body := p.encode(samplePoints(1000, distinct))
			d := &Decoder{}
			emit := func(Datapoint) {}
			allocs := testing.AllocsPerRun(20, func() {
				if err := d.Decode(body, emit); err != nil {
					t.Fatal(err)
				}
			})
			require.Zero(t, allocs, p.name)
		}
	}
}

// Bodies that cost a careless reader much more than they weigh.
func TestAmplification(t *testing.T) {
	const size = 1 << 16
	repeat := func(head, unit, tail string) string {
		return head + strings.Repeat(unit, (size-len(head)-len(tail))/len(unit)) + tail
	}
	long := strings.Repeat("9", 1000)
	most := 0.0
	defer func() { t.Logf("at most %.1f bytes of scratch a byte of body", most) }()
	f := func(name, body string) {
		t.Helper()
		var told [2]string
		for i, d := range []*Decoder{{}, {slow: true}} {
			points := 0
			n := allocated(func() { told[i] = fmt.Sprint(d.Decode([]byte(body), func(Datapoint) { points++ })) })
			require.LessOrEqual(t, n, uint64(512*len(body)+slack), "%s: allocated in all", name)
			require.LessOrEqual(t, d.scratch(), keepScratch, name)
			require.LessOrEqual(t, d.peak, 96*len(body)+64<<10, name)
			most = max(most, float64(d.peak)/float64(len(body)))
			told[i] += fmt.Sprint(points, d.BadItems(), d.Consumed())
		}
		require.Equal(t, told[1], told[0], name)
		n := allocated(func() { _, _ = Unmarshal([]byte(body), Limits{}) })
		require.LessOrEqual(t, n, uint64(2048*len(body)+slack), "%s: Unmarshal, allocated in all", name)
	}
	for _, unit := range []string{"(", ")", "]", "}", "\x8f", "N", "K\x01", "N\x85", "U\x00", "2", "\x82\x01", "NQ", "cm\nn\n"} {
		f(unit, repeat("N", unit, "."))
		f(unit, repeat("](N", unit, "e."))
		f(unit, repeat("(N", unit, "l."))
		f(unit, repeat("(N", unit, "t."))
	}
	f("MEMOIZE", repeat("N", "\x94", "."))
	f("far memo", repeat("N", "r\xff\xff\xff\x00", "."))
	f("one far memo", repeat("Nr\xff\xff\x0f\x00", "0N", "."))
	f("nested tuples", repeat("N", "\x85", "."))
	f("nested lists", repeat("(", "](", "."))
	f("the same item", repeat("](U\x01aK\x01K\x02\x86\x86q\x00", "h\x00", "e."))
	f("the same fast item", repeat("](U\x01aJ\x01\x00\x00\x00G\x00\x00\x00\x00\x00\x00\x00\x00\x86\x86q\x00", "h\x00", "e."))
	f("the same long number", repeat("](S'"+long+"'\nq\x00U\x01aK\x01h\x00\x86\x86q\x01", "h\x01", "e."))
	f("long numbers", repeat("](", "L"+long+"L\n", "e."))
	f("doubling tuples", repeat("Nq\x00", "h\x00h\x00\x86q\x00", "."))
	f("binary integers", repeat("](", "\x8a\x7f"+strings.Repeat("\x01", 127), "e."))
	big := DefaultMaxStringBytes
	f("the same long name", repeat("](V"+strings.Repeat("a", big)+"\np0\n0", "h\x00K\x01K\x02\x86\x86", "e."))
	f("one huge integer", repeat("]U\x01aK\x01L", "9", "L\n\x86\x86a."))
}

func TestReasonNames(t *testing.T) {
	seen := map[string]bool{}
	for r := BadShape; r <= BadLimit; r++ {
		require.NotEqual(t, "unknown", r.String())
		seen[r.String()] = true
	}
	require.Len(t, seen, 6)
	require.Equal(t, "unknown", Reason(0).String())
}

func TestOpcodeNames(t *testing.T) {
	require.Equal(t, "GLOBAL", opName('c'))
	require.Equal(t, "EMPTY_DICT", opName('}'))
	require.Equal(t, "BINBYTES8", opName(opBinbytes8))
	require.Equal(t, "READONLY_BUFFER", opName(opReadonlyBuffer))
	require.Equal(t, "opcode 0xff", opName(0xff))
	require.Equal(t, "opcode 0x20", opName(' '))
}

func TestIntegers(t *testing.T) {
	f := func(b []byte, want float64) {
		t.Helper()
		got, bad := parseLong(b)
		require.Equal(t, faultNone, bad)
		require.Equal(t, want, got, "%x", b)
	}
	f(nil, 0)
	f([]byte{0xff}, -1)
	f([]byte{0x80}, -128)
	f([]byte{0, 0x80, 0}, 32768)
	f([]byte{0xff, 0xff, 0xff}, -1)
	f([]byte{0, 0, 0, 0, 0, 0, 0, 0x80}, -1<<63)
	f([]byte{0, 0, 0, 0, 0, 0, 0, 0x80, 0}, 1<<63)
	f([]byte{0, 0, 0, 0, 0, 0, 0, 0, 1}, 1<<64)
	f([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0xff}, -1<<64)
	f([]byte{1, 0, 0, 0, 0, 0, 0, 0, 0xff}, -(1<<64 - 1))
	f([]byte{0, 8, 0, 0, 0, 0, 0, 0, 1}, 1<<64)      // half way: to even
	f([]byte{1, 8, 0, 0, 0, 0, 0, 0, 1}, 1<<64+4096) // a bit more
	_, bad := parseLong(append(make([]byte, 128), 1))
	require.Equal(t, faultRange, bad)
	half := append(binary.LittleEndian.AppendUint64(nil, 1<<10), 0, 0x80, 0) // 2**79 + 2**10
	f(half, math.Ldexp(1, 79))

	text := func(s string, want float64) {
		t.Helper()
		got, bad := parseInt([]byte(s))
		require.Equal(t, faultNone, bad, s)
		require.Equal(t, want, got, s)
	}
	text("0", 0)
	text("-0", 0)
	text(" +12\r", 12)
	text("1_000", 1000)
	text("-9223372036854775808", -1<<63)
	text("340282366920938463463374607431768211456", 1<<128)
	text("0b11", 3)
	for _, s := range []string{"", "-", "+-1", "1__0", "0x", "1.5", "abc", "1 2"} {
		_, bad := parseInt([]byte(s))
		require.Equal(t, faultSyntax, bad, s)
	}
	_, bad = parseInt([]byte("1" + strings.Repeat("0", 309)))
	require.Equal(t, faultRange, bad)
}

func TestFloatStrings(t *testing.T) {
	f := func(s string, want float64) {
		t.Helper()
		got, _, bad := parseFloatString([]byte(s), nil)
		require.Equal(t, faultNone, bad, s)
		require.Equal(t, math.Float64bits(want), math.Float64bits(got), s)
	}
	f("1", 1)
	f("-0", math.Copysign(0, -1))
	f("+1", 1)
	f(".5", 0.5)
	f("5.", 5)
	f("\t1e3\x1f", 1000)
	f("1_000.5_0e1_0", 1000.5e10)
	f("1e400", math.Inf(1))
	f("-1e400", math.Inf(-1))
	f("1e-400", 0)
	f("007", 7)
	f("iNf", math.Inf(1))
	f("-infinity", math.Inf(-1))
	f("-nan", math.NaN())
	for _, s := range []string{"", ".", "e5", "1e", "0x10", "1p3", "1,5", "1d", "True", "1__0", "_1", "1_", "1_.5", "1._5", "1e_5", "infin", "--1", "1 2"} {
		_, _, bad := parseFloatString([]byte(s), nil)
		require.Equal(t, faultSyntax, bad, s)
	}
	for _, s := range []string{" 1", "1_0", "1e400"} { // FLOAT is stricter
		_, bad := parseFloatText([]byte(s))
		require.NotEqual(t, faultNone, bad, s)
	}
}

func TestEightDigits(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 100000 {
		want := r.IntN(1e8)
		text := fmt.Appendf(nil, "%08d", want)
		got, ok := eightDigits(text)
		if !ok || got != uint64(want) {
			t.Fatalf("%s: %d", text, got)
		}
		text[r.IntN(8)] = byte(r.IntN(256))
		if _, ok := eightDigits(text); ok != (strings.Trim(string(text), "0123456789") == "") {
			t.Fatalf("%q: %v", text, ok)
		}
	}
}

// The short cut rounds as strconv does.
func TestShortFloat(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 100000 {
		digits := 1 + r.IntN(19)
		text := make([]byte, 0, 24)
		if r.IntN(3) == 0 {
			text = append(text, '-')
		}
		point := r.IntN(digits + 3)
		for i := range digits {
			if i == point {
				text = append(text, '.')
			}
			c := byte('0' + r.IntN(10))
			if r.IntN(8) == 0 {
				c = "0599"[r.IntN(4)]
			}
			text = append(text, c)
		}
		want, err := strconv.ParseFloat(string(text), 64)
		got, n := shortFloat(text, 0)
		if err != nil || n != len(text) || math.Float64bits(want) != math.Float64bits(got) {
			t.Fatalf("%s: %v, want %v", text, got, want)
		}
	}
	for _, text := range []string{"9007199254740993", "9007199254740992.5", "18014398509481985", "9999999999999999999", "0.999999999999999999", ".5", "5.", "-0"} {
		want, err := strconv.ParseFloat(text, 64)
		require.NoError(t, err)
		got, _ := shortFloat([]byte(text), 0)
		require.Equal(t, math.Float64bits(want), math.Float64bits(got), text)
	}
	for _, text := range []string{"", "-", ".", "-.", "1e5", "1..2", "12345678901234567890", "+1", "1 "} {
		_, n := shortFloat([]byte(text), 0)
		require.Zero(t, n, text)
	}
}

func TestErrorTexts(t *testing.T) {
	g := decode(&Decoder{}, "cos\nsystem\n.")
	require.EqualError(t, g.err, `pickle: refused to import or call: GLOBAL "os" "system" (GLOBAL at byte 0)`)
	g = decode(&Decoder{}, "](N")
	require.EqualError(t, g.err, "pickle: body is cut short: unexpected EOF (at byte 3)")
	g = decode(&Decoder{Limits: Limits{Body: 1}}, "].")
	require.EqualError(t, g.err, "pickle: limit exceeded: Limits.Body is 1 (EMPTY_LIST at byte 0)")
	g = decode(&Decoder{}, "](Ne.")
	require.EqualError(t, g.bad[0], "pickle: item 0 (at byte 2): bad shape: is None")
	require.False(t, errors.Is(g.bad[0], ErrUnsafe))
}

func TestUTF8IsJudgedAlike(t *testing.T) {
	for n := range 100 {
		for at := range n {
			name := bytes.Repeat([]byte("a"), n)
			require.True(t, asciiOnly(name))
			name[at] = 0x80
			require.False(t, asciiOnly(name), "%d of %d", at, n)
		}
	}
}
