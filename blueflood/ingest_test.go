package blueflood_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/blueflood/bluefloodtest"
)

func outcomes(vs []blueflood.Verdict) (out []string) {
	for _, v := range vs {
		out = append(out, strings.TrimSpace(v.Outcome.String()+" "+v.Reason))
	}
	return out
}

func TestIngestVerdicts(t *testing.T) {
	s := bluefloodtest.Run(t)
	e, a := start(t, blueflood.EndpointConfig{URL: s.IngestURL(), Limit: 400})
	old := point("old", 1)
	old.Timestamp = 1000
	ms := []blueflood.Metric{point("a", 1), old, point("nan", nan), point("b", 2), point("c", 3), point("d", 4)}
	vs, err := e.Ingest(within(t), ms)
	require.NoError(t, err)
	require.Equal(t, []string{"stored", "rejected too_old", "rejected bad_value", "stored", "stored", "unsent"}, outcomes(vs))
	require.Contains(t, vs[1].Detail, "Out of bounds")
	require.Len(t, s.Requests(), 1)
	require.Equal(t, 3, s.Received())
	require.Empty(t, a.delivered, "not an affair of the buffer")
	require.Zero(t, e.Stats().Accepted)
	require.EqualValues(t, 1, e.Stats().Requests)

	vs, err = e.Ingest(within(t), []blueflood.Metric{old, old})
	require.NoError(t, err)
	require.Equal(t, []string{"rejected too_old", "rejected too_old"}, outcomes(vs))
	vs, err = e.Ingest(within(t), []blueflood.Metric{point("nan", nan)})
	require.NoError(t, err)
	require.Equal(t, []string{"rejected bad_value"}, outcomes(vs))
	vs, err = e.Ingest(within(t), nil)
	require.NoError(t, err)
	require.Empty(t, vs)
	require.Len(t, s.Requests(), 2)
	require.NoError(t, e.Close(within(t)))
	_, err = e.Ingest(within(t), ms)
	require.ErrorIs(t, err, blueflood.ErrClosed)
}

func TestIngestFailures(t *testing.T) {
	s := bluefloodtest.Run(t)
	e, _ := start(t, blueflood.EndpointConfig{URL: s.IngestURL()})
	hasty, _ := start(t, blueflood.EndpointConfig{URL: s.IngestURL(), Timeout: 100 * time.Millisecond})
	for _, c := range []struct {
		reply bluefloodtest.Reply
		code  int // 0: no answer
		says  string
	}{
		{bluefloodtest.Unconfirmed(), 202, "Timed out persisting"},
		{bluefloodtest.Reply{Status: 400, Message: "Cannot parse content"}, 400, "Cannot parse content"},
		{bluefloodtest.Reply{Status: 404}, 404, "check the URL"},
		{bluefloodtest.Reply{Status: 302, Header: http.Header{"Location": {"/"}}}, 302, "redirects"},
		{bluefloodtest.Throttled(7 * time.Second), 429, "Too Many"},
		{bluefloodtest.Reply{Status: 500, Body: "<html>"}, 500, "html"},
		{bluefloodtest.Reply{Hang: true}, 0, "no answer"},
		{bluefloodtest.Reply{Reset: true}, 0, "no answer"},
	} {
		s.Queue(c.reply)
		by := e
		if c.reply.Hang {
			by = hasty
		}
		vs, err := by.Ingest(within(t), append(points(2), point("nan", nan)))
		require.ErrorContains(t, err, c.says)
		require.Equal(t, []string{"unknown", "unknown", "rejected bad_value"}, outcomes(vs))
		var status *blueflood.StatusError
		if c.code == 0 {
			require.NotErrorAs(t, err, &status)
			continue
		}
		require.ErrorAs(t, err, &status)
		require.Equal(t, c.code, status.Code)
		require.Equal(t, 2, status.Points)
		if c.code == 429 {
			require.Equal(t, 7*time.Second, status.RetryAfter)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := e.Ingest(ctx, points(1))
	require.ErrorIs(t, err, context.Canceled)
}
