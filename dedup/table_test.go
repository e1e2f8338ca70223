package dedup

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// The table against a map, with hashes that collide a lot.
func TestTableAgainstMap(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var tb table[int]
		ref := map[string]int{}
		hash := func(name string) uint64 { return uint64(len(name)*7+int(name[len(name)-1]))%16 + 1 }
		for step := range 3000 {
			name := fmt.Sprintf("m%d", rnd.IntN(200))
			i := tb.find(hash(name), []byte(name))
			v, known := ref[name]
			require.Equal(t, known, i >= 0)
			switch {
			case !known:
				i = tb.insert(hash(name), name)
				tb.at(i).val = step
				ref[name] = step
			case rnd.IntN(2) == 0:
				require.Equal(t, v, tb.at(i).val)
				tb.remove(i)
				delete(ref, name)
			default:
				require.Equal(t, v, tb.at(i).val)
			}
			require.Equal(t, len(ref), tb.n)
		}
		for name, v := range ref {
			i := tb.find(hash(name), []byte(name))
			require.GreaterOrEqual(t, i, int32(0))
			require.Equal(t, v, tb.at(i).val)
		}
	}
}
