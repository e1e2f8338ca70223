package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
)

// fileRun runs backfill over a file of that name and text, and tells what Carbon got.
func fileRun(t *testing.T, name, text string, args ...string) (outcome, *graphitetest.Server) {
	t.Helper()
	carbon := graphitetest.Run(t)
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return fluxRun(append([]string{"backfill", "--file", path, "--carbon", carbon.PickleAddr}, args...)...), carbon
}

// A local time that the clocks of its zone show twice, or never, is refused with its line, and nothing is sent.
func TestBackfillFileWhereClocksChange(t *testing.T) {
	o, carbon := fileRun(t, "x.csv", `time,m
2026-11-01 00:59:59,1
2026-11-01 01:00:00,2
2026-11-01 01:30:00,3
2026-11-01 01:00:00,20
2026-11-01 02:00:00,4
2026-03-08 02:30:00,7
`, "--time-zone", "America/New_York", "--until", "2026-12-01")
	require.Equal(t, exitUsage, o.code, o.stderr)
	require.Contains(t, o.stderr, "4 lines cannot be read, nothing was sent")
	require.Contains(t, o.stderr, "line 3: 2026-11-01 01:00:00 comes twice in America/New_York, whose clocks go back then: "+
		"write 2026-11-01T01:00:00-04:00 or 2026-11-01T01:00:00-05:00, whichever is meant, or all times in UTC")
	require.Contains(t, o.stderr, "line 4: 2026-11-01 01:30:00 comes twice")
	require.Contains(t, o.stderr, "line 5: 2026-11-01 01:00:00 comes twice")
	require.Contains(t, o.stderr, "line 7: 2026-03-08 02:30:00 does not exist in America/New_York, whose clocks go forward then: "+
		"write 2026-03-08T02:30:00-05:00 or 2026-03-08T02:30:00-04:00, whichever is meant, or all times in UTC")
	require.NotContains(t, o.stderr, "line 2:")
	require.NotContains(t, o.stderr, "line 6:")
	require.Empty(t, carbon.All())

	// Written as the messages say, all of it arrives.
	o, carbon = fileRun(t, "x.csv", `time,m
2025-11-02 00:59:00,1
2025-11-02T01:00:00-04:00,2
2025-11-02 01:00:00-05:00,20
2025-11-02T06:30:00Z,30
2025-11-02 02:00:00,4
`, "--time-zone", "America/New_York")
	require.Equal(t, exitOK, o.code, o.stderr)
	have := map[string]float64{}
	for _, p := range carbon.Points("m") {
		have[stamp(int64(p.Timestamp)*1000)] = p.Value
	}
	require.Equal(t, map[string]float64{
		"2025-11-02T04:59:00Z": 1, "2025-11-02T05:00:00Z": 2, "2025-11-02T06:00:00Z": 20, "2025-11-02T06:30:00Z": 30, "2025-11-02T07:00:00Z": 4,
	}, have)
}

func TestInstantsInZones(t *testing.T) {
	for _, c := range []struct{ zone, text, want string }{
		{"UTC", "2026-11-01 01:30", "2026-11-01T01:30:00Z"},
		{"", "2026-11-01", "2026-11-01T00:00:00Z"},
		{"America/New_York", "2026-11-01 00:59:59.999", "2026-11-01T04:59:59Z"},
		{"America/New_York", "2026-11-01 01:00", "twice"},
		{"America/New_York", "2026-11-01 01:59:59.999", "01:59:59.999-04:00 or 2026-11-01T01:59:59.999-05:00"},
		{"America/New_York", "2026-11-01 02:00", "2026-11-01T07:00:00Z"},
		{"America/New_York", "2026-03-08T01:59:59", "2026-03-08T06:59:59Z"},
		{"America/New_York", "2026/03/08 02:00", "does not exist"},
		{"America/New_York", "2026-03-08T02:59", "does not exist"},
		{"America/New_York", "2026-03-08T03:00", "2026-03-08T07:00:00Z"},
		{"America/New_York", "2026-03-08T02:30:00-05:00", "2026-03-08T07:30:00Z"},
		{"America/New_York", "1793509200", "2026-11-01T05:00:00Z"},
		{"Asia/Kolkata", "2026-11-01 01:30", "2026-10-31T20:00:00Z"},
		{"Asia/Beirut", "2026-03-29", "does not exist"},                                     // midnight
		{"Australia/Lord_Howe", "2026-04-05 01:29", "2026-04-04T14:29:00Z"},                 // half an hour back
		{"Australia/Lord_Howe", "2026-04-05 01:30", "twice"},                                //
		{"Australia/Lord_Howe", "2026-04-05 02:00", "2026-04-04T15:30:00Z"},                 //
		{"Pacific/Apia", "2011-12-30 12:00", "12:00:00-10:00 or 2011-12-30T12:00:00+14:00"}, // a day that was left out
		{"Pacific/Apia", "2011-12-29 12:00", "2011-12-29T22:00:00Z"},
		{"Pacific/Apia", "2011-12-31 00:00", "2011-12-30T10:00:00Z"},
		{"Pacific/Apia", "2026-07-01 00:00", "2026-06-30T11:00:00Z"},
	} {
		zone, err := time.LoadLocation(c.zone)
		require.NoError(t, err)
		ms, err := parseInstant(c.text, zone)
		if strings.HasSuffix(c.want, "Z") {
			require.NoError(t, err, c)
			require.Equal(t, c.want, stamp(ms), c)
			continue
		}
		require.ErrorContains(t, err, c.want, c)
	}
	// Every minute of a year is told apart, and there are as many as clocks show.
	zone, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	refused := 0
	for wall := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC); wall.Year() == 2026; wall = wall.Add(10 * time.Minute) {
		ms, err := parseInstant(wall.Format("2006-01-02 15:04"), zone)
		if err != nil {
			refused++
			continue
		}
		require.Equal(t, wall.Format("2006-01-02 15:04"), time.UnixMilli(ms).In(zone).Format("2006-01-02 15:04"))
	}
	require.Equal(t, 12, refused, "02:00 to 02:50 of two days")
}

// Two names of a file that become one here are not taken for one metric.
func TestBackfillFileNamesThatBecomeOne(t *testing.T) {
	for name, c := range map[string]struct{ file, text, want string }{
		"long":     {"x.csv", "timestamp,metric,value\n1600000000,a b,1\n1600000000,a_b,3\n", `line 3: "a b" and "a_b" would both be a_b here: rename one of them in the file`},
		"wide":     {"x.csv", "timestamp,a b,a_b\n1600000000,1,3\n", `line 2: "a b" and "a_b" would both be a_b here`},
		"dots":     {"x.csv", "timestamp,a..b,a.b\n1600000000,1,3\n", `line 2: "a..b" and "a.b" would both be a.b here`},
		"one name": {"x.csv", "timestamp,m,n, m\n1600000000,1,2,3\n", "the first row has two columns m: rename one of them"},
		"lines":    {"x.txt", "a..b 1 1600000000\na.b 2 1600000000\n", `line 2: "a..b" and "a.b" would both be a.b here`},
	} {
		t.Run(name, func(t *testing.T) {
			o, carbon := fileRun(t, c.file, c.text)
			require.Equal(t, exitUsage, o.code, o.stderr)
			require.Contains(t, o.stderr, c.want)
			require.Empty(t, carbon.All())
		})
	}
	t.Run("not one", func(t *testing.T) {
		o, carbon := fileRun(t, "x.csv", "timestamp,metric,value,note,note\n1600000000,a;y=2;x=1,1,,\n1600000060,a;x=1;y=2,2,,\n1600000000,A;x=1;y=2,3,,\n")
		require.Equal(t, exitOK, o.code, o.stderr)
		require.Len(t, carbon.Points("a;x=1;y=2"), 2, "the order of tags makes no other metric")
		require.Len(t, carbon.Points("A;x=1;y=2"), 1)
		o, carbon = fileRun(t, "x.csv", "timestamp,a,,\n1600000000,1,,\n")
		require.Equal(t, exitOK, o.code, o.stderr)
		require.Len(t, carbon.All(), 1, "empty columns are no metrics")
	})
}

// A row that is no CSV is told with its line, wherever the quote stands.
func TestBackfillFileThatIsNoCSV(t *testing.T) {
	o, carbon := fileRun(t, "x.csv", "time,a\n\"16\"00000000,1\n1600000060,2\n1600000120,\"3\"3\n")
	require.Equal(t, exitUsage, o.code, o.stderr)
	require.Contains(t, o.stderr, "2 lines cannot be read")
	require.Contains(t, o.stderr, "line 2: ")
	require.Contains(t, o.stderr, "line 4: ")
	require.Empty(t, carbon.All())
}
