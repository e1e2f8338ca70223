package ingest_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
)

func TestReport(t *testing.T) {
	f := func(req *ingest.Request, want string) {
		t.Helper()
		b, err := json.Marshal(req.Report())
		require.NoError(t, err)
		require.JSONEq(t, want, string(b))
	}
	f(telegraf(t, nginx, ingest.Telegraf{}, "k"), `{"code":207,"message":"0 non-numeric value metrics were dropped","data":[],
		"dropped non-numeric metrics":[],"dropped non-numeric metrics count":0,"rejected metrics count":0,
		"processed metrics count":2,"submitted metrics count":2,"defined skipped_metrics_count":0}`)
	f(telegraf(t, `{"fields":{"s":"ok","v":1,"b":true},"name":"m","tags":{"host":"h"},"timestamp":1795293175}`, ingest.Telegraf{}, "k"),
		`{"code":207,"message":"2 non-numeric value metrics were dropped",
		"data":[{"metric":"h.m.s","status":400,"reason":"non-numeric value"},{"metric":"h.m.b","status":400,"reason":"non-numeric value"}],
		"dropped non-numeric metrics":["h.m.s","h.m.b"],"dropped non-numeric metrics count":2,"rejected metrics count":0,
		"processed metrics count":1,"submitted metrics count":3,"defined skipped_metrics_count":0}`)
	f(lines(t, "a 1 5\nb 1 -1\nc\xff 1 5\n", ""), `{"code":207,"message":"0 non-numeric value metrics were dropped and 2 metrics were rejected",
		"data":[{"metric":"a","status":400,"reason":"invalid timestamp - 5 - timestamp is too old, older than 3600 seconds - line 1 (\"a\")"},
			{"metric":"c\ufffd","status":400,"reason":"invalid metric - \"c\\xff\" - invalid characters in name - line 3"}],
		"dropped non-numeric metrics":[],"dropped non-numeric metrics count":0,"rejected metrics count":2,
		"processed metrics count":1,"submitted metrics count":3,"defined skipped_metrics_count":0}`)
}

// However much is wrong, a report is short and its counts are right.
func TestReportIsBounded(t *testing.T) {
	got := lines(t, strings.Repeat("x\n", 5000)+"a 1 -1\n", "").Report()
	require.Len(t, got.Data, ingest.MaxReported)
	require.Equal(t, 5000, got.Rejected)
	require.Equal(t, 1, got.Processed)

	object := `{"fields":{"s":"x"},"name":"m","tags":{"host":"h"},"timestamp":1795293175},`
	got = telegraf(t, `{"metrics":[`+strings.Repeat(object, 300)+object[:len(object)-1]+`]}`, ingest.Telegraf{}, "").Report()
	require.Len(t, got.Data, ingest.MaxReported)
	require.Len(t, got.NonNumeric, ingest.MaxReported)
	require.Equal(t, 301, got.Dropped)
}
