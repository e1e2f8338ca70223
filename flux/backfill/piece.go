package backfill

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/fluxmetrics/fluxkit/resample"
)

// A Graphite answers a request from one archive, the finest that reaches back to from: counted from the server's now, not
// from when the request was accepted. So a slice that begins where an archive ends, or that is fetched late, would come
// from the next coarser one, all of it. It is fetched in two parts then: the head that the archive has let go, and the
// rest.
const (
	// inward is how far within the archive the rest is asked for: for the time that a request is under way, and clocks
	// that differ.
	inward = 2 * minute
	// lead is how much before its beginning the rest is asked for: of functions such as derivative the first value is null.
	lead = minute
	// punctual is how late a slice may be that begins at a date, of which nobody knows where its archive ends.
	punctual = minute
	// minSpan is the shortest time that an answer which is too large is cut down to.
	minSpan = 10 * minute
)

// piece is what one request asks for: a slice, or a part of it.
type piece struct {
	slice
	begin, end int64 // samples from begin, none where it is not known, to before end
	aged       bool  // the source may have had finer samples when the job was accepted
	empty      bool  // there is nothing to ask for
}

// wholePeriod are functions of a Graphite's render API whose values depend on when the period that is asked for begins or
// ends, so that parts of it would not fit together.
var wholePeriod = regexp.MustCompile(`(?i)\b(integral\w*|offsetToZero|nPercentile|\w*Percentile|smartSummarize|highest\w*|lowest\w*|mostDeviant|\w+Above|\w+Below|sortBy\w*)\s*\(|\bsummarize\s*\(.*\btrue\b`)

// whole tells that the slice cannot be fetched in parts.
func (s *slice) whole(host HostType) bool {
	if host != Graphite {
		return false
	}
	_, raw, _ := strings.Cut(s.URL, "?")
	q, err := parseQuery(raw)
	if err != nil { // resolve has parsed it
		return false
	}
	target, _ := q.get("target")
	return strings.Contains(target, "(") && wholePeriod.MatchString(target)
}

// fine is from when on the archive answers that answered for all of the slice when the job was accepted.
func (s *slice) fine(host HostType, accepted, now int64) int64 {
	age := s.Age
	switch {
	case host != Graphite || s.From == none || s.whole(host):
		return s.From
	case age == 0 && now-accepted <= punctual:
		return s.From
	case age == 0:
		age = accepted - s.From
	}
	return floorMinute(now-age+inward+minute-1) + lead
}

// piece is what is to be fetched next.
func (j *job) piece(now time.Time) piece {
	s := j.URLs[j.next]
	p := piece{slice: s, begin: s.From, end: s.Until + 1}
	if s.From == none {
		return p
	}
	if j.at != none {
		p.begin = j.at
	}
	late := now.Sub(j.Accepted).Milliseconds()
	if fine := s.fine(j.HostType, j.Accepted.UnixMilli(), now.UnixMilli()); p.begin < fine {
		switch p.aged = late > punctual; {
		case fine > s.Until:
		case fine <= j.lower():
			p.begin, p.aged = fine, false
		default:
			p.end = fine
		}
	}
	if j.span > 0 {
		p.end = min(p.end, floorMinute(p.begin)+j.span)
	}
	if p.begin > s.From || p.end <= s.Until {
		p.cut(j.HostType)
	}
	return p
}

// cut makes the URL ask for the piece alone.
func (p *piece) cut(host HostType) {
	p.low = p.begin
	inner := p.end <= p.Until // it ends before the slice does
	if inner {
		p.high = p.end
	}
	address, raw, _ := strings.Cut(p.URL, "?")
	q, err := parseQuery(raw)
	if err != nil { // resolve has parsed it
		return
	}
	switch {
	case host == Graphite:
		q.setSecond("from", (p.begin-lead)/second-1)
		if inner {
			q.setSecond("until", p.end/second) // more than that is passed over
		}
	case strings.HasSuffix(address, "/query_range"):
		text, _ := q.get("step")
		length, _ := parseRange(text)
		step := max(1, length.Milliseconds())
		start := p.begin + (step-(p.begin-p.From)%step)%step
		p.empty = start > min(p.end-1, p.Until)
		q.set("start", formatSeconds(start))
		if inner {
			q.set("end", formatSeconds(p.end-1))
		}
	default: // a range at time is what is later than its beginning
		after, at := p.begin, p.Until
		if p.begin > p.From {
			after--
		}
		if inner {
			at = p.end - 1
		}
		expr, _ := q.get("query")
		open := strings.LastIndexByte(expr, '[') + 1
		_, resolution, sub := strings.Cut(expr[open:], ":")
		if !sub {
			resolution = "]"
		} else {
			resolution = ":" + resolution
		}
		q.set("query", fmt.Sprintf("%s%dms%s", expr[:open], at-after, resolution))
		q.set("time", formatSeconds(at))
	}
	p.URL = address + "?" + q.String()
}

// narrow has what follows fetched in shorter pieces, after an answer that was too large. It reports whether they can be
// shorter.
func (j *job) narrow(p piece) bool {
	if p.begin == none || p.end-p.begin <= minSpan || p.whole(j.HostType) {
		return false
	}
	j.span = max(minSpan, floorMinute((p.end-p.begin)/2))
	return true
}

// held is what the answers are like that were merged.
type held struct {
	until int64 // they reach to here
	step  int64 // between datapoints of the last one; 0 where it is not known
}

// take merges an answer into what was fetched before. Where archives of a Graphite overlap the finer answer counts, and
// it alone: what it has no value for a coarser one has none for either, but an average.
func (j *job) take(p piece, a answer) {
	samples := a.samples
	if j.HostType == Graphite && p.begin != none && a.series > 0 {
		from := p.begin
		if j.held.until >= from && j.held.step > 0 && a.step > j.held.step {
			from = j.held.until + 1
			samples = clip(samples, from, maxTime)
		}
		j.carry = without(j.carry, from, p.end)
		j.held.until = max(j.held.until, p.end-1)
		if a.step > 0 {
			j.held.step = a.step
		}
	}
	j.carry = merge(j.carry, samples)
}

// without leaves out, in place, the samples from from to before end.
func without(samples []resample.Sample, from, end int64) []resample.Sample {
	n := 0
	for _, s := range samples {
		if s.Timestamp < from || s.Timestamp >= end {
			samples[n] = s
			n++
		}
	}
	return samples[:n]
}

// coarse is a part of a slice that was fetched late.
type coarse struct {
	begin, end int64
	step       int64 // between its datapoints
	values     int   // where the step is not known: none, or one alone
}

// aged notes what came coarse since it was fetched late. Whether it did shows when the rest of the slice is there; if there
// is none, what is coarser than a minute is coarse.
func (m *Manager) aged(j *job, p piece, a answer) {
	switch {
	case p.aged && a.step > 0:
		if j.coarse.step == 0 {
			j.coarse.begin = p.begin
		}
		j.coarse.end, j.coarse.step, j.coarse.values = p.end, max(j.coarse.step, a.step), 2
	case p.aged && len(a.samples) < 2 && j.coarse.step == 0:
		j.coarse = coarse{p.begin, p.end, p.end - p.begin, len(a.samples)}
	case !p.aged && a.step > 0:
		m.noteCoarse(j, a.step)
	}
	if p.end > p.Until {
		m.noteCoarse(j, minute)
	}
}

// noteCoarse notes the part that came late if it is coarser than what could be expected.
func (m *Manager) noteCoarse(j *job, expected int64) {
	c := j.coarse
	j.coarse = coarse{}
	if c.step <= expected {
		return
	}
	values := [...]string{"no value", "one value", fmt.Sprintf("a value each %v", time.Duration(c.step)*time.Millisecond)}[c.values]
	m.note(j, fmt.Sprintf("%s to %s came with %s: it was fetched %v after the job was accepted, when the source gave nothing finer",
		fromMS(c.begin).Format(time.RFC3339), fromMS(c.end).Format(time.RFC3339), values, m.cfg.Now().Sub(j.Accepted).Round(time.Second)))
}

// maxNote bounds Status.Note, in bytes.
const maxNote = 2000

// note adds to what an operator should know of a job.
func (m *Manager) note(j *job, text string) {
	m.cfg.Logger.Warn("a job goes on, with a note", "job", j.ID, "metric", j.Metric, "note", text)
	m.set(func() {
		if j.Note != "" {
			text = j.Note + "; " + text
		}
		if len(text) <= maxNote {
			j.Note = text
		}
	})
}
