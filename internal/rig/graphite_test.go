package rig

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDecodeSeries(t *testing.T) {
	got, err := decodeSeries([]byte(`[
		{"target": "a", "tags": {"name": "a"}, "datapoints": [[0.1, 10], [null, 11], [1e9999, 12], [-1e9999, 13], [12345678901234567, 14]]},
		{"target": "b", "datapoints": []}]`))
	require.NoError(t, err)
	require.Equal(t, []Series{
		{Target: "a", Samples: []Sample{
			{Timestamp: 10, Value: 0.1},
			{Timestamp: 11, Null: true},
			{Timestamp: 12, Value: math.Inf(1)},
			{Timestamp: 13, Value: math.Inf(-1)},
			{Timestamp: 14, Value: 12345678901234567},
		}},
		{Target: "b", Samples: []Sample{}},
	}, got)
}

func TestTotal(t *testing.T) {
	sum, last := total([]Series{
		{Samples: []Sample{{Timestamp: 10, Value: 2}, {Timestamp: 12, Null: true}}},
		{Samples: []Sample{{Timestamp: 11, Value: 3}, {Timestamp: 9, Value: 0}}},
	})
	require.Equal(t, 5, sum)
	require.Equal(t, int64(11), last, "a slot without a point is no record")
}

func TestDecodeSeriesErrors(t *testing.T) {
	for _, body := range []string{
		`<html>`,
		`{}`,
		`[{"target": "a", "datapoints": [[1, null]]}]`,
		`[{"target": "a", "datapoints": [[1, 1.5]]}]`,
		`[{"target": "a", "datapoints": [["x", 1]]}]`,
	} {
		_, err := decodeSeries([]byte(body))
		require.ErrorContains(t, err, "graphite-web's answer", body)
	}
}

func TestCarbonConfigLaterSettingsWin(t *testing.T) {
	require.Equal(t, "[cache]\nUSER = \nA = 3\nB = x=y\n",
		carbonConfig("cache", []string{"USER =", "A = 1"}, []string{"A=3", "B = x=y"}))
}
