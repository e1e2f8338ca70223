package main

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const minuteMS = int64(60_000)

// maxArchives is how many --resolutions there can be.
const maxArchives = 50

// archiveMargin is how much later than the end of an archive a slice begins: a metric may wait for its turn, and what lies
// before the end is answered from a coarser archive, all of it.
const archiveMargin = 10 * time.Minute

// period works out from when to when history is fetched.
func (c *backfillCmd) period(p *backfillPlan) error {
	p.until = p.now.UnixMilli()
	var err error
	if c.Until != "" {
		if p.until, err = parseWhen(c.Until, p.now); err != nil {
			return fmt.Errorf("--until: %w", err)
		}
		p.until = min(p.until, p.now.UnixMilli())
	}
	switch {
	case c.File == "" && c.MinuteAtHand == "skip":
		p.until = p.until / minuteMS * minuteMS
	case c.Prometheus != "": // its slices are whole seconds long
		p.until = p.until / 1000 * 1000
	}
	if n := len(c.Resolutions); n > maxArchives {
		return fmt.Errorf("--resolutions: %d of them, at most %d", n, maxArchives)
	}
	oldest := p.now
	for _, text := range c.Resolutions {
		d, err := parseAgo(text)
		if err != nil {
			return fmt.Errorf("--resolutions: %w", err)
		}
		p.archives = append(p.archives, d)
		if at := p.now.Add(-d); at.Before(oldest) {
			oldest = at
		}
	}
	switch {
	case c.From != "":
		if p.from, err = parseWhen(c.From, p.now); err != nil {
			return fmt.Errorf("--from: %w", err)
		}
	case c.File == "":
		p.from = oldest.UnixMilli()
	}
	p.from = p.from / minuteMS * minuteMS
	if p.from >= p.until {
		return fmt.Errorf("there is nothing between --from and --until: %s and %s", stamp(p.from), stamp(p.until))
	}
	return nil
}

// bounds are where slices that are fetched now begin and end.
func (p *backfillPlan) bounds(now time.Time) []int64 {
	out := []int64{p.from, p.until}
	for _, d := range p.archives {
		at := now.Add(min(archiveMargin, d/10)-d).UnixMilli() / minuteMS * minuteMS
		if at > p.from && at < p.until {
			out = append(out, at)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func stamp(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05Z") }

var agoForm = regexp.MustCompile(`^([0-9]{1,9})\s*([a-z]+)$`)

// parseAgo reads a number and a unit, such as 90days.
func parseAgo(text string) (time.Duration, error) {
	units := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour}
	words := map[string]string{"sec": "s", "second": "s", "min": "m", "minute": "m", "hour": "h", "day": "d", "week": "w"}
	if m := agoForm.FindStringSubmatch(strings.ToLower(strings.TrimSpace(text))); m != nil {
		n, _ := strconv.ParseInt(m[1], 10, 64)
		unit, ok := units[m[2]]
		if !ok {
			unit, ok = units[words[strings.TrimSuffix(m[2], "s")]]
		}
		if d := time.Duration(n) * unit; ok && n > 0 && d/unit == time.Duration(n) {
			return d, nil
		}
	}
	return 0, fmt.Errorf("%q is not a number and a unit, such as 90days, 24hours or 30min", text)
}

// whenForms are the ways in which a time can be written, beside Unix seconds.
var whenForms = []string{
	time.RFC3339Nano, "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04",
	"2006/01/02 15:04:05", "2006/01/02 15:04", "2006-01-02", "2006/01/02",
}

// parseInstant reads a time, and returns Unix milliseconds. Numbers are seconds, or milliseconds where seconds would lie
// beyond the year 5000. A time of the zone's clocks that they show twice, or never, is refused.
func parseInstant(text string, zone *time.Location) (int64, error) {
	text = strings.TrimSpace(text)
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		if f > 1e11 {
			f /= 1000
		}
		if f >= 0 && f < 1e11 {
			return int64(f*1000 + 0.5), nil
		}
	}
	for _, form := range whenForms {
		t, err := time.ParseInLocation(form, text, zone)
		if err != nil || t.Unix() < 0 {
			continue
		}
		if !strings.Contains(form, "Z07:00") {
			if err := checkClock(form, text, t); err != nil {
				return 0, err
			}
		}
		return t.UnixMilli(), nil
	}
	return 0, fmt.Errorf("%.60q is no time: Unix seconds, 2026-01-31, 2026-01-31 12:00:00 or 2026-01-31T12:00:00Z", text)
}

// checkClock returns an error if the clocks of a zone do not show text, of that form, just once. at is what it was read
// as: one of the two times that it can be, or near where it would be. No file is trusted to be in the order of time, by
// which two hours of one name could be told apart.
func checkClock(form, text string, at time.Time) error {
	wall, err := time.ParseInLocation(form, text, time.UTC)
	if err != nil {
		return err
	}
	begins, ends := at.ZoneBounds()
	shown, last := 0, math.MinInt
	var ways []string
	for _, t := range []time.Time{begins.Add(-time.Second), at, ends} {
		_, offset := t.Zone()
		if t.Sub(at).Abs() > 25*time.Hour || offset == last { // another change of clocks, or none
			continue
		}
		last = offset
		meant := wall.Add(-time.Duration(offset) * time.Second).In(time.FixedZone("", offset))
		if _, there := meant.In(at.Location()).Zone(); there == offset {
			shown++
		}
		ways = append(ways, meant.Format(time.RFC3339Nano))
	}
	rule := "comes twice in %s, whose clocks go back then"
	switch shown {
	case 1:
		return nil
	case 0:
		rule = "does not exist in %s, whose clocks go forward then"
	}
	return fmt.Errorf("%s "+rule+": write %s, whichever is meant, or all times in UTC", text, at.Location(), strings.Join(ways, " or "))
}

// parseWhen is parseInstant for an option, which may also say now, or how long ago.
func parseWhen(text string, now time.Time) (int64, error) {
	if text == "now" {
		return now.UnixMilli(), nil
	}
	if d, err := parseAgo(strings.TrimPrefix(strings.TrimPrefix(text, "now"), "-")); err == nil {
		return now.Add(-d).UnixMilli(), nil
	}
	ms, err := parseInstant(text, time.UTC)
	if err != nil {
		err = fmt.Errorf("%.60q is no time: 90days (ago), now, Unix seconds, 2026-01-31 or 2026-01-31T12:00:00Z", text)
	}
	return ms, err
}

func wholeSeconds(ms int64) string { return strconv.FormatInt(ms/1000, 10) }
