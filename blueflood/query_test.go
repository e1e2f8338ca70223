package blueflood_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/blueflood/bluefloodtest"
)

// filled is a server with an hour of two metrics, a value a minute, and a query on it.
func filled(t *testing.T) (*bluefloodtest.Server, *blueflood.Query, time.Time) {
	s := bluefloodtest.Run(t)
	begin := time.UnixMilli(1_795_294_800_000).UTC()
	s.SetTime(begin.Add(time.Hour))
	e, _ := start(t, blueflood.EndpointConfig{URL: s.IngestURL(), Tenant: "te n"})
	var ms []blueflood.Metric
	for i := range 60 {
		at := begin.Add(time.Duration(i) * time.Minute).UnixMilli()
		ms = append(ms, blueflood.Metric{Name: []byte("a.b c%"), Timestamp: at, Value: float64(i), Unit: "ms"},
			blueflood.Metric{Name: []byte("a.x/y"), Timestamp: at, Value: 0.5})
	}
	require.NoError(t, e.Send(within(t), ms))
	require.NoError(t, e.Close(within(t)))
	q, err := blueflood.NewQuery(blueflood.QueryConfig{URL: s.QueryURL() + "/", Tenant: "te n"})
	require.NoError(t, err)
	t.Cleanup(q.Close)
	return s, q, begin
}

func TestViews(t *testing.T) {
	_, q, begin := filled(t)
	end := begin.Add(time.Hour)
	v, err := q.ViewsByResolution(within(t), "a.b c%", begin, end, blueflood.Full)
	require.NoError(t, err)
	require.Equal(t, "ms", v.Unit)
	require.Len(t, v.Values, 60)
	require.Equal(t, begin.Add(7*time.Minute), v.Values[7].Time())
	require.Equal(t, 7.0, *v.Values[7].Average)
	require.EqualValues(t, 1, v.Values[7].NumPoints)
	require.Nil(t, v.Values[7].Sum)

	v, err = q.ViewsByResolution(within(t), "a.b c%", begin, end, blueflood.Min5,
		blueflood.FieldMin, blueflood.FieldMax, blueflood.FieldLatest, blueflood.FieldNumPoints, blueflood.FieldVariance, blueflood.FieldType)
	require.NoError(t, err)
	require.Len(t, v.Values, 12)
	require.Equal(t, []float64{5, 9, 9, 2}, []float64{*v.Values[1].Min, *v.Values[1].Max, *v.Values[1].Latest, *v.Values[1].Variance})
	require.EqualValues(t, 5, v.Values[1].NumPoints)
	require.Nil(t, v.Values[1].Average)

	v, err = q.ViewsByPoints(within(t), "a.b c%", begin, end, 12)
	require.NoError(t, err)
	require.Len(t, v.Values, 12, "five minutes each")
	require.Equal(t, 35.0, *v.Values[1].Sum)
	v, err = q.ViewsByPoints(within(t), "a.b c%", begin, end, 200)
	require.NoError(t, err)
	require.Len(t, v.Values, 60, "full")

	v, err = q.ViewsByPoints(within(t), "nothing", begin, end, 200)
	require.NoError(t, err)
	require.Empty(t, v.Values)
	require.Equal(t, "unknown", v.Unit)
}

func TestMultiViews(t *testing.T) {
	_, q, begin := filled(t)
	end := begin.Add(time.Hour)
	vs, err := q.MultiByResolution(within(t), []string{"a.x/y", "nothing", "a.b c%"}, begin, end, blueflood.Min60)
	require.NoError(t, err)
	require.Len(t, vs, 3)
	require.Equal(t, "a.x/y", vs[0].Metric)
	require.Equal(t, 30.0, *vs[0].Values[0].Sum)
	require.Empty(t, vs[1].Values)
	require.EqualValues(t, 60, vs[2].Values[0].NumPoints)
	vs, err = q.MultiByPoints(within(t), []string{"a.x/y"}, begin, end, 100)
	require.NoError(t, err)
	require.Len(t, vs[0].Values, 60)
	vs, err = q.MultiByPoints(within(t), nil, begin, end, 100)
	require.NoError(t, err)
	require.Empty(t, vs)
	_, err = q.MultiByPoints(within(t), make([]string, 101), begin, end, 100)
	require.ErrorContains(t, err, "100")
}

func TestSearches(t *testing.T) {
	_, q, _ := filled(t)
	found, err := q.Search(within(t), "a.*")
	require.NoError(t, err)
	require.Equal(t, []blueflood.FoundMetric{{Metric: "a.b c%", Unit: "ms"}, {Metric: "a.x/y"}}, found)
	names, err := q.SearchNames(within(t), "*")
	require.NoError(t, err)
	require.Equal(t, []blueflood.FoundName{{Name: "a", Complete: false}}, names)
	names, err = q.SearchNames(within(t), "a.{x,b}*")
	require.NoError(t, err)
	require.Equal(t, []blueflood.FoundName{{Name: "a.b c%", Complete: true}, {Name: "a.x/y", Complete: true}}, names)
}

func TestQueryFailures(t *testing.T) {
	s, q, begin := filled(t)
	var status *blueflood.StatusError
	_, err := q.ViewsByPoints(within(t), "a", begin, begin, 5)
	require.ErrorAs(t, err, &status)
	require.Equal(t, 400, status.Code)
	require.NotEmpty(t, status.Errors)
	_, err = q.ViewsByResolution(within(t), "a", begin, begin.Add(1), "MIN7")
	require.Error(t, err)
	for _, name := range []string{"", "a/b"} {
		_, err = q.ViewsByPoints(within(t), name, begin, begin.Add(time.Hour), 5)
		require.ErrorContains(t, err, "multi view")
	}
	s.Close()
	_, err = q.Search(within(t), "*")
	require.ErrorContains(t, err, "no answer")

	_, err = blueflood.NewQuery(blueflood.QueryConfig{URL: "x"})
	require.ErrorContains(t, err, "URL")
	for _, c := range []struct{ body, says string }{{"nonsense", "invalid character"}, {fmt.Sprintf("%100d", 1), "MaxResponse"}} {
		q, err = blueflood.NewQuery(blueflood.QueryConfig{Tenant: "t", MaxResponse: 50, Transport: transport(func([]byte, *http.Request) *http.Response {
			return reply(200, c.body)
		})})
		require.NoError(t, err)
		_, err = q.Search(context.Background(), "*")
		require.ErrorContains(t, err, c.says)
	}

	auth := new(renewing)
	q, err = blueflood.NewQuery(blueflood.QueryConfig{Tenant: "t", Auth: auth, Transport: transport(func(_ []byte, r *http.Request) *http.Response {
		if r.Header.Get("X-Auth-Token") == "0" {
			return reply(401, "")
		}
		return reply(200, "[]")
	})})
	require.NoError(t, err)
	_, err = q.Search(context.Background(), "*")
	require.NoError(t, err)
	require.Equal(t, 1, auth.renewals)
}

func TestNoIndex(t *testing.T) {
	s := bluefloodtest.RunWith(t, bluefloodtest.Options{NoSearch: true})
	q, err := blueflood.NewQuery(blueflood.QueryConfig{URL: s.QueryURL(), Tenant: "t"})
	require.NoError(t, err)
	var status *blueflood.StatusError
	_, err = q.Search(within(t), "*")
	require.ErrorAs(t, err, &status)
	require.Equal(t, 404, status.Code)
	_, err = q.SearchNames(within(t), "*")
	require.ErrorAs(t, err, &status)
}
