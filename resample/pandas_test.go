package resample

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// stamped is a timestamp and the bits of a value.
type stamped struct{ Sample }

func (s *stamped) UnmarshalJSON(b []byte) error {
	var pair [2]json.RawMessage
	if err := json.Unmarshal(b, &pair); err != nil {
		return err
	}
	var hex string
	if err := json.Unmarshal(pair[1], &hex); err != nil {
		return err
	}
	u, err := strconv.ParseUint(hex, 16, 64)
	if err != nil {
		return err
	}
	s.Value = math.Float64frombits(u)
	return json.Unmarshal(pair[0], &s.Timestamp)
}

func samplesOf(in []stamped) []Sample {
	out := make([]Sample, len(in))
	for i := range in {
		out[i] = in[i].Sample
	}
	return out
}

// pandasTable is what testdata/table.py made with pandas 1.5.3.
type pandasTable struct {
	Cases map[string][]stamped
	Table []struct {
		Case, Offset, Closed, Label, Aggregate string
		Filled                                 int // bins, the empty ones included
		Bins                                   []stamped
	}
}

func readTable(t *testing.T) pandasTable {
	f, err := os.Open("testdata/table.json.gz")
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	var table pandasTable
	require.NoError(t, json.NewDecoder(z).Decode(&table))
	require.NotEmpty(t, table.Table)
	return table
}

// ulps is how many floats lie between a and b.
func ulps(a, b float64) uint64 {
	order := func(v float64) int64 {
		if i := int64(math.Float64bits(v)); i >= 0 {
			return i
		}
		return math.MinInt64 - int64(math.Float64bits(v))
	}
	x, y := order(a), order(b)
	if x > y {
		x, y = y, x
	}
	return uint64(y) - uint64(x)
}

func TestPandas(t *testing.T) {
	table := readTable(t)
	sides := map[string]Side{"left": Left, "right": Right}
	for _, row := range table.Table {
		width, err := ParseOffset(row.Offset)
		require.NoError(t, err)
		aggregate, err := ParseAggregation(row.Aggregate)
		require.NoError(t, err)
		o := Options{Width: width, Aggregate: aggregate, Closed: sides[row.Closed], Label: sides[row.Label]}
		name := fmt.Sprintf("%s %s %s closed %s label %s", row.Case, row.Offset, row.Aggregate, row.Closed, row.Label)
		in := samplesOf(table.Cases[row.Case])
		got, err := Bins(in, o)
		require.NoError(t, err, name)
		require.Len(t, got, len(row.Bins), name)
		for i, want := range row.Bins {
			require.Equal(t, want.Timestamp, got[i].Timestamp, "%s, bin %d", name, i)
			if aggregate == Mean || aggregate == Median {
				require.LessOrEqual(t, ulps(want.Value, got[i].Value), uint64(1), "%s, bin %d: %v, not %v", name, i, got[i].Value, want.Value)
				continue
			}
			require.Equal(t, math.Float64bits(want.Value), math.Float64bits(got[i].Value), "%s, bin %d: %v, not %v", name, i, got[i].Value, want.Value)
		}
		o.Empty = NaN
		all, err := Bins(in, o)
		require.NoError(t, err, name)
		require.Len(t, all, row.Filled, name)
	}
}
