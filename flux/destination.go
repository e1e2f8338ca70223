package flux

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/graphite"
)

// tagJudged marks a point, for as long as it is pending, as one that the filter waits for.
const tagJudged = 1

// destination is the server's view of a client that owns a queue.
type destination interface {
	// send keeps the points, all or none; tags may be nil. It waits for room until ctx ends, and then returns an error
	// that wraps ErrFull.
	send(ctx context.Context, pts []graphite.Point, tags []byte) error
	flush(ctx context.Context) error
	close(ctx context.Context) error
	stats() DestinationStats
}

// DestinationStats is the account of one destination. Accepted + Recovered = Delivered + the sum of GivenUp + the sum of
// Dropped + Pending, exactly so when nothing is going on.
type DestinationStats struct {
	Name      string
	Required  bool
	Accepted  uint64
	Recovered uint64            // points that the spool held at the start
	Dropped   map[string]uint64 // points lost, by reason: "full" where it is not required, "damaged" on the disk
	Delivered uint64
	Assumed   uint64 // of the delivered, those that a peer which confirms nothing is assumed to have
	GivenUp   map[string]uint64
	Pending   int64
	Bytes     int64         // that the pending take
	Oldest    time.Duration // age of the oldest pending point
	Resent    uint64        // in no sum
	Down      bool
	LastError string
}

// settled is what a destination calls with points that have left its queue, delivered or given up. It may be nil.
type settled func(pts []graphite.Point, tags []byte)

// openDestination starts the client that d describes.
func openDestination(d Destination, done settled) (destination, error) {
	if d.Carbon != nil {
		return openCarbon(*d.Carbon, done)
	}
	return openBlueflood(*d.Blueflood, done)
}

type carbonDestination struct {
	client *graphite.Client
}

func openCarbon(cfg graphite.ClientConfig, done settled) (destination, error) {
	if done != nil {
		delivered, failed := cfg.Delivered, cfg.Failed
		cfg.Delivered = func(pts []graphite.Point, tags []byte) {
			done(pts, tags)
			if delivered != nil {
				delivered(pts, tags)
			}
		}
		cfg.Failed = func(pts []graphite.Point, tags []byte, why []graphite.Failure) error {
			if failed != nil {
				if err := failed(pts, tags, why); err != nil {
					return err
				}
			}
			done(pts, tags)
			return nil
		}
	}
	c, err := graphite.NewClient(cfg)
	if err != nil {
		return nil, err
	}
	return &carbonDestination{client: c}, nil
}

func (d *carbonDestination) send(ctx context.Context, pts []graphite.Point, tags []byte) error {
	return translate(d.client.SendTagged(ctx, pts, tags), graphite.ErrFull, graphite.ErrTooBig, graphite.ErrClosed)
}

// translate wraps a client's error into this package's of the same meaning.
func translate(err, full, tooBig, closed error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, full):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case errors.Is(err, tooBig):
		return fmt.Errorf("%w: %w", ErrTooBig, err)
	case errors.Is(err, closed):
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return err
}

func (d *carbonDestination) flush(ctx context.Context) error { return d.client.Flush(ctx) }
func (d *carbonDestination) close(ctx context.Context) error { return d.client.Close(ctx) }

func (d *carbonDestination) stats() DestinationStats {
	s := d.client.Stats()
	return DestinationStats{
		Name: "carbon", Accepted: s.Accepted, Delivered: s.Delivered, Assumed: s.Assumed, GivenUp: s.Rejected,
		Pending: s.PendingPoints, Bytes: s.PendingBytes, Oldest: s.Oldest, Resent: s.Resent,
		Down: s.Down, LastError: s.LastError,
	}
}

type bluefloodDestination struct {
	endpoint *blueflood.Endpoint
	done     settled
	pool     sync.Pool // *[]blueflood.Metric
}

func openBlueflood(cfg blueflood.EndpointConfig, done settled) (destination, error) {
	d := &bluefloodDestination{done: done}
	if done != nil {
		delivered, failed := cfg.Delivered, cfg.Failed
		cfg.Delivered = func(ms []blueflood.Metric) {
			d.settle(ms)
			if delivered != nil {
				delivered(ms)
			}
		}
		cfg.Failed = func(ms []blueflood.Metric, why []blueflood.Failure) error {
			if failed != nil {
				if err := failed(ms, why); err != nil {
					return err
				}
			}
			d.settle(ms)
			return nil
		}
	}
	e, err := blueflood.NewEndpoint(cfg)
	if err != nil {
		return nil, err
	}
	d.endpoint = e
	return d, nil
}

func (d *bluefloodDestination) settle(ms []blueflood.Metric) {
	var pts []graphite.Point
	var tags []byte
	for i := range ms {
		if ms[i].Tag != 0 {
			pts = append(pts, graphite.Point{Name: ms[i].Name, Timestamp: ms[i].Timestamp, Value: ms[i].Value})
			tags = append(tags, ms[i].Tag)
		}
	}
	if len(pts) > 0 {
		d.done(pts, tags)
	}
}

func (d *bluefloodDestination) send(ctx context.Context, pts []graphite.Point, tags []byte) error {
	ms, _ := d.pool.Get().(*[]blueflood.Metric)
	if ms == nil {
		ms = new([]blueflood.Metric)
	}
	for i := range pts {
		p := &pts[i]
		*ms = append(*ms, blueflood.Metric{Name: p.Name, Timestamp: p.Timestamp, Value: p.Value})
	}
	for i := range tags {
		(*ms)[i].Tag = tags[i]
	}
	err := d.endpoint.Send(ctx, *ms)
	clear(*ms)
	*ms = (*ms)[:0]
	d.pool.Put(ms)
	return translate(err, blueflood.ErrFull, blueflood.ErrTooBig, blueflood.ErrClosed)
}

func (d *bluefloodDestination) flush(ctx context.Context) error { return d.endpoint.Flush(ctx) }
func (d *bluefloodDestination) close(ctx context.Context) error { return d.endpoint.Close(ctx) }

func (d *bluefloodDestination) stats() DestinationStats {
	s := d.endpoint.Stats()
	return DestinationStats{
		Name: "blueflood", Accepted: s.Accepted, Delivered: s.Delivered, GivenUp: s.Rejected,
		Pending: s.PendingPoints, Bytes: s.PendingBytes, Oldest: s.Oldest, Resent: s.Resent,
		Down: s.Down, LastError: s.LastError,
	}
}
