package flux

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/fluxmetrics/fluxkit/graphite"
)

// TraceMetrics is how many metrics the trace knows: those seen most recently, as far as a clock's hand can tell.
const TraceMetrics = 100_000

// Trace is what became of one metric's points since the server was made, or since the metric was last forgotten. Once
// they have settled, Received + Recovered = Accepted + Duplicate + Late + Rejected, and Accepted = Delivered + GivenUp +
// Pending. A point counts as accepted and pending while it waits for room; if there is none it counts as rejected after all.
type Trace struct {
	Metric    string `json:"metric"`
	Received  uint64 `json:"received"`
	Recovered uint64 `json:"recovered"` // that the first destination's spool held at the start
	Accepted  uint64 `json:"accepted"`  // the recovered among them
	Delivered uint64 `json:"delivered"` // to the first destination
	GivenUp   uint64 `json:"given_up"`  // by the first destination
	Pending   uint64 `json:"pending"`   // for the first destination
	Duplicate uint64 `json:"duplicate"`
	Late      uint64 `json:"late"`
	Rejected  uint64 `json:"rejected"`

	LastReceived     *TracePoint `json:"last_received"`  // the last that was judged, or not to be judged
	LastDelivered    *TracePoint `json:"last_delivered"` // the last that the first destination confirmed
	LastReject       *time.Time  `json:"last_reject"`
	LastRejectReason string      `json:"last_reject_reason,omitempty"`
}

// TracePoint is a point in a Trace.
type TracePoint struct {
	Timestamp int64     `json:"timestamp"` // the point's, Unix milliseconds
	At        time.Time `json:"at"`        // when it was received or delivered, to the second
}

// tracer keeps the figures of the metrics seen most recently, by a hash of their names: 9 MiB at most, whatever the names.
// Places are filled in the order in which metrics come, so that those that come in that order again lie side by side. Once
// all are taken a newcomer gets the place of the oldest, save those that were received again since the hand passed them or
// have points pending, where there is another not far from the hand. One lock is held for a run of updates.
type tracer struct {
	seed maphash.Seed
	now  func() time.Time

	mu     sync.Mutex
	most   int          // places
	places []tracePlace // without pointers, so that the garbage collector passes it over
	cells  []traceCell  // a power of two of them, twice as many as places or more; found by linear probing
	heard  placeSet     // places whose metrics were received again since the hand passed
	waits  placeSet     // places whose metrics have points pending
	hand   int          // the place to look at next for a newcomer

	touched uint32 // nobody reads it

	names   sync.Mutex
	reasons []string // that a place names by their index
}

// traceCell points to a place: its number plus one, 0 where the cell is empty.
type traceCell struct{ tag, place uint32 }

// tracePlace is the account of one metric. Counts begin again after 2^32 points.
type tracePlace struct {
	receivedTS, deliveredTS             int64  // of the last point, Unix milliseconds
	receivedAt, deliveredAt, rejectedAt uint32 // Unix seconds, 0 for never
	accepted, recovered                 uint32
	delivered, givenUp                  uint32
	duplicate, late, rejected           uint32
	tag                                 uint32 // the lower half of the hash, which says where the cell is
	rest                                uint16 // more of the hash
	reason                              uint8  // index of tracer.reasons
}

// placeSet is a set of places, a bit each.
type placeSet []uint64

func (s placeSet) add(i int)    { s[i>>6] |= 1 << (i & 63) }
func (s placeSet) remove(i int) { s[i>>6] &^= 1 << (i & 63) }

func newTracer(now func() time.Time) *tracer {
	const words = (TraceMetrics + 63) / 64
	return &tracer{
		seed: maphash.MakeSeed(), now: now, most: TraceMetrics, cells: make([]traceCell, 1024), reasons: []string{"other"},
		heard: make(placeSet, words), waits: make(placeSet, words),
	}
}

// pending is how many points are on their way. It is 0 rather than less for a metric that was forgotten meanwhile.
func (p *tracePlace) pending() uint64 { return uint64(max(0, int32(p.accepted-p.delivered-p.givenUp))) }

// seconds is the present time as a place has it.
func (t *tracer) seconds() uint32 { return uint32(t.now().Unix()) }

// traceRun is how many updates are made with the lock held.
const traceRun = 64

// traceHash stands for a name.
type traceHash struct {
	tag  uint32
	rest uint16
}

func (t *tracer) hash(name []byte) traceHash {
	h := maphash.Bytes(t.seed, name)
	return traceHash{tag: uint32(h), rest: uint16(h >> 32)}
}

// update hands the number of the place of each point's metric to f, with the index of the point. The points were received,
// or else are being settled, which is of no interest where their metric was forgotten meanwhile. Metrics that come in the
// order in which they once got their places are found without a search.
func (t *tracer) update(pts []graphite.Point, received bool, f func(at, i int)) {
	var run [traceRun]traceHash
	at := -1
	for from := 0; from < len(pts); from += traceRun {
		n := min(len(pts)-from, traceRun)
		for k := range n {
			run[k] = t.hash(pts[from+k].Name)
		}
		t.mu.Lock()
		if i := at + 1; i >= len(t.places) || !t.places[i].is(run[0]) {
			t.warm(run[:n], received)
		}
		for k := range n {
			if i := t.place(run[k], at+1, received); i >= 0 {
				at = i
				f(i, from+k)
			}
		}
		t.mu.Unlock()
	}
}

// judged is told of points and their verdicts. Those without one were refused by err.
func (t *tracer) judged(pts []graphite.Point, out []Verdict, err error) {
	now := t.seconds()
	t.update(pts, true, func(at, i int) {
		p := &t.places[at]
		p.receivedAt, p.receivedTS = now, pts[i].Timestamp
		switch out[i].Outcome {
		case Accepted:
			t.accept(at)
		case Duplicate:
			p.duplicate++
		case Late:
			p.late++
		case Rejected:
			p.reject(now, t.index(out[i].Reason))
		default:
			p.reject(now, t.index(refusal(err)))
		}
	})
}

// passed is told of points that are not judged. They were accepted unless err says otherwise.
func (t *tracer) passed(pts []graphite.Point, err error) {
	now, reason := t.seconds(), uint8(0)
	if err != nil {
		reason = t.index(refusal(err))
	}
	t.update(pts, true, func(at, i int) {
		p := &t.places[at]
		p.receivedAt, p.receivedTS = now, pts[i].Timestamp
		if err == nil {
			t.accept(at)
		} else {
			p.reject(now, reason)
		}
	})
}

// takeBack undoes what judged did, or without verdicts passed, for points that found no room.
func (t *tracer) takeBack(pts []graphite.Point, out []Verdict) {
	t.update(pts, false, func(at, i int) {
		p, was := &t.places[at], Accepted
		if out != nil {
			was = out[i].Outcome
		}
		var n *uint32
		switch was {
		case Accepted:
			n = &p.accepted
		case Duplicate:
			n = &p.duplicate
		case Late:
			n = &p.late
		default:
			n = &p.rejected
		}
		if *n > 0 { // it may have been forgotten meanwhile
			*n--
		}
		t.settle(at)
	})
}

// refused is told of a point that was rejected before it could be judged.
func (t *tracer) refused(name []byte, reason string) {
	now, why := t.seconds(), t.index(reason)
	t.update([]graphite.Point{{Name: name}}, true, func(at, _ int) { t.places[at].reject(now, why) })
}

// recovered is told of points that the first destination's spool held at the start.
func (t *tracer) recovered(pts []graphite.Point, _ []byte) {
	t.update(pts, true, func(at, _ int) {
		t.accept(at)
		t.places[at].recovered++
	})
}

// delivered is told of points that the first destination has.
func (t *tracer) delivered(pts []graphite.Point, _ []byte) {
	now := t.seconds()
	t.update(pts, false, func(at, i int) {
		p := &t.places[at]
		p.delivered++
		p.deliveredAt, p.deliveredTS = now, pts[i].Timestamp
		t.settle(at)
	})
}

// givenUp is told of points that the first destination will never have.
func (t *tracer) givenUp(pts []graphite.Point, _ []byte) {
	t.update(pts, false, func(at, _ int) {
		t.places[at].givenUp++
		t.settle(at)
	})
}

// accept counts a point that is pending from now on, unless it was settled already.
func (t *tracer) accept(at int) {
	p := &t.places[at]
	if p.accepted++; p.pending() > 0 {
		t.waits.add(at)
	}
}

// settle is called when a point is no longer pending.
func (t *tracer) settle(at int) {
	if t.places[at].pending() == 0 {
		t.waits.remove(at)
	}
}

func (p *tracePlace) reject(now uint32, reason uint8) {
	p.rejected++
	p.rejectedAt, p.reason = now, reason
}

// index is what stands for a reason. There are a few dozen.
func (t *tracer) index(reason string) uint8 {
	t.names.Lock()
	defer t.names.Unlock()
	for i, r := range t.reasons {
		if r == reason {
			return uint8(i)
		}
	}
	if len(t.reasons) > 255 {
		return 0
	}
	t.reasons = append(t.reasons, reason)
	return uint8(len(t.reasons) - 1)
}

// look returns what is known of a metric.
func (t *tracer) look(name string) (Trace, bool) {
	h := t.hash([]byte(name))
	t.mu.Lock()
	i := t.find(h)
	var p tracePlace
	if i >= 0 {
		p = t.places[i]
	}
	t.mu.Unlock()
	if i < 0 {
		return Trace{Metric: name}, false
	}
	out := p.trace(name)
	if p.rejected > 0 {
		t.names.Lock()
		out.LastRejectReason = t.reasons[p.reason]
		t.names.Unlock()
	}
	return out, true
}

func (p *tracePlace) trace(name string) Trace {
	tr := Trace{
		Metric: name, Recovered: uint64(p.recovered), Accepted: uint64(p.accepted), Delivered: uint64(p.delivered),
		GivenUp: uint64(p.givenUp), Pending: p.pending(),
		Duplicate: uint64(p.duplicate), Late: uint64(p.late), Rejected: uint64(p.rejected),
	}
	tr.Received = tr.Accepted - tr.Recovered + tr.Duplicate + tr.Late + tr.Rejected
	tr.LastReceived = tracePoint(p.receivedTS, p.receivedAt)
	tr.LastDelivered = tracePoint(p.deliveredTS, p.deliveredAt)
	if p.rejectedAt != 0 {
		at := time.Unix(int64(p.rejectedAt), 0).UTC()
		tr.LastReject = &at
	}
	return tr
}

func tracePoint(ts int64, at uint32) *TracePoint {
	if at == 0 {
		return nil
	}
	return &TracePoint{ts, time.Unix(int64(at), 0).UTC()}
}
