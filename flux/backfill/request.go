package backfill

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
	"github.com/fluxmetrics/fluxkit/graphite"
)

// HostType is what kind of server is fetched from.
type HostType string

// The kinds of servers.
const (
	Graphite   HostType = "graphite"
	Prometheus HostType = "prometheus"
)

// AllSeries as Request.Series takes every series of an answer.
const AllSeries = "*"

const (
	maxText = 4096 // bytes of a field
	maxName = 4062 // bytes of a metric's name, as for points that are sent
	noneTxt = "None"
)

// Request is what a client asks for. ParseRequest makes one; an embedder may fill one in by hand, and Submit checks it
// all the same.
type Request struct {
	// HostType says how the URLs are read and what their answers look like.
	HostType HostType
	// RemoteTarget is the target as the client names it. It takes no part in the job but for Vista's URLs, whose target
	// is not encoded: what stands there literally is told by it.
	RemoteTarget string
	// Metric is the local name.
	Metric string
	// NamespacePrefix is informational: Metric has it already.
	NamespacePrefix string
	// Key is what the client authenticates with, empty for none. Nobody here compares it.
	Key string
	// URLs are the slices, in any order. Times in them may be relative.
	URLs []string
	// Vista tells that URLs came as Vista's literal, so that their targets are not encoded.
	Vista bool
	// Since, unless empty, overrides what is known of the metric: history from then on is fetched. It is a time in Unix
	// seconds, an RFC 3339 time, or a time as Graphite reads it, such as -7days.
	Since string
	// MissingRender makes the job fill the slots that are null in the local Graphite, instead of trusting the mark.
	MissingRender bool
	// Series chooses among the series of an answer: by the name that the source gives it, for Prometheus as
	// name{label="value"} with sorted labels; or AllSeries, whose samples count alike. Empty: there must be only one.
	Series string
}

// ParseRequest reads the body of POST /populate_metric. Two forms are taken. Vista's has fetch_resolution_urls as a
// string, a Python literal of a string that holds a Python list; the plain one has it as a JSON array. Both may have
// since, series, and missing, which is "render". A key that is null or "None" is no key. Members that are not known are
// ignored. The error is a *RequestError.
func ParseRequest(body []byte) (*Request, error) {
	m, err := members(body)
	if err != nil {
		return nil, err
	}
	r := &Request{}
	for _, f := range []struct {
		name     string
		to       *string
		required bool
	}{
		{"remote_host_type", (*string)(&r.HostType), true},
		{"metric", &r.Metric, true},
		{"remote_target", &r.RemoteTarget, false},
		{"namespace_prefix", &r.NamespacePrefix, false},
		{"series", &r.Series, false},
		{"key", &r.Key, false},
	} {
		if *f.to, err = textMember(m, f.name); err != nil {
			return nil, err
		}
		if f.required && *f.to == "" {
			return nil, &RequestError{Field: f.name, Rule: "it is missing or empty"}
		}
	}
	if r.Since, err = sinceMember(m["since"]); err != nil {
		return nil, err
	}
	missing, err := textMember(m, "missing")
	if err != nil {
		return nil, err
	}
	if missing != "" && missing != "render" {
		return nil, &RequestError{"missing", quote(missing), `only "render" is known`}
	}
	r.MissingRender = missing == "render"
	if err := r.urlsMember(m["fetch_resolution_urls"]); err != nil {
		return nil, err
	}
	return r, r.check()
}

// members reads a JSON object whose members stand once each.
func members(body []byte) (map[string]json.RawMessage, error) {
	if !utf8.Valid(body) {
		return nil, &RequestError{Rule: "the body is not UTF-8"}
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, &RequestError{Rule: "the body is no JSON object"}
	}
	m := map[string]json.RawMessage{}
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, &RequestError{Rule: "the body is not JSON"}
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, &RequestError{Rule: "the body is not JSON: " + err.Error()}
		}
		if _, twice := m[name]; twice {
			return nil, &RequestError{Field: quote(name), Rule: "it stands twice"}
		}
		m[name] = value
	}
	if _, err := dec.Token(); err != nil {
		return nil, &RequestError{Rule: "the body is not JSON"}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, &RequestError{Rule: "something follows the JSON object"}
	}
	return m, nil
}

// textMember is a member that is a string. One that is absent, null or "None", as Python writes null, is empty.
func textMember(m map[string]json.RawMessage, name string) (string, error) {
	raw := m[name]
	if raw == nil || string(raw) == "null" {
		return "", nil
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return "", &RequestError{Field: name, Rule: "it is no string"}
	}
	if len(s) > maxText {
		return "", &RequestError{Field: name, Rule: fmt.Sprintf("%d bytes, at most %d", len(s), maxText)}
	}
	if s == noneTxt {
		s = ""
	}
	return s, nil
}

// sinceMember is a string or a number.
func sinceMember(raw json.RawMessage) (string, error) {
	if len(raw) > 0 && raw[0] != '"' && string(raw) != "null" {
		if c := raw[0]; c != '-' && (c < '0' || c > '9') || len(raw) > 20 {
			return "", &RequestError{"since", quote(raw), "it is no time"}
		}
		return string(raw), nil
	}
	return textMember(map[string]json.RawMessage{"since": raw}, "since")
}

// urlsMember reads fetch_resolution_urls in either form.
func (r *Request) urlsMember(raw json.RawMessage) error {
	const field = "fetch_resolution_urls"
	switch {
	case len(raw) == 0 || string(raw) == "null" || string(raw) == `"`+noneTxt+`"`:
		return &RequestError{Field: field, Rule: "it is missing"}
	case raw[0] == '[':
		var list []*string
		if json.Unmarshal(raw, &list) != nil {
			return &RequestError{Field: field, Rule: "it is no array of strings"}
		}
		for i, s := range list {
			if s == nil {
				return &RequestError{Field: fmt.Sprintf("%s[%d]", field, i), Rule: "it is null"}
			}
			r.URLs = append(r.URLs, *s)
		}
	case raw[0] == '"':
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return &RequestError{Field: field, Rule: err.Error()}
		}
		list, err := parseURLLiteral(text)
		if err != nil {
			return &RequestError{field, quote(text), "it is no Python literal of a list of URLs: " + err.Error()}
		}
		r.URLs, r.Vista = list, true
	default:
		return &RequestError{Field: field, Rule: "it is neither a string nor an array"}
	}
	return nil
}

// check checks all fields but for the times in the URLs.
func (r *Request) check() error {
	if r.HostType != Graphite && r.HostType != Prometheus {
		return &RequestError{"remote_host_type", quote(string(r.HostType)), "it is neither graphite nor prometheus"}
	}
	if err := checkMetric(r.Metric); err != nil {
		return &RequestError{"metric", quote(r.Metric), err.Error()}
	}
	if len(r.URLs) == 0 {
		return &RequestError{Field: "fetch_resolution_urls", Rule: "there is no URL"}
	}
	if len(r.URLs) > maxURLs {
		return &RequestError{Field: "fetch_resolution_urls", Rule: fmt.Sprintf("%d URLs, at most %d", len(r.URLs), maxURLs)}
	}
	for i, u := range r.URLs {
		if len(u) > 2*maxText {
			return &RequestError{Field: fmt.Sprintf("fetch_resolution_urls[%d]", i), Rule: fmt.Sprintf("%d bytes, at most %d", len(u), 2*maxText)}
		}
	}
	return nil
}

// Under returns nil if the metric is prefix, or below it by whole elements; the error is a *RequestError. A caller whose
// keys are confined to a prefix asks, and answers 403. An empty prefix confines nobody.
func (r *Request) Under(prefix string) error {
	rest, ok := strings.CutPrefix(r.Metric, prefix)
	if prefix == "" || ok && (rest == "" || rest[0] == '.' || rest[0] == ';') {
		return nil
	}
	return &RequestError{"metric", quote(r.Metric), "it is not under the key's prefix " + quote(prefix)}
}

// checkMetric holds a name to the rules for points that are sent, save that nothing is replaced: what is fetched for one
// name must not end under another.
func checkMetric(name string) error {
	path, _, tagged := strings.Cut(name, ";")
	if len(name) > maxName {
		return fmt.Errorf("%d bytes, at most %d", len(name), maxName)
	}
	if path == "" {
		return errors.New("empty name")
	}
	if err := ingest.CheckPrefix(path); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "ingest: invalid prefix - "+quote(path)+" - "))
	}
	if !tagged {
		return nil
	}
	if err := graphite.CheckName(name); err != nil {
		return err
	}
	canonical, err := graphite.NormaliseSeries(name)
	if err == nil && canonical != name {
		err = errors.New("the canonical name is " + quote(canonical))
	}
	return err
}
