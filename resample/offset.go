package resample

import (
	"fmt"
	"strconv"
	"time"
)

// units are pandas' names of regular offsets. Upper-case T, H and D are older names of min, h and d; M is a month
// there, which is not regular.
var units = map[string]time.Duration{
	"ms": time.Millisecond, "L": time.Millisecond, "l": time.Millisecond,
	"s": time.Second, "S": time.Second,
	"min": time.Minute, "Min": time.Minute, "T": time.Minute, "t": time.Minute,
	"h": time.Hour, "H": time.Hour,
	"d": 24 * time.Hour, "D": 24 * time.Hour,
}

// maxWidth keeps arithmetic on bins far from overflow.
const maxWidth = 366 * 24 * time.Hour

// ParseOffset reads the width of a bin as pandas writes it: a whole number, which may be missing and then is one, and a
// unit, such as 30s, 1Min, 5T, 1H, 1D. The units are ms (L), s (S), min (Min, T), h (H) and d (D).
func ParseOffset(s string) (time.Duration, error) {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	n, unit := int64(1), units[s[i:]]
	if i > 0 {
		var err error
		if n, err = strconv.ParseInt(s[:i], 10, 64); err != nil {
			n = 0
		}
	}
	if unit == 0 || n < 1 || n > int64(maxWidth/unit) {
		return 0, fmt.Errorf("resample: offset %.40q is not a whole number from 1 and one of the units ms, s, min, h, d, such as 30s, 1min or 1h, at most 366d", s)
	}
	return time.Duration(n) * unit, nil
}
