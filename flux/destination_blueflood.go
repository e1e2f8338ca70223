package flux

import (
	"context"
	"sync"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/internal/deadletter"
)

var bluefloodErrors = &sentinels{blueflood.ErrFull, blueflood.ErrTooBig, blueflood.ErrClosed, blueflood.ErrSpool}

type bluefloodClient struct {
	*blueflood.Endpoint
	pool sync.Pool // *[]blueflood.Metric
}

func openBlueflood(cfg blueflood.EndpointConfig, dropOldest bool, r reports) (client, error) {
	cfg.DropOldest = dropOldest
	if r.recovered != nil {
		var view pointView
		user := cfg.Recovered
		cfg.Recovered = func(ms []blueflood.Metric) {
			view.tell(ms, r.recovered)
			if user != nil {
				user(ms)
			}
		}
	}
	if r.delivered != nil {
		var view pointView
		user := cfg.Delivered
		cfg.Delivered = func(ms []blueflood.Metric) {
			view.tell(ms, r.delivered)
			if user != nil {
				user(ms)
			}
		}
	}
	if r.failed != nil || r.givenUp != nil {
		cfg.Failed = bluefloodFailed(cfg.Failed, cfg.Tenant, r)
	}
	e, err := blueflood.NewEndpoint(cfg)
	if err != nil {
		return nil, bluefloodErrors.translate(err)
	}
	return &bluefloodClient{Endpoint: e}, nil
}

// bluefloodFailed puts points that were given up on record, once, and only then lets go of them. After an error it is
// called with the same points again.
func bluefloodFailed(user func([]blueflood.Metric, []blueflood.Failure) error, tenant string, r reports) func([]blueflood.Metric, []blueflood.Failure) error {
	var l letters
	var view pointView
	return func(ms []blueflood.Metric, why []blueflood.Failure) error {
		err := l.record(r.givenUp, len(ms), func(i int) deadletter.Entry {
			m := &ms[i]
			return deadletter.Entry{
				Tenant: tenant, Reason: why[i].Reason, Detail: why[i].Detail,
				Name: m.Name, Timestamp: m.Timestamp, Value: m.Value, TTL: m.TTL, Unit: m.Unit, Tag: m.Tag,
			}
		})
		if err == nil && user != nil {
			err = user(ms, why)
		}
		if err != nil {
			return err
		}
		l.settled()
		if r.failed != nil {
			view.tell(ms, r.failed)
		}
		return nil
	}
}

// pointView shows metrics as points. It is scratch of an endpoint's goroutine.
type pointView struct {
	pts  []graphite.Point
	tags []byte
}

// tell passes the metrics on.
func (j *pointView) tell(ms []blueflood.Metric, f func([]graphite.Point, []byte)) {
	j.pts, j.tags = j.pts[:0], j.tags[:0]
	for i := range ms {
		j.pts = append(j.pts, graphite.Point{Name: ms[i].Name, Timestamp: ms[i].Timestamp, Value: ms[i].Value})
		j.tags = append(j.tags, ms[i].Tag)
	}
	f(j.pts, j.tags)
	clear(j.pts)
}

// metrics returns the points in the endpoint's terms, to be put back.
func (c *bluefloodClient) metrics(pts []graphite.Point, tags []byte) *[]blueflood.Metric {
	ms, _ := c.pool.Get().(*[]blueflood.Metric)
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
	return ms
}

func (c *bluefloodClient) put(ms *[]blueflood.Metric) {
	clear(*ms)
	*ms = (*ms)[:0]
	c.pool.Put(ms)
}

func (c *bluefloodClient) send(ctx context.Context, pts []graphite.Point, tags []byte) error {
	ms := c.metrics(pts, tags)
	defer c.put(ms)
	return bluefloodErrors.translate(c.Send(ctx, *ms))
}

func (c *bluefloodClient) sendAsync(ctx context.Context, pts []graphite.Point, tags []byte) error {
	ms := c.metrics(pts, tags)
	defer c.put(ms)
	return bluefloodErrors.translate(c.SendAsync(ctx, *ms))
}

func (c *bluefloodClient) reserve(ctx context.Context, pts []graphite.Point, tags []byte) (reservation, error) {
	ms := c.metrics(pts, tags)
	defer c.put(ms)
	r, err := c.Reserve(ctx, *ms)
	if err != nil {
		return nil, bluefloodErrors.translate(err)
	}
	return r, nil
}

func (c *bluefloodClient) sync(ctx context.Context) error {
	return bluefloodErrors.translate(c.Sync(ctx))
}
func (c *bluefloodClient) flush(ctx context.Context) error {
	return bluefloodErrors.translate(c.Flush(ctx))
}
func (c *bluefloodClient) close(ctx context.Context) error {
	return bluefloodErrors.translate(c.Close(ctx))
}

func (c *bluefloodClient) stats() DestinationStats {
	s := c.Stats()
	return DestinationStats{
		Accepted: s.Accepted, Recovered: s.Recovered, Dropped: s.Dropped,
		Delivered: s.Delivered, GivenUp: s.Rejected,
		Pending: s.PendingPoints, Bytes: s.PendingBytes, Oldest: s.Oldest, Resent: s.Resent,
		Down: s.Down, LastError: s.LastError,
	}
}
