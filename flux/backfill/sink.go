package backfill

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/fluxmetrics/fluxkit/graphite"
)

// Sink is where history goes. Send returns nil once all points are confirmed as delivered; after an error they are sent
// again. The points belong to the caller and are reused once Send has returned. It is called from several goroutines,
// for different metrics.
type Sink interface {
	Send(ctx context.Context, pts []graphite.Point) error
}

// Carbon is a Sink over a graphite.Client of its own, so that history has its own queue and connection, and delays no
// live point by more than what Carbon is reading.
type Carbon struct {
	client *graphite.Client

	mu     sync.Mutex
	failed map[string]graphite.Failure // by metric, while a Send of it is under way
}

// NewCarbon returns a Sink that delivers as cfg says. Its SpoolDir is not used: what is not confirmed the job sends
// again. Failed, if set, is called as well.
func NewCarbon(cfg graphite.ClientConfig) (*Carbon, error) {
	c := &Carbon{failed: map[string]graphite.Failure{}}
	also := cfg.Failed
	cfg.SpoolDir = ""
	cfg.Failed = func(pts []graphite.Point, tags []byte, why []graphite.Failure) error {
		c.mu.Lock()
		for i, p := range pts {
			if _, under := c.failed[string(p.Name)]; under {
				c.failed[string(p.Name)] = why[i]
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

// Send implements Sink. It waits, while Carbon is away, until ctx ends.
func (c *Carbon) Send(ctx context.Context, pts []graphite.Point) error {
	if len(pts) == 0 {
		return nil
	}
	name := string(pts[0].Name)
	c.mu.Lock()
	c.failed[name] = graphite.Failure{}
	c.mu.Unlock()
	err := c.client.Send(ctx, pts)
	if err == nil {
		err = c.client.Flush(ctx)
	}
	c.mu.Lock()
	failure := c.failed[name]
	delete(c.failed, name)
	c.mu.Unlock()
	if err == nil && failure.Reason != "" {
		err = fmt.Errorf("backfill: carbon was not given points of the chunk: %s %s", failure.Reason, failure.Detail)
	}
	return err
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
