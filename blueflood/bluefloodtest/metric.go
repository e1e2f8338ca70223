package bluefloodtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
)

// metric is one element of an ingest body, as the server's JSON mapper makes it.
type metric struct {
	tenant string
	name   string
	time   int64
	ttl    int64
	unit   string
	value  json.RawMessage // nil when missing
}

// errMapping is the error of a body, or an element, that cannot be mapped: the server refuses the whole body.
var errMapping = errors.New("bluefloodtest: cannot be mapped")

// parseBody maps a body, which must be an array; what follows the array is ignored. A nil element stands for null.
func parseBody(data []byte, multi bool) ([]*metric, error) {
	var raw []json.RawMessage
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(&raw); err != nil || raw == nil {
		return nil, errMapping
	}
	out := make([]*metric, len(raw))
	for i := range raw {
		if string(raw[i]) == "null" {
			continue
		}
		m := new(metric)
		if err := eachField(raw[i], func(key string, value json.RawMessage) error { return m.set(key, value, multi) }); err != nil {
			return nil, err
		}
		out[i] = m
	}
	return out, nil
}

// set maps one field.
func (m *metric) set(key string, v json.RawMessage, multi bool) (err error) {
	switch {
	case key == "metricName":
		m.name, err = text(v)
	case key == "unit":
		m.unit, err = text(v)
	case key == "collectionTime":
		m.time, err = integer(v, math.MinInt64, math.MaxInt64)
	case key == "ttlInSeconds":
		m.ttl, err = integer(v, math.MinInt32, math.MaxInt32)
	case key == "metricValue":
		m.value = v
	case key == "tenantId" && multi:
		m.tenant, err = text(v)
	default:
		return errMapping
	}
	return err
}

// text maps to a string: numbers and booleans as they are written, null as none.
func text(v json.RawMessage) (string, error) {
	switch v[0] {
	case '"':
		if plain(v) {
			return string(v[1 : len(v)-1]), nil
		}
		var s string
		if json.Unmarshal(v, &s) != nil {
			return "", errMapping
		}
		return s, nil
	case '[', '{':
		return "", errMapping
	case 'n':
		return "", nil
	}
	return string(v), nil
}

// plain reports whether a JSON string stands for just the bytes between its quotes.
func plain(v []byte) bool {
	for _, c := range v {
		if c == '\\' || c >= 0x80 {
			return false
		}
	}
	return true
}

// integer maps to an integer of a range: fractions are cut off, text that is a number counts as one, null is 0.
func integer(v json.RawMessage, least, most int64) (int64, error) {
	var n int64
	switch c := v[0]; {
	case c == 'n':
		return 0, nil
	case c == '"':
		s, err := text(v)
		if err != nil {
			return 0, err
		}
		if s = strings.TrimSpace(s); s == "" {
			return 0, nil
		}
		if n, err = strconv.ParseInt(s, 10, 64); err != nil {
			return 0, errMapping
		}
	case c == '-' || c >= '0' && c <= '9':
		var err error
		if n, err = strconv.ParseInt(string(v), 10, 64); err != nil {
			f, err := strconv.ParseFloat(string(v), 64)
			if err != nil || f < math.MinInt64 || f >= math.MaxInt64 {
				return 0, errMapping
			}
			n = int64(f)
		}
	default:
		return 0, errMapping
	}
	if n < least || n > most {
		return 0, errMapping
	}
	return n, nil
}

// errHuge is the error of an integer that not even a float holds.
var errHuge = errors.New("bluefloodtest: integer beyond the range of a float")

// number maps the value of a metric. ok is false when it is no number.
func number(v json.RawMessage) (value float64, kind string, ok bool, err error) {
	if v[0] != '-' && (v[0] < '0' || v[0] > '9') {
		return 0, "", false, nil
	}
	s := string(v)
	f, ferr := strconv.ParseFloat(s, 64)
	if strings.ContainsAny(s, ".eE") {
		return f, "Double", true, nil // out of range is infinite
	}
	if ferr != nil {
		return 0, "", true, errHuge
	}
	n, err := strconv.ParseInt(s, 10, 64)
	switch {
	case err != nil:
		return f, "Double", true, nil
	case n >= math.MinInt32 && n <= math.MaxInt32:
		return f, "Integer", true, nil
	}
	return f, "Long", true, nil
}

// eachField calls f with the fields of an object in their order. The keys keep their case, which encoding/json would
// not mind. raw is one valid JSON value, so only its structure needs to be followed.
func eachField(raw []byte, f func(key string, value json.RawMessage) error) error {
	if raw[0] != '{' {
		return errMapping
	}
	rest := skipSpace(raw[1:])
	for rest[0] != '}' {
		end := valueEnd(rest)
		quoted := rest[:end]
		key := string(quoted[1 : end-1])
		if strings.ContainsRune(key, '\\') {
			if json.Unmarshal(quoted, &key) != nil {
				return errMapping
			}
		}
		rest = skipSpace(skipSpace(rest[end:])[1:]) // the colon
		end = valueEnd(rest)
		if err := f(key, json.RawMessage(rest[:end])); err != nil {
			return err
		}
		if rest = skipSpace(rest[end:]); rest[0] == ',' {
			rest = skipSpace(rest[1:])
		}
	}
	return nil
}

func skipSpace(b []byte) []byte { return bytes.TrimLeft(b, " \t\r\n") }

// valueEnd is the length of the JSON value that b, which is valid, begins with.
func valueEnd(b []byte) int {
	depth, inString := 0, false
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
			if !inString && depth == 0 {
				return i + 1
			}
		case inString:
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			if depth == 0 {
				return i // behind a number or a word
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case depth == 0 && strings.IndexByte(", \t\r\n:", c) >= 0:
			return i
		}
	}
	return len(b)
}
