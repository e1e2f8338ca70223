package dedup

import (
	"context"
	"fmt"
	"time"
)

// Skyline's keys about history that was fetched, which its Vista reads.
const (
	uniqueMetricsKey    = "vista.fetcher.unique_metrics"
	lastResolutionKey   = "vista.last.resolution."
	lastResolutionLasts = 3600 // seconds
)

// NoteFetched writes what Skyline's Vista looks for after it has asked for
// history: it adds target, the name that the source has for the metric, to the
// set vista.fetcher.unique_metrics unless it is empty, and puts the source's
// resolution, in whole seconds, at vista.last.resolution.<metric> for an hour
// unless it is less than one.
func (r *Redis) NoteFetched(ctx context.Context, metric, target string, resolution time.Duration) error {
	var commands []command
	if target != "" {
		commands = append(commands, command{"SADD", []any{uniqueMetricsKey, target}})
	}
	if seconds := int64(resolution / time.Second); seconds > 0 {
		commands = append(commands, command{"SETEX", []any{lastResolutionKey + metric, lastResolutionLasts, seconds}})
	}
	if len(commands) == 0 {
		return nil
	}
	err := r.edit(ctx, func(c *redisConn) error {
		_, err := pipeline(c, commands...)
		return err
	})
	if err != nil {
		return fmt.Errorf("dedup: redis: note fetched history: %w", err)
	}
	return nil
}
