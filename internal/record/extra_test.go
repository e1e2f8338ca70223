package record

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTTLAndUnit(t *testing.T) {
	f := func(extra []byte, ttl time.Duration, unit string) {
		t.Helper()
		p := Point{Extra: extra}
		gotTTL, gotUnit := p.TTLAndUnit()
		require.Equal(t, ttl, gotTTL)
		require.Equal(t, unit, string(gotUnit))
	}
	f(nil, 0, "")
	f(binary.AppendVarint(nil, int64(24*time.Hour)), 24*time.Hour, "")
	f(append(binary.AppendVarint(nil, int64(time.Second)), "per cent"...), time.Second, "per cent")
	f(append(binary.AppendVarint(nil, 0), "s"...), 0, "s")
	f([]byte{0x80}, -1, "")
}
