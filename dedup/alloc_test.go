//go:build !race

package dedup_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/dedup"
)

// The race detector empties pools at random, so these hold without it only.
func TestFilterAllocatesNothing(t *testing.T) {
	for name, s := range map[string]dedup.Store{"memory": &dedup.Memory{}, "other": plainStore{&dedup.Memory{}}} {
		t.Run(name, func(t *testing.T) {
			f := &dedup.Filter{Store: s}
			req, out := batches(450, 450)[0], make([]dedup.Verdict, 450)
			ts := int64(0)
			n := testing.AllocsPerRun(200, func() {
				ts++
				if err := cycle(t.Context(), f, req, out, ts); err != nil {
					t.Error(err)
				}
			})
			require.Zero(t, n)
		})
	}
}

func TestMemoryAllocatesNothing(t *testing.T) {
	s, req := &dedup.Memory{}, batches(450, 450)[0]
	raise(t, s, req...)
	require.Zero(t, testing.AllocsPerRun(200, func() {
		_ = s.Last(t.Context(), req)
		_ = s.Raise(t.Context(), req)
	}))
}

// plainStore hides a Memory from the filter.
type plainStore struct{ dedup.Store }
