package blueflood

import (
	"math"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDecimals compares the short way with strconv's, about the numbers for which it is and beyond them.
func TestDecimals(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	short := 0
	for range 500_000 {
		v := math.Floor(math.Pow(10, 17*r.Float64())) / math.Pow(10, float64(r.IntN(8)))
		switch r.IntN(4) {
		case 0:
			v = -v
		case 1:
			v = math.Nextafter(v, 0)
		case 2:
			v = float64(r.IntN(1000)) * 0.37
		}
		got, ok := appendDecimal(nil, v)
		if !ok {
			continue
		}
		short++
		if want := strconv.FormatFloat(v, 'f', -1, 64); string(got) != want {
			require.Equal(t, want, string(got))
		}
	}
	require.Greater(t, short, 100_000)
	for _, v := range []float64{0, math.Copysign(0, -1), 1, -2, 1e15, 1e11 + 0.5, 5e-324, math.MaxFloat64, math.Inf(1), math.Inf(-1), math.NaN(), 0.00005} {
		_, ok := appendDecimal(nil, v)
		require.False(t, ok, v)
	}
}

func BenchmarkAppendFloat(b *testing.B) {
	for name, v := range map[string]float64{"whole": 42, "decimals": 12.75, "any": 1.0 / 3} {
		b.Run(name, func(b *testing.B) {
			var buf []byte
			for b.Loop() {
				buf = appendFloat(buf[:0], v)
			}
		})
		b.Run(name+", strconv", func(b *testing.B) {
			var buf []byte
			for b.Loop() {
				buf = strconv.AppendFloat(buf[:0], v, 'g', -1, 64)
			}
		})
	}
}
