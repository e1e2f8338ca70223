package flux

import (
	"context"

	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/internal/deadletter"
)

var carbonErrors = &sentinels{graphite.ErrFull, graphite.ErrTooBig, graphite.ErrClosed, graphite.ErrSpool}

type carbonClient struct {
	*graphite.Client
}

func openCarbon(cfg graphite.ClientConfig, dropOldest bool, r reports) (client, error) {
	cfg.DropOldest = dropOldest
	if r.recovered != nil {
		user := cfg.Recovered
		cfg.Recovered = func(pts []graphite.Point, tags []byte) {
			r.recovered(pts, tags)
			if user != nil {
				user(pts, tags)
			}
		}
	}
	if r.delivered != nil {
		user := cfg.Delivered
		cfg.Delivered = func(pts []graphite.Point, tags []byte) {
			r.delivered(pts, tags)
			if user != nil {
				user(pts, tags)
			}
		}
	}
	if r.failed != nil || r.givenUp != nil {
		cfg.Failed = carbonFailed(cfg.Failed, r)
	}
	c, err := graphite.NewClient(cfg)
	if err != nil {
		return nil, carbonErrors.translate(err)
	}
	return carbonClient{c}, nil
}

// carbonFailed puts points that were given up on record, once, and only then lets go of them. After an error it is called
// with the same points again.
func carbonFailed(user func([]graphite.Point, []byte, []graphite.Failure) error, r reports) func([]graphite.Point, []byte, []graphite.Failure) error {
	var l letters
	return func(pts []graphite.Point, tags []byte, why []graphite.Failure) error {
		err := l.record(r.givenUp, len(pts), func(i int) deadletter.Entry {
			return deadletter.Entry{
				Reason: why[i].Reason, Detail: why[i].Detail,
				Name: pts[i].Name, Timestamp: pts[i].Timestamp, Value: pts[i].Value, Tag: tags[i],
			}
		})
		if err == nil && user != nil {
			err = user(pts, tags, why)
		}
		if err != nil {
			return err
		}
		l.settled()
		if r.failed != nil {
			r.failed(pts, tags)
		}
		return nil
	}
}

func (c carbonClient) send(ctx context.Context, pts []graphite.Point, tags []byte) error {
	return carbonErrors.translate(c.SendTagged(ctx, pts, tags))
}

func (c carbonClient) sendAsync(ctx context.Context, pts []graphite.Point, tags []byte) error {
	return carbonErrors.translate(c.SendAsync(ctx, pts, tags))
}

func (c carbonClient) reserve(ctx context.Context, pts []graphite.Point, tags []byte) (reservation, error) {
	r, err := c.Reserve(ctx, pts, tags)
	if err != nil {
		return nil, carbonErrors.translate(err)
	}
	return r, nil
}

func (c carbonClient) sync(ctx context.Context) error  { return carbonErrors.translate(c.Sync(ctx)) }
func (c carbonClient) flush(ctx context.Context) error { return carbonErrors.translate(c.Flush(ctx)) }
func (c carbonClient) close(ctx context.Context) error { return carbonErrors.translate(c.Close(ctx)) }

func (c carbonClient) stats() DestinationStats {
	s := c.Stats()
	return DestinationStats{
		Accepted: s.Accepted, Recovered: s.Recovered, Dropped: s.Dropped,
		Delivered: s.Delivered, Assumed: s.Assumed, GivenUp: s.Rejected,
		Pending: s.PendingPoints, Bytes: s.PendingBytes, Oldest: s.Oldest, Resent: s.Resent,
		Down: s.Down, LastError: s.LastError,
	}
}
