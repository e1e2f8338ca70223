package blueflood

import (
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/fluxmetrics/fluxkit/internal/deliver"
	"github.com/fluxmetrics/fluxkit/internal/record"
)

const (
	maxUnconfirmed = 5 // answers 202 until the points are given up
	maxUnreadable  = 3 // answers "Failed parsing content" until the request is halved
	maxSilent      = 3 // timeouts in a row until the request is halved: the server's limit may be below ours
)

// ingestSender writes batches to a target. One worker calls it, so nothing is locked.
//
// What it could not deliver, it remembers as a plan: the sizes, in points, of the next requests from the front of the
// batch. A request that fails becomes a plan of one, so that the very same points go again, and its counts of trouble
// stay true. A request that is refused whole is replaced in the plan by its halves, and one of which the server lists the
// culprits by the others. The plan is bound to the bytes of the points it is about, and forgotten when the next batch
// does not begin with them.
type ingestSender struct {
	cfg    *EndpointConfig
	target *target
	req    *request
	log    *slog.Logger

	seed maphash.Seed
	plan []int
	sum  uint64 // of the points that the plan is about

	// Trouble with the first request of the plan.
	unconfirmed, silent int
	unreadable          int // of the plan as a whole
}

func newIngestSender(cfg *EndpointConfig, t *target, enc *rowEncoder) *ingestSender {
	return &ingestSender{
		cfg: cfg, target: t, req: newRequest(enc, cfg.Limit, cfg.Gzip), log: cfg.Logger, seed: maphash.MakeSeed(),
	}
}

// Confirm implements deliver.Sender: the answer to Send was the confirmation.
func (s *ingestSender) Confirm(context.Context) error { return nil }

// Close implements deliver.Sender.
func (s *ingestSender) Close() error { return nil }

// Send implements deliver.Sender. It makes one request, and follows the plan to its end when that one is refused whole.
func (s *ingestSender) Send(ctx context.Context, b record.Batch) (deliver.Result, error) {
	s.recall(b)
	var res deliver.Result
	for {
		wait, err := s.one(ctx, b.Skip(res.Taken), &res)
		switch {
		case err != nil && res.Taken == 0:
			s.remember(b)
			return deliver.Result{RetryAfter: wait}, err
		case err != nil:
			// Part of the plan is done. The worker hears of that now, brings the rest back at once, and gets the
			// error then, should it persist.
			s.log.Warn("blueflood: a part of a refused request failed", "url", s.target.ingest.Redacted(),
				"error", err, "next", "sent again at once")
			s.remember(b.Skip(res.Taken))
			s.handBack(&res)
			return res, nil
		case len(res.Retry) > 0: // the others of a list, ahead of what is left of the plan
			n := len(res.Retry)
			s.handBack(&res)
			s.plan = slices.Insert(s.plan, 0, n)
			s.rememberAt(b, res.Retry)
			return res, nil
		case len(s.plan) == 0:
			return res, nil
		}
	}
}

// one makes one request of points from the front of b and adds what became of them to res. An error says that they
// are still to be sent, after the given time at least.
func (s *ingestSender) one(ctx context.Context, b record.Batch, res *deliver.Result) (time.Duration, error) {
	again, most := len(s.plan) > 0, 0
	if again {
		most = s.plan[0]
	}
	s.req.fill(b, most, s.cfg.window(again))
	if s.req.rows == 0 {
		s.settle(res, s.req.local, nil)
		return 0, nil
	}
	if again {
		s.target.resent.Add(uint64(s.req.rows))
	}
	a := s.target.post(ctx, s.req.body, s.cfg.Now)
	if ctx.Err() != nil && a.err != nil {
		return 0, fmt.Errorf("blueflood: %w", ctx.Err())
	}
	return a.retryAfter, s.judge(&a, res)
}

// judge does what the answer calls for.
func (s *ingestSender) judge(a *answer, res *deliver.Result) error {
	switch a.fate(s.req.body.plain) {
	case fateStored:
		s.settle(res, s.req.local, nil)
		return nil
	case fateListed:
		s.byList(a, res)
		return nil
	case fateRefused:
		s.halve(a, res, ReasonRefused)
		return nil
	case fateTooLong:
		s.halve(a, res, ReasonTooBig)
		return nil
	case fateUnreadable:
		if s.unreadable++; s.unreadable >= maxUnreadable {
			s.halve(a, res, ReasonRefused)
			return nil
		}
	case fateUnconfirmed:
		if s.unconfirmed++; s.unconfirmed >= maxUnconfirmed {
			s.giveUp(a, res, ReasonUnconfirmed)
			return nil
		}
	case fateFailed:
		s.failed(a)
	}
	s.pin()
	return a.error(s.target, s.req.rows)
}

// byList settles a request by the server's list of refused points.
func (s *ingestSender) byList(a *answer, res *deliver.Result) {
	now := s.cfg.Now().UnixMilli()
	rejected, rest, ok := s.req.match(newErrorIndex(a.entries, now, s.cfg.window(true)))
	switch {
	case !ok && s.req.rows == 1:
		e := &a.entries[0]
		rejected = s.req.rejectAll(func(p *record.Point) string { return e.reason(p.Timestamp, now) }, e.Message)
		rest = nil
	case !ok:
		s.halve(a, res, ReasonRefused)
		return
	case a.code == http.StatusMultiStatus:
		rest = nil // stored
	}
	s.warn(a, len(rejected)-len(s.req.local), "given up")
	s.settle(res, rejected, rest)
}

// halve replaces a request that was refused whole by its halves, or gives up the one point in it.
func (s *ingestSender) halve(a *answer, res *deliver.Result, reason string) {
	if s.req.rows == 1 {
		s.giveUp(a, res, reason)
		return
	}
	s.pin()
	s.split()
	s.warn(a, s.req.rows, "its halves at once")
}

// giveUp rejects all points of the request.
func (s *ingestSender) giveUp(a *answer, res *deliver.Result, reason string) {
	s.warn(a, s.req.rows, "given up")
	detail := strings.TrimSpace(fmt.Sprintf("%d %s", a.code, a.message()))
	s.settle(res, s.req.rejectAll(func(*record.Point) string { return reason }, detail), nil)
}

// failed counts timeouts: a server whose limit is below ours answers nothing at all.
func (s *ingestSender) failed(a *answer) {
	if !a.timeout {
		s.silent = 0
		return
	}
	if s.silent++; s.silent >= maxSilent && s.req.rows > 1 {
		s.pin()
		s.split()
	}
}

// pin makes the points of the request the first step of the plan.
func (s *ingestSender) pin() {
	n := s.req.batch.Len()
	switch {
	case len(s.plan) == 0:
		s.plan = append(s.plan, n)
	case s.plan[0] > n:
		s.plan = slices.Insert(s.plan, 0, n)
		s.plan[1] -= n
	}
}

// split replaces the first step of the plan by its halves.
func (s *ingestSender) split() {
	n := s.plan[0]
	s.plan[0] = n / 2
	s.plan = slices.Insert(s.plan, 1, n-n/2)
	s.unconfirmed, s.silent = 0, 0
}

// settle adds the outcome of the request to res, and moves on in the plan.
func (s *ingestSender) settle(res *deliver.Result, rejected []deliver.Rejected, again []int) {
	for _, r := range rejected {
		r.Index += res.Taken
		res.Rejected = append(res.Rejected, r)
	}
	for _, i := range again {
		res.Retry = append(res.Retry, res.Taken+i)
	}
	res.Taken += s.req.batch.Len()
	s.unconfirmed, s.silent = 0, 0
	if len(s.plan) > 0 {
		s.pin()
		s.plan = s.plan[1:]
	}
	if len(s.plan) == 0 {
		s.plan, s.unreadable = nil, 0
	}
}

// handBack marks what is left of the plan to be sent again ahead of newer points.
func (s *ingestSender) handBack(res *deliver.Result) {
	for range s.planned() {
		res.Retry = append(res.Retry, res.Taken)
		res.Taken++
	}
}

// planned is the number of points that the plan is about.
func (s *ingestSender) planned() int {
	n := 0
	for _, step := range s.plan {
		n += step
	}
	return n
}

// remember binds the plan to the front of b.
func (s *ingestSender) remember(b record.Batch) {
	s.sum = maphash.Bytes(s.seed, b.First(s.planned()).Points())
}

// rememberAt binds the plan to the points of b at the indices, which ascend: the next batch begins with them.
func (s *ingestSender) rememberAt(b record.Batch, indices []int) {
	var h maphash.Hash
	h.SetSeed(s.seed)
	var p record.Point
	c := b.Cursor()
	for i := 0; len(indices) > 0 && c.Next(&p); i++ {
		if indices[0] == i {
			_, _ = h.Write(c.Raw())
			indices = indices[1:]
		}
	}
	s.sum = h.Sum64()
}

// recall forgets the plan unless b begins with the points that it is about.
func (s *ingestSender) recall(b record.Batch) {
	n := s.planned()
	if n == 0 || n <= b.Len() && maphash.Bytes(s.seed, b.First(n).Points()) == s.sum {
		return
	}
	s.plan, s.unconfirmed, s.silent, s.unreadable = nil, 0, 0, 0
}

// warn logs an answer that refuses points. Those that only call for another try are logged by the worker, which knows
// when that will be.
func (s *ingestSender) warn(a *answer, points int, next string) {
	s.log.Warn("blueflood: points refused", "url", s.target.ingest.Redacted(), "code", a.code, "reason", a.message(),
		"points", points, "in_request", s.req.rows, "next", next)
}
