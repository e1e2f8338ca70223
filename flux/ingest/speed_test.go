package ingest_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
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
	{"changing", func(i int) string {
		return fmt.Sprintf(`{"metric":"servers.web-%04d.cpu.%d.user","timestamp":%d,"value":%.2f%s}`, i/8, i%8, now.Unix(), float64(i%1000)*0.37, [2]string{"", `,"fill":true`}[i%2])
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

// telegrafBatch is a batch of n objects as telegraf writes them, from a host of eight cores, and how many points it has.
func telegrafBatch(n int) (body []byte, points int) {
	body = []byte(`{"metrics":[`)
	for i := range n {
		if i > 0 {
			body = append(body, ',')
		}
		host, ts, v := i/10, now.Unix(), float64(i%1000)*0.037
		if core := i % 10; core < 8 {
			body = fmt.Appendf(body, `{"fields":{"usage_guest":0,"usage_guest_nice":0,"usage_idle":%v,"usage_iowait":%v,"usage_irq":0,"usage_nice":0,`+
				`"usage_softirq":%v,"usage_steal":0,"usage_system":%v,"usage_user":%v},"name":"cpu","tags":{"cpu":"cpu%d","host":"web-%04d"},"timestamp":%d}`,
				100-v, v/7, v/9, v/3, v, core, host, ts)
			points += 10
			continue
		}
		body = fmt.Appendf(body, `{"fields":{"free":%d,"fstype":"ext4","total":105089261568,"used":%d,"used_percent":%v},"name":"disk",`+
			`"tags":{"device":"sda%d","host":"web-%04d","mode":"rw","path":"/var/log"},"timestamp":%d}`, i*4096, i*8192, v, i%10, host, ts)
		points += 5
	}
	return append(body, "]}"...), points
}

// lineBatch is n lines of carbon's.
func lineBatch(n int) (body []byte) {
	for i := range n {
		body = fmt.Appendf(body, "servers.web-%04d.cpu.%d.user %.2f %d\n", i/8, i%8, float64(i%1000)*0.37, now.Unix())
	}
	return body
}

// A parser that is warm allocates nothing, whatever the layout.
func TestNoAllocations(t *testing.T) {
	var p ingest.Parser
	none := func(what string, parse func() (*ingest.Request, error)) {
		t.Helper()
		for _, prefix := range []string{"", "warehouse-1"} {
			n := testing.AllocsPerRun(10, func() {
				if _, err := parse(); err != nil {
					t.Fatal(err)
				}
				if err := p.Validate(rules(), prefix); err != nil {
					t.Fatal(err)
				}
			})
			require.Zero(t, n, what)
		}
	}
	for _, l := range layouts {
		body := arrayOf(450, l.item)
		none(l.name, func() (*ingest.Request, error) { return p.JSON(body) })
	}
	none("query", func() (*ingest.Request, error) {
		return p.Query("metric=a.b&timestamp=1795293175&value=1.0&key=k")
	})
	body, _ := telegrafBatch(1000)
	none("telegraf", func() (*ingest.Request, error) { return p.Telegraf(body, ingest.Telegraf{Prefix: "p"}) })
	text := lineBatch(450)
	none("lines", func() (*ingest.Request, error) { return p.Lines(text) })
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

// BenchmarkNames is requests of 450 points that together have 10,000 names, and requests whose names are all new.
func BenchmarkNames(b *testing.B) {
	item := layouts[0].item
	var bodies [][]byte
	for from := 0; from+batch <= 10000; from += batch {
		bodies = append(bodies, arrayOf(batch, func(i int) string { return item(from + i) }))
	}
	run := func(b *testing.B, next func() []byte) {
		var p ingest.Parser
		b.ReportAllocs()
		for b.Loop() {
			if _, err := p.JSON(next()); err != nil {
				b.Fatal(err)
			}
			if err := p.Validate(rules(), ""); err != nil {
				b.Fatal(err)
			}
		}
		perPoint(b)
	}
	b.Run("10000", func(b *testing.B) {
		n := 0
		run(b, func() []byte { n++; return bodies[n%len(bodies)] })
	})
	b.Run("new", func(b *testing.B) {
		n := 0
		run(b, func() []byte { // every name gets another number where it says web
			n++
			body := bodies[n%len(bodies)]
			digits := fmt.Appendf(nil, "%03x", n%4096)
			for i := 0; ; i += 3 {
				at := bytes.Index(body[i:], []byte(`"servers.`))
				if at < 0 {
					return body
				}
				i += at + len(`"servers.`)
				copy(body[i:], digits)
			}
		})
	})
}

// BenchmarkManyBodies is requests as a load generator with 10,000 names and four connections makes them: each connection
// has every fourth name, and values and times move on, so that no body is like another and the processor cannot learn
// their branches by heart.
func BenchmarkManyBodies(b *testing.B) {
	var bodies [][]byte
	for i := 0; len(bodies) < 400; {
		bodies = append(bodies, arrayOf(batch, func(int) string {
			i += 4
			name, at := i%10000, now.Unix()/60*60+int64(i/10000-75)*30
			return fmt.Sprintf(`{"metric":"servers.web-%04d.cpu.%d.user","timestamp":%d,"value":%.2f}`, name/8, name%8, at, float64(i*7919%100003)*0.0037)
		}))
	}
	var p ingest.Parser
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if _, err := p.JSON(bodies[n%len(bodies)]); err != nil {
			b.Fatal(err)
		}
		if err := p.Validate(rules(), ""); err != nil {
			b.Fatal(err)
		}
	}
	perPoint(b)
}

// BenchmarkTelegraf is a batch of 1,000 objects, read and validated.
func BenchmarkTelegraf(b *testing.B) {
	body, points := telegrafBatch(1000)
	var p ingest.Parser
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Telegraf(body, ingest.Telegraf{}); err != nil {
			b.Fatal(err)
		}
		if err := p.Validate(rules(), ""); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(points), "ns/point")
}

// BenchmarkTelegrafEncodingJSON is the thing to beat: the same body into structs and maps, without names or rules.
func BenchmarkTelegrafEncodingJSON(b *testing.B) {
	body, points := telegrafBatch(1000)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		var r struct {
			Metrics []struct {
				Fields    map[string]any
				Name      string
				Tags      map[string]string
				Timestamp int64
			}
		}
		if err := json.Unmarshal(body, &r); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(points), "ns/point")
}

// BenchmarkLines is a body of 450 lines, read and validated.
func BenchmarkLines(b *testing.B) {
	body := lineBatch(batch)
	var p ingest.Parser
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Lines(body); err != nil {
			b.Fatal(err)
		}
		if err := p.Validate(rules(), ""); err != nil {
			b.Fatal(err)
		}
	}
	perPoint(b)
}

// BenchmarkDecode is a batch of telegraf's, compressed, read by decoders that are kept, and by new ones.
func BenchmarkDecode(b *testing.B) {
	text, _ := telegrafBatch(1000)
	data := compress(b, encodings[2].writer, string(text))
	read := func(b *testing.B, open func(r io.Reader) (io.ReadCloser, error)) {
		body := make([]byte, len(text)+1)
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		for b.Loop() {
			z, err := open(bytes.NewReader(data))
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(z, body); err != io.ErrUnexpectedEOF {
				b.Fatal(err)
			}
			z.Close()
		}
	}
	var d ingest.Decoders
	b.Run("kept", func(b *testing.B) {
		read(b, func(r io.Reader) (io.ReadCloser, error) { return d.Open(r, "gzip", 1<<20) })
	})
	b.Run("new", func(b *testing.B) {
		read(b, func(r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) })
	})
}

func perPoint(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/batch, "ns/point")
}
