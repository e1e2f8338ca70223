package backfill

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// slice is one URL with absolute times.
type slice struct {
	URL string `json:"url"`
	// From and Until bound the samples that the answer can hold, in Unix milliseconds. From is none where the query does
	// not tell it.
	From  int64 `json:"from"`
	Until int64 `json:"until"`
	// Age is how long before the request was accepted From was, in milliseconds, where the request says it so and no date;
	// else 0.
	Age int64 `json:"age,omitempty"`

	low, high int64 // bounds of what is taken of the answer, as limits has them
}

// resolve makes the slices of a request, in the order of their beginnings. The error is a *RequestError or an
// *OriginError.
func (r *Request) resolve(list origins, accepted time.Time, whole bool) ([]slice, error) {
	var out []slice
	for i, raw := range r.URLs {
		s, err := r.resolveURL(raw, list, accepted, whole)
		if refused := (*OriginError)(nil); errors.As(err, &refused) {
			return nil, err
		}
		if err != nil {
			return nil, &RequestError{fmt.Sprintf("fetch_resolution_urls[%d]", i), quote(masked(raw)), err.Error()}
		}
		out = append(out, s)
	}
	slices.SortStableFunc(out, func(a, b slice) int {
		if a.From != b.From {
			return compare(a.From, b.From)
		}
		return compare(a.Until, b.Until)
	})
	return slices.Compact(out), nil
}

func compare(a, b int64) int {
	if a < b {
		return -1
	} else if a > b {
		return 1
	}
	return 0
}

func (r *Request) resolveURL(raw string, list origins, accepted time.Time, whole bool) (slice, error) {
	if r.Vista && r.HostType == Graphite {
		raw = encodeVista(raw, r.RemoteTarget)
	}
	for i := range len(raw) {
		if raw[i] <= ' ' || raw[i] >= 0x7f {
			return slice{}, errors.New("a space, a control character and what is not ASCII are to be encoded")
		}
	}
	u, err := url.Parse(raw)
	if err != nil {
		return slice{}, errors.New("it is no URL")
	}
	o, err := originOf(u)
	if err != nil {
		return slice{}, err
	}
	if _, err := list.find(o); err != nil {
		return slice{}, err
	}
	if u.Fragment != "" {
		return slice{}, errors.New("it has a fragment: # is to be encoded as %23")
	}
	q, err := parseQuery(u.RawQuery)
	if err != nil {
		return slice{}, err
	}
	var s slice
	if r.HostType == Graphite {
		s, err = q.graphite(accepted)
	} else {
		s, err = q.prometheus(u.Path, accepted, whole)
	}
	if err == nil && s.Until < s.From {
		err = fmt.Errorf("it ends at %d, before it begins at %d", s.Until/second, s.From/second)
	}
	u.RawQuery = q.String()
	s.URL = u.String()
	return s, err
}

// graphite makes from and until absolute. Graphite leaves out what lies at from itself, so that it is set a second
// before the minute that is wanted whole.
func (q *query) graphite(accepted time.Time) (slice, error) {
	for _, name := range []string{"jsonp", "rawData", "pickle"} {
		if _, n := q.get(name); n > 0 {
			return slice{}, fmt.Errorf("%s changes the form of the answer", name)
		}
	}
	if _, n := q.get("target"); n == 0 {
		return slice{}, errors.New("it has no target")
	}
	var at [2]int64
	for i, p := range []struct{ name, usual string }{{"from", "-24hours"}, {"until", "now"}} {
		text, n := q.get(p.name)
		if n > 1 {
			return slice{}, fmt.Errorf("%s stands twice", p.name)
		}
		if n == 0 || text == "" {
			text = p.usual
		}
		ms, dated, err := parseTime(text, accepted)
		if err != nil {
			return slice{}, fmt.Errorf("%s: %w", p.name, err)
		}
		if zone, n := q.get("tz"); dated && n > 0 && zone != "UTC" && zone != "Etc/UTC" && zone != "GMT" {
			return slice{}, fmt.Errorf("%s: a date is read as UTC, and tz is %s", p.name, quote(zone))
		}
		at[i] = ms
	}
	s := slice{From: floorMinute(at[0]), Until: at[1]}
	if from, _ := q.get("from"); from == "" || strings.HasPrefix(strings.TrimPrefix(from, "now"), "-") {
		s.Age = accepted.UnixMilli() - at[0]
	}
	q.setSecond("from", s.From/second-1)
	q.setSecond("until", (s.Until+second-1)/second)
	q.set("format", "json")
	return s, nil
}

// prometheus makes start, end and time absolute.
func (q *query) prometheus(path string, accepted time.Time, whole bool) (slice, error) {
	expr, n := q.get("query")
	if n != 1 || expr == "" {
		return slice{}, errors.New("it is to have one query")
	}
	switch {
	case strings.HasSuffix(path, "/query_range"):
		return q.queryRange()
	case strings.HasSuffix(path, "/query"):
		return q.querySelector(expr, accepted, whole)
	}
	return slice{}, errors.New("its path ends neither in /query_range nor in /query")
}

func (q *query) queryRange() (slice, error) {
	var at [2]int64
	for i, name := range []string{"start", "end"} {
		text, n := q.get(name)
		if n != 1 {
			return slice{}, fmt.Errorf("it is to have one %s", name)
		}
		ms, err := parseInstant(text)
		if err != nil {
			return slice{}, fmt.Errorf("%s: %w", name, err)
		}
		at[i] = ms
	}
	step, n := q.get("step")
	if n != 1 {
		return slice{}, errors.New("it is to have one step")
	}
	if _, err := parseRange(step); err != nil {
		return slice{}, fmt.Errorf("step: %w", err)
	}
	s := slice{From: floorMinute(at[0]), Until: at[1]}
	q.setSecond("start", s.From/second)
	return s, nil
}

// querySelector is an instant query, whose answer is a matrix if it ends in a range. Where only whole minutes are
// wanted it is asked at the beginning of one, so that the oldest minute is whole, too.
func (q *query) querySelector(expr string, accepted time.Time, whole bool) (slice, error) {
	at := accepted.UnixMilli()
	if whole {
		at = floorMinute(at)
	}
	text, n := q.get("time")
	if n > 1 {
		return slice{}, errors.New("time stands twice")
	}
	if n == 1 && text != "" {
		ms, err := parseInstant(text)
		if err != nil {
			return slice{}, fmt.Errorf("time: %w", err)
		}
		at = ms
	}
	q.set("time", formatSeconds(at))
	s := slice{From: none, Until: at}
	length, ends, err := trailingRange(expr)
	if err != nil {
		return slice{}, err
	}
	if ends {
		s.From = at - length.Milliseconds()
	}
	return s, nil
}

// trailingRange finds the range at the end of a PromQL expression: of a range selector, or of a subquery. ends is false
// for an expression that goes on after it, with an offset say, or that has none: then the answer is not bounded by what
// is known here, and if it is no matrix the server says so.
func trailingRange(expr string) (length time.Duration, ends bool, err error) {
	expr = strings.TrimSpace(expr)
	inner, ok := strings.CutSuffix(expr, "]")
	open := strings.LastIndexByte(inner, '[')
	if !ok {
		if open < 0 {
			return 0, false, errors.New("the query has no range, such as [15d], and its answer no history")
		}
		return 0, false, nil
	}
	if open < 0 {
		return 0, false, errors.New("the query has a bracket that nothing opens")
	}
	text, _, _ := strings.Cut(inner[open+1:], ":")
	length, err = parseRange(strings.TrimSpace(text))
	return length, err == nil, err
}

// formatSeconds writes milliseconds as seconds, with a fraction where there is one.
func formatSeconds(ms int64) string {
	if ms%second == 0 {
		return strconv.FormatInt(ms/second, 10)
	}
	return fmt.Sprintf("%d.%03d", ms/second, ms%second)
}
