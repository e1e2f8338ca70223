package backfill

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const (
	minute = int64(60_000) // milliseconds
	second = int64(1000)
	// maxTime is the end of the year 9999, past which no time is one.
	maxTime = 253_402_300_800_000
	none    = math.MinInt64 // no time
)

// floorMinute is the beginning of the minute that ms lies in.
func floorMinute(ms int64) int64 { return floorTo(ms, minute) }

func floorTo(ms, unit int64) int64 {
	if rest := ms % unit; rest < 0 {
		return ms - rest - unit
	} else {
		return ms - rest
	}
}

// offsetUnits are Graphite's units of relative times. A month is 30 days and a year 365, as Graphite counts them.
func offsetUnit(word string) (time.Duration, bool) {
	const day = 24 * time.Hour
	switch strings.ToLower(word) {
	case "s", "sec", "secs", "second", "seconds":
		return time.Second, true
	case "m", "min", "mins", "minute", "minutes":
		return time.Minute, true
	case "h", "hour", "hours":
		return time.Hour, true
	case "d", "day", "days":
		return day, true
	case "w", "week", "weeks":
		return 7 * day, true
	case "mon", "month", "months":
		return 30 * day, true
	case "y", "year", "years":
		return 365 * day, true
	}
	return 0, false
}

// parseOffset reads a number and a unit, such as 90days, or several of them, such as 1d12h.
func parseOffset(s string) (time.Duration, error) {
	if s == "" {
		return 0, errors.New("it is empty")
	}
	var sum time.Duration
	for rest := s; rest != ""; {
		word := strings.TrimLeft(rest, "0123456789")
		digits := rest[:len(rest)-len(word)]
		rest = strings.TrimLeft(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
		word = word[:len(word)-len(rest)]
		n, err := strconv.ParseInt(digits, 10, 64)
		unit, ok := offsetUnit(word)
		if err != nil || !ok {
			return 0, fmt.Errorf("%s is not a number and a unit, such as 90days", quote(s))
		}
		if n > int64(math.MaxInt64-sum)/int64(unit) {
			return 0, fmt.Errorf("%s is too long", quote(s))
		}
		sum += time.Duration(n) * unit
	}
	return sum, nil
}

// parseTime reads a time as Graphite does, in UTC: Unix seconds, now, -6hours, now-6hours, 20260102 and
// 12:30_20260102. dated tells that it is of the latter kind, which another zone would read otherwise. What depends on
// the server's idea of a day, such as midnight, is refused.
func parseTime(s string, now time.Time) (ms int64, dated bool, err error) {
	ms, dated, err = anyTime(s, now)
	if err == nil && (ms < 0 || ms >= maxTime) {
		err = fmt.Errorf("%s is out of range", quote(s))
	}
	return ms, dated, err
}

func anyTime(s string, now time.Time) (int64, bool, error) {
	for _, layout := range []string{"20060102", "15:04_20060102"} {
		if t, err := time.ParseInLocation(layout, s, time.UTC); err == nil && t.Year() >= 1970 {
			return t.UnixMilli(), true, nil
		}
	}
	if n, err := strconv.ParseUint(s, 10, 63); err == nil {
		if n >= maxTime/1000 {
			return 0, false, fmt.Errorf("%s is out of range: it is to be in seconds", quote(s))
		}
		return int64(n) * second, false, nil
	}
	rest := strings.TrimPrefix(s, "now")
	if rest == "" && s != "" {
		return now.UnixMilli(), false, nil
	}
	sign := int64(-1)
	switch {
	case strings.HasPrefix(rest, "-"):
	case strings.HasPrefix(rest, "+") && rest != s:
		sign = 1
	default:
		return 0, false, fmt.Errorf("%s is no time: Unix seconds, now, or such as -7days", quote(s))
	}
	d, err := parseOffset(rest[1:])
	if err != nil {
		return 0, false, err
	}
	return now.UnixMilli() + sign*d.Milliseconds(), false, nil
}

// parseInstant reads a time as Prometheus does: Unix seconds, with a fraction or without, or RFC 3339.
func parseInstant(s string) (int64, error) {
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		if !(f >= 0 && f < maxTime/1000) {
			return 0, fmt.Errorf("%s is out of range: it is to be in seconds", quote(s))
		}
		return int64(math.Round(f * 1000)), nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.UnixMilli() < 0 || t.UnixMilli() >= maxTime {
		return 0, fmt.Errorf("%s is no time: Unix seconds or RFC 3339", quote(s))
	}
	return t.UnixMilli(), nil
}

// parseRange reads a duration as Prometheus does: 15d, 1h30m, or seconds. Units go from larger to smaller.
func parseRange(s string) (time.Duration, error) {
	if f, err := strconv.ParseFloat(s, 64); err == nil && f > 0 && f < 1e9 {
		return time.Duration(f * float64(time.Second)), nil
	}
	var sum, least time.Duration
	for rest := s; rest != ""; {
		word := strings.TrimLeft(rest, "0123456789")
		n, err := strconv.ParseInt(rest[:len(rest)-len(word)], 10, 32)
		rest = strings.TrimLeft(word, "ywdhms")
		unit := map[string]time.Duration{
			"y": 365 * 24 * time.Hour, "w": 7 * 24 * time.Hour, "d": 24 * time.Hour, "h": time.Hour,
			"m": time.Minute, "s": time.Second, "ms": time.Millisecond,
		}[word[:len(word)-len(rest)]]
		if err != nil || unit == 0 || least != 0 && unit >= least || n > int64(math.MaxInt64-sum)/int64(unit) {
			return 0, fmt.Errorf("%s is no duration, such as 15d", quote(s))
		}
		sum, least = sum+time.Duration(n)*unit, unit
	}
	if sum == 0 {
		return 0, fmt.Errorf("%s is no duration, such as 15d", quote(s))
	}
	return sum, nil
}
