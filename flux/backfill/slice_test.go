package backfill

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Relative times are resolved when a request is accepted, and how long ago they were is kept.
func TestSlicesAreAbsoluteAndKeepTheirAge(t *testing.T) {
	accepted := time.UnixMilli(began + 30_500)
	r := request("a", "from=-6hours", "from=-24hours&until=-6hours", "from=-90days&until=-24hours", "from=946684000")
	list, err := r.resolve(origins{origin(t, "http://source:8080")}, accepted, true)
	require.NoError(t, err)
	const day = int64(86400_000)
	for i, want := range []slice{
		{"http://source:8080/render/?from=938908799&until=946598431&format=json&target=web.cpu", began - 90*day, began - day + 30_500, 90 * day, 0, 0},
		{"http://source:8080/render/?from=946598399&until=946663231&format=json&target=web.cpu", began - day, began - day/4 + 30_500, day, 0, 0},
		{"http://source:8080/render/?from=946663199&format=json&target=web.cpu&until=946684831", began - day/4, began + 30_500, day / 4, 0, 0},
		{"http://source:8080/render/?from=946683959&format=json&target=web.cpu&until=946684831", began - 840_000, began + 30_500, 0, 0, 0},
	} {
		require.Equal(t, want, list[i])
	}
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
