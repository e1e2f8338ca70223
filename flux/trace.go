package flux

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/fluxmetrics/fluxkit/graphite"
)

// TraceMetrics is how many metrics the trace is made for: of so many seen most recently it forgets a few in a thousand,
// since a metric can be unlucky with its places; of half as many none, nearly always.
const TraceMetrics = 100_000

const (
	traceWays = 8       // places that a metric may stand in
	traceSets = 1 << 15 // 262,144 places
)

// Trace is what became of one metric's points since the server was made, or since the metric was last forgotten. Once
// they have settled, Received + Recovered = Accepted + Duplicate + Late + Rejected, and Accepted = Delivered + GivenUp +
// Pending.
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

// tracer keeps the figures of the metrics seen most recently, by a hash of their names: 18 MiB in all, whatever the
// names. A metric may stand in one of eight places, of which one is its home: found there, an update touches one cache
// line. A newcomer gets its home if that is free, or else the place of one that has nothing pending and was not heard of
// since the last newcomers looked, as a clock's hand finds it. One lock is held for a run of updates.
type tracer struct {
	seed maphash.Seed
	now  func() time.Time

	mu   sync.Mutex
	sets []traceSet // without pointers, so that the garbage collector passes it over

	names   sync.Mutex
	reasons []string // that a place names by their index
}

type traceSet struct {
	tags   [traceWays]uint32 // of places: 0: free
	hand   uint8             // the place to look at next for a newcomer
	_      [31]byte
	places [traceWays]tracePlace
}

// tracePlace is the account of one metric. Counts begin again after 2^32 points.
type tracePlace struct {
	receivedTS, deliveredTS             int64  // of the last point, Unix milliseconds
	receivedAt, deliveredAt, rejectedAt uint32 // Unix seconds, 0 for never
	accepted, recovered                 uint32
	delivered, givenUp                  uint32
	duplicate, late, rejected           uint32
	rest                                uint32 // of the hash
	tag                                 uint16 // the lower half of the set's
	reason                              uint8  // index of tracer.reasons
	heard                               bool   // of since the hand passed
}

func newTracer(now func() time.Time) *tracer {
	return &tracer{seed: maphash.MakeSeed(), now: now, sets: make([]traceSet, traceSets), reasons: []string{"other"}}
}

// place returns the metric's place, taking one where it has none.
func (s *traceSet) place(h traceHash) *tracePlace {
	p := &s.places[h.home()]
	if !p.belongs(h) {
		p = s.elsewhere(h)
	}
	p.heard = true
	return p
}

func (s *traceSet) elsewhere(h traceHash) *tracePlace {
	i := s.find(h)
	if i < 0 {
		i = s.turn(h.home())
		s.tags[i], s.places[i] = h.tag, tracePlace{rest: h.rest, tag: uint16(h.tag)}
	}
	return &s.places[i]
}

// find returns which place is the metric's, or -1.
func (s *traceSet) find(h traceHash) int {
	for i, tag := range s.tags {
		if tag == h.tag && s.places[i].belongs(h) {
			return i
		}
	}
	return -1
}

// turn returns the place that a newcomer gets. In the worst case the hand goes round three times: past what was heard
// of, past what is pending, and to the first of these.
func (s *traceSet) turn(home int) int {
	if s.tags[home] == 0 {
		return home
	}
	for n := 0; ; n++ {
		i := int(s.hand) % traceWays
		s.hand++
		p := &s.places[i]
		if s.tags[i] == 0 || !p.heard && (p.pending() == 0 || n >= 2*traceWays) {
			return i
		}
		p.heard = false
	}
}

// belongs tells whether the place is that of the metric. That of nobody is, to nobody's harm, that of one hash in 2^49.
func (p *tracePlace) belongs(h traceHash) bool { return p.rest == h.rest && p.tag == uint16(h.tag) }

// pending is how many points are on their way. It is 0 rather than less for a metric that was forgotten meanwhile.
func (p *tracePlace) pending() uint64 { return uint64(max(0, int32(p.accepted-p.delivered-p.givenUp))) }

// seconds is the present time as a place has it.
func (t *tracer) seconds() uint32 { return uint32(t.now().Unix()) }

// traceRun is how many updates are made with the lock held.
const traceRun = 64

// traceHash stands for a name. The tag is odd.
type traceHash struct{ set, tag, rest uint32 }

func (h traceHash) home() int { return int(h.rest % traceWays) }

func (t *tracer) hash(name []byte) traceHash {
	h := maphash.Bytes(t.seed, name)
	return traceHash{set: uint32(h>>32) % traceSets, tag: uint32(h>>32) | 1, rest: uint32(h)}
}

// update hands the place of each point's metric to f, with the index of the point.
func (t *tracer) update(pts []graphite.Point, f func(p *tracePlace, i int)) {
	var run [traceRun]traceHash
	for from := 0; from < len(pts); from += traceRun {
		n := min(len(pts)-from, traceRun)
		for k := range n {
			run[k] = t.hash(pts[from+k].Name)
		}
		t.mu.Lock()
		for k := range n {
			f(t.sets[run[k].set].place(run[k]), from+k)
		}
		t.mu.Unlock()
	}
}

// judged is told of points and their verdicts. Those without one were refused by err.
func (t *tracer) judged(pts []graphite.Point, out []Verdict, err error) {
	now := t.seconds()
	t.update(pts, func(p *tracePlace, i int) {
		p.receivedAt, p.receivedTS = now, pts[i].Timestamp
		switch out[i].Outcome {
		case Accepted:
			p.accepted++
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
	t.update(pts, func(p *tracePlace, i int) {
		p.receivedAt, p.receivedTS = now, pts[i].Timestamp
		if err == nil {
			p.accepted++
		} else {
			p.reject(now, reason)
		}
	})
}

// refused is told of a point that was rejected before it could be judged.
func (t *tracer) refused(name []byte, reason string) {
	now, why := t.seconds(), t.index(reason)
	t.update([]graphite.Point{{Name: name}}, func(p *tracePlace, _ int) { p.reject(now, why) })
}

// recovered is told of points that the first destination's spool held at the start.
func (t *tracer) recovered(pts []graphite.Point, _ []byte) {
	t.update(pts, func(p *tracePlace, _ int) {
		p.accepted++
		p.recovered++
	})
}

// delivered is told of points that the first destination has.
func (t *tracer) delivered(pts []graphite.Point, _ []byte) {
	now := t.seconds()
	t.update(pts, func(p *tracePlace, i int) {
		p.delivered++
		p.deliveredAt, p.deliveredTS = now, pts[i].Timestamp
	})
}

// givenUp is told of points that the first destination will never have.
func (t *tracer) givenUp(pts []graphite.Point, _ []byte) {
	t.update(pts, func(p *tracePlace, _ int) { p.givenUp++ })
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
	set := &t.sets[h.set]
	i := set.find(h)
	p := set.places[max(i, 0)]
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
