package graphite_test

import (
	"errors"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/fluxmetrics/fluxkit/graphite"
)

// reference parses carbon lines slowly, from the rules alone. It is what the fuzz targets hold the parser against.
type reference struct {
	strict, allowInf bool
	now              time.Time
}

// refResult is a point or the reason why there is none. Neither: a blank line.
type refResult struct {
	point  textPoint
	reason graphite.Reason
}

// lines parses a stream that ends.
func (r reference) lines(s string, maxLine int) (out []refResult) {
	parts := strings.Split(s, "\n")
	for i, line := range parts {
		last := i == len(parts)-1
		switch {
		case len(line) > maxLine:
			out = append(out, refResult{reason: graphite.ReasonTooLong})
		case last && r.strict && line != "":
			out = append(out, refResult{reason: graphite.ReasonCut})
		case strings.Trim(line, " \t\r") != "":
			out = append(out, r.line(line))
		}
	}
	return out
}

func (r reference) line(line string) refResult {
	line = strings.TrimRight(line, "\r")
	var fields []string
	if r.strict {
		if !utf8.ValidString(line) {
			return refResult{reason: graphite.ReasonEncoding}
		}
		fields = strings.FieldsFunc(line, func(c rune) bool { return unicode.IsSpace(c) || c >= 0x1c && c <= 0x1f })
	} else {
		fields = strings.FieldsFunc(line, func(c rune) bool { return c == ' ' || c == '\t' })
	}
	if len(fields) != 3 {
		return refResult{reason: graphite.ReasonMalformed}
	}
	if !r.strict {
		if !utf8.ValidString(fields[0]) {
			return refResult{reason: graphite.ReasonNameUTF8}
		}
		if strings.ContainsFunc(fields[0], func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) }) {
			return refResult{reason: graphite.ReasonNameSpace}
		}
	}
	value, ok1 := refFloat(fields[1])
	ts, ok2 := refFloat(fields[2])
	if !ok1 || !ok2 {
		return refResult{reason: graphite.ReasonNumber}
	}
	ms, reason := r.judge(ts, value)
	if reason != 0 {
		return refResult{reason: reason}
	}
	return refResult{point: textPoint{fields[0], ms, value}}
}

func (r reference) judge(ts, value float64) (int64, graphite.Reason) {
	if math.IsNaN(value) {
		return 0, graphite.ReasonNaN
	}
	if math.IsInf(value, 0) && !r.strict && !r.allowInf {
		return 0, graphite.ReasonInfinite
	}
	if math.Trunc(ts) == -1 {
		return r.now.UnixMilli(), 0
	}
	if math.IsNaN(ts) || math.Abs(ts) >= 9.2233720368547758e15 {
		return 0, graphite.ReasonTimestamp
	}
	whole, frac := math.Modf(ts)
	return int64(whole)*1000 + int64(math.Round(frac*1000)), 0
}

var (
	refNumber = regexp.MustCompile(`^[+-]?(\d(_?\d)*(\.(\d(_?\d)*)?)?|\.\d(_?\d)*)([eE][+-]?\d(_?\d)*)?$`)
	refNamed  = regexp.MustCompile(`^[+-]?([iI][nN][fF]([iI][nN][iI][tT][yY])?|[nN][aA][nN])$`)
)

// refFloat reads a number as Python's float does.
func refFloat(s string) (float64, bool) {
	var b strings.Builder
	for _, c := range s {
		if c < utf8.RuneSelf || !unicode.IsDigit(c) {
			b.WriteRune(c)
			continue
		}
		zero := c // the digits of a script stand in a row, ten by ten
		for unicode.IsDigit(zero - 1) {
			zero--
		}
		b.WriteRune('0' + (c-zero)%10)
	}
	s = b.String()
	if !utf8.ValidString(s) || !refNumber.MatchString(s) && !refNamed.MatchString(s) {
		return 0, false
	}
	f, err := strconv.ParseFloat(strings.TrimPrefix(strings.ReplaceAll(s, "_", ""), "+"), 64)
	if err != nil && refNamed.MatchString(s) {
		return math.NaN(), true // a signed NaN
	}
	return f, err == nil || errors.Is(err, strconv.ErrRange)
}
