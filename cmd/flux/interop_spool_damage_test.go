//go:build interop || soak

package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/queue"
	"github.com/fluxmetrics/fluxkit/internal/record"
	"github.com/fluxmetrics/fluxkit/internal/rig"
)

// harm is something that is done to the newest file of a spool.
type harm struct {
	name string
	do   func(b []byte) []byte
}

var harms = []harm{
	{"a flipped byte", func(b []byte) []byte {
		b[rand.IntN(len(b))] ^= byte(1 + rand.IntN(255))
		return b
	}},
	{"a cut end", func(b []byte) []byte { return b[:rand.IntN(len(b))] }},
	{"a stretch of zeros", func(b []byte) []byte {
		from := rand.IntN(len(b))
		clear(b[from:min(len(b), from+1+rand.IntN(1000))])
		return b
	}},
	{"rubbish behind the end", func(b []byte) []byte {
		for range 1 + rand.IntN(200) {
			b = append(b, byte(rand.IntN(256)))
		}
		return b
	}},
}

// surviveDamage kills flux, harms its spool and starts it again: it must start, and deliver what was not harmed.
func surviveDamage(t *testing.T, rounds int) {
	dir := t.TempDir()
	flux, h, in := startSpooled(t, false, dir)
	h.down()
	start := time.Now().Add(-loadStart).Unix()
	want := map[string]float64{} // by name and time
	harmed := map[string]bool{}
	for round := range rounds {
		flux.WaitListening(in.http)
		posted := stream{id: round, start: start}
		for n := range 20 + rand.IntN(60) {
			at := n * 10
			points := 1 + rand.IntN(10)
			require.Equal(t, http.StatusNoContent, postOnce(t, in.http, posted.body(at, points)))
		}
		flux.Kill()
		what, carbon := harms[round%len(harms)], filepath.Join(dir, "carbon")
		found := inspect(t, carbon)
		hurt := harmSpool(t, carbon, what, want, harmed)
		now := inspect(t, carbon)
		require.Equal(t, found.Records-hurt, now.Records, what.name)
		if hurt > 0 && what.name != "a cut end" { // which may leave whole records
			require.Greater(t, now.DamagedBytes+now.TornBytes, found.DamagedBytes+found.TornBytes, what.name)
		}
		before := len(flux.Output())
		flux.Restart()
		said := ""
		rig.WaitFor(t, patience, "start", func() error {
			if said = flux.Output()[before:]; !strings.Contains(said, "accepted points are kept in the spool") {
				return errors.New(said)
			}
			return nil
		})
		require.Equal(t, now.Damaged > 0, strings.Contains(said, "damaged records were passed over"), said)
	}
	h.up()
	a := stopSpooled(t, flux)
	got := map[string]float64{}
	h.arrived(func(metric string, at, value float64) { got[fmt.Sprint(metric, " ", at)] = value })
	lost := 0
	for key, value := range want {
		if harmed[key] {
			lost++
			require.NotContains(t, got, key, "it was harmed")
			continue
		}
		v, ok := got[key]
		require.True(t, ok, "%s is lost", key)
		require.Equal(t, value, v, key)
		delete(got, key)
	}
	require.Empty(t, got)
	t.Logf("%d rounds: %d points, %d of them harmed; the last start found %d, and dropped %v", rounds, len(want), lost, a.Recovered, a.Dropped)
}

func inspect(t *testing.T, dir string) queue.Report {
	t.Helper()
	rep, err := queue.Inspect(dir, nil)
	require.NoError(t, err)
	return rep
}

// postOnce posts and returns the status.
func postOnce(t *testing.T, addr string, body []byte) int {
	t.Helper()
	resp, err := http.Post("http://"+addr+"/flux/metric_data_post", "application/json", bytes.NewReader(body))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}

// spoolHeader is what stands before a record in a file of the spool.
const spoolHeader = 40

// harmSpool notes the points that a spool holds, harms its newest file, and notes those of the records that were. It
// returns how many records were.
func harmSpool(t *testing.T, dir string, how harm, want map[string]float64, harmed map[string]bool) (hurt int) {
	t.Helper()
	type place struct {
		file     string
		from, to int64
		points   []string
	}
	var places []place
	_, err := queue.Inspect(dir, func(r queue.Record) error {
		p := place{file: r.File, from: r.Offset, to: r.Offset + spoolHeader + int64(len(r.Data))}
		b, err := record.Decode(r.Data)
		if err != nil {
			return err
		}
		var pt record.Point
		for c := b.Cursor(); c.Next(&pt); {
			key := fmt.Sprint(string(pt.Name), " ", float64(pt.Timestamp)/1000)
			want[key] = pt.Value
			p.points = append(p.points, key)
		}
		places = append(places, p)
		return nil
	})
	require.NoError(t, err)
	newest := places[len(places)-1].file
	path := filepath.Join(dir, newest)
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	after := how.do(bytes.Clone(before))
	require.NoError(t, os.WriteFile(path, after, 0o600))
	for _, p := range places {
		if p.file != newest || p.to <= int64(len(after)) && bytes.Equal(before[p.from:p.to], after[p.from:p.to]) {
			continue
		}
		hurt++
		for _, key := range p.points {
			harmed[key] = true
		}
	}
	return hurt
}
