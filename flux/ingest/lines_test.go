package ingest_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
)

// lines parses and validates a body. Neither may fail.
func lines(t *testing.T, body, prefix string) *ingest.Request {
	t.Helper()
	var p ingest.Parser
	req, err := p.Lines([]byte(body))
	require.NoError(t, err, body)
	require.NoError(t, p.Validate(rules(), prefix), body)
	require.True(t, req.OneByOne)
	require.Equal(t, req.Points, len(req.Items)+len(req.Rejected))
	return req
}

func TestLines(t *testing.T) {
	ts := now.Unix()
	req := lines(t, "c 3 1795293175\nb.x\t-2.5e1   1795293175\r\n\n \t\r\nnow 4 -1\na 1_000 1795293170.0 \nb;y=2;x=1 .5 1.795293174e9", "k")
	require.Empty(t, req.Rejected)
	require.Equal(t, []ingest.Item{
		item("k.a", ts-5, 1000, false), item("k.b;x=1;y=2", ts-1, 0.5, false),
		item("k.c", ts, 3, false), item("k.b.x", ts, -25, false), item("k.now", ts, 4, false),
	}, req.Items)

	for _, body := range []string{"", "\n", " \r\n\t\n"} {
		req := lines(t, body, "")
		require.Zero(t, req.Points)
		require.Empty(t, req.Items)
	}
	require.Equal(t, "a_b", string(lines(t, "a*b 1 -1", "").Items[0].Name))
	require.Equal(t, "a.b", string(lines(t, "a...b 1 -1", "").Items[0].Name))
}

func TestLineRejects(t *testing.T) {
	f := func(line, metric string, reason ingest.Reason, message string) {
		t.Helper()
		req := lines(t, "a 1 1795293175\n\n"+line+"\nb 1 1795293175\n", "")
		require.Len(t, req.Items, 2)
		require.Len(t, req.Rejected, 1)
		r := req.Rejected[0]
		require.Equal(t, message, r.Message())
		require.Equal(t, reason, r.Reason)
		require.Equal(t, 2, r.Item)
		require.Nil(t, r.Field)
		require.Equal(t, metric, string(r.Metric))
	}
	f("x", "", ingest.ReasonForm, `invalid line - "x" - not a name, a value and a timestamp - line 3`)
	f("x 1", "", ingest.ReasonForm, `invalid line - "x 1" - not a name, a value and a timestamp - line 3`)
	f("x 1 1795293175 2\r", "", ingest.ReasonForm, `invalid line - "x 1 1795293175 2\r" - not a name, a value and a timestamp - line 3`)
	long := strings.Repeat("x", 16385)
	f(long, "", ingest.ReasonForm, `invalid line - `+cite(long)+` - longer than 16384 bytes - line 3`)

	f("x y 1795293175", "x", ingest.ReasonValue, `invalid value - "y" - not a number - line 3 ("x")`)
	f("x y -1.5", "x", ingest.ReasonValue, `invalid value - "y" - not a number - line 3 ("x")`)
	f("x y 1.795293175e9", "x", ingest.ReasonValue, `invalid value - "y" - not a number - line 3 ("x")`)
	f("x nan 1795293175", "x", ingest.ReasonValue, `invalid value - "nan" - not a finite number - line 3 ("x")`)
	f("x -inf 1795293175", "x", ingest.ReasonValue, `invalid value - "-inf" - not a finite number - line 3 ("x")`)
	f("x 1e999 1795293175", "x", ingest.ReasonValue, `invalid value - "1e999" - not a finite number - line 3 ("x")`)
	f("x 1 y", "x", ingest.ReasonTimestamp, `invalid timestamp - "y" - timestamp is not an int - line 3 ("x")`)
	f("x 1 nan", "x", ingest.ReasonTimestamp, `invalid timestamp - "nan" - timestamp is not an int - line 3 ("x")`)
	f("x 1 1795293175.5", "x", ingest.ReasonTimestamp, `invalid timestamp - "1795293175.5" - timestamp is not an int - line 3 ("x")`)
	f("x 1 0", "x", ingest.ReasonTimestamp, `invalid timestamp - "0" - timestamp is not a valid current unix timestamp - line 3 ("x")`)
	f("x 1 -5", "x", ingest.ReasonTimestamp, `invalid timestamp - "-5" - timestamp is not a valid current unix timestamp - line 3 ("x")`)
	f("x 1 1795293175000", "x", ingest.ReasonTimestamp,
		`invalid timestamp - "1795293175000" - timestamp is not a valid current unix timestamp, it has to be in seconds, not milliseconds - line 3 ("x")`)
	f("x 1 1478021700", "x", ingest.ReasonOld, `invalid timestamp - 1478021700 - timestamp is too old, older than 3600 seconds - line 3 ("x")`)
	f("x 1 1795293236\r", "x", ingest.ReasonFuture, `invalid timestamp - 1795293236 - timestamp is more than 1 minute in the future - line 3 ("x")`)

	f("x(1) 1 1795293175", "x(1)", ingest.ReasonName, `invalid metric - "x(1)" - invalid characters in name - line 3`)
	f("x\x00 1 1795293175", "x\x00", ingest.ReasonName, `invalid metric - "x\x00" - invalid characters in name - line 3`)
	f("x\xff 1 1795293175", "x\xff", ingest.ReasonName, `invalid metric - "x\xff" - invalid characters in name - line 3`)
	f("x;a=\xff 1 1795293175", "x;a=\xff", ingest.ReasonName, `invalid metric - "x;a=\xff" - invalid characters in name - line 3`)
	f("x;a 1 1795293175", "x;a", ingest.ReasonName, `invalid metric - "x;a" - tag "a": not key=value - line 3`)
	f(".x 1 1795293175", ".x", ingest.ReasonName, `invalid metric - ".x" - name starts or ends with a dot or a slash - line 3`)
	// All that is wrong is told of the first member that is.
	f(".x y 1", ".x", ingest.ReasonName, `invalid metric - ".x" - name starts or ends with a dot or a slash - line 3`)
	f("x y 1", "x", ingest.ReasonOld, `invalid timestamp - "1" - timestamp is too old, older than 3600 seconds - line 3 ("x")`)
}

// Lines are judged one by one: there may be as many as there is memory for.
func TestManyLines(t *testing.T) {
	p := ingest.Parser{MaxPoints: 2}
	req, err := p.Lines([]byte("a 1 -1\n\n\nb 1 -1\nc 1 -1\n"))
	require.NoError(t, err)
	require.Equal(t, 3, req.Points)
	require.NoError(t, p.Validate(rules(), ""))
	require.Len(t, req.Items, 3)
}
