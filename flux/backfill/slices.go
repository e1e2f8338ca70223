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

const (
	// Grace is what Behind adds to a metric's frequency before it calls the metric behind.
	Grace = 300 * time.Second
	// overlap is how far before the last datapoint a catch-up begins.
	overlap = 600 * time.Second
	// maxSteps is how many datapoints a Prometheus gives at most in one range query.
	maxSteps = 11_000
	// rangeStep is the step of range queries: one value a minute is what is made of them anyway.
	rangeStep = time.Minute
)

// Behind reports whether a metric's last datapoint is older than its frequency and 300 s, so that history is to be
// fetched. A zero last is behind.
func Behind(last, now time.Time, frequency time.Duration) bool {
	return last.Before(now.Add(-frequency - Grace))
}

// SliceOptions say what Slices makes.
type SliceOptions struct {
	HostType HostType
	// BaseURL is the server. For Graphite /render/ is appended, unless the path ends in render; for Prometheus
	// /api/v1/query or /api/v1/query_range.
	BaseURL string
	// Target is the target or the PromQL expression as people write it, without any encoding.
	Target string
	// Resolutions are how far back slices reach, such as 90days, 7days, 24hours and 6hours, in any order.
	Resolutions []string
	// Last is the newest datapoint that is there already; slices before it are left out. Zero: none is known.
	Last time.Time
	// Now is when it is asked.
	Now time.Time
}

// Slices returns the URLs that fetch a metric's history, coarse to fine. Each is short enough for the server to answer
// from the finest archive that covers it: the slice of a resolution ends where that of the next one begins.
//
// For Graphite the times are relative, as Vista has them, save that the newest slice begins 600 s before Last where that
// is later. For Prometheus they are absolute: a selector is given a range of its own, and gives raw samples; any other
// expression is asked for a value a minute, in parts of 11,000 that the server answers. A part ends at its last minute,
// and the next begins a minute later. A request takes 100 URLs: those of 763 days of an expression at most.
func Slices(o SliceOptions) ([]string, error) {
	base, err := url.Parse(o.BaseURL)
	if err == nil {
		_, err = originOf(base)
	}
	if err != nil {
		return nil, fmt.Errorf("backfill: SliceOptions.BaseURL %s: %w", quote(o.BaseURL), err)
	}
	if o.Target == "" {
		return nil, errors.New("backfill: SliceOptions.Target is empty")
	}
	steps, err := resolutions(o.Resolutions)
	if err != nil {
		return nil, err
	}
	switch o.HostType {
	case Graphite:
		return o.graphite(base, steps), nil
	case Prometheus:
		return o.prometheus(base, steps), nil
	}
	return nil, fmt.Errorf("backfill: SliceOptions.HostType %s is neither graphite nor prometheus", quote(string(o.HostType)))
}

// reach is a resolution: how far back a slice goes.
type reach struct {
	text string
	back time.Duration
}

// resolutions reads them, coarse to fine.
func resolutions(texts []string) ([]reach, error) {
	var out []reach
	for _, text := range texts {
		d, err := parseOffset(text)
		if err == nil && d == 0 {
			err = fmt.Errorf("%s is no time at all", quote(text))
		}
		if err != nil {
			return nil, fmt.Errorf("backfill: SliceOptions.Resolutions: %w", err)
		}
		out = append(out, reach{text, d})
	}
	if len(out) == 0 || len(out) > maxURLs {
		return nil, fmt.Errorf("backfill: SliceOptions.Resolutions: %d of them, 1 to %d are needed", len(out), maxURLs)
	}
	slices.SortStableFunc(out, func(a, b reach) int { return compare(int64(b.back), int64(a.back)) })
	return slices.CompactFunc(out, func(a, b reach) bool { return a.back == b.back }), nil
}

// spans calls each for the slices that reach beyond Last; end is 0 for the newest.
func (o SliceOptions) spans(steps []reach, each func(from, until reach)) {
	for i, r := range steps {
		var until reach
		if i+1 < len(steps) {
			until = steps[i+1]
			if !o.Last.IsZero() && !o.Last.Before(o.Now.Add(-until.back)) {
				continue
			}
		}
		each(r, until)
	}
}

func (o SliceOptions) graphite(base *url.URL, steps []reach) (out []string) {
	path := strings.TrimSuffix(base.Path, "/")
	if !strings.HasSuffix(path, "/render") {
		path += "/render"
	}
	u := url.URL{Scheme: base.Scheme, Host: base.Host, Path: path + "/"}
	o.spans(steps, func(from, until reach) {
		q := "from=-" + from.text
		if until.back > 0 {
			q += "&until=-" + until.text
		} else if !o.Last.IsZero() && o.Last.After(o.Now.Add(-from.back)) {
			q = "from=" + strconv.FormatInt(o.Last.Add(-overlap).Unix(), 10)
		}
		u.RawQuery = q + "&format=json&target=" + url.QueryEscape(o.Target)
		out = append(out, u.String())
	})
	return out
}

func (o SliceOptions) prometheus(base *url.URL, steps []reach) (out []string) {
	u := url.URL{Scheme: base.Scheme, Host: base.Host, Path: strings.TrimSuffix(base.Path, "/") + "/api/v1/query"}
	selector := isSelector(o.Target)
	if !selector {
		u.Path += "_range"
	}
	o.spans(steps, func(from, until reach) {
		begin, end := o.Now.Add(-from.back), o.Now.Add(-until.back)
		if until.back == 0 && !o.Last.IsZero() && o.Last.After(begin) {
			begin = o.Last.Add(-overlap)
		}
		if selector {
			length := max(1, int64(end.Sub(begin)/time.Second))
			expr := fmt.Sprintf("%s[%ds]", o.Target, length)
			u.RawQuery = "query=" + url.QueryEscape(expr) + "&time=" + strconv.FormatInt(end.Unix(), 10)
			out = append(out, u.String())
			return
		}
		for ; begin.Before(end); begin = begin.Add(maxSteps * rangeStep) {
			part := begin.Add((maxSteps - 1) * rangeStep)
			if part.After(end) {
				part = end
			}
			u.RawQuery = fmt.Sprintf("query=%s&start=%d&end=%d&step=%d", url.QueryEscape(o.Target), begin.Unix(), part.Unix(), int(rangeStep.Seconds()))
			out = append(out, u.String())
		}
	})
	return out
}

// isSelector reports whether a PromQL expression is a selector of series, name{label="value"}, to which a range can be
// appended.
func isSelector(expr string) bool {
	expr = strings.TrimSpace(expr)
	letters := func(r rune) bool {
		return r == '_' || r == ':' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
	}
	rest := strings.TrimLeftFunc(expr, letters)
	if name := expr[:len(expr)-len(rest)]; name != "" && name[0] >= '0' && name[0] <= '9' {
		return false
	}
	if rest = strings.TrimSpace(rest); rest == "" {
		return expr != ""
	}
	if rest[0] != '{' {
		return false
	}
	var quoted byte
	for i := 1; i < len(rest); i++ {
		switch c := rest[i]; {
		case quoted != 0 && c == '\\' && quoted != '`':
			i++
		case c == quoted:
			quoted = 0
		case quoted == 0 && (c == '"' || c == '\'' || c == '`'):
			quoted = c
		case quoted == 0 && c == '}':
			return i == len(rest)-1
		}
	}
	return false
}
