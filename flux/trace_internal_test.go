package flux

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/graphite"
)

func tracedPoints(prefix string, n int) []graphite.Point {
	pts := make([]graphite.Point, n)
	for i := range pts {
		pts[i] = graphite.Point{Name: fmt.Appendf(nil, "%s.%d.cpu.user", prefix, i), Timestamp: 1_700_000_000_000}
	}
	return pts
}

// TestTraceKnowsTheNewest has many more metrics than there are places.
func TestTraceKnowsTheNewest(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	tr := newTracer(func() time.Time { at = at.Add(time.Second); return at })
	require.EqualValues(t, 64, unsafe.Sizeof(tracePlace{}))
	accepted := []Verdict{{Outcome: Accepted}}
	pts := tracedPoints("m", 4*TraceMetrics+TraceMetrics/3)
	for i := range pts {
		tr.judged(pts[i:i+1], accepted, nil)
		tr.delivered(pts[i:i+1], nil)
		if i == TraceMetrics-1 {
			require.Equal(t, TraceMetrics, tr.known(pts[:TraceMetrics]))
		}
	}
	require.Greater(t, tr.known(pts[len(pts)-TraceMetrics:]), TraceMetrics*99/100)
	require.Len(t, tr.places, TraceMetrics)
}

// known counts the points whose metric is known, and has one point that was delivered.
func (t *tracer) known(pts []graphite.Point) (n int) {
	for i := range pts {
		if got, ok := t.look(string(pts[i].Name)); ok && got.Accepted == 1 && got.Delivered == 1 {
			n++
		}
	}
	return n
}

// TestTraceForgetsInOrder has metrics that are heard of again and again, and metrics that have a point pending, among many
// newcomers.
func TestTraceForgetsInOrder(t *testing.T) {
	tr := newTracer(time.Now)
	tr.most = 1000
	pts := tracedPoints("m", 20_000)
	out := make([]Verdict, len(pts))
	for i := range out {
		out[i].Outcome = Accepted
	}
	tr.judged(pts[:5], out, nil) // pending throughout
	for i := 10; i < len(pts); i++ {
		tr.judged(pts[5:10], out, nil)
		tr.delivered(pts[5:10], nil)
		tr.judged(pts[i:i+1], out, nil)
		tr.delivered(pts[i:i+1], nil)
	}
	for i := range 10 {
		got, ok := tr.look(string(pts[i].Name))
		require.True(t, ok, i)
		if i < 5 {
			require.EqualValues(t, 1, got.Pending)
		} else {
			require.EqualValues(t, len(pts)-10, got.Delivered)
		}
	}
	known := 0
	for i := range pts {
		if _, ok := tr.look(string(pts[i].Name)); ok {
			known++
		}
	}
	require.Equal(t, 1000, known, "every place can be found")
	tr.judged(pts[:5000], out, nil)
	_, ok := tr.look(string(pts[4999].Name))
	require.True(t, ok, "among those that are pending some have to go")
}

func TestTraceOfAForgottenMetric(t *testing.T) {
	tr := newTracer(time.Now)
	pts := tracedPoints("m", 1)
	tr.delivered(pts, nil)
	tr.givenUp(pts, nil)
	_, known := tr.look("m.0.cpu.user")
	require.False(t, known)
	tr.judged(pts, []Verdict{{Outcome: Accepted}}, nil)
	tr.delivered(pts, nil)
	tr.delivered(pts, nil) // one that was accepted before it was forgotten
	require.Zero(t, tr.mustLook(t, "m.0.cpu.user").Pending)
	for i := range 300 { // reasons are a few; should they ever be many, the table holds
		tr.refused(pts[0].Name, fmt.Sprint(i))
	}
	got, _ := tr.look("m.0.cpu.user")
	require.Equal(t, "other", got.LastRejectReason)
	tr.passed(pts, errors.New("x"))
	require.EqualValues(t, 301, tr.mustLook(t, "m.0.cpu.user").Rejected)
}

// TestTraceTakesBack has a request find no room after its verdicts were told.
func TestTraceTakesBack(t *testing.T) {
	tr := newTracer(time.Now)
	pts := append(tracedPoints("m", 4), tracedPoints("m", 4)...)
	out := []Verdict{{Outcome: Accepted}, {Outcome: Duplicate}, {Outcome: Late}, {Rejected, "x"}, {Outcome: Accepted}, {}, {}, {}}
	tr.judged(pts[:5], out[:5], nil)
	require.EqualValues(t, 2, tr.mustLook(t, "m.0.cpu.user").Pending)
	tr.takeBack(pts[:5], out[:5])
	tr.judged(pts[:4], make([]Verdict, 4), ErrFull)
	for i := range 4 {
		got := tr.mustLook(t, fmt.Sprintf("m.%d.cpu.user", i))
		require.EqualValues(t, 1, got.Received)
		require.EqualValues(t, 1, got.Rejected)
		require.Equal(t, "full", got.LastRejectReason)
	}
	tr.passed(pts[:1], nil)
	tr.takeBack(pts[:1], nil)
	require.Zero(t, tr.mustLook(t, "m.0.cpu.user").Pending)
	for _, word := range tr.waits {
		require.Zero(t, word)
	}
}

// quickClient has delivered points before send returns, or has no room.
type quickClient struct {
	client
	tracer *tracer
	err    error
}

func (c *quickClient) send(_ context.Context, pts []graphite.Point, tags []byte) error {
	if c.err == nil {
		c.tracer.delivered(pts, tags)
	}
	return c.err
}

// TestTraceOfQuickDelivery has points delivered before the door knows that they were sent, and points that find no room.
func TestTraceOfQuickDelivery(t *testing.T) {
	for name, filter := range map[string]*dedup.Filter{"judged": {}, "not judged": nil} {
		for _, passed := range []bool{false, true} {
			tr := newTracer(time.Now)
			c := &quickClient{tracer: tr}
			o := &outlet{client: c}
			d := &door{
				filter: filter, instant: true, tracer: tr, now: time.Now, turn: make(chan struct{}, 1), maxFuture: -1,
				out: fanout{direct: o, outlets: []*outlet{o}},
			}
			send := func(n int) Trace {
				pts := tracedPoints("m", n)
				for i := range pts {
					pts[i].Timestamp += int64(n)
				}
				if passed {
					_ = d.pass(t.Context(), pts, entry{})
				} else {
					j, _ := d.admit(t.Context(), pts, entry{judge: true})
					d.put(j)
				}
				return tr.mustLook(t, "m.0.cpu.user")
			}
			got := send(3)
			require.Zero(t, got.Pending, name)
			require.EqualValues(t, 1, got.Delivered)
			require.EqualValues(t, 1, got.Accepted)
			c.err = ErrFull
			got = send(4)
			require.Zero(t, got.Pending, name)
			require.EqualValues(t, 1, got.Accepted)
			require.EqualValues(t, 1, got.Rejected)
			require.EqualValues(t, 2, got.Received)
			require.Equal(t, "full", got.LastRejectReason)
			st := d.stats()
			require.EqualValues(t, 7, st.Received)
			require.EqualValues(t, 3, st.Accepted)
			require.EqualValues(t, 4, st.Rejected["full"])
		}
	}
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
