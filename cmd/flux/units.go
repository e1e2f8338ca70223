package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// formError is a value that an option cannot have. What it wants is told apart from the value, which is not shown when
// it comes from a configuration file: it may be a secret in the wrong place.
type formError struct{ value, want string }

func (e *formError) Error() string { return fmt.Sprintf("%q %s", e.value, e.want) }

// parseBool reads the words that INI files and Python have for true and false.
func parseBool(s string) (bool, error) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "1", "true", "yes", "on":
		return true, nil
	case "0", "false", "no", "off":
		return false, nil
	}
	return false, &formError{s, "is neither true nor false: use one of true, yes, on, 1, false, no, off, 0"}
}

// span is a duration that may be given as a number of seconds, as the originals have it, or as Go writes it: 30, 0.5,
// 1h30m.
type span time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *span) UnmarshalText(b []byte) error {
	text := strings.TrimSpace(string(b))
	if sec, err := strconv.ParseFloat(text, 64); err == nil {
		if sec < 0 || sec > 1e9 || sec != sec {
			return &formError{text, "is not a number of seconds from 0 to 1e9"}
		}
		*s = span(sec * float64(time.Second))
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return &formError{text, "is not a duration: use seconds, such as 30 or 0.5, or a unit, such as 90s, 5m or 1h"}
	}
	*s = span(d)
	return nil
}

// orOff is the duration for a field in which zero means the default and less than zero turns the rule off.
func (s span) orOff() time.Duration {
	if s == 0 {
		return -1
	}
	return time.Duration(s)
}

// size is a number of bytes, plain or with a unit: 1048576, 512MiB, 8GiB.
type size int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *size) UnmarshalText(b []byte) error {
	text := strings.TrimSpace(string(b))
	number, shift := strings.ToLower(text), 0
	for i, unit := range []string{"b", "kib", "mib", "gib", "tib"} {
		if rest, ok := strings.CutSuffix(number, unit); ok && (i > 0 || !strings.HasSuffix(rest, "i")) {
			number, shift = strings.TrimSpace(rest), 10*i
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n <= 0 || n > 1<<50>>shift {
		return &formError{text, "is not a size: use whole bytes, such as 1048576, or a unit, such as 64KiB, 512MiB or 8GiB"}
	}
	*s = size(n << shift)
	return nil
}

// String is the size as one would type it.
func (s size) String() string {
	units := []string{"", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for ; i < len(units)-1 && s != 0 && s%1024 == 0; i++ {
		s /= 1024
	}
	return strconv.FormatInt(int64(s), 10) + units[i]
}
