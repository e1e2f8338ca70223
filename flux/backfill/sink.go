package backfill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"math"
	"sync"
	"time"

	"github.com/fluxmetrics/fluxkit/graphite"
)

// Sink is where history goes. Send returns nil once all points are confirmed as delivered; after an error the job waits, and
// they are sent again. A Send that cannot deliver for long returns an error, so that the job tells of it. The points belong to the caller and are reused once Send has returned. It is called from several goroutines,
// for different metrics.
type Sink interface {
	Send(ctx context.Context, pts []graphite.Point) error
}

// Carbon is a Sink over a graphite.Client of its own, so that history has its own queue and connection, and delays no
// live point by more than what Carbon is reading.
type Carbon struct {
	client  *graphite.Client
	failing time.Duration // for how long the client may fail, and nothing be confirmed, before a Send ends
	silent  time.Duration // likewise, while nothing fails and nothing comes back
	seed    maphash.Seed

	mu   sync.Mutex
	sent map[string]*sentTo // by metric: what is under way
}

// sentTo is the newest chunk of a metric that the client was given, until it is confirmed.
type sentTo struct {
	sum     uint64           // of its points
	waits   bool             // a Send waits for it
	failure graphite.Failure // of one of its points
}

const (
	failingAtMost = 30 * time.Second
	// maxSent bounds the chunks that nobody waits for and that are remembered.
	maxSent = 10_000
)

// NewCarbon returns a Sink that delivers as cfg says. Its SpoolDir is not used: what is not confirmed the job sends
// again. Failed, if set, is called as well.
func NewCarbon(cfg graphite.ClientConfig) (*Carbon, error) {
	c := &Carbon{failing: failingAtMost, seed: maphash.MakeSeed(), sent: map[string]*sentTo{}}
	c.silent = c.failing + cmp.Or(cfg.ConfirmAfter, 2*time.Second) + cmp.Or(cfg.AssumeAfter, 30*time.Second)
	also := cfg.Failed
	cfg.SpoolDir = ""
	cfg.Failed = func(pts []graphite.Point, tags []byte, why []graphite.Failure) error {
		c.mu.Lock()
		for i, p := range pts {
			if s := c.sent[string(p.Name)]; s != nil {
				s.failure = why[i]
			}
		}
		c.mu.Unlock()
		if also != nil {
			return also(pts, tags, why)
		}
		return nil
	}
	client, err := graphite.NewClient(cfg)
	c.client = client
	return c, err
}

// Send implements Sink. While Carbon is away it waits for 30 s, or longer if others' points are confirmed meanwhile, then
// returns the client's last error; likewise, after as long as a confirmation may take, while Carbon reads nothing. The
// points stay on their way: when the same ones are sent again they are waited for, and not sent twice.
func (c *Carbon) Send(ctx context.Context, pts []graphite.Point) error {
	if len(pts) == 0 {
		return nil
	}
	watched, end := context.WithCancelCause(ctx)
	defer end(nil)
	go c.watch(watched, end)
	s, given := c.begin(pts)
	var err error
	if !given {
		err = c.client.Send(watched, pts)
		given = err == nil
	}
	if err == nil {
		err = c.client.Flush(watched)
	}
	if away := (*awayError)(nil); errors.As(context.Cause(watched), &away) && err != nil {
		err = away
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.waits = false; err == nil || !given {
		delete(c.sent, string(pts[0].Name))
	}
	if err == nil && s.failure.Reason != "" {
		err = fmt.Errorf("backfill: carbon was not given points of the chunk: %s %s", s.failure.Reason, s.failure.Detail)
	}
	return err
}

// begin notes a chunk. given reports whether the client has it already, and nothing newer of its metric.
func (c *Carbon) begin(pts []graphite.Point) (s *sentTo, given bool) {
	name := string(pts[0].Name)
	var h maphash.Hash
	h.SetSeed(c.seed)
	for _, p := range pts {
		maphash.WriteComparable(&h, p.Timestamp)
		maphash.WriteComparable(&h, math.Float64bits(p.Value))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s = c.sent[name]; s != nil && s.sum == h.Sum64() {
		s.waits = true
		return s, true
	}
	if len(c.sent) >= maxSent {
		maps.DeleteFunc(c.sent, func(_ string, s *sentTo) bool { return !s.waits })
	}
	s = &sentTo{sum: h.Sum64(), waits: true}
	c.sent[name] = s
	return s, false
}

// awayError is why a Send has ended although its context has not.
type awayError struct{ why string }

func (e *awayError) Error() string { return "backfill: nothing is delivered to Carbon: " + e.why }

// watch ends a Send when the client has come no further for long enough.
func (c *Carbon) watch(ctx context.Context, end context.CancelCauseFunc) {
	tick := time.NewTicker(min(time.Second, c.failing/4))
	defer tick.Stop()
	settled := func(st graphite.ClientStats) uint64 {
		n := st.Delivered
		for _, of := range []map[string]uint64{st.Rejected, st.Dropped} {
			for _, k := range of {
				n += k
			}
		}
		return n
	}
	last, since := settled(c.client.Stats()), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		st := c.client.Stats()
		n, waited := settled(st), time.Since(since)
		switch {
		case n != last:
			last, since = n, time.Now()
		case st.LastError != "" && waited >= c.failing:
			end(&awayError{st.LastError})
		case waited >= c.silent:
			end(&awayError{fmt.Sprintf("carbon %s has confirmed nothing for %v", st.Address, c.silent)})
		}
	}
}

// Stats returns the client's counters.
func (c *Carbon) Stats() graphite.ClientStats { return c.client.Stats() }

// Close stops the client. Close the Manager before: what it has not confirmed its jobs send again.
func (c *Carbon) Close(ctx context.Context) error {
	err := c.client.Close(ctx)
	if errors.Is(err, graphite.ErrClosed) {
		return nil
	}
	return err
}
