package deadletter

import (
	"bytes"
	"math"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// FuzzLine reads any line; what it takes for an entry is written and read again without a change.
func FuzzLine(f *testing.F) {
	f.Add([]byte(`{"at":"2026-05-04T12:00:00.25Z","destination":"blueflood","tenant":"acme","reason":"too_old","detail":"x","metric":"a","timestamp":1777800000000,"value":0.5,"ttl":"24h0m0s","unit":"percent","tag":1}`))
	f.Add([]byte(`{"at":"2026-05-04T12:00:00+01:00","metric_base64":"Yf9i","timestamp":-1,"value":"-Infinity","unit_base64":"/g=="}`))
	f.Add([]byte(`{"AT":"0000-01-01T00:00:00Z","metric":"\ud800","timestamp":1,"value":1e400}`))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parseLine(b)
		if err != nil {
			return
		}
		e.Detail, e.Reason, e.Destination = clip(e.Detail), clip(e.Reason), clip(e.Destination)
		out := appendLine(nil, &e)
		require.Equal(t, 1, bytes.Count(out, []byte("\n")))
		again, err := parseLine(out[:len(out)-1])
		require.NoError(t, err)
		equalEntries(t, e, again)
	})
}

// FuzzEntry writes any entry and reads it back.
func FuzzEntry(f *testing.F) {
	f.Add([]byte("servers.web.cpu"), "acme", "percent", "detail", int64(1777800000000), uint64(0x3fe0000000000000), int64(time.Hour), uint8(1), int64(1))
	f.Add([]byte("a\xff\n"), "\xff", "\xfe", "\"\\\x00", int64(math.MinInt64), uint64(0x7ff8000000000001), int64(math.MinInt64), uint8(255), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, name []byte, tenant, unit, detail string, ts int64, bits uint64, ttl int64, tag uint8, at int64) {
		e := Entry{
			Name: append([]byte{}, name...), Tenant: tenant, Unit: unit, Detail: detail, Reason: detail, Destination: tenant,
			Timestamp: ts, Value: math.Float64frombits(bits), TTL: time.Duration(ttl), Tag: tag, At: time.Unix(at, at),
		}
		out := appendLine(nil, &e)
		require.True(t, utf8.Valid(out))
		require.Equal(t, len(out)-1, bytes.IndexByte(out, '\n'))
		require.LessOrEqual(t, len(out), 6*(len(name)+len(unit)+len(tenant)+3*maxText)+400)
		got, err := parseLine(out[:len(out)-1])
		require.NoError(t, err)
		if y := e.At.UTC().Year(); y < 0 || y > 9999 {
			e.At = time.Time{}
		}
		e.Tenant = toUTF8(e.Tenant)
		for _, s := range []*string{&e.Detail, &e.Reason, &e.Destination} {
			*s = clip(*s)
			require.LessOrEqual(t, len(*s), maxText)
		}
		equalEntries(t, e, got)
	})
}
