package ingest_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
)

// layouts are ways in which clients write a metrics array, by name; each makes one item.
var layouts = []struct {
	name string
	item func(i int) string
}{
	{"numbers", func(i int) string {
		return fmt.Sprintf(`{"metric":"servers.web-%04d.cpu.%d.user","timestamp":%d,"value":%.2f}`, i/8, i%8, now.Unix(), float64(i%1000)*0.37)
	}},
	{"texts", func(i int) string {
		return fmt.Sprintf(`{"metric": "servers.web-%04d.cpu.%d.user", "timestamp": "%d", "value": "%.2f"}`, i/8, i%8, now.Unix(), float64(i%1000)*0.37)
	}},
	{"17 digits", func(i int) string {
		return fmt.Sprintf(`{"value":%v,"timestamp":%d,"metric":"servers.web-%04d.cpu.%d.user"}`, 1/float64(i+3), now.Unix(), i/8, i%8)
	}},
	{"tags", func(i int) string {
		return fmt.Sprintf(`{"metric":"cpu.user;cpu=%d;server=web-%04d","timestamp":%d,"value":%d}`, i%8, i/8, now.Unix(), i)
	}},
	{"spaces and escapes", func(i int) string {
		return fmt.Sprintf(`{"metric":"servers.web-%04d.my\u0020cpu.%d.user","timestamp":%d,"value":%d}`, i/8, i%8, now.Unix(), i)
	}},
	{"unknown members", func(i int) string {
		return fmt.Sprintf(`{"host":"web-%04d","metric":"servers.web-%04d.cpu.%d.user","timestamp":%d,"value":%d}`, i/8, i/8, i%8, now.Unix(), i)
	}},
}

func arrayOf(n int, item func(i int) string) []byte {
	body := []byte(`{"key":"YOURown32charSkylineAPIkeySecret","metrics":[`)
	for i := range n {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, item(i)...)
	}
	return append(body, "]}"...)
}

// A parser that is warm allocates nothing, whatever the layout.
func TestNoAllocations(t *testing.T) {
	var p ingest.Parser
	for _, l := range layouts {
		body := arrayOf(450, l.item)
		for _, prefix := range []string{"", "warehouse-1"} {
			n := testing.AllocsPerRun(10, func() {
				if _, err := p.JSON(body); err != nil {
					t.Fatal(err)
				}
				if err := p.Validate(rules(), prefix); err != nil {
					t.Fatal(err)
				}
			})
			require.Zero(t, n, l.name)
		}
	}
	n := testing.AllocsPerRun(10, func() {
		if _, err := p.Query("metric=a.b&timestamp=1795293175&value=1.0&key=k"); err != nil {
			t.Fatal(err)
		}
		if err := p.Validate(rules(), "p"); err != nil {
			t.Fatal(err)
		}
	})
	require.Zero(t, n)
}

const batch = 450

// BenchmarkParse is a request of 450 points, read and validated.
func BenchmarkParse(b *testing.B) {
	for _, l := range layouts {
		b.Run(l.name, func(b *testing.B) {
			body := arrayOf(batch, l.item)
			var p ingest.Parser
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.JSON(body); err != nil {
					b.Fatal(err)
				}
				if err := p.Validate(rules(), ""); err != nil {
					b.Fatal(err)
				}
			}
			perPoint(b)
		})
	}
}

// BenchmarkEncodingJSON is the thing to beat: the same bodies into structs, with nothing validated.
func BenchmarkEncodingJSON(b *testing.B) {
	type request struct {
		Key     string
		Metrics []struct {
			Metric    string
			Timestamp json.RawMessage
			Value     json.RawMessage
		}
	}
	for _, l := range layouts {
		b.Run(l.name, func(b *testing.B) {
			body := arrayOf(batch, l.item)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				var r request
				if err := json.Unmarshal(body, &r); err != nil {
					b.Fatal(err)
				}
				if len(r.Metrics) != batch {
					b.Fatal(len(r.Metrics))
				}
			}
			perPoint(b)
		})
	}
}

// BenchmarkSingle is a POST of one point.
func BenchmarkSingle(b *testing.B) {
	body := []byte(`{"key":"YOURown32charSkylineAPIkeySecret","metric":"servers.web-0001.cpu.1.user","timestamp":` +
		strconv.FormatInt(now.Unix(), 10) + `,"value":0.37}`)
	var p ingest.Parser
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.JSON(body); err != nil {
			b.Fatal(err)
		}
		if err := p.Validate(rules(), ""); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkQuery is a GET.
func BenchmarkQuery(b *testing.B) {
	var p ingest.Parser
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Query("metric=servers.web-0001.cpu.1.user&timestamp=1795293175&value=0.37&key=YOURown32charSkylineAPIkeySecret"); err != nil {
			b.Fatal(err)
		}
		if err := p.Validate(rules(), ""); err != nil {
			b.Fatal(err)
		}
	}
}

func perPoint(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/batch, "ns/point")
}
