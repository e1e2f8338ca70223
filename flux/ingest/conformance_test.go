package ingest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
)

// TestConformance holds what Flux answers to typical requests, with its defects mended. 0 means accepted.
func TestConformance(t *testing.T) {
	const n = 1795293175
	code := func(err error) int {
		t.Helper()
		if err == nil {
			return 0
		}
		var e *ingest.Error
		require.ErrorAs(t, err, &e)
		return e.Code
	}
	query := func(want int, query string) {
		t.Helper()
		_, err := get(t, query)
		require.Equal(t, want, code(err), query)
	}
	query(0, fmt.Sprintf("metric=a.b&timestamp=%d&value=1.0&key=K", n))
	for _, ts := range []any{n - 3700, n + 90, n * 1000, "1795293175.5", "abc"} {
		query(http.StatusBadRequest, fmt.Sprintf("metric=a.b&timestamp=%v&value=1.0&key=K", ts))
	}
	query(http.StatusBadRequest, "metric=a.b&value=nan&key=K")
	query(http.StatusBadRequest, "metric=a;b&value=1&key=K")

	body := func(want int, body string) {
		t.Helper()
		items, err := post(t, body)
		require.Equal(t, want, code(err), body)
		require.Equal(t, want != 0, items == nil)
	}
	const documented = `{"metric":"vista.nodes.skyline-1.cpu.user","timestamp":"%d","value":"1.0","key":"YOURown32charSkylineAPIkeySecret"}`
	body(0, fmt.Sprintf(documented, n))
	body(http.StatusBadRequest, fmt.Sprintf(documented, 1478021700))
	for _, s := range []string{"{}", "[1]", `{"metric"`, ""} {
		body(http.StatusBadRequest, s)
	}
	body(http.StatusBadRequest, fmt.Sprintf(`{"metrics":[{"metric":"a","timestamp":%d,"value":1},{"metric":"b","timestamp":1,"value":1},{"metric":"c","value":1}]}`, n))
	body(0, `{"metric":"a","timestamp":1478021700,"value":1,"fill":"true"}`)

	// A key without a parameter is for the caller to refuse, before the rest is looked at.
	var p ingest.Parser
	req, err := p.Query("metric=a.b&value=nan")
	require.NoError(t, err)
	require.False(t, req.HasKey)

	// Without the window the documented request is accepted as it stands.
	req, err = p.JSON(fmt.Appendf(nil, documented, 1478021700))
	require.NoError(t, err)
	require.Equal(t, "YOURown32charSkylineAPIkeySecret", string(req.Key))
	require.NoError(t, p.Validate(ingest.Rules{MaxFuture: time.Minute, Now: now}, ""))
	require.Equal(t, []ingest.Item{item("vista.nodes.skyline-1.cpu.user", 1478021700, 1, false)}, req.Items)
}

// The prefix does not depend on where in the query the key stands.
func TestPrefixWhereverTheKeyStands(t *testing.T) {
	var p ingest.Parser
	parts := []string{"metric=a.b", "value=1", "key=K", "timestamp=5", "fill=true"}
	for i := range parts {
		req, err := p.Query(strings.Join(append(parts[i:len(parts):len(parts)], parts[:i]...), "&"))
		require.NoError(t, err)
		require.Equal(t, "K", string(req.Key))
		require.True(t, req.Fill)
		require.NoError(t, p.Validate(rules(), "warehouse-1"))
		require.Equal(t, []ingest.Item{item("warehouse-1.a.b", 5, 1, true)}, req.Items)
	}
}
