package flux

import (
	"context"
	"time"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
	"github.com/fluxmetrics/fluxkit/graphite"
)

// DefaultSelfMetricsEvery is how often self-metrics are sent when SelfMetrics.Every is 0, as the original sends them.
const DefaultSelfMetricsEvery = time.Minute

// SelfMetrics has the server send some of its figures as points of its own, under the names that the original uses. Each
// but the last is what was added since they were sent before:
//
//	worker.metrics_sent_to_graphite       points that Config.Destination confirmed
//	worker.discarded.already_received     points discarded as duplicate or late
//	listen.added_to_queue                 points accepted
//	listen.discarded.invalid_timestamp    points rejected for their timestamps: no time, too old, too far ahead
//	listen.discarded.metric_name          points rejected for their names
//	listen.discarded.invalid_value        points rejected for their values
//	listen.discarded.invalid_key          points rejected for their keys, or for want of one
//	listen.discarded.invalid_parameters   requests that could not be read
//	listen.dropped_non_numeric_metrics    telegraf's fields that are no number
//	listen.over_quota_metrics_count       points rejected for the number of their key's names
//	worker.httpMetricDataQueue.size       points that are pending for Config.Destination, now
//
// The original counts distinct names in places where these count points. Its figures of aggregation, of Prometheus, of
// populate_metric and of liveness are left out, since nothing here is behind them.
//
// The points go through the door as those of Ingest do and are counted as received and accepted like all others, in
// listen.added_to_queue too, but they are not judged and raise no mark. A queue that is full rejects them, which is
// counted as "full", rather than let them wait.
type SelfMetrics struct {
	// Prefix stands before the names, such as skyline.flux.web-1. Empty: nothing is sent.
	Prefix string
	// Every is how often they are sent. 0 means a minute.
	Every time.Duration
}

func (m SelfMetrics) check() error {
	if err := ingest.CheckPrefix(m.Prefix); err != nil {
		return configError("SelfMetrics.Prefix: %w", err)
	}
	if m.Every < 0 {
		return configError("SelfMetrics.Every is %v, and cannot be negative", m.Every)
	}
	return nil
}

// selfMetrics sends self-metrics until ctx ends: what was added to before.
func (s *Server) selfMetrics(ctx context.Context, before []selfFigure) {
	t := time.NewTicker(orDefault(s.cfg.SelfMetrics.Every, DefaultSelfMetricsEvery))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		now := s.selfFigures()
		if err := s.door.pass(ctx, s.selfPoints(now, before), entry{async: true, try: true}); err != nil {
			s.log.Debug("self-metrics were not taken", "error", err)
		}
		before = now
	}
}

// selfFigure is one of the self-metrics.
type selfFigure struct {
	name  string
	value uint64
	gauge bool
}

// selfFigures reads them off the account. Of the destinations Config.Destination counts.
func (s *Server) selfFigures() []selfFigure {
	st, first := s.Stats(), len(s.door.out.required[0].outlets)
	rejected := func(reasons ...ingest.Reason) (n uint64) {
		for _, r := range reasons {
			n += st.Rejected[string(r)]
		}
		return n
	}
	var unread, sent, pending uint64
	for _, n := range st.Unread {
		unread += n
	}
	for i := range first { // its tenants
		sent += st.Destinations[i].Delivered
		pending += uint64(max(0, st.Destinations[i].Pending))
	}
	return []selfFigure{
		{name: "worker.metrics_sent_to_graphite", value: sent},
		{name: "worker.discarded.already_received", value: st.Duplicate + st.Late},
		{name: "listen.added_to_queue", value: st.Accepted},
		{name: "listen.discarded.invalid_timestamp", value: rejected(ingest.ReasonTimestamp, ingest.ReasonOld, ingest.ReasonFuture, "in_future")},
		{name: "listen.discarded.metric_name", value: rejected(ingest.ReasonName)},
		{name: "listen.discarded.invalid_value", value: rejected(ingest.ReasonValue)},
		{name: "listen.discarded.invalid_key", value: rejected(reasonKey, reasonNoKey)},
		{name: "listen.discarded.invalid_parameters", value: unread},
		{name: "listen.dropped_non_numeric_metrics", value: rejected(ingest.ReasonNonNumeric)},
		{name: "listen.over_quota_metrics_count", value: rejected(reasonQuota)},
		{name: "worker.httpMetricDataQueue.size", value: pending, gauge: true},
	}
}

// selfPoints are the figures as points, at the present second.
func (s *Server) selfPoints(now, before []selfFigure) []graphite.Point {
	at := s.cfg.Now().Truncate(time.Second).UnixMilli()
	pts := make([]graphite.Point, len(now))
	for i, f := range now {
		if !f.gauge {
			f.value -= before[i].value
		}
		pts[i] = graphite.Point{Name: []byte(s.cfg.SelfMetrics.Prefix + "." + f.name), Timestamp: at, Value: float64(f.value)}
	}
	return pts
}
