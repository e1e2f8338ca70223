package blueflood

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/deliver"
)

const testNow = 1795294480913

// serverWindow is what a server with default settings takes at testNow.
var serverWindow = window{testNow - serverPast.Milliseconds(), testNow + serverFuture.Milliseconds()}

func at(name string, timestamp int64) Metric { return Metric{Name: []byte(name), Timestamp: timestamp} }

func TestMatch(t *testing.T) {
	const outOfBounds = `"source":"collectionTime","message":"Out of bounds."`
	type rejected = []deliver.Rejected
	for _, c := range []struct {
		name, prefix, list string
		points             []Metric
		rejected           rejected
		rest               []int
		ok                 bool
	}{
		{
			"by name and time", "",
			`{"timestamp":1000,"metricName":"a",` + outOfBounds + `}`,
			[]Metric{at("a", testNow), at("a", 1000), at("b", 1000)},
			rejected{{Index: 1, Reason: "too_old", Detail: "Out of bounds."}}, []int{0, 2}, true,
		},
		{
			"ahead of the window", "",
			`{"timestamp":1795395480913,"metricName":"a",` + outOfBounds + `}`,
			[]Metric{at("a", 1795395480913)},
			rejected{{Index: 0, Reason: "in_future", Detail: "Out of bounds."}}, nil, true,
		},
		{
			"with prefix", "pre.fix",
			`{"timestamp":5,"metricName":"pre.fix.a","source":"ttlInSeconds","message":"must be"}`,
			[]Metric{at("a", 5), at("b", 5)},
			rejected{{Index: 0, Reason: "bad_ttl", Detail: "must be"}}, []int{1}, true,
		},
		{
			"a point twice, entries twice, two rules", "",
			`{"timestamp":5,"metricName":"a","source":"ttlInSeconds","message":"ttl"},
			 {"timestamp":5,"metricName":"a",` + outOfBounds + `},
			 {"timestamp":5,"metricName":"a","source":"ttlInSeconds","message":"ttl"}`,
			[]Metric{at("a", 5), at("b", 5), at("a", 5)},
			rejected{{Index: 0, Reason: "bad_ttl", Detail: "ttl; Out of bounds."}, {Index: 2, Reason: "bad_ttl", Detail: "ttl; Out of bounds."}},
			[]int{1}, true,
		},
		{
			"local ones between", "",
			`{"timestamp":5,"metricName":"a","source":"metricValue","message":"v"}`,
			[]Metric{at("", 5), at("a", 5), at("\xff", 5), at("b", 5)},
			rejected{
				{Index: 0, Reason: "bad_name", Detail: "the name is empty"}, {Index: 1, Reason: "bad_value", Detail: "v"},
				{Index: 2, Reason: "bad_name", Detail: "the name is not UTF-8"},
			},
			[]int{3}, true,
		},
		{
			"about no point of ours", "",
			`{"timestamp":5,"metricName":"zzz","source":"metricValue","message":"v"}`,
			[]Metric{at("a", 5)}, nil, []int{0}, false,
		},
		{
			"without a time, the name is enough", "",
			`{"metricName":"a","source":"metricValue","message":"v"}`,
			[]Metric{at("a", 5), at("b", 5)},
			rejected{{Index: 0, Reason: "bad_value", Detail: "v"}}, []int{1}, true,
		},
		{
			"without a time, the name is not enough", "",
			`{"metricName":"a","source":"metricValue","message":"v"}`,
			[]Metric{at("a", 5), at("a", 6)},
			rejected{{Index: 0, Reason: "bad_value", Detail: "v"}, {Index: 1, Reason: "bad_value", Detail: "v"}}, nil, false,
		},
		{
			"without a time, about the time", "",
			`{"metricName":"a",` + outOfBounds + `}`,
			[]Metric{at("a", testNow), at("a", 6)},
			rejected{{Index: 1, Reason: "too_old", Detail: "Out of bounds."}}, []int{0}, true,
		},
		{
			"without a time, about the time, all fine here", "",
			`{"metricName":"a",` + outOfBounds + `}`,
			[]Metric{at("a", testNow)}, nil, []int{0}, false,
		},
		{
			"other rules", "",
			`{"timestamp":1,"metricName":"a","source":"tenantId","message":"t"},
			 {"timestamp":1,"metricName":"b","source":"metricName","message":"n"},
			 {"timestamp":1,"metricName":"c","source":"new","message":"x"}`,
			[]Metric{at("a", 1), at("b", 1), at("c", 1)},
			rejected{{Index: 0, Reason: "bad_tenant", Detail: "t"}, {Index: 1, Reason: "bad_name", Detail: "n"}, {Index: 2, Reason: "refused", Detail: "x"}},
			nil, true,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRequest(newRowEncoder(c.prefix, time.Minute), MaxLimit, false)
			r.fill(batch(t, c.points...), 0, anyTime)
			entries := parseErrorList([]byte(`{"errors":[` + c.list + `]}`))
			require.NotEmpty(t, entries)
			require.True(t, perPoint(entries))
			rejected, rest, ok := r.match(newErrorIndex(entries, testNow, serverWindow))
			require.Equal(t, c.ok, ok)
			require.Equal(t, c.rejected, rejected)
			require.Equal(t, c.rest, rest)
		})
	}
}

func TestFate(t *testing.T) {
	const whole = `{"errors":[{"tenantId":"ten","timestamp":null,"metricName":"","source":null,"message":"Cannot parse content"}]}`
	const unreadable = `{"errors":[{"tenantId":"ten","timestamp":null,"metricName":"","source":null,"message":"Failed parsing content"}]}`
	const point = `{"errors":[{"tenantId":"ten","timestamp":5,"metricName":"a","source":"metricValue","message":"x"}]}`
	for _, c := range []struct {
		code   int
		body   string
		length int
		after  time.Duration
		want   fate
	}{
		{200, "", 100, 0, fateStored},
		{201, "", 100, 0, fateStored},
		{204, "", 100, 0, fateStored},
		{202, whole, 100, 0, fateUnconfirmed},
		{203, "", 100, 0, fateFailed},
		{206, "", 100, 0, fateFailed},
		{207, point, 100, 0, fateListed},
		{207, whole, 100, 0, fateRefused},
		{207, "", 100, 0, fateRefused},
		{207, "The following errors have been encountered:", 100, 0, fateRefused},
		{400, point, 100, 0, fateListed},
		{400, whole, 100, 0, fateRefused},
		{400, `{"errors":[]}`, 100, 0, fateRefused},
		{400, `[]`, 100, 0, fateRefused},
		{413, "", smallBody, 0, fateFailed},
		{413, "", smallBody + 1, time.Second, fateFailed},
		{413, "", smallBody + 1, 0, fateTooLong},
		{417, "", 100, 0, fateTooLong},
		{500, unreadable, 100, 0, fateUnreadable},
		{500, whole, 100, 0, fateFailed},
		{500, "", 100, 0, fateFailed},
		{0, "", 100, 0, fateFailed},
	} {
		a := answer{code: c.code, entries: parseErrorList([]byte(c.body)), retryAfter: c.after}
		require.Equal(t, c.want, a.fate(c.length), "%d %s", c.code, c.body)
	}
	for _, code := range []int{301, 302, 307, 401, 403, 404, 405, 408, 415, 429, 501, 502, 503, 504} {
		require.Equal(t, fateFailed, (&answer{code: code}).fate(100_000), code)
	}
}

func TestRetryAfter(t *testing.T) {
	now := func() time.Time { return time.UnixMilli(testNow) }
	for h, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "-1": 0, "1.5": 0, "soon": 0, "999999": time.Hour, "99999999999999999999": 0,
		now().Add(90 * time.Second).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"): 90*time.Second - 913*time.Millisecond,
		now().Add(-time.Hour).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"):       0,
	} {
		require.Equal(t, want, retryAfter(h, now), h)
	}
}

// FuzzErrorList reads anything as an error list, and sorts a batch by it.
func FuzzErrorList(f *testing.F) {
	data, err := os.ReadFile("bluefloodtest/testdata/answers.json")
	require.NoError(f, err)
	var recorded []struct{ Answer string }
	require.NoError(f, json.Unmarshal(data, &recorded))
	for _, r := range recorded {
		f.Add([]byte(r.Answer))
	}
	f.Add([]byte(`{"errors":[{"metricName":"a.b","source":"metricValue"},{"timestamp":1000,"metricName":"dup"}]}`))
	f.Add([]byte(`{"errors":[null,{}]}`))
	f.Add([]byte(`{"errors":{"timestamp":1e3}}`))
	b := batch(f, at("a.b", testNow), at("dup", 1000), at("", 1), at("dup", 1000), at("dup2", 1000), at("x", 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries := parseErrorList(data)
		if entries == nil {
			return
		}
		r := newRequest(newRowEncoder("", time.Minute), MaxLimit, false)
		r.fill(b, 0, anyTime)
		rejected, rest, ok := r.match(newErrorIndex(entries, testNow, serverWindow))
		seen := make([]bool, b.Len())
		last := -1
		for _, p := range rejected {
			require.Greater(t, p.Index, last)
			require.NotEmpty(t, p.Reason)
			last, seen[p.Index] = p.Index, true
		}
		last = -1
		for _, i := range rest {
			require.Greater(t, i, last)
			require.False(t, seen[i])
			last, seen[i] = i, true
		}
		for i := range seen {
			require.True(t, seen[i], i)
		}
		if ok {
			require.Greater(t, len(rejected), len(r.local))
		}
	})
}
