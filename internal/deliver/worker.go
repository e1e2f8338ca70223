package deliver

import (
	"context"
	"errors"
	"log/slog"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fluxmetrics/fluxkit/internal/queue"
	"github.com/fluxmetrics/fluxkit/internal/record"
)

const (
	defaultBatchBytes = 256 << 10
	defaultBackoffMin = 100 * time.Millisecond
	defaultBackoffMax = 30 * time.Second
)

var errTookNothing = errors.New("deliver: sender took no point and gave no reason")

// Options configure a Worker. Queue and Sender are required. What a queue in memory holds must have been made by a
// record.Writer: it is trusted.
type Options struct {
	Name   string // of the destination, for logs
	Queue  *queue.Queue
	Sender Sender

	// Linger is the longest that a batch which Full does not call full waits for more points. Zero sends at once
	// what is there.
	Linger time.Duration
	// Spacing is how far apart batches go at least that are not full: the first point after a rest goes at once, and of
	// those that trickle in after it many go by one Send. Zero: none.
	Spacing time.Duration
	// Full reports whether a batch of so many points and encoded bytes fills a request. Nil: never.
	Full func(points, bytes int) bool
	// BatchBytes bounds the encoded points that are gathered for one Send. Zero means 256 KiB.
	BatchBytes int

	// ConfirmBytes and ConfirmAfter say how many encoded bytes may be sent, and how long the first of them may wait,
	// before Confirm is called. Both zero: Confirm follows each Send.
	ConfirmBytes int
	ConfirmAfter time.Duration

	// BackoffMin and BackoffMax bound the wait after a failure, which doubles from one to the next and is drawn at
	// random from its upper half. Zero means 100 ms and 30 s.
	BackoffMin, BackoffMax time.Duration

	// MaxReplayAge gives up points whose timestamp is further in the past than that, with the reason "replay_age", when
	// they would be sent a second time because they had not been confirmed. Zero: none.
	MaxReplayAge time.Duration

	// Delivered is told of points once they are confirmed, in order, a run at a time, before the queue lets go of them.
	// The batch is valid during the call. Nil spares the worker from keeping what is not confirmed.
	Delivered func(b record.Batch)
	// Failed is told of points that were rejected: rejected[i].Index counts within b. It is called before Delivered is
	// told of those that were confirmed with them. An error, as when the points cannot be put on record, is a failure
	// like any other, save that nothing is sent again: after a wait Failed is called with the same points, and until it
	// returns nil nothing else is sent and the queue lets go of nothing.
	Failed func(b record.Batch, rejected []Rejected) error

	Logger *slog.Logger // nil is silent
}

// Stats is a worker's account since it began.
type Stats struct {
	Delivered uint64            // points confirmed
	Rejected  map[string]uint64 // points given up, by reason
	Partial   uint64            // of both, those whose record stands in the queue still, for the sake of its other points
	Overtaken uint64            // of both, those whose record the queue let go of when it was to be read again
	Undecoded uint64            // points of records that are none, as far as these say
	Resent    uint64            // points sent again because they had not been confirmed
	Failures  uint64            // calls to Send, Confirm or Failed that failed
	LastError string            // of the failure that the worker has not got over yet; empty when it works
	FailingAt time.Time         // when that trouble began
}

// Worker delivers one queue to one destination.
type Worker struct {
	o   Options
	log *slog.Logger

	decode func(rec []byte) (record.Batch, error)
	read   queue.Pos // of the last record gathered
	owing  bool      // what was sent is confirmed, but Failed has not taken what was rejected
	rec    []byte    // scratch: one record
	buf    points    // gathered, not yet taken by Send
	ends   []recEnd  // records of which a point is not yet acknowledged
	start  uint64    // ordinal of the first point of the first record that is not acknowledged
	sure   uint64    // ordinal up to which all points are confirmed or given up
	skip   part      // settled; passed over when its record is read again
	base   uint64    // ordinal of the first point of buf that is not a retry
	tried  uint64    // ordinal up to which points have been sent at least once, or may have been
	again  part      // up to it points may have been sent before reading began anew
	retry  []uint64  // ordinals of the points at the front of buf that are sent a second time
	win    window    // taken, not yet confirmed
	rej    points    // rejected, not yet reported
	why    []Rejected
	first  time.Time // when the oldest unconfirmed byte was sent
	next   time.Time // when a batch that is not full may go, with Spacing
	linger time.Time // when the batch that is being gathered must go; zero when none is
	fails  int       // in a row
	told   map[string]*givenUp
	closed bool // the queue is, and has nothing more to read

	flushing atomic.Int32
	kick     chan struct{}

	mu    sync.Mutex
	stats Stats
	acked chan struct{} // closed at the next acknowledgement; nil when nobody waits
}

// recEnd says that the record at pos ends with the point before ordinal end. Points are counted in queue order.
type recEnd struct {
	pos  queue.Pos
	end  uint64
	lost uint64    // points that cannot be read and have no ordinal
	due  time.Time // when they must go, with Linger
}

// New returns a worker that Run starts.
func New(o Options) *Worker {
	if o.BatchBytes == 0 {
		o.BatchBytes = defaultBatchBytes
	}
	if o.BackoffMin == 0 {
		o.BackoffMin = defaultBackoffMin
	}
	if o.BackoffMax == 0 {
		o.BackoffMax = max(defaultBackoffMax, o.BackoffMin)
	}
	if o.Full == nil {
		o.Full = func(int, int) bool { return false }
	}
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	decode := record.Decode
	if o.Queue.InMemory() {
		decode = record.Trust
	}
	return &Worker{
		o: o, log: log, decode: decode, read: o.Queue.Acked(), kick: make(chan struct{}, 1),
		win: window{keep: o.Delivered != nil}, stats: Stats{Rejected: map[string]uint64{}},
	}
}

// Run delivers until ctx ends, then closes the sender. What is not confirmed stays in the queue.
func (w *Worker) Run(ctx context.Context) error {
	defer w.o.Sender.Close()
	for ctx.Err() == nil {
		w.step(ctx)
	}
	return ctx.Err()
}

// step does the next thing there is to do, or waits for one.
func (w *Worker) step(ctx context.Context) {
	if !w.gather() {
		return
	}
	switch {
	case w.owing:
		w.report(ctx)
	case w.confirmDue():
		w.confirm(ctx)
	case w.buf.n > 0 && w.mustGo():
		w.send(ctx)
	default:
		w.wait(ctx)
	}
}

// gather moves records that are there into buf, up to BatchBytes. It returns false when it met a damaged one.
func (w *Worker) gather() bool {
	for len(w.buf.b) < w.o.BatchBytes {
		rec, pos, ok, err := w.o.Queue.TryNext(w.read, w.rec)
		w.rec = rec
		if err != nil || !ok {
			w.closed = err != nil
			return true
		}
		w.read = pos
		w.missing(pos)
		b, err := w.decode(rec)
		if err != nil {
			w.passOver(rec, pos, err)
			return false
		}
		r := recEnd{pos: pos}
		if w.o.Linger > 0 {
			r.due = time.Now().Add(w.o.Linger)
		}
		if w.buf.n == 0 {
			w.linger = r.due
		}
		w.buf.add(w.reread(b, pos))
		r.end = w.ordinal()
		w.ends = append(w.ends, r)
	}
	return true
}

// ordinal is that of the point that would be gathered next.
func (w *Worker) ordinal() uint64 { return w.base + uint64(w.buf.n-len(w.retry)) }

func (w *Worker) unconfirmed() bool { return w.win.n > 0 || w.rej.n > 0 }

func (w *Worker) confirmsAtOnce() bool { return w.o.ConfirmBytes == 0 && w.o.ConfirmAfter == 0 }

// confirmDue reports whether what was sent must be confirmed before anything else is done.
func (w *Worker) confirmDue() bool {
	if !w.unconfirmed() {
		return false
	}
	if w.confirmsAtOnce() {
		return true
	}
	return w.win.size >= w.o.ConfirmBytes ||
		time.Since(w.first) >= w.o.ConfirmAfter ||
		w.buf.n == 0 && w.flushing.Load() > 0
}

// mustGo reports whether the gathered batch goes now, full or not.
func (w *Worker) mustGo() bool {
	if w.o.Linger == 0 && w.o.Spacing == 0 || len(w.retry) > 0 || len(w.buf.b) >= w.o.BatchBytes ||
		w.o.Full(w.buf.n, len(w.buf.b)) || w.flushing.Load() > 0 {
		return true
	}
	now := time.Now()
	return !now.Before(w.linger) && !now.Before(w.next)
}

// wait returns when there may be something to do.
func (w *Worker) wait(ctx context.Context) {
	var deadline time.Time
	spaced := w.buf.n > 0 && time.Now().Before(w.next)
	if w.buf.n > 0 {
		deadline = w.linger
		if deadline.Before(w.next) {
			deadline = w.next // even if that has passed since mustGo looked
		}
	}
	if w.unconfirmed() {
		if d := w.first.Add(w.o.ConfirmAfter); deadline.IsZero() || d.Before(deadline) {
			deadline = d
		}
	}
	var expired <-chan time.Time
	if !deadline.IsZero() {
		t := time.NewTimer(time.Until(deadline))
		defer t.Stop()
		expired = t.C
	}
	var ready <-chan struct{}
	if !w.closed && !spaced { // what comes meanwhile goes along: to look at each point alone is what costs
		ready = w.o.Queue.Ready(w.read)
	}
	select {
	case <-ctx.Done():
	case <-w.kick:
	case <-expired:
	case <-ready:
	}
}

// send hands the gathered points to the sender, once.
func (w *Worker) send(ctx context.Context) {
	batch := w.buf.batch()
	if w.o.MaxReplayAge > 0 && w.base < w.tried {
		n, stale := w.replay(batch)
		batch = batch.First(n)
		if stale {
			res := Result{Taken: n}
			for i := range n {
				res.Rejected = append(res.Rejected, Rejected{Index: i, Reason: ReasonReplayAge})
			}
			w.settle(res)
			return
		}
	}
	res, err := w.o.Sender.Send(ctx, batch)
	w.tried = max(w.tried, w.base+uint64(max(0, res.Taken-len(w.retry))))
	if err != nil {
		w.failed(ctx, "send", err, res)
		return
	}
	if res.Taken == 0 {
		w.failed(ctx, "send", errTookNothing, res)
		return
	}
	if w.confirmsAtOnce() {
		w.fails = 0 // else only a confirmation shows that anything works
	}
	w.settle(res)
	w.linger = w.due()
	if w.o.Spacing > 0 {
		w.next = time.Now().Add(w.o.Spacing)
	}
	if res.RetryAfter > 0 {
		w.pause(ctx, res.RetryAfter)
	}
}

// due is when the oldest point that Send has not taken must go.
func (w *Worker) due() time.Time {
	i := sort.Search(len(w.ends), func(i int) bool { return w.ends[i].end > w.base })
	if w.o.Linger == 0 || i == len(w.ends) {
		return time.Time{}
	}
	return w.ends[i].due
}

// settle sorts the points that a Send took into the window, the rejected and those to be sent again.
func (w *Worker) settle(res Result) {
	if !w.unconfirmed() {
		w.first = time.Now()
	}
	all := w.buf.batch()
	if res.Taken == all.Len() && len(res.Rejected) == 0 && len(res.Retry) == 0 {
		w.base, w.retry = w.ordinal(), nil
		w.buf = w.win.swap(w.buf)
		return
	}
	origin := func(i int) uint64 {
		if i < len(w.retry) {
			return w.retry[i]
		}
		return w.base + uint64(i-len(w.retry))
	}
	next := points{}
	var retry []uint64
	if len(res.Rejected) == 0 && len(res.Retry) == 0 {
		w.win.add(all.First(res.Taken))
	} else {
		rejected, again := res.Rejected, res.Retry
		var p record.Point
		c := all.First(res.Taken).Cursor()
		for i := 0; c.Next(&p); i++ {
			one := record.Concat(c.Raw(), 1)
			switch {
			case len(rejected) > 0 && rejected[0].Index == i:
				w.why = append(w.why, Rejected{Index: w.rej.n, Reason: rejected[0].Reason, Detail: rejected[0].Detail})
				w.rej.add(one)
				rejected = rejected[1:]
			case len(again) > 0 && again[0] == i:
				next.add(one)
				retry = append(retry, origin(i))
				again = again[1:]
			default:
				w.win.add(one)
			}
		}
	}
	for i := res.Taken; i < len(w.retry); i++ {
		retry = append(retry, w.retry[i])
	}
	w.base += uint64(max(0, res.Taken-len(w.retry)))
	rest := all.Skip(res.Taken)
	if next.n == 0 {
		w.buf.n = rest.Len()
		w.buf.b = append(w.buf.b[:0], rest.Points()...)
	} else {
		next.add(rest)
		w.buf = next
	}
	w.retry = retry
}

// confirm asks the sender whether what was sent has arrived, and settles the account when it has.
func (w *Worker) confirm(ctx context.Context) {
	if err := w.o.Sender.Confirm(ctx); err != nil {
		w.failed(ctx, "confirm", err, Result{})
		return
	}
	w.fails = 0
	w.report(ctx)
}

// report tells what became of the points that were sent, and then lets the queue forget them.
func (w *Worker) report(ctx context.Context) {
	w.owing = true
	if w.rej.n > 0 && w.o.Failed != nil {
		if err := w.o.Failed(w.rej.batch(), w.why); err != nil {
			w.setback(ctx, "report", err, w.rej.n, 0, 0)
			return
		}
	}
	w.owing = false
	for i := range w.win.parts {
		w.o.Delivered(w.win.parts[i].batch())
	}
	w.tellRejected()
	w.mu.Lock()
	w.stats.Delivered += uint64(w.win.n)
	for _, r := range w.why {
		w.stats.Rejected[r.Reason]++
	}
	if w.stats.LastError != "" {
		w.log.Info("delivery works again", "destination", w.o.Name, "after", time.Since(w.stats.FailingAt).Round(time.Millisecond))
		w.stats.LastError, w.stats.FailingAt = "", time.Time{}
	}
	w.mu.Unlock()
	w.ack(w.win.n + w.rej.n)
	w.win.reset()
	w.rej.reset()
	w.why = w.why[:0]
	w.announce()
}
