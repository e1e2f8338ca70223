package pickle

import (
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUnmarshal(t *testing.T) {
	f := func(body string, want any) {
		t.Helper()
		got, err := Unmarshal([]byte(body), Limits{})
		require.NoError(t, err, "%q", body)
		require.Equal(t, want, got, "%q", body)
	}
	big70, _ := new(big.Int).SetString("1180591620717411303424", 10)
	f("N.", nil)
	f("I01\n.", true)
	f("\x89.", false)
	f("K\x05.", int64(5))
	f("L-12L\n.", int64(-12))
	f("\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x40.", big70)
	f("L1180591620717411303424L\n.", big70)
	f("F-1.5e3\n.", -1500.0)
	f("S'it\\'s'\np0\n.", "it's")
	f("U\x02\xff\xfe.", "\xff\xfe")
	f("V\\u00e4\n.", "ä")
	f("\x8c\x02\xc3\xa4\x94.", "ä")
	f("C\x02\xff\xfe.", Bytes("\xff\xfe"))
	f("c_codecs\nencode\n(V\xff\nVlatin1\ntR.", Bytes("\xff"))
	f("\x80\x02c_codecs\nencode\nq\x00X\x02\x00\x00\x00\xc3\xbfX\x06\x00\x00\x00latin1\x86R.", Bytes("\xff"))
	f("c__builtin__\nbytes\n)R.", Bytes(""))
	f("\x96\x02\x00\x00\x00\x00\x00\x00\x00ab.", []byte("ab"))
	f(").", Tuple{})
	f("(lp0\nI1\naN\x85a.", []any{int64(1), Tuple{nil}})
	f("](K\x01}e.", []any{int64(1), map[any]any{}})
	f("}(U\x01aK\x01NK\x02C\x01bK\x03u.", map[any]any{"a": int64(1), nil: int64(2), Bytes("b"): int64(3)})
	f("}U\x01aK\x01sU\x01b}s.", map[any]any{"a": int64(1), "b": map[any]any{}})
	f("}q\x00U\x01aK\x01s0h\x00h\x00\x86.", Tuple{map[any]any{"a": int64(1)}, map[any]any{"a": int64(1)}})
	f("K\x01q\x00h\x00\x86.junk", Tuple{int64(1), int64(1)})
}

func TestUnmarshalRefuses(t *testing.T) {
	f := func(name, body string, cause error) {
		t.Helper()
		_, err := Unmarshal([]byte(body), Limits{})
		require.ErrorIs(t, err, cause, name)
		var e *DecodeError
		require.ErrorAs(t, err, &e, name)
	}
	f("set", "\x80\x04\x8f.", ErrUnsupported)
	f("frozen set", "(\x91.", ErrUnsupported)
	f("LONG4", "\x8b\x01\x00\x00\x00\x01.", ErrUnsupported)
	f("8-byte length", "\x8d\x00\x00\x00\x00\x00\x00\x00\x00.", ErrUnsupported)
	f("LONG1 of 128 bytes", "\x8a\x80"+strings.Repeat("\x01", 128)+".", ErrUnsupported)
	f("POP_MARK, which og-rek ignores", "N(N1.", ErrUnsupported)
	f("out of band buffer", "\x97.", ErrUnsupported)
	f("shared list, which og-rek empties", "]q\x00K\x01ah\x00\x86.", ErrUnsupported)
	f("list copied before it is filled", "]2K\x01a\x86.", ErrUnsupported)
	f("list in itself", "]q\x00h\x00a.", ErrUnsupported)
	f("dict in itself", "}q\x00U\x01ah\x00s.", ErrUnsupported)
	f("dict in itself by way of a tuple", "}q\x00h\x00\x85q\x010h\x00U\x01ah\x01s.", ErrUnsupported)
	f("tuple for a key", "})K\x01s.", ErrUnsupported)
	f("long for a key", "}L1L\nK\x01s.", ErrUnsupported)
	f("NaN for a key, of which og-rek's map would hold any number", "}(G\x7f\xf8\x00\x00\x00\x00\x00\x00Nu.", ErrUnsupported)
	f("the same as text", "}Fnan\nNs.", ErrUnsupported)
	f("short octal escape", "S'\\3'\n.", ErrUnsupported)
	f("surrogate pair", "V\\ud83d\\ude00\n.", ErrUnsupported)
	f("negative NaN", "F-nan\n.", ErrUnsupported)
	f("float that overflows", "F1e400\n.", ErrUnsupported)
	f("memo index spelled twice", "Np00\n.", ErrMemo)
	f("octal text", "I010\n.", ErrSyntax)
	f("hexadecimal float", "F0x1p3\n.", ErrSyntax)
	f("underscore in a float", "F1_0.5\n.", ErrSyntax)
	f("text that is not UTF-8", "\x8c\x01\xff.", ErrSyntax)
	f("bad escape", "S'\\x'\n.", ErrSyntax)
	f("no such memo", "h\x00.", ErrMemo)
	f("truncated", "U\x05a", ErrTruncated)
	f("unknown opcode", "\xff", ErrOpcode)
	f("protocol", "\x80\x09.", ErrProtocol)
	f("mark as a value", "(\x85.", ErrStack)
	f("append to a tuple", ")Na.", ErrStack)
	f("odd dict", "}(Nu.", ErrStack)
	f("class in a list", "](cos\nsystem\ne.", ErrUnsafe)
	f("function in a tuple", "c_codecs\nencode\n\x85.", ErrUnsafe)
	f("call of a number", "K\x01)R.", ErrUnsafe)
	f("wrong codec", "c_codecs\nencode\n(U\x01aU\x05utf-8tR.", ErrUnsafe)
	f("nested persistent ids as a key", "}"+"N"+strings.Repeat("Q", 100000)+"Ns.", ErrUnsafe)
}

// Small bodies whose value is huge, or deep, once all parts are counted.
func TestUnmarshalLimits(t *testing.T) {
	f := func(field, body string, lim Limits) {
		t.Helper()
		_, err := Unmarshal([]byte(body), lim)
		var e *LimitError
		require.ErrorAs(t, err, &e, field)
		require.Equal(t, field, e.Limit)
	}
	f("Body", "N.", Limits{Body: 1})
	f("Items", "NNNN.", Limits{Items: 3})
	f("Items", "K\x01q\x00"+strings.Repeat("h\x00h\x00\x86q\x00", 50)+".", Limits{}) // doubles 50 times
	f("Depth", strings.Repeat("(", 65)+".", Limits{})
	f("Depth", "N"+strings.Repeat("\x85", 65)+".", Limits{})
	f("Depth", strings.Repeat("](", 65)+strings.Repeat("e", 65)+".", Limits{})
	f("Depth", strings.Repeat("]", 66)+strings.Repeat("a", 65)+".", Limits{})
	f("Memo", "Nq\x00q\x01q\x02.", Limits{Memo: 2})
	f("StringBytes", "U\x05aaaaa.", Limits{StringBytes: 4})
	f("TotalBytes", "(U\x05aaaaaq\x00h\x00h\x00t.", Limits{TotalBytes: 14})
	f("TotalBytes", "c_codecs\nencode\nq\x000(U\x05aaaaaU\x06latin1tq\x010"+strings.Repeat("h\x00h\x01R0", 9)+"N.", Limits{TotalBytes: 50})
	f("IntegerBytes", "L"+strings.Repeat("9", 1025)+"L\n.", Limits{})
	f("IntegerBytes", "("+strings.Repeat("\x8a\x7f"+strings.Repeat("\x01", 127), 130)+"t.", Limits{})
}
