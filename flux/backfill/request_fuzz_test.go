package backfill

import (
	"math"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"
)

// FuzzRequest checks that a payload is refused with a reason, or makes slices of listed origins alone, whose times
// are absolute.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(vista))
	f.Add([]byte(`{"remote_host_type":"prometheus","metric":"a","key":"None","since":"-7days","series":"*","missing":"render","fetch_resolution_urls":["http://source/api/v1/query?query=up[15d]"]}`))
	f.Add([]byte(`{"remote_host_type":"graphite","metric":"a;k=v","since":1700000000,"fetch_resolution_urls":["http://source/render?target=a&from=-1h","http://source/render?target=a&from=-2h&until=-1h"]}`))
	f.Add([]byte(`{"metric":null}`))
	now := time.UnixMilli(1_700_000_000_500).UTC()
	list := origins{}
	for _, s := range []string{"http://source", "https://graphite.example.org", "http://prometheus.example.org:9090"} {
		o, err := ParseOrigin(s)
		require.NoError(f, err)
		list = append(list, o)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := ParseRequest(body)
		var wrong *RequestError
		if err != nil {
			require.ErrorAs(t, err, &wrong)
			return
		}
		require.NoError(t, checkMetric(r.Metric))
		if r.Since != "" {
			if ms, err := parseSince(r.Since, now); err == nil {
				require.True(t, ms >= 0 && ms <= maxTime)
			}
		}
		slices, err := r.resolve(list, now, true)
		var refused *OriginError
		if err != nil {
			require.True(t, asEither(err, &wrong, &refused), err)
			return
		}
		require.NotEmpty(t, slices)
		before := int64(math.MinInt64)
		again := *r
		again.URLs, again.Vista = nil, false
		for _, s := range slices {
			require.GreaterOrEqual(t, s.From, before)
			before = s.From
			require.LessOrEqual(t, s.From, s.Until)
			u, err := url.Parse(s.URL)
			require.NoError(t, err)
			o, err := originOf(u)
			require.NoError(t, err)
			_, err = list.find(o)
			require.NoError(t, err)
			again.URLs = append(again.URLs, s.URL)
		}
		then, err := again.resolve(list, now, true)
		require.NoError(t, err)
		later, err := again.resolve(list, now.Add(24*time.Hour), true)
		require.NoError(t, err)
		require.Equal(t, then, later, "what is absolute does not move")
	})
}

func asEither(err error, a **RequestError, b **OriginError) bool {
	switch e := err.(type) {
	case *RequestError:
		*a = e
	case *OriginError:
		*b = e
	default:
		return false
	}
	return true
}

// FuzzLocalAnswer checks that what the local Graphite says is read the same however it arrives, and that each slot is
// told of once it is known.
func FuzzLocalAnswer(f *testing.F) {
	f.Add([]byte(`[{"target":"a","datapoints":[[1,60],[null,120],[3,180]]}]`))
	f.Add([]byte(`[{"target":"a","datapoints":[[1,600],[2,1200]]},{"target":"b","datapoints":[[null,600]]}]`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, nulls, err := decodeLocal(strings.NewReader(string(body)), 1<<20)
		again, nulls2, err2 := decodeLocal(iotest.OneByteReader(strings.NewReader(string(body))), 1<<20)
		require.Equal(t, err == nil, err2 == nil)
		if err != nil {
			return
		}
		require.Equal(t, got, again)
		require.Equal(t, nulls, nulls2)
		w := windowOf(got, nulls)
		for i, s := range w.slots {
			require.True(t, i == 0 || w.slots[i-1].at <= s.at)
			require.NotEqual(t, Outside, w.state(i, s.at))
		}
	})
}

// FuzzOrigin checks that an origin that is read reads the same as it is written, and lets nobody to the loopback in by a
// name alone.
func FuzzOrigin(f *testing.F) {
	for _, s := range []string{"http://Graphite.Example", "https://[2001:DB8::1]:8080", "g:443=10.0.0.0/8,::1/128", "http://user:secret@g", "http://127.0.0.1:9090/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		o, err := ParseOrigin(s)
		if err != nil {
			return
		}
		require.NotContains(t, o.String(), "@")
		again, err := ParseOrigin(o.String())
		require.NoError(t, err)
		again.Within = o.Within
		require.Equal(t, o, again)
		if len(o.Within) == 0 && o.control("127.0.0.1:80") == nil {
			require.Contains(t, []string{"127.0.0.1", "::ffff:127.0.0.1"}, o.Host)
		}
	})
}
