package ingest_test

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
)

// greedy are requests that want far more memory than their bodies have bytes, each in a way of its own.
var greedy = map[string]struct {
	parse func(p *ingest.Parser, body []byte) (*ingest.Request, error)
	body  string
}{
	"items":    {(*ingest.Parser).JSON, `{"metrics":[` + strings.Repeat("{},", 9_000) + `{}]}`},
	"escapes":  {(*ingest.Parser).JSON, `{"metric":"` + strings.Repeat(`a\u0061`, 100_000) + `","timestamp":1,"value":1}`},
	"lines":    {(*ingest.Parser).Lines, strings.Repeat("a 1 -1\n", 50_000)},
	"bad ones": {(*ingest.Parser).Lines, strings.Repeat("a\n", 50_000)},
	"fields":   {telegrafBody, `{"metrics":[{"fields":{` + numbered(`"%x":1`, 4000) + `},"name":"m","tags":{"host":"h"},"timestamp":1795293175}` + strings.Repeat(`,{"fields":{"a":1}}`, 9_000) + `]}`},
	"tags":     {telegrafBody, `{"metrics":[` + strings.Repeat(`{"fields":{"a":1},"name":"m","tags":{`+numbered(`"%x":""`, 2500)+`},"timestamp":1},`, 40) + `5]}`},
	"names":    {telegrafBody, `{"metrics":[{"fields":{` + numbered(`"%x":1`, 4000) + `},"name":"` + strings.Repeat("m", 200) + `","tags":{"host":"h"},"timestamp":1795293175}]}`},
}

func telegrafBody(p *ingest.Parser, body []byte) (*ingest.Request, error) {
	return p.Telegraf(body, ingest.Telegraf{})
}

func numbered(format string, n int) string {
	var parts []string
	for i := range n {
		parts = append(parts, fmt.Sprintf(format, i))
	}
	return strings.Join(parts, ",")
}

// TestHold bounds what a parser takes.
func TestHold(t *testing.T) {
	const limit = 128 << 10
	full := &ingest.Error{Code: http.StatusServiceUnavailable, Message: "full", Item: -1}
	for name, g := range greedy {
		t.Run(name, func(t *testing.T) {
			asked := int64(0)
			p := ingest.Parser{Hold: func(n int64) *ingest.Error {
				if asked = max(asked, n); n > limit {
					return full
				}
				return nil
			}}
			req, err := g.parse(&p, []byte(g.body))
			if err == nil {
				err = p.Validate(rules(), "prefix")
				require.Nil(t, req.Items)
				require.Nil(t, req.Rejected)
			}
			require.Same(t, full, err)
			require.Same(t, full, p.Validate(rules(), ""), "there is no way round it")
			require.Greater(t, asked, int64(limit))
			if name != "escapes" && name != "names" { // text is counted once it is there
				require.LessOrEqual(t, p.Footprint(), int64(limit+32<<10))
			}
			_, err = p.Lines([]byte("a 1 -1\n"))
			require.NoError(t, err, "the next one is another matter")
		})
	}
}

// TestFootprint compares what a parser says it holds with what it allocates.
func TestFootprint(t *testing.T) {
	for name, g := range greedy {
		var p ingest.Parser
		body := []byte(g.body)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		if _, err := g.parse(&p, body); err == nil {
			_ = p.Validate(rules(), "")
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		grown := int64(after.HeapAlloc) - int64(before.HeapAlloc)
		require.InDelta(t, grown, p.Footprint(), float64(grown)/3+float64(96<<10), name)
		runtime.KeepAlive(&p)
	}
}

func TestFillAll(t *testing.T) {
	var p ingest.Parser
	req, err := p.Lines([]byte("a 1 5\nb 1 -1\nbad\n"))
	require.NoError(t, err)
	require.False(t, req.Fill)
	p.FillAll()
	require.True(t, req.Fill)
	require.NoError(t, p.Validate(rules(), ""))
	require.Len(t, req.Items, 2)
	require.Equal(t, ingest.Item{Name: []byte("a"), Timestamp: 5000, Value: 1, Fill: true}, req.Items[0])
}
