package pickle

import (
	"bytes"
	"fmt"
	"math/big"

	ogorek "github.com/kisielk/og-rek"
)

// Tuple is a Python tuple in what [Unmarshal] returns.
type Tuple []any

// Bytes is a Python 3 bytes in what [Unmarshal] returns.
type Bytes string

// Unmarshal reads one pickle of plain data, of any protocol, and returns
//
//	None                          nil
//	bool                          bool
//	int, long                     int64, or *big.Int if it does not fit
//	float                         float64
//	str, Python 2 str and unicode string; a Python 2 str need not be UTF-8
//	bytes                         Bytes
//	bytearray                     []byte
//	tuple                         Tuple
//	list                          []any
//	dict                          map[any]any
//
// It is built on og-rek, which never sees a byte before a scan has found the
// whole pickle sound: nothing is imported or called ([UnsafeError]), every length
// and memo index holds, and size and nesting of the result, shared parts counted
// each time, keep within lim ([LimitError]). So neither og-rek nor code that
// walks the result can be made to recurse or to work without end. Memory stays
// below 256 bytes a byte of body.
//
// Harmless things that og-rek cannot read, or would read wrongly, are errors that
// match [ErrUnsupported]: sets, LONG4, strings with 8-byte lengths, integers of
// 128 bytes and more, a list that is referred to twice or while it is filled,
// dict keys other than strings, small numbers and None, NaN as a key, and some
// text: octal escapes of one or two digits, surrogate pairs, -nan, 1e400. A
// [Decoder] reads what of these can be in a message of datapoints.
//
// Errors are a [*DecodeError]. For what og-rek alone finds, its offset is that of
// STOP. Bytes after STOP are ignored.
func Unmarshal(body []byte, lim Limits) (v any, err error) {
	s := scanner{r: Decoder{body: body, lim: lim.withDefaults()}}
	if len(body) > s.r.lim.Body {
		return nil, s.r.limit("Body", s.r.lim.Body)
	}
	if err := s.scan(); err != nil {
		return nil, err
	}
	at := s.r.op                          // of STOP
	s = scanner{r: Decoder{pos: s.r.pos}} // let go of what it needed
	defer func() {                        // the scan leaves nothing to panic about that is known
		if p := recover(); p != nil {
			v, err = nil, unsupported(at, fmt.Errorf("%v", p))
		}
	}()
	v, err = ogorek.NewDecoder(bytes.NewReader(body[:s.r.pos])).Decode()
	if err != nil {
		return nil, unsupported(at, err)
	}
	return plain(v), nil
}

// unsupported wraps what og-rek says of a pickle that the scan has passed.
func unsupported(at int, err error) error {
	return &DecodeError{Offset: at, Op: opName(opStop), Err: fmt.Errorf("%w: og-rek: %w", ErrUnsupported, err)}
}

// plain replaces og-rek's types, in place where it can. The scan has bounded
// how deep and how long it goes.
func plain(v any) any {
	switch v := v.(type) {
	case ogorek.None:
		return nil
	case ogorek.Bytes:
		return Bytes(v)
	case ogorek.Call: // the scan passes one alone, bytes()
		return Bytes("")
	case *big.Int:
		if v.IsInt64() {
			return v.Int64()
		}
	case ogorek.Tuple:
		for i := range v {
			v[i] = plain(v[i])
		}
		return Tuple(v)
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case map[any]any:
		return plainMap(v)
	}
	return v
}

func plainMap(m map[any]any) map[any]any {
	for k, v := range m {
		switch k := k.(type) {
		case ogorek.None:
			delete(m, k)
			m[nil] = plain(v)
		case ogorek.Bytes:
			delete(m, k)
			m[Bytes(k)] = plain(v)
		default:
			m[k] = plain(v)
		}
	}
	return m
}
