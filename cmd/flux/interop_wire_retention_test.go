//go:build interop

package main_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/rig"
)

// whisperScript makes a whisper file with the retentions 1m:1h,5m:1d and the given xFilesFactor and does what stands on
// its standard input: [now, [[timestamp, value], …]], a line each, is written as carbon writes it; [now, timestamp]
// prints what the first and the second archive then hold for that minute and its five minutes. "left" is what an archive is too short for.
const whisperScript = `
import json, sys, whisper
path = sys.argv[1]
whisper.create(path, [(60, 60), (300, 288)], xFilesFactor=float(sys.argv[2]), aggregationMethod='average')
for now, what in map(json.loads, sys.stdin):
    if isinstance(what, list):
        whisper.update_many(path, [tuple(p) for p in what], now=now)
        continue
    values = []
    for step in (60, 300):
        at = what - what % step
        if now - what > {60: 3600, 300: 86400}[step]:
            values.append('left')
            continue
        values.append(whisper.fetch(path, at - step, at, now=now, archiveToSelect=step)[1][0])
    print(json.dumps(values))
`

// retentionStep is points that come at a time, and what the archives hold for the minute of look afterwards.
type retentionStep struct {
	name string
	now  int64
	pts  [][2]float64
	look int64
	want string // [first archive, second archive]
}

// slot is when five minutes begin.
const slot = 1_700_000_100

func TestInteropWireRetentionsOfWhisper(t *testing.T) {
	t.Parallel()
	const minute, hour = 60, 3600
	at := func(minutes, value int) [2]float64 { return [2]float64{slot + float64(minutes*minute), float64(value)} }
	cases := []struct {
		xFilesFactor string
		steps        []retentionStep
	}{
		{"0.5", []retentionStep{
			{"two minutes of five are too few", slot + 120, [][2]float64{at(0, 10), at(1, 20)}, slot + 60, `[20.0, null]`},
			{"three are enough", slot + 130, [][2]float64{at(2, 30)}, slot + 60, `[20.0, 20.0]`},
			{"repeated", slot + 140, [][2]float64{at(1, 20), at(0, 10)}, slot + 60, `[20.0, 20.0]`},
			{"late within the first archive", slot + 3000, [][2]float64{at(3, 60)}, slot + 180, `[60.0, 30.0]`},
			{"filled within the first archive", slot + 3010, [][2]float64{at(4, 80)}, slot + 240, `[80.0, 40.0]`},
			{"another value for the same minute", slot + 3020, [][2]float64{at(0, 60)}, slot, `[60.0, 50.0]`},
			{"and the first again", slot + 3030, [][2]float64{at(0, 10)}, slot, `[10.0, 40.0]`},
			{"just in the first archive", slot + 60 + hour - 1, [][2]float64{at(1, 20)}, slot + 60, `[20.0, 40.0]`},
			{"repeated when it has left it", slot + 60 + hour + 1, [][2]float64{at(1, 20)}, slot + 60, `["left", 20.0]`},
			{"all of them", slot + 300 + hour, [][2]float64{at(0, 10), at(1, 20), at(2, 30), at(3, 60), at(4, 80)}, slot, `["left", 80.0]`},
			{"late, and alone", slot + 600 + hour, [][2]float64{at(5, 7)}, slot + 300, `["left", 7.0]`},
			{"too old for all", slot + 86400 + 301, [][2]float64{at(0, 99)}, slot, `["left", "left"]`},
		}},
		{"0", []retentionStep{
			{"one minute of five is enough", slot, [][2]float64{at(0, 10)}, slot, `[10.0, 10.0]`},
			{"repeated", slot + 10, [][2]float64{at(0, 10)}, slot, `[10.0, 10.0]`},
			{"late within the first archive", slot + 3000, [][2]float64{at(3, 30)}, slot + 180, `[30.0, 20.0]`},
			{"filled within the first archive", slot + 3010, [][2]float64{at(1, 15), at(2, 25)}, slot + 60, `[15.0, 20.0]`},
			{"repeated when it has left it", slot + 60 + hour + 1, [][2]float64{at(1, 15)}, slot + 60, `["left", 15.0]`},
		}},
	}
	for _, c := range cases {
		t.Run("xFilesFactor "+c.xFilesFactor, func(t *testing.T) {
			var in string
			want := ""
			for _, s := range c.steps {
				for _, what := range []any{s.pts, s.look} {
					line, err := json.Marshal([]any{s.now, what})
					require.NoError(t, err)
					in += string(line) + "\n"
				}
				want += s.name + ": " + s.want + "\n"
			}
			out := output(t, in, rig.Tool(t, "/usr/bin/python3", "python3"), "-c", whisperScript,
				filepath.Join(t.TempDir(), "a.wsp"), c.xFilesFactor)
			got := ""
			for _, s := range c.steps {
				var first json.RawMessage
				dec := json.NewDecoder(strings.NewReader(out))
				require.NoError(t, dec.Decode(&first), out)
				out = out[dec.InputOffset():]
				got += s.name + ": " + string(first) + "\n"
			}
			require.Equal(t, want, got)
		})
	}
}

// secondArchive prints what a whisper file's second archive holds for five minutes.
const secondArchive = `
import sys, whisper
at = int(sys.argv[2])
try:
    print(whisper.fetch(sys.argv[1], at - 300, at, archiveToSelect=300)[1][0])
except (OSError, whisper.WhisperException) as e:
    print(e)
`

// TestInteropWireRetentionsThroughFlux sends the like through flux into carbon, by the line input, which discards
// neither repeated points nor late ones. It looks into the file: carbon writes at once what came within a second, and
// of several points older than the first archive in the same five minutes, the one of the latest minute stays then.
func TestInteropWireRetentionsThroughFlux(t *testing.T) {
	t.Parallel()
	carbon := rig.CarbonCache(t, rig.CarbonOptions{Retentions: "1m:1h,5m:1d"})
	file := filepath.Join(carbon.WhisperDir, "retention", "m.wsp")
	python := rig.Tool(t, "/usr/bin/python3", "python3")
	gw := startServe(t, carbon.Pickle, "--no-auth", "--max-age", "0")
	conn := dial(t, gw.Line)
	now := time.Now().Unix()
	young, old := now-1800-now%300, now-3*3600-now%300
	send := func(at int64, value int) {
		_, err := fmt.Fprintf(conn, "retention.m %d %d\n", value, at)
		require.NoError(t, err)
	}
	shown := func(at int64, want float64) {
		t.Helper()
		rig.WaitFor(t, patience, "value of the second archive", func() error {
			if got := output(t, "", python, "-c", secondArchive, file, fmt.Sprint(at)); got != fmt.Sprintf("%.1f\n", want) {
				return fmt.Errorf("%s at %d, not %v", got, at, want)
			}
			return nil
		})
	}
	sent := 0
	for _, s := range []struct {
		at    int64
		value int
		slot  int64
		want  float64
	}{
		{young, 10, 0, 0}, {young + 60, 20, 0, 0}, {young + 120, 30, young, 20},
		{young + 60, 20, young, 20},    // repeated
		{young + 180, 60, young, 30},   // late, or filled
		{old, 10, old, 10},             // older than the first archive
		{old + 60, 20, old, 20},        // takes its place
		{old + 120, 90, old, 90},       // again: no mean
		{old, 10, old, 10},             // repeated
		{young + 240, 80, young, 40},   // filled
		{young + 240, 180, young, 60},  // another value
		{young + 240, 80, young, 40.0}, // and the first again
	} {
		send(s.at, s.value)
		sent++
		if s.slot != 0 {
			shown(s.slot, s.want)
		}
	}
	finish(t, conn)
	a := stop(t, gw.Process)
	require.Equal(t, []int{sent, 0, 0}, []int{a.Delivered, a.Duplicate, a.Late})
}
