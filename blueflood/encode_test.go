package blueflood

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/record"
)

var anyTime = window{math.MinInt64, math.MaxInt64}

// batch returns n points as the worker hands them to a sender.
func batch(tb testing.TB, ms ...Metric) record.Batch {
	var w writer
	require.NoError(tb, w.encode(ms))
	b, err := record.Decode(w.record.Bytes())
	require.NoError(tb, err)
	return b
}

func TestRow(t *testing.T) {
	for _, c := range []struct {
		prefix string
		m      Metric
		want   string
	}{
		{"", Metric{Name: []byte("a.b"), Timestamp: 1467123456789, Value: 1.5},
			`[{"metricName":"a.b","collectionTime":1467123456789,"metricValue":1.5,"ttlInSeconds":60}]`},
		{"x.y", Metric{Name: []byte("a"), Timestamp: -5, Value: 10, TTL: time.Hour},
			`[{"metricName":"x.y.a","collectionTime":-5,"metricValue":10.0,"ttlInSeconds":3600}]`},
		{`"`, Metric{Name: []byte("\\\x00\né中😀\x7f"), Value: 1e20, Unit: `m"s`},
			`[{"metricName":"\".\\\u0000\u000aé中😀` + "\x7f" + `","collectionTime":0,"metricValue":1e+20,"ttlInSeconds":60,"unit":"m\"s"}]`},
	} {
		r := newRequest(newRowEncoder(c.prefix, time.Minute), MaxLimit, false)
		r.fill(batch(t, c.m), 0, anyTime)
		require.Empty(t, r.local)
		require.Equal(t, c.want, string(r.plain))
		require.True(t, json.Valid(r.plain))
	}
}

func TestValues(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0.0", math.Copysign(0, -1): "-0.0", 1: "1.0", -17: "-17.0", 0.1: "0.1", 1e6: "1000000.0", 1e15: "1e+15", 1e300: "1e+300",
		123456789012: "123456789012.0", 5e-324: "5e-324", 1.7976931348623157e308: "1.7976931348623157e+308",
		9007199254740993: "9.007199254740992e+15", 66.25: "66.25", 999999999999999: "999999999999999.0",
	} {
		require.Equal(t, want, string(appendFloat(nil, v)))
	}
}

// FuzzRow encodes a point and reads it back with encoding/json.
func FuzzRow(f *testing.F) {
	f.Add([]byte("a.b"), int64(1467123456789), 1.5, int64(0), "")
	f.Add([]byte("é\"\\\x01\u2028"), int64(math.MinInt64), -1e-300, int64(time.Hour), "µs")
	f.Add([]byte("\xff"), int64(0), math.Inf(-1), int64(time.Nanosecond), "\xfe")
	f.Fuzz(func(t *testing.T, name []byte, ts int64, v float64, ttl int64, unit string) {
		m := Metric{Name: name, Timestamp: ts, Value: v, TTL: time.Duration(ttl), Unit: unit}
		b := batch(t, m)
		r := newRequest(newRowEncoder("p", time.Minute), MaxLimit, false)
		r.fill(b, 0, anyTime)
		ok := len(name) > 0 && utf8.Valid(name) && !math.IsNaN(v) && !math.IsInf(v, 0) && utf8.ValidString(unit) &&
			(ttl == 0 || validTTL(m.TTL)) && len(name)+len(unit) < MaxLimit/8
		require.Equal(t, ok, r.rows == 1)
		back := appendMetrics(nil, b)[0]
		require.Equal(t, math.Float64bits(v), math.Float64bits(back.Value))
		require.Equal(t, [3]any{string(name), ts, m.TTL}, [3]any{string(back.Name), back.Timestamp, back.TTL})
		require.Equal(t, unit, back.Unit)
		if !ok {
			require.Len(t, r.local, 1)
			return
		}
		require.NotContains(t, string(r.plain), "\n")
		var rows []struct {
			MetricName     string
			CollectionTime int64
			MetricValue    json.Number
			TTLInSeconds   int64 `json:"ttlInSeconds"`
			Unit           string
		}
		d := json.NewDecoder(bytes.NewReader(r.plain))
		d.DisallowUnknownFields()
		require.NoError(t, d.Decode(&rows))
		require.Len(t, rows, 1)
		require.Equal(t, "p."+string(name), rows[0].MetricName)
		require.Equal(t, ts, rows[0].CollectionTime)
		require.True(t, strings.ContainsAny(rows[0].MetricValue.String(), ".e"))
		got, err := rows[0].MetricValue.Float64()
		require.NoError(t, err)
		require.Equal(t, v, got)
		require.Equal(t, unit, rows[0].Unit)
	})
}

func manyPoints(tb testing.TB, n int) record.Batch {
	ms := make([]Metric, n)
	for i := range ms {
		ms[i] = Metric{
			Name:      fmt.Appendf(nil, "servers.web%04d.cpu.user.percent", i),
			Timestamp: 1467123456000 + int64(i), Value: float64(i%5) * 12.25 / 3,
		}
	}
	return batch(tb, ms...)
}

func TestFillAllocatesNothingAPoint(t *testing.T) {
	b := manyPoints(t, 1000)
	for _, compress := range []bool{false, true} {
		r := newRequest(newRowEncoder("pre", time.Hour), MaxLimit, compress)
		r.fill(b, 0, anyTime)
		require.LessOrEqual(t, testing.AllocsPerRun(20, func() { r.fill(b, 0, anyTime) }), 4.0, "a request, not a point")
	}
}

// TestBodyStillRead keeps the bytes of a body that a transport has not closed.
func TestBodyStillRead(t *testing.T) {
	for _, compress := range []bool{false, true} {
		r := newRequest(newRowEncoder("", time.Hour), MaxLimit, compress)
		r.fill(manyPoints(t, 10), 0, anyTime)
		want := bytes.Clone(r.body.data)
		reader := r.body.open()
		r.fill(batch(t, Metric{Name: []byte("other")}), 0, anyTime)
		got, err := io.ReadAll(reader)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.NoError(t, reader.Close())
		require.NoError(t, reader.Close())
		require.True(t, r.body.idle())
	}
}

func BenchmarkEncode(b *testing.B) {
	const n = 1000
	points := manyPoints(b, n)
	perPoint := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/point")
	}
	for _, compress := range []bool{false, true} {
		b.Run(fmt.Sprintf("fluxkit/gzip=%v", compress), func(b *testing.B) {
			r := newRequest(newRowEncoder("pre", time.Hour), MaxLimit, compress)
			b.ReportAllocs()
			for b.Loop() {
				r.fill(points, 0, anyTime)
			}
			b.SetBytes(int64(len(r.plain)))
			perPoint(b)
		})
	}
	b.Run("encoding-json", func(b *testing.B) {
		type row struct {
			MetricName     string  `json:"metricName"`
			CollectionTime int64   `json:"collectionTime"`
			MetricValue    float64 `json:"metricValue"`
			TTLInSeconds   int     `json:"ttlInSeconds"`
		}
		rows := make([]row, 0, n)
		var buf bytes.Buffer
		b.ReportAllocs()
		for b.Loop() {
			rows = rows[:0]
			var p record.Point
			for c := points.Cursor(); c.Next(&p); {
				rows = append(rows, row{"pre." + string(p.Name), p.Timestamp, p.Value, 3600})
			}
			buf.Reset()
			if err := json.NewEncoder(&buf).Encode(rows); err != nil {
				b.Fatal(err)
			}
		}
		b.SetBytes(int64(buf.Len()))
		perPoint(b)
	})
}
