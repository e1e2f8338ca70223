package backfill

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseTime(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_500)
	const h = int64(3600_000)
	for s, want := range map[string]int64{
		"1478021700": 1478021700_000, "0": 0, "now": now.UnixMilli(), "-90days": now.UnixMilli() - 90*24*h, "-50mins": now.UnixMilli() - 50*60_000,
		"-6hours": now.UnixMilli() - 6*h, "now-1d12h": now.UnixMilli() - 36*h, "-1mon": now.UnixMilli() - 720*h, "-2w": now.UnixMilli() - 336*h,
		"-1y": now.UnixMilli() - 8760*h, "-30s": now.UnixMilli() - 30_000, "now+1h": now.UnixMilli() + h, "-0d": now.UnixMilli(),
		"20260102": 1767312000_000, "12:30_20260102": 1767357000_000,
	} {
		got, _, err := parseTime(s, now)
		require.NoError(t, err, s)
		require.Equal(t, want, got, s)
	}
	for _, s := range []string{
		"", "-", "-1", "1h", "+1h", "-h", "-1x", "midnight", "today", "noon", "-99999999999999999999d", "-1000y", "now-", "nowadays", "-1h ", "1.5",
		"1478021700000", "18:00", "-1h-1h",
	} {
		_, _, err := parseTime(s, now)
		require.Error(t, err, s)
	}
}

func TestParseRange(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"15d": 360 * time.Hour, "1h30m": 90 * time.Minute, "300": 5 * time.Minute, "1w2d3h4m5s6ms": 219*time.Hour + 4*time.Minute + 5006*time.Millisecond,
	} {
		got, err := parseRange(s)
		require.NoError(t, err, s)
		require.Equal(t, want, got, s)
	}
	for _, s := range []string{"", "d", "15days", "1m1h", "1h1h", "0s", "-1h", "1h 2m", "1e99", "NaN", "99999999999y"} {
		_, err := parseRange(s)
		require.Error(t, err, s)
	}
}

// FuzzTime checks that whatever is read is in range, that a relative time moves with now, and that offsets add up.
func FuzzTime(f *testing.F) {
	for _, s := range []string{"-90days", "now-1d12h", "1478021700", "12:30_20260102", "-1mon", "15d", "1h30m", "+", "now+1h"} {
		f.Add(s)
	}
	now := time.UnixMilli(1_700_000_000_500)
	f.Fuzz(func(t *testing.T, s string) {
		ms, dated, err := parseTime(s, now)
		if err == nil {
			require.True(t, ms >= 0 && ms < maxTime)
			later, _, err := parseTime(s, now.Add(time.Hour))
			if err == nil && !dated {
				require.True(t, later == ms || later == ms+3600_000)
			}
		}
		if d, err := parseOffset(s); err == nil {
			require.True(t, d >= 0)
			back, _, err := parseTime("-"+s, now)
			if err == nil {
				require.Equal(t, now.UnixMilli()-d.Milliseconds(), back)
			}
			if d < math.MaxInt64/2 {
				twice, err := parseOffset(s + s)
				require.NoError(t, err)
				require.Equal(t, 2*d, twice)
			}
		}
		if d, err := parseRange(s); err == nil {
			require.Greater(t, d, time.Duration(0))
		}
		if ms, err := parseInstant(s); err == nil {
			require.True(t, ms >= 0 && ms <= maxTime)
		}
	})
}
