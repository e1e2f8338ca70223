package deadletter

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const maxText = 500 // bytes of a destination, a reason or a detail

// Entry is a point that was given up.
type Entry struct {
	Destination string // which one gave it up
	Reason      string // a short fixed label
	Detail      string // more of it, for people; what exceeds 500 bytes is cut off
	At          time.Time
	Name        []byte // any bytes
	Timestamp   int64  // Unix milliseconds
	Value       float64
	TTL         time.Duration // zero when the point has none of its own
	Unit        string        // any bytes
	Tenant      string
	Tag         uint8
}

// appendLine appends e as a line, with its end.
func appendLine(b []byte, e *Entry) []byte {
	b = append(b, `{"at":"`...)
	b = appendTime(b, e.At)
	b = appendText(append(b, `","destination":`...), clip(e.Destination))
	if e.Tenant != "" {
		b = appendText(append(b, `,"tenant":`...), toUTF8(e.Tenant))
	}
	b = appendText(append(b, `,"reason":`...), clip(e.Reason))
	if e.Detail != "" {
		b = appendText(append(b, `,"detail":`...), clip(e.Detail))
	}
	b = appendBytes(b, "metric", e.Name)
	b = strconv.AppendInt(append(b, `,"timestamp":`...), e.Timestamp, 10)
	b = appendValue(append(b, `,"value":`...), e.Value)
	if e.TTL != 0 {
		b = append(append(append(b, `,"ttl":"`...), e.TTL.String()...), '"')
	}
	if e.Unit != "" {
		b = appendBytes(b, "unit", []byte(e.Unit))
	}
	if e.Tag != 0 {
		b = strconv.AppendUint(append(b, `,"tag":`...), uint64(e.Tag), 10)
	}
	return append(b, "}\n"...)
}

// appendTime appends t, or the zero time where RFC 3339 has no room for its year.
func appendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	if t.Year() < 0 || t.Year() > 9999 {
		t = time.Time{}
	}
	return t.AppendFormat(b, time.RFC3339Nano)
}

// toUTF8 is for text that people read: what is not UTF-8 becomes U+FFFD.
func toUTF8(s string) string { return strings.ToValidUTF8(s, "\ufffd") }

// clip returns at most maxText bytes of s, whole characters.
func clip(s string) string {
	s = toUTF8(s)
	if len(s) <= maxText {
		return s
	}
	n := maxText - len("...")
	for n > maxText-8 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}

// appendBytes appends a field that holds any bytes.
func appendBytes(b []byte, field string, v []byte) []byte {
	b = append(append(b, `,"`...), field...)
	if utf8.Valid(v) {
		return appendText(append(b, `":`...), v)
	}
	b = append(b, `_base64":"`...)
	return append(base64.StdEncoding.AppendEncode(b, v), '"')
}

// appendText appends valid UTF-8 as a JSON string.
func appendText[T string | []byte](b []byte, s T) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20 || c == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

func appendValue(b []byte, v float64) []byte {
	switch {
	case math.IsNaN(v):
		return append(b, `"NaN"`...)
	case math.IsInf(v, 1):
		return append(b, `"Infinity"`...)
	case math.IsInf(v, -1):
		return append(b, `"-Infinity"`...)
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}

// line is an entry as it stands in the file.
type line struct {
	At           string          `json:"at"`
	Destination  string          `json:"destination"`
	Tenant       string          `json:"tenant"`
	Reason       string          `json:"reason"`
	Detail       string          `json:"detail"`
	Metric       *string         `json:"metric"`
	MetricBase64 *string         `json:"metric_base64"`
	Timestamp    *int64          `json:"timestamp"`
	Value        json.RawMessage `json:"value"`
	TTL          string          `json:"ttl"`
	Unit         *string         `json:"unit"`
	UnitBase64   *string         `json:"unit_base64"`
	Tag          uint8           `json:"tag"`
}

// parseLine reads a line, without its end. The entry refers to no part of b.
func parseLine(b []byte) (e Entry, err error) {
	if !utf8.Valid(b) {
		return e, errors.New("not UTF-8")
	}
	var l line
	if err := json.Unmarshal(b, &l); err != nil {
		return e, err
	}
	if l.Timestamp == nil {
		return e, errors.New("no timestamp")
	}
	e = Entry{
		Destination: l.Destination, Reason: l.Reason, Detail: l.Detail, Tenant: l.Tenant, Timestamp: *l.Timestamp, Tag: l.Tag,
	}
	if e.At, err = time.Parse(time.RFC3339Nano, l.At); err != nil {
		return e, fmt.Errorf("at: %w", err)
	}
	e.At = e.At.UTC()
	if y := e.At.Year(); y < 0 || y > 9999 {
		return e, fmt.Errorf("at: year %d", y)
	}
	if e.Name, err = parseBytes("metric", l.Metric, l.MetricBase64); err != nil {
		return e, err
	}
	if e.Name == nil {
		return e, errors.New("no metric")
	}
	unit, err := parseBytes("unit", l.Unit, l.UnitBase64)
	if err != nil {
		return e, err
	}
	e.Unit = string(unit)
	if l.TTL != "" {
		if e.TTL, err = time.ParseDuration(l.TTL); err != nil {
			return e, fmt.Errorf("ttl: %w", err)
		}
	}
	e.Value, err = parseValue(l.Value)
	return e, err
}

// parseBytes returns a field that holds any bytes, nil when it is not there.
func parseBytes(field string, text, coded *string) ([]byte, error) {
	switch {
	case text != nil && coded != nil:
		return nil, fmt.Errorf("both %s and %s_base64", field, field)
	case text != nil:
		return []byte(*text), nil
	case coded == nil:
		return nil, nil
	}
	b, err := base64.StdEncoding.DecodeString(*coded)
	if err != nil {
		return nil, fmt.Errorf("%s_base64: %w", field, err)
	}
	return b, nil
}

func parseValue(b []byte) (float64, error) {
	switch {
	case len(b) == 0 || bytes.Equal(b, []byte("null")):
		return 0, errors.New("no value")
	case b[0] != '"':
		var v float64
		err := json.Unmarshal(b, &v)
		return v, err
	}
	switch string(b) {
	case `"NaN"`:
		return math.NaN(), nil
	case `"Infinity"`:
		return math.Inf(1), nil
	case `"-Infinity"`:
		return math.Inf(-1), nil
	}
	return 0, fmt.Errorf("value %.40s", b)
}
