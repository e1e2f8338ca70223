package flux

import (
	"errors"
	"fmt"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite"
)

func tracedPoints(prefix string, n int) []graphite.Point {
	pts := make([]graphite.Point, n)
	for i := range pts {
		pts[i] = graphite.Point{Name: fmt.Appendf(nil, "%s.%d.cpu.user", prefix, i), Timestamp: 1_700_000_000_000}
	}
	return pts
}

// TestTraceKnowsTheNewest has more metrics than there are places: of the newest that are promised, few are forgotten.
func TestTraceKnowsTheNewest(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	tr := newTracer(func() time.Time { at = at.Add(time.Second); return at })
	require.EqualValues(t, 64, unsafe.Offsetof(tr.sets[0].places))
	require.EqualValues(t, 64, unsafe.Sizeof(tr.sets[0].places[0]))
	accepted := []Verdict{{Outcome: Accepted}}
	pts := tracedPoints("m", 5*TraceMetrics)
	for i := range pts {
		tr.judged(pts[i:i+1], accepted, nil)
		tr.delivered(pts[i:i+1], nil)
	}
	known := 0
	for i := range pts {
		got, ok := tr.look(string(pts[i].Name))
		if ok {
			require.EqualValues(t, 1, got.Accepted)
			require.EqualValues(t, 1, got.Delivered)
			if i >= len(pts)-TraceMetrics {
				known++
			}
		}
	}
	require.Greater(t, known, TraceMetrics*99/100)
}

// TestTraceKeepsWhatIsPending fills a set with metrics of which one has a point pending.
func TestTraceKeepsWhatIsPending(t *testing.T) {
	var s traceSet
	add := func(h uint32, delivered uint32) {
		p := s.place(traceHash{tag: h<<1 | 1, rest: h})
		p.accepted, p.delivered = 1, delivered
	}
	known := func(h uint32) bool { return s.find(traceHash{tag: h<<1 | 1, rest: h}) >= 0 }
	add(1, 0)
	for h := uint32(2); h < 100; h++ {
		add(h, 1)
	}
	require.True(t, known(1))
	require.True(t, known(93))
	require.False(t, known(92))
	for h := uint32(100); h < 200; h++ {
		add(h, 0)
	}
	require.False(t, known(1), "among those that are pending one has to go")
	require.True(t, known(199))
}

func TestTraceOfAForgottenMetric(t *testing.T) {
	tr := newTracer(time.Now)
	pts := tracedPoints("m", 1)
	tr.delivered(pts, nil)
	got, known := tr.look("m.0.cpu.user")
	require.True(t, known)
	require.Zero(t, got.Pending)
	for i := range 300 { // reasons are a few; should they ever be many, the table holds
		tr.refused(pts[0].Name, fmt.Sprint(i))
	}
	got, _ = tr.look("m.0.cpu.user")
	require.Equal(t, "other", got.LastRejectReason)
	tr.passed(pts, errors.New("x"))
	require.EqualValues(t, 301, tr.mustLook(t, "m.0.cpu.user").Rejected)
}

func (t *tracer) mustLook(tb testing.TB, name string) Trace {
	got, known := t.look(name)
	require.True(tb, known)
	return got
}

func TestTracingAllocatesNothing(t *testing.T) {
	tr := newTracer(time.Now)
	pts := tracedPoints("m", 100)
	out := make([]Verdict, len(pts))
	require.Zero(t, testing.AllocsPerRun(100, func() {
		tr.judged(pts, out, ErrFull)
		tr.delivered(pts, nil)
	}))
}

// BenchmarkTrace is both updates of a point: that it was received and, once 100,000 others were, that it was delivered.
func BenchmarkTrace(b *testing.B) {
	f := func(name string, metrics int) {
		b.Run(name, func(b *testing.B) {
			const lag = 100_000 / 450
			tr := newTracer(time.Now)
			pts := tracedPoints("servers.web", metrics)
			out := make([]Verdict, 450)
			for i := range out {
				out[i].Outcome = Accepted
			}
			request := func(n int) []graphite.Point {
				at := n * 450 % (len(pts) - 450)
				return pts[at : at+450]
			}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				tr.judged(request(n), out, nil)
				tr.delivered(request(n+lag), nil)
				n++
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/450, "ns/point")
		})
	}
	f("10000", 10_000)
	f("1000000", 1_000_000)
}
