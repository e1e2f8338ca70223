package graphitetest

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"math/big"
	"unicode/utf8"

	pickle "github.com/kisielk/og-rek"
)

// maxFrame is carbon's limit for the body of a frame.
const maxFrame = 1 << 20

// readFrames takes frames, a big-endian uint32 length and a pickle each, until the connection ends.
func (s *Server) readFrames(r *bufio.Reader) error {
	for {
		var head [4]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return cut(err)
		}
		size := binary.BigEndian.Uint32(head[:])
		if size > maxFrame {
			s.reject()
			return errHangUp
		}
		body := make([]byte, size)
		if _, err := io.ReadFull(r, body); err != nil {
			return cut(err)
		}
		if !s.takeFrame(body) {
			return errHangUp
		}
	}
}

// cut makes the end of the connection inside a frame the end of the connection.
func cut(err error) error {
	if err == io.ErrUnexpectedEOF {
		return io.EOF
	}
	return err
}

// takeFrame takes [(name, (timestamp, value)), ...]. It reports whether the connection may stay open.
func (s *Server) takeFrame(body []byte) bool {
	top, err := pickle.NewDecoder(bytes.NewReader(body)).Decode()
	if err != nil {
		s.reject()
		return true
	}
	items, ok := sequence(top)
	if !ok {
		s.reject()
		return false
	}
	for _, item := range items {
		name, ts, value, ok := datapoint(item)
		if !ok {
			s.reject()
		} else if !s.take(name, ts, value) {
			return false
		}
	}
	return true
}

func datapoint(item any) (name string, ts, value float64, ok bool) {
	outer, ok1 := sequence(item)
	if !ok1 || len(outer) != 2 {
		return "", 0, 0, false
	}
	name, ok1 = outer[0].(string)
	inner, ok2 := sequence(outer[1])
	if !ok1 || !ok2 || len(inner) != 2 || !utf8.ValidString(name) {
		return "", 0, 0, false
	}
	ts, ok1 = number(inner[0])
	value, ok2 = number(inner[1])
	return name, ts, value, ok1 && ok2
}

func sequence(v any) ([]any, bool) {
	switch v := v.(type) {
	case []any:
		return v, true
	case pickle.Tuple:
		return v, true
	}
	return nil, false
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case int64:
		return float64(v), true
	case *big.Int:
		f, _ := new(big.Float).SetInt(v).Float64()
		return f, true
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case string:
		f, err := pyFloat(v)
		return f, err == nil
	}
	return 0, false
}
