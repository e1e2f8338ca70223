package ingest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
)

func TestQuery(t *testing.T) {
	ts := now.Unix()
	f := func(query string, want ingest.Item) {
		t.Helper()
		items, err := get(t, query)
		require.NoError(t, err, query)
		require.Equal(t, []ingest.Item{want}, items, query)
	}
	f("metric=a.b&timestamp=1795293175&value=1.0&key=K", item("a.b", ts, 1, false))
	f("key=K&value=1.0&metric=a.b", item("a.b", ts, 1, false))
	f("&&value=%31%2e5&metric=a%2Eb&", item("a.b", ts, 1.5, false))
	f("metric=a+b%20c&value=+1+", item("a_b_c", ts, 1, false))
	f("metric=a%2Bb&value=%2B1", item("a+b", ts, 1, false))
	f("m%65tric=a&value=1", item("a", ts, 1, false))
	f("metric=a;x=1&value=1", item("a;x=1", ts, 1, false))
	f("metric=a%3Bx%3D1&value=1", item("a;x=1", ts, 1, false))
	f("metric=a&value=1&timestamp=5&fill=true", item("a", 5, 1, true))
	f("fill=True&metric=a&value=1&timestamp=5", item("a", 5, 1, true))
}

func TestQueryRequest(t *testing.T) {
	f := func(query string, want ingest.Request) {
		t.Helper()
		var p ingest.Parser
		req, err := p.Query(query)
		require.NoError(t, err, query)
		want.Points = 1
		require.Equal(t, want, *req, query)
	}
	f("", ingest.Request{})
	f("key=a%20b", ingest.Request{HasKey: true, Key: []byte("a b")})
	f("key=", ingest.Request{HasKey: true, Key: []byte{}})
	f("status", ingest.Request{Status: true})
	f("status=true", ingest.Request{Status: true})
	f("status=", ingest.Request{Status: true})
	f("test=true", ingest.Request{Test: true})
	f("test=True", ingest.Request{Test: true})
	for _, v := range []string{"=1", "=yes", "=TRUE", "=", ""} {
		f("test"+v, ingest.Request{Test: true})
	}
	for _, v := range []string{"false", "False", "0"} {
		f("test="+v, ingest.Request{})
	}
	f("fill=true", ingest.Request{Fill: true})
	f("fill=TRUE", ingest.Request{})
	f("fill=1", ingest.Request{})
}

func TestQueryErrors(t *testing.T) {
	f := func(query string, item int, reason ingest.Reason, message string) {
		t.Helper()
		_, err := get(t, query)
		requireError(t, err, item, reason, message)
	}
	f("metric=a&value=1&what=2", -1, ingest.ReasonQuery, "Invalid parameter received - what")
	f("Metric=a", -1, ingest.ReasonQuery, "Invalid parameter received - Metric")
	f("a%0Ab=2", -1, ingest.ReasonQuery, `Invalid parameter received - "a\nb"`)
	f("=2", -1, ingest.ReasonQuery, `Invalid parameter received - ""`)
	f("metric=a&metric=b", -1, ingest.ReasonQuery, "invalid query string - parameter passed twice - metric")
	f("key=a&k%65y=b", -1, ingest.ReasonQuery, "invalid query string - parameter passed twice - key")
	f("metric=%", -1, ingest.ReasonQuery, "invalid query string - broken escape in parameter metric")
	f("metric=%2", -1, ingest.ReasonQuery, "invalid query string - broken escape in parameter metric")
	f("metric=%2g", -1, ingest.ReasonQuery, "invalid query string - broken escape in parameter metric")
	f("%zz=1", -1, ingest.ReasonQuery, "invalid query string - broken escape in the name of a parameter")

	f("value=1", 0, ingest.ReasonMissing, "no metric parameter passed")
	f("metric=&value=1", 0, ingest.ReasonMissing, `no metric parameter passed - ""`)
	f("metric=a", 0, ingest.ReasonMissing, `no value parameter passed - "a"`)
	f("metric=a&value=", 0, ingest.ReasonValue, `invalid value - "" - not a number - "a"`)
	f("metric=a&value=abc", 0, ingest.ReasonValue, `invalid value - "abc" - not a number - "a"`)
	f("metric=a&value=nan", 0, ingest.ReasonValue, `invalid value - "nan" - not a finite number - "a"`)
	f("metric=a&value=1&timestamp=", 0, ingest.ReasonTimestamp, `invalid timestamp - "" - timestamp is not an int - "a"`)
	f("metric=a&value=1&timestamp=1.5", 0, ingest.ReasonTimestamp, `invalid timestamp - "1.5" - timestamp is not an int - "a"`)
	f("metric=a&value=1&timestamp=5", 0, ingest.ReasonOld, `invalid timestamp - "5" - timestamp is too old, older than 3600 seconds - "a"`)
	f("metric=a%0A&value=1", 0, ingest.ReasonName, `invalid metric - "a\n" - invalid characters in name`)
	f("metric=%ff&value=1", 0, ingest.ReasonName, `invalid metric - "\xff" - invalid characters in name`)
	f("metric=a;k=%ff&value=1", 0, ingest.ReasonName, `invalid metric - "a;k=\xff" - invalid characters in name`)
	f("metric=a;b&value=1", 0, ingest.ReasonName, `invalid metric - "a;b" - tag "b": not key=value`)
}
