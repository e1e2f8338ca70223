package backfill

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A slice that begins where an archive of the source ends must still be answered from it a moment later.
func TestSlicesBeginWithinTheArchive(t *testing.T) {
	accepted := time.UnixMilli(began + 30_500)
	r := request("a", "from=-6hours", "from=-24hours&until=-6hours", "from=-90days&until=-24hours")
	list, err := r.resolve(origins{origin(t, "http://source:8080")}, accepted, true)
	require.NoError(t, err)
	at := func(back int64) int64 { return began - back*1000 }
	require.Equal(t, at(90*86400), list[0].From, "nobody else has the oldest minute")
	require.Equal(t, "http://source:8080/render/?from=938908799&until=946598520&format=json&target=web.cpu", list[0].URL)
	require.Equal(t, at(86400)+inward, list[0].Until)
	require.Equal(t, at(86400)+inward, list[1].From)
	require.Equal(t, "http://source:8080/render/?from=946598519&until=946663320&format=json&target=web.cpu", list[1].URL)
	require.Equal(t, "http://source:8080/render/?from=946663319&format=json&target=web.cpu&until=946684831", list[2].URL)

	// Where there is a gap before a slice, it stays as it is.
	list, err = request("a", "from=-2hours", "from=-9hours&until=-6hours", "from=946684000").resolve(origins{origin(t, "http://source:8080")}, accepted, true)
	require.NoError(t, err)
	require.Equal(t, at(9*3600), list[0].From)
	require.Equal(t, at(2*3600), list[1].From)
	require.Equal(t, floorMinute(946684000_000), list[2].From, "an absolute time is no age")
}

func TestURLsAreRefused(t *testing.T) {
	list := origins{origin(t, "http://g")}
	for says, c := range map[string]struct {
		host HostType
		url  string
	}{
		"no target":            {Graphite, "http://g/render?from=-1h"},
		"from stands twice":    {Graphite, "http://g/render?target=a&from=-1h&from=-2h"},
		"midnight":             {Graphite, "http://g/render?target=a&from=midnight"},
		"tz is":                {Graphite, "http://g/render?target=a&from=20260101&tz=Asia/Kolkata"},
		"before it begins":     {Graphite, "http://g/render?target=a&from=-1h&until=-2h"},
		"jsonp":                {Graphite, "http://g/render?target=a&jsonp=x"},
		"to be encoded":        {Graphite, "http://g/render?target=a b"},
		"fragment":             {Graphite, "http://g/render?target=a#b"},
		"encodes nothing":      {Graphite, "http://g/render?target=%zz"},
		"no URL":               {Graphite, "http://g:x/render"},
		"one query":            {Prometheus, "http://g/api/v1/query?q=x"},
		"no range":             {Prometheus, "http://g/api/v1/query?query=up"},
		"bracket":              {Prometheus, "http://g/api/v1/query?query=up]"},
		"no duration":          {Prometheus, "http://g/api/v1/query?query=up[15days]"},
		"time stands twice":    {Prometheus, "http://g/api/v1/query?query=up[1d]&time=1&time=2"},
		"time: \"-1h\"":        {Prometheus, "http://g/api/v1/query?query=up[1d]&time=-1h"},
		"one start":            {Prometheus, "http://g/api/v1/query_range?query=up&end=5&step=1"},
		"end: \"now\"":         {Prometheus, "http://g/api/v1/query_range?query=up&start=1&end=now&step=1"},
		"one step":             {Prometheus, "http://g/api/v1/query_range?query=up&start=1&end=5"},
		"step: \"x\"":          {Prometheus, "http://g/api/v1/query_range?query=up&start=1&end=5&step=x"},
		"path ends neither in": {Prometheus, "http://g/api/v1/series?query=up[1d]"},
	} {
		_, err := (&Request{HostType: c.host, URLs: []string{c.url}}).resolve(list, time.UnixMilli(began), true)
		var refused *RequestError
		require.ErrorAs(t, err, &refused, c.url)
		require.Contains(t, refused.Message(), says)
		require.Equal(t, "fetch_resolution_urls[0]", refused.Field)
	}
}
