package ingest_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
	"github.com/fluxmetrics/fluxkit/graphite"
)

var blanks = regexp.MustCompile(`[ \t]+`)

// referenceLines judges a body of lines, each by graphite's parser and the rules for HTTP.
func referenceLines(body string, r ingest.Rules, prefix string) (v verdicts, points int) {
	for i, line := range strings.Split(body, "\n") {
		text := strings.Trim(strings.TrimRight(line, "\r"), " \t")
		if strings.Trim(text, " \t\r") == "" {
			continue
		}
		points++
		fields := blanks.Split(text, -1)
		if len(fields) != 3 || len(line) > 16384 {
			v.add(ingest.Item{}, left{i, "", ingest.ReasonForm})
			continue
		}
		it, reason := referenceLine(fields, r, prefix)
		v.add(it, left{i, "", reason})
	}
	v.sort()
	return v, points
}

func referenceLine(fields []string, r ingest.Rules, prefix string) (it ingest.Item, reason ingest.Reason) {
	name, ok := referenceName(fields[0], true, prefix)
	if !ok {
		return it, ingest.ReasonName
	}
	// The clock is told from a timestamp by being later than any that can be.
	const late = 1 << 60
	pt, err := graphite.ParseLine([]byte("x 0 "+fields[2]), time.UnixMilli(late))
	s := pt.Timestamp / 1000
	age := r.Now.Unix() - s
	switch {
	case err != nil:
		return it, ingest.ReasonTimestamp
	case pt.Timestamp == late:
		s = r.Now.Unix()
	case pt.Timestamp%1000 != 0 || s <= 0 || s > 9999999999:
		return it, ingest.ReasonTimestamp
	case float64(age) > r.MaxAge.Seconds():
		return it, ingest.ReasonOld
	case float64(-age) > r.MaxFuture.Seconds():
		return it, ingest.ReasonFuture
	}
	if pt, err = graphite.ParseLine([]byte("x "+fields[1]+" 1"), time.Time{}); err != nil {
		return it, ingest.ReasonValue
	}
	return ingest.Item{Name: []byte(name), Timestamp: s * 1000, Value: pt.Value}, ""
}

func checkLines(t *testing.T, p *ingest.Parser, body []byte) {
	t.Helper()
	req, err := p.Lines(body)
	require.NoError(t, err)
	for _, prefix := range []string{"", "p"} {
		want, points := referenceLines(string(body), rules(), prefix)
		require.Equal(t, points, req.Points)
		require.NoError(t, p.Validate(rules(), prefix))
		require.Equal(t, want.items, append([]ingest.Item(nil), req.Items...), "%q", body)
		require.Equal(t, want.rejected, leftOut(req), "%q", body)
		for i := range req.Rejected {
			requireHarmless(t, req.Rejected[i].Message())
		}
	}
}

// FuzzLines compares the parser with graphite's, a line at a time, and the rules.
func FuzzLines(f *testing.F) {
	for _, s := range []string{
		"a.b 1 1795293175\nc -2.5e1 -1\r\n\n \t\nd;y=2;x=1\t.5\t1795293175.0", "x", "x 1", "x 1 1795293175 2", "a nan -1\nb inf 5\nc 1e999 1",
		"a 1_0 1_795_293_175", "a b 1.795293175e9", "a 1 1795293175.4999", "a 1 1795293175.0001", "a\x00 1 -1\nb\xff 1 -1\n\r", ".a. 1 -1.9", "p.a 1 99999999999\np;a=b 1 -1",
		"a 1 -9223372036854775807", "a 1 -9223372036854775.807", "a 1 -9223372036854776", "é 1 -1", "a\v1\f-1", "\ra 1 -1\r\r", "a \u0661 -1", "a 0x10 -1", strings.Repeat("a", 16390) + " 1 -1",
	} {
		f.Add([]byte(s))
	}
	var p ingest.Parser
	f.Fuzz(func(t *testing.T, body []byte) { checkLines(t, &p, body) })
}
