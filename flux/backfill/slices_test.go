package backfill

import (
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBehind(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	require.False(t, Behind(now.Add(-360*time.Second), now, time.Minute))
	require.True(t, Behind(now.Add(-361*time.Second), now, time.Minute))
	require.True(t, Behind(time.Time{}, now, time.Minute))
	require.False(t, Behind(now.Add(time.Hour), now, time.Minute))
}

func TestSlicesOfGraphite(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	o := SliceOptions{
		HostType: Graphite, BaseURL: "https://g.example:8443/sub/", Target: `alias(a+b.c,'x "y" & z#')`,
		Resolutions: []string{"6hours", "90days", "7days", "24hours", "7days"}, Now: now,
	}
	encoded := url.QueryEscape(o.Target)
	all := []string{
		"https://g.example:8443/sub/render/?from=-90days&until=-7days&format=json&target=" + encoded,
		"https://g.example:8443/sub/render/?from=-7days&until=-24hours&format=json&target=" + encoded,
		"https://g.example:8443/sub/render/?from=-24hours&until=-6hours&format=json&target=" + encoded,
		"https://g.example:8443/sub/render/?from=-6hours&format=json&target=" + encoded,
	}
	for _, c := range []struct {
		last time.Duration
		want []string
	}{
		{0, all}, {100 * 24 * time.Hour, all}, {30 * 24 * time.Hour, all}, {3 * 24 * time.Hour, all[1:]}, {7 * time.Hour, all[2:]},
		{24 * time.Hour, all[2:]},
		{time.Hour, []string{"https://g.example:8443/sub/render/?from=1699995800&format=json&target=" + encoded}},
	} {
		o.Last = time.Time{}
		if c.last > 0 {
			o.Last = now.Add(-c.last)
		}
		got, err := Slices(o)
		require.NoError(t, err)
		require.Equal(t, c.want, got, c.last)
	}
	o.BaseURL, o.Resolutions, o.Last = "http://g/render", []string{"1h"}, time.Time{}
	got, err := Slices(o)
	require.NoError(t, err)
	require.Equal(t, []string{"http://g/render/?from=-1h&format=json&target=" + encoded}, got)
}

func TestSlicesOfPrometheus(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	o := SliceOptions{HostType: Prometheus, BaseURL: "http://p:9090", Target: `up{job="a}[b"}`, Resolutions: []string{"15d", "1d"}, Now: now}
	got, err := Slices(o)
	require.NoError(t, err)
	require.Equal(t, []string{
		"http://p:9090/api/v1/query?query=" + url.QueryEscape(o.Target+"[1209600s]") + "&time=1699913600",
		"http://p:9090/api/v1/query?query=" + url.QueryEscape(o.Target+"[86400s]") + "&time=1700000000",
	}, got)
	o.Target = `rate(x[5m])`
	got, err = Slices(o)
	require.NoError(t, err)
	require.Equal(t, []string{
		"http://p:9090/api/v1/query_range?query=rate%28x%5B5m%5D%29&start=1698704000&end=1699363940&step=60",
		"http://p:9090/api/v1/query_range?query=rate%28x%5B5m%5D%29&start=1699364000&end=1699913600&step=60",
		"http://p:9090/api/v1/query_range?query=rate%28x%5B5m%5D%29&start=1699913600&end=1700000000&step=60",
	}, got)
	o.Last = now.Add(-time.Hour)
	got, err = Slices(o)
	require.NoError(t, err)
	require.Equal(t, []string{"http://p:9090/api/v1/query_range?query=rate%28x%5B5m%5D%29&start=1699995800&end=1700000000&step=60"}, got)
	for expr, want := range map[string]bool{
		"up": true, `{job="a"}`: true, `up{a='}'}`: true, "up{a=\"\\\"}\"}": true, "up{a=`\\`}": true, "ns:x": true,
		"": false, "rate(x[5m])": false, "a+b": false, "up{} offset 1d": false, "up[5m]": false, "5": false, `up{a="b"`: false,
	} {
		require.Equal(t, want, isSelector(expr), expr)
	}
}

func TestSlicesAreAccepted(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for _, o := range []SliceOptions{
		{HostType: Graphite, BaseURL: "http://g", Target: `alias(a.b,'x y')`},
		{HostType: Prometheus, BaseURL: "http://g", Target: `up{a="b c"}`},
		{HostType: Prometheus, BaseURL: "http://g", Target: `rate(x[5m])`},
	} {
		o.Now, o.Resolutions = now, []string{"90days", "6hours"}
		urls, err := Slices(o)
		require.NoError(t, err)
		list, err := (&Request{HostType: o.HostType, URLs: urls}).resolve(origins{origin(t, "http://g")}, now, true)
		require.NoError(t, err)
		require.Equal(t, floorMinute(now.Add(-90*24*time.Hour).UnixMilli()), floorMinute(list[0].From))
	}
}

func TestSlicesRefuses(t *testing.T) {
	good := SliceOptions{HostType: Graphite, BaseURL: "http://g", Target: "a", Resolutions: []string{"1d"}, Now: time.Unix(1_700_000_000, 0)}
	for name, change := range map[string]func(*SliceOptions){
		"BaseURL":     func(o *SliceOptions) { o.BaseURL = "file:///x" },
		"Target":      func(o *SliceOptions) { o.Target = "" },
		"Resolutions": func(o *SliceOptions) { o.Resolutions = []string{"1", "5", "d"} },
		"1 to 100":    func(o *SliceOptions) { o.Resolutions = nil },
		"HostType":    func(o *SliceOptions) { o.HostType = "x" },
		"no time":     func(o *SliceOptions) { o.Resolutions = []string{"0d"} },
	} {
		o := good
		change(&o)
		_, err := Slices(o)
		require.ErrorContains(t, err, name)
	}
}
