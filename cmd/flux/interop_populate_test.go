//go:build interop

package main_test

import (
	"fmt"
	"maps"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/rig"
)

// sourceRetentions keep what readings has.
const sourceRetentions = "10s:7h,60s:8d,600s:95d"

// readings are samples of a metric up to a moment: every 10 s of a little less than 7 hours, every minute of 8 days, every
// 10 minutes of the days given. Some are missing. Where the slices of 6 hours and 7 days begin does not show to the minute:
// the samples of both archives tell the same there, or there are none.
func readings(now time.Time, days int) map[int64]float64 {
	samples := map[int64]float64{}
	at := now.Unix()/600*600 - int64(days)*86400
	for n := 0; at < now.Unix(); n++ {
		age := now.Unix() - at
		switch {
		case meets(age, 6*3600):
			samples[at] = float64(at/60%97) / 8 // of which six have the same mean
		case !meets(age, 7*86400) && n%17 != 5 && n%101 > 8:
			samples[at] = reading(n, at)
		}
		switch {
		case age <= 7*3600-600:
			at += 10
		case age <= 8*86400-600:
			at += 60
		default:
			at += 600
		}
	}
	return samples
}

// meets reports whether a slice may begin at an age, in seconds: it was asked for a while after the samples were made.
func meets(age, begin int64) bool { return age <= begin+20*60 && age > begin-60*60 }

// resolutions are those of Vista's documentation.
var resolutions = []string{"90days", "7days", "24hours", "6hours"}

// since is the part of some minutes from a time on.
func since(all map[int64]float64, from int64) map[int64]float64 {
	part := maps.Clone(all)
	maps.DeleteFunc(part, func(at int64, _ float64) bool { return at < from })
	return part
}

// before is the part of some samples before a time, and the newest of them.
func before(all map[int64]float64, until int64) (part map[int64]float64, newest int64) {
	part = maps.Clone(all)
	maps.DeleteFunc(part, func(at int64, _ float64) bool { return at >= until })
	return part, slices.Max(slices.Collect(maps.Keys(part)))
}

// source is a Graphite that has 90 days of web.load, up to a moment.
type source struct {
	place
	began   time.Time
	samples map[int64]float64
}

// What one source is asked for, by gateways in front of a Graphite each.
func TestInteropPopulate(t *testing.T) {
	t.Parallel()
	from := source{began: time.Now()}
	from.samples = readings(from.began, 90)
	from.place = newPlace(t, sourceRetentions, points{"web.load": from.samples})
	for name, test := range map[string]func(*testing.T, source){
		"FourResolutions": populateFourResolutions, "InPart": populateInPart, "CarbonDown": populateCarbonDown,
		"Live": populateBesideLive, "Killed": populateKilled,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, from)
		})
	}
}

// 90 days in four resolutions.
func populateFourResolutions(t *testing.T, from source) {
	to := newPlace(t, "60s:95d", nil)
	gw := startPopulate(t, to, from.graphite.URL)

	j := gw.waitJob(t, gw.populate(t, populateBody(from.graphite.URL, "web.load", "vista.web.load", resolutions...)))
	want := from.expected(t, "web.load", j, resolutions...)
	for resolution, n := range map[string]int{"90days": 18_000, "7days": 8_000, "24hours": 1_100, "6hours": 300} {
		require.Greater(t, len(since(want, j.Accepted.Add(-ago(t, resolution)).Unix())), n, resolution)
	}
	require.Equal(t, len(want), j.Sent)
	require.Zero(t, j.Since)
	require.Empty(t, j.Note)
	to.requireMinutes(t, "vista.web.load", want, j.until())
}

// A source that had stopped in the middle of a minute goes on: that minute and what is newer is fetched.
func TestInteropPopulateCatchUp(t *testing.T) {
	t.Parallel()
	began := time.Now()
	all := readings(began, 90)
	first, newest := before(all, began.Unix()/60*60-2*3600+35)
	from := newPlace(t, sourceRetentions, points{"web.load": first})
	to := newPlace(t, "60s:95d", nil)
	gw := startPopulate(t, to, from.graphite.URL)
	body := populateBody(from.graphite.URL, "web.load", "vista.web.load", resolutions...)

	j := gw.waitJob(t, gw.populate(t, body))
	want := from.expected(t, "web.load", j, resolutions...)
	require.Equal(t, len(want), j.Sent)
	to.requireMinutes(t, "vista.web.load", want, j.until())

	from.feed(t, points{"web.load": since(all, newest+1)})
	j = gw.waitJob(t, gw.populate(t, body))
	want = from.expected(t, "web.load", j, resolutions...)
	require.Equal(t, newest/60*60, j.Since.Unix())
	require.Equal(t, len(since(want, j.Since.Unix())), j.Sent)
	require.Greater(t, j.Sent, 100)
	to.requireMinutes(t, "vista.web.load", want, j.until())
}

// Of one metric what is old is there: the gateway, which has no mark, asks Graphite from when on history is missing. Of
// another one every other hour is there: what is null is filled, and the rest stays.
func populateInPart(t *testing.T, from source) {
	old, newest := before(from.samples, from.began.Unix()-3*3600)
	old = means(old, 0, newest/60*60)
	holed := map[int64]float64{}
	for at := range means(from.samples, 0, from.began.Unix()/60*60) {
		if at/3600%2 == 0 {
			holed[at] = -1
		}
	}
	to := newPlace(t, "60s:95d", points{"vista.old": old, "vista.holed": holed})
	gw := startPopulate(t, to, from.graphite.URL)

	j := gw.waitJob(t, gw.populate(t, populateBody(from.graphite.URL, "web.load", "vista.old", resolutions...)))
	require.Equal(t, slices.Max(slices.Collect(maps.Keys(old))), j.Since.Unix())
	missing := since(from.expected(t, "web.load", j, resolutions...), j.Since.Unix())
	require.Equal(t, len(missing), j.Sent)
	require.Greater(t, j.Sent, 160)
	maps.Copy(old, missing)
	to.requireMinutes(t, "vista.old", old, j.until())

	j = gw.waitJob(t, gw.populate(t, withMissing(populateBody(from.graphite.URL, "web.load", "vista.holed", resolutions...))))
	want := from.expected(t, "web.load", j, resolutions...)
	full := 0
	for at := range want {
		if _, has := holed[at]; has {
			full++
		}
	}
	require.Equal(t, full, j.Full)
	require.Equal(t, len(want)-full, j.Sent)
	require.Greater(t, min(j.Full, j.Sent), 8_000)
	maps.Copy(want, holed)
	to.requireMinutes(t, "vista.holed", want, j.until())
}

// withMissing has a request fill what is null in the Graphite that is filled.
func withMissing(body string) string { return `{"missing": "render", ` + body[1:] }

// Carbon is down before the job begins, and again in its middle. While it is live points are accepted.
func populateCarbonDown(t *testing.T, from source) {
	to := newPlace(t, "60s:95d", nil)
	gw := startPopulate(t, to, from.graphite.URL, "--populate-rate", "5000")
	live := map[int64]float64{}
	fill := func() {
		at := (from.began.Unix()/60 - 100 - int64(len(live))) * 60
		live[at] = -1 - float64(len(live))
		code, answer := gw.post(t, fmt.Sprintf(`{"metric": "vista.load", "timestamp": %d, "value": %v, "key": %q, "fill": "true"}`, at, live[at], apiKey))
		require.Equal(t, 204, code, answer)
	}

	to.carbon.Stop()
	id := gw.populate(t, populateBody(from.graphite.URL, "web.load", "vista.load", resolutions...))
	j := gw.waitJobFor(t, id, "answer of the source", func(j job) bool { return j.Fetched > 0 })
	fill()
	require.Zero(t, j.Sent)
	to.carbon.Restart()

	gw.waitJobFor(t, id, "progress", func(j job) bool { return j.Sent >= 1000 })
	to.carbon.Signal(syscall.SIGSTOP) // at once, while to end takes it a moment in which the job goes on
	j, err := gw.askJob(id)
	require.NoError(t, err)
	require.Equal(t, "running", j.State, "%+v", j)
	to.carbon.Stop()
	fill()
	to.carbon.Restart()

	j = gw.waitJob(t, id)
	want := from.expected(t, "web.load", j, resolutions...)
	require.Equal(t, len(want), j.Sent+j.Live)
	maps.Copy(want, live)
	to.requireMinutes(t, "vista.load", want, j.until())
}

// While a job runs live points of its metric come in, of minutes that it has sent and of minutes that it is to send.
func populateBesideLive(t *testing.T, from source) {
	to := newPlace(t, "60s:95d", nil)
	gw := startPopulate(t, to, from.graphite.URL, "--populate-rate", "3000")
	traffic := newLiveTraffic("vista.load", from.began, 90)
	id := gw.populate(t, populateBody(from.graphite.URL, "web.load", "vista.load", resolutions...))
	var j job
	require.NoError(t, traffic.during(gw, func() { j = gw.waitJob(t, id) }))
	want := from.expected(t, "web.load", j, resolutions...)
	require.Equal(t, len(want), j.Sent+j.Live)
	t.Logf("%d minutes of history, %d of them left to live points, of which there were %d", len(want), j.Live, traffic.values)
	maps.Copy(want, traffic.live)
	to.requireMinutes(t, "vista.load", want, traffic.newest/60*60+60)
}

// Killed at random moments and started again, with live traffic of the same metric.
func populateKilled(t *testing.T, from source) {
	killing{kills: 5, from: from.place, began: from.began, rate: 1000, within: 1500 * time.Millisecond, resolutions: resolutions}.run(t)
}

// flux backfill copies what a glob matches from one Graphite to another.
func TestInteropPopulateByCommand(t *testing.T) {
	t.Parallel()
	until := time.Now().Unix() / 60 * 60
	from := until - 24*3600
	samples := map[int64]float64{}
	for at := from - 3600; at < until; at += 10 {
		samples[at] = reading(int(at/10), at)
		if at < until-6*3600 { // the same in both archives, and in whichever a slice is answered from
			samples[at] = float64(at/60%97) / 8
		}
	}
	source := newPlace(t, sourceRetentions, points{"rack.a.load": samples, "rack.b.load": samples})
	to := newPlace(t, "60s:95d", nil)
	out := output(t, "", rig.BuildFlux(t), "backfill", "rack.*.load", "--graphite", source.graphite.URL, "--carbon", to.carbon.Pickle,
		"--render", to.graphite.URL, "--prefix", "copy", "--from", fmt.Sprint(from), "--until", fmt.Sprint(until),
		"--resolutions", "7hours,1day", "--rate", "0", "--verify")
	require.Contains(t, out, "2 of 2 metrics done, 0 failed, 2880 points sent")
	want := minutes(t, samples, from, until)
	require.Len(t, want, 1440)
	for _, name := range []string{"a", "b"} {
		to.requireMinutes(t, "copy.rack."+name+".load", want, until)
	}
}
