package blueflood

import (
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/fluxmetrics/fluxkit/internal/record"
)

// rowEncoder writes points as the objects of an ingest body. It holds nothing that changes: one serves many bodies.
//
// A row has the keys that Blueflood knows and no other, since an unknown one makes it refuse the whole body. The time
// is an integer, so that the server's error list repeats it exactly. The value always has a fraction or an exponent:
// the server would store it as an integer otherwise, and a series of both kinds confuses readers.
type rowEncoder struct {
	prefix   string // with its dot, as it stands in front of names
	head     []byte // {"metricName":" and the prefix
	tail     []byte // ,"ttlInSeconds":TTL
	overhead int    // about how much longer a row is than the same point in a record
}

func newRowEncoder(prefix string, ttl time.Duration) *rowEncoder {
	if prefix != "" {
		prefix += "."
	}
	e := &rowEncoder{prefix: prefix}
	e.head = appendEscaped([]byte(`{"metricName":"`), []byte(prefix))
	e.tail = strconv.AppendInt([]byte(`,"ttlInSeconds":`), int64(ttl/time.Second), 10)
	const typical = `","collectionTime":1467123456000,"metricValue":1.0},`
	const inRecord = 18 // tag, length of the name, time, value
	e.overhead = len(e.head) + len(typical) + len(e.tail) - inRecord
	return e
}

// check returns why the point cannot be sent, with an empty Reason when it can.
func (e *rowEncoder) check(p *record.Point, w window) Failure {
	switch {
	case len(p.Name) == 0:
		return Failure{ReasonBadName, "the name is empty"}
	case !utf8.Valid(p.Name):
		return Failure{ReasonBadName, "the name is not UTF-8"}
	case math.IsNaN(p.Value) || math.IsInf(p.Value, 0):
		return Failure{ReasonBadValue, "the value is not finite"}
	case p.Timestamp < w.oldest:
		return Failure{ReasonTooOld, "older than the past limit"}
	case p.Timestamp > w.newest:
		return Failure{ReasonInFuture, "further ahead than the future limit"}
	case len(p.Extra) > 0:
		ttl, unit := extra(p)
		if ttl != 0 && !validTTL(ttl) {
			return Failure{ReasonBadTTL, "the TTL is not whole seconds from 1 to 630720000"}
		}
		if !utf8.Valid(unit) {
			return Failure{ReasonBadUnit, "the unit is not UTF-8"}
		}
	}
	return Failure{}
}

// rowTime is what stands between a row's name and its value. It remembers the last, since many rows share their time.
type rowTime struct {
	at   int64
	text []byte // nil before the first
}

func (t *rowTime) append(dst []byte, at int64) []byte {
	if t.text == nil || t.at != at {
		t.at = at
		t.text = strconv.AppendInt(append(t.text[:0], `","collectionTime":`...), at, 10)
		t.text = append(t.text, `,"metricValue":`...)
	}
	return append(dst, t.text...)
}

// append appends the row of a point that check found nothing wrong with. t belongs to the caller.
func (e *rowEncoder) append(dst []byte, p *record.Point, t *rowTime) []byte {
	dst = append(dst, e.head...)
	dst = appendEscaped(dst, p.Name)
	dst = t.append(dst, p.Timestamp)
	dst = appendFloat(dst, p.Value)
	if len(p.Extra) == 0 {
		dst = append(dst, e.tail...)
		return append(dst, '}')
	}
	ttl, unit := extra(p)
	if ttl == 0 {
		dst = append(dst, e.tail...)
	} else {
		dst = append(dst, `,"ttlInSeconds":`...)
		dst = strconv.AppendInt(dst, int64(ttl/time.Second), 10)
	}
	if len(unit) > 0 {
		dst = append(dst, `,"unit":"`...)
		dst = appendEscaped(dst, unit)
		dst = append(dst, '"')
	}
	return append(dst, '}')
}

// appendFloat appends a finite number in the shortest form that reads back as the same float, and never as an integer.
func appendFloat(dst []byte, v float64) []byte {
	if i := int64(v); i != 0 && i > -1e15 && i < 1e15 && float64(i) == v {
		dst = strconv.AppendInt(dst, i, 10)
		return append(dst, '.', '0')
	}
	if out, ok := appendDecimal(dst, v); ok {
		return out
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, v, 'g', -1, 64)
	for _, c := range dst[start:] {
		if c == '.' || c == 'e' {
			return dst
		}
	}
	return append(dst, '.', '0')
}

// appendDecimal appends a number of one to four decimals and up to 15 digits, as many metrics have, faster than strconv
// does. A quotient of two integers that floats hold exactly is the float nearest to it, so the number reads back as v; two
// numbers of so few digits are never the same float, so there is no shorter one.
func appendDecimal(dst []byte, v float64) ([]byte, bool) {
	const unit = 1e4
	scaled := v * unit
	if !(scaled > -1e15 && scaled < 1e15) {
		return dst, false
	}
	n := int64(scaled + math.Copysign(0.5, scaled))
	if n%unit == 0 || float64(n)/unit != v { // a whole number is none of these
		return dst, false
	}
	if n < 0 {
		dst, n = append(dst, '-'), -n
	}
	dst = strconv.AppendInt(dst, n/unit, 10)
	dst = append(dst, '.')
	for rest := n % unit; rest > 0; rest = rest % 1000 * 10 {
		dst = append(dst, byte('0'+rest/1000))
	}
	return dst, true
}

const hexDigits = "0123456789abcdef"

// appendEscaped appends s, which is UTF-8, as the inside of a JSON string.
func appendEscaped(dst, s []byte) []byte {
	start := 0
	for i, c := range s {
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		start = i + 1
	}
	return append(dst, s[start:]...)
}
