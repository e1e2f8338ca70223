package ingest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
	"github.com/fluxmetrics/fluxkit/graphite"
)

// The rules once more, slowly, over encoding/json, regular expressions and big numbers: what the parser is compared
// with.

// decode is encoding/json into a map with UseNumber, where encoding/json is as strict as we are. isObject is false for
// other values, and for an object without members.
func decode(body []byte) (m map[string]any, isObject, ok bool) {
	if !json.Valid(body) || !utf8.Valid(body) || loneSurrogate(body) || !wellNested(body) {
		return nil, false, false
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return nil, false, false
	}
	m, isObject = v.(map[string]any)
	return m, isObject && len(m) > 0, true
}

// loneSurrogate looks for an escape that is half of a surrogate pair. encoding/json puts U+FFFD for it.
func loneSurrogate(body []byte) bool {
	rest := regexp.MustCompile(`\\[^u]`).ReplaceAll(body, nil)
	rest = regexp.MustCompile(`(?i)\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}`).ReplaceAll(rest, nil)
	return regexp.MustCompile(`(?i)\\ud[89a-f]`).Match(rest)
}

// wellNested reports that nothing is nested deeper than 32 levels and that no object has a member twice.
func wellNested(body []byte) bool {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	type level struct {
		names  map[string]bool // nil in an array
		inName bool            // a name comes next
	}
	var open []level
	for {
		t, err := d.Token()
		if err != nil {
			return true
		}
		top := len(open) - 1
		if s, ok := t.(string); ok && top >= 0 && open[top].inName {
			if open[top].names[s] {
				return false
			}
			open[top].names[s], open[top].inName = true, false
			continue
		}
		switch t {
		case json.Delim('{'):
			open = append(open, level{map[string]bool{}, true})
		case json.Delim('['):
			open = append(open, level{})
		case json.Delim('}'), json.Delim(']'):
			open = open[:top]
		}
		if len(open) > 32 {
			return false
		}
		if n := len(open) - 1; n >= 0 && open[n].names != nil {
			open[n].inName = true
		}
	}
}

// failure is what the reference says against a point.
type failure struct {
	item   int
	reason ingest.Reason
}

// referenceRequest is the request that a body should be, and the failure that Validate should report, if any.
func referenceRequest(m map[string]any, r ingest.Rules, prefix string) (req ingest.Request, f *failure) {
	key, has := m["key"]
	s, _ := key.(string)
	req = ingest.Request{Key: []byte(s), HasKey: has, Points: 1}
	status, has := m["status"]
	req.Status = has && status != ""
	req.Test, req.ValidateKey = truthy(m["test"]), truthy(m["validate_key"])
	list, isList := m["metrics"].([]any)
	points := []any{m}
	if len(list) > 0 {
		req.Array, req.Points, points = true, len(list), list
	}
	for _, v := range points {
		if o, ok := v.(map[string]any); ok {
			req.Fill = req.Fill || filled(o["fill"])
		}
	}
	if m["metrics"] != nil && !isList {
		return req, &failure{-1, ingest.ReasonForm}
	}
	for i, v := range points {
		it, reason := referencePoint(v, req.Array, r, prefix)
		if reason != "" {
			req.Items = nil
			return req, &failure{i, reason}
		}
		req.Items = append(req.Items, it)
	}
	slices.SortStableFunc(req.Items, func(a, b ingest.Item) int { return int((a.Timestamp - b.Timestamp) / 1000) })
	return req, nil
}

func truthy(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case string:
		return v != ""
	case json.Number:
		f, _ := v.Float64()
		return f != 0
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	}
	return false
}

func filled(v any) bool { return v == true || v == "true" || v == "True" }

// referencePoint is the point that a JSON value should be, or why it is none.
func referencePoint(v any, inArray bool, r ingest.Rules, prefix string) (it ingest.Item, reason ingest.Reason) {
	o, ok := v.(map[string]any)
	if !ok {
		return it, ingest.ReasonForm
	}
	metric, hasMetric := o["metric"]
	value, hasValue := o["value"]
	timestamp, hasTime := o["timestamp"]
	if !hasMetric || !hasValue || value == "" || !hasTime && !inArray {
		return it, ingest.ReasonMissing
	}
	name, ok := metric.(string)
	if name, ok = referenceName(name, ok, prefix); !ok {
		return it, ingest.ReasonName
	}
	fill := filled(o["fill"])
	ts := r.Now.Unix()
	if hasTime {
		if ts, reason = referenceTime(scalar(timestamp), fill, r); reason != "" {
			return it, reason
		}
	}
	f, ok := referenceFloat(scalar(value))
	if !ok {
		return it, ingest.ReasonValue
	}
	return ingest.Item{Name: []byte(name), Timestamp: ts * 1000, Value: f, Fill: fill}, ""
}

// scalar is the text of a string or a number, and something that is not a number for anything else.
func scalar(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return "?"
}

var (
	intText   = regexp.MustCompile(`^[+-]?[0-9]+(_[0-9]+)*$`)
	floatText = regexp.MustCompile(`^[+-]?(D\.?D?|\.D)([eE][+-]?D)?$`)
	nameText  = regexp.MustCompile(`^[A-Za-z0-9+\-%._/=:]+$`)
	edgeText  = regexp.MustCompile(`^[./]|[./]$`)
	dotsText  = regexp.MustCompile(`(^|/)\.+(/|$)`)
	digits    = regexp.MustCompile(`[0-9]+(_[0-9]+)*`)
)

func referenceTime(s string, fill bool, r ingest.Rules) (int64, ingest.Reason) {
	s = strings.TrimSpace(s)
	if !intText.MatchString(s) {
		return 0, ingest.ReasonTimestamp
	}
	n, _ := new(big.Int).SetString(strings.ReplaceAll(s, "_", ""), 10)
	if n.Sign() <= 0 || n.Cmp(big.NewInt(9999999999)) > 0 {
		return 0, ingest.ReasonTimestamp
	}
	age := r.Now.Unix() - n.Int64()
	switch {
	case fill:
	case r.MaxAge > 0 && float64(age) > r.MaxAge.Seconds():
		return 0, ingest.ReasonOld
	case r.MaxFuture > 0 && float64(-age) > r.MaxFuture.Seconds():
		return 0, ingest.ReasonFuture
	}
	return n.Int64(), ""
}

func referenceFloat(s string) (float64, bool) {
	s = strings.TrimSpace(s)
	if strings.Contains(s, "D") || !floatText.MatchString(digits.ReplaceAllString(s, "D")) {
		return 0, false
	}
	f, err := strconv.ParseFloat(strings.ReplaceAll(s, "_", ""), 64)
	return f, err == nil && !math.IsInf(f, 0)
}

func referenceName(s string, isText bool, prefix string) (string, bool) {
	s = strings.NewReplacer(" ", "_", "*", "_", "'", "_").Replace(s)
	for strings.Contains(s, "..") {
		s = strings.ReplaceAll(s, "..", ".")
	}
	path, tags, tagged := strings.Cut(s, ";")
	bad := func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }
	if !isText || !nameText.MatchString(path) || edgeText.MatchString(path) || dotsText.MatchString(path) ||
		!utf8.ValidString(tags) || strings.ContainsFunc(tags, bad) || tagged && strings.HasSuffix(s, `"}`) {
		return "", false
	}
	elements := strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '/' })
	for i, e := range elements {
		if !tagged && (len(e) > 255 || i == len(elements)-1 && len(e) > 251) {
			return "", false
		}
	}
	if prefix != "" && path != prefix && !strings.HasPrefix(path, prefix+".") {
		s = prefix + "." + s
	}
	if len(s) > 4062 {
		return "", false
	}
	s, err := graphite.NormaliseSeries(s)
	return s, err == nil
}

// failed is the failure that an error of ours stands for.
func failed(err error) *failure {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*ingest.Error](err)
	if !ok {
		return &failure{-2, "not an ingest.Error"}
	}
	return &failure{e.Item, e.Reason}
}
