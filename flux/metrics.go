package flux

import (
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/fluxmetrics/fluxkit/flux/backfill"
)

// Collector returns the server's account for Prometheus, to be registered wherever the caller likes; those of several
// servers on one registry need labels that tell them apart, by prometheus.WrapRegistererWith. It reads Stats when it is
// collected, and costs nothing in between. No metric's name, address or key is in it.
func (s *Server) Collector() prometheus.Collector { return &collector{s} }

type collector struct{ s *Server }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("flux_"+name, help, labels, nil)
}

var (
	descReceived  = desc("points_received_total", "Points that came in, good and bad.")
	descAccepted  = desc("points_accepted_total", "Points kept for delivery.")
	descDuplicate = desc("points_duplicate_total", "Points discarded as delivered before, or pending.")
	descLate      = desc("points_late_total", "Points discarded as older than their metric's high-water mark.")
	descUnjudged  = desc("points_unjudged_total", "Points among the accepted that the dedup store was not there to judge.")
	descRejected  = desc("points_rejected_total", "Points rejected.", "reason")
	descUnread    = desc("requests_unread_total", "Requests that could not be read as points.", "reason")

	descDestUp        = desc("destination_up", "1 unless the last attempt to deliver failed, or the destination is slow.", "destination", "tenant")
	descDestAccepted  = desc("destination_points_accepted_total", "Points that the destination's queue took.", "destination", "tenant")
	descDestRecovered = desc("destination_points_recovered_total", "Points that the spool held at the start.", "destination", "tenant")
	descDestDelivered = desc("destination_points_delivered_total", "Points that the destination has confirmed.", "destination", "tenant")
	descDestAssumed   = desc("destination_points_assumed_total", "Points among the delivered that a peer which confirms nothing is assumed to have.", "destination", "tenant")
	descDestResent    = desc("destination_points_resent_total", "Points sent once more after a failure.", "destination", "tenant")
	descDestGivenUp   = desc("destination_points_given_up_total", "Points that the destination will never take.", "destination", "tenant", "reason")
	descDestDropped   = desc("destination_points_dropped_total", "Points lost.", "destination", "tenant", "reason")
	descDestPending   = desc("destination_points_pending", "Points in the queue.", "destination", "tenant")
	descDestBytes     = desc("destination_pending_bytes", "Size of the queue.", "destination", "tenant")
	descDestOldest    = desc("destination_oldest_pending_seconds", "Age of the oldest point in the queue.", "destination", "tenant")

	descLetterPoints  = desc("dead_letter_points", "Points in the dead-letter file.")
	descLetterBytes   = desc("dead_letter_bytes", "Size of the dead-letter file.")
	descLetterDropped = desc("dead_letter_dropped_total", "Points that the bound of the dead-letter file cost.")

	descStoreUp      = desc("dedup_store_up", "1 unless the dedup store does not answer, or does not take marks.")
	descPendingMarks = desc("dedup_pending_points", "Accepted points that the filter waits for.")
	descUnraised     = desc("dedup_unraised_marks", "High-water marks on their way to the store, or waiting for it.")
	descEvicted      = desc("dedup_evicted_points_total", "Pending points that the filter forgot to make room.")

	descJobs         = desc("populate_jobs", "Jobs for history that have not ended: queued, running, or waiting after a failure.", "state")
	descJobsPending  = desc("populate_jobs_pending", "Jobs for history that have not ended, of all states.")
	descJobsAccepted = desc("populate_jobs_accepted_total", "Jobs for history that were accepted.")
	descJobsEnded    = desc("populate_jobs_ended_total", "Jobs for history that have ended: done, failed or cancelled.", "state")
	descPopSent      = desc("populate_points_sent_total", "Points of history that were confirmed.")
	descPopResent    = desc("populate_points_resent_total", "Points among them that had been sent before, unconfirmed.")
	descPopRestored  = desc("populate_live_points_restored_total", "Live points sent once more, since history for their minute was under way.")
	descPopForgotten = desc("populate_live_points_forgotten_total", "Live points beyond what is remembered, in whose place history may stand.")
	descFetches      = desc("populate_fetches_total", "Requests for history to other servers.")
	descFetchErrors  = desc("populate_fetch_errors_total", "Requests among them without an answer that could be used.")
	descFetchedBytes = desc("populate_fetched_bytes_total", "Size of their answers, after decompression.")
)

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descReceived, descAccepted, descDuplicate, descLate, descUnjudged, descRejected, descUnread,
		descDestUp, descDestAccepted, descDestRecovered, descDestDelivered, descDestAssumed, descDestResent,
		descDestGivenUp, descDestDropped, descDestPending, descDestBytes, descDestOldest,
		descLetterPoints, descLetterBytes, descLetterDropped, descStoreUp, descPendingMarks, descUnraised, descEvicted,
		descJobs, descJobsPending, descJobsAccepted, descJobsEnded, descPopSent, descPopResent, descPopRestored, descPopForgotten,
		descFetches, descFetchErrors, descFetchedBytes,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	tell := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels []string) {
		for i := range labels {
			labels[i] = strings.ToValidUTF8(labels[i], "?") // what else the library refuses
		}
		out <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		tell(d, prometheus.CounterValue, float64(v), labels)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) { tell(d, prometheus.GaugeValue, v, labels) }
	st := c.s.Stats()
	count(descReceived, st.Received)
	count(descAccepted, st.Accepted)
	count(descDuplicate, st.Duplicate)
	count(descLate, st.Late)
	count(descUnjudged, st.Unjudged)
	for reason, n := range st.Rejected {
		count(descRejected, n, reason)
	}
	for reason, n := range st.Unread {
		count(descUnread, n, reason)
	}
	for i := range st.Destinations {
		d := &st.Destinations[i]
		gauge(descDestUp, oneUnless(d.Down), d.Name, d.Tenant)
		count(descDestAccepted, d.Accepted, d.Name, d.Tenant)
		count(descDestRecovered, d.Recovered, d.Name, d.Tenant)
		count(descDestDelivered, d.Delivered, d.Name, d.Tenant)
		count(descDestAssumed, d.Assumed, d.Name, d.Tenant)
		count(descDestResent, d.Resent, d.Name, d.Tenant)
		for reason, n := range d.GivenUp {
			count(descDestGivenUp, n, d.Name, d.Tenant, reason)
		}
		for reason, n := range d.Dropped {
			count(descDestDropped, n, d.Name, d.Tenant, reason)
		}
		gauge(descDestPending, float64(d.Pending), d.Name, d.Tenant)
		gauge(descDestBytes, float64(d.Bytes), d.Name, d.Tenant)
		gauge(descDestOldest, d.Oldest.Seconds(), d.Name, d.Tenant)
	}
	if c.s.letters != nil {
		gauge(descLetterPoints, float64(st.DeadLetter.Points))
		gauge(descLetterBytes, float64(st.DeadLetter.Bytes))
		count(descLetterDropped, uint64(max(0, st.DeadLetter.Dropped)))
	}
	if f := c.s.door.filter; f != nil {
		fs := f.Stats()
		gauge(descStoreUp, oneUnless(st.StoreDown))
		gauge(descPendingMarks, float64(fs.Pending))
		gauge(descUnraised, float64(fs.Unraised))
		count(descEvicted, fs.Evicted)
	}
	if ps, ok := c.s.PopulateStats(); ok {
		tellPopulate(ps, count, gauge)
	}
}

// tellPopulate tells of the jobs for history.
func tellPopulate(ps backfill.Stats, count func(*prometheus.Desc, uint64, ...string), gauge func(*prometheus.Desc, float64, ...string)) {
	for state, n := range ps.Jobs {
		gauge(descJobs, float64(n), string(state))
	}
	gauge(descJobsPending, float64(ps.Pending))
	count(descJobsAccepted, ps.Accepted)
	for state, n := range ps.Ended {
		count(descJobsEnded, n, string(state))
	}
	count(descPopSent, ps.Sent)
	count(descPopResent, ps.Resent)
	count(descPopRestored, ps.Restored)
	count(descPopForgotten, ps.Forgotten)
	count(descFetches, ps.Fetches)
	count(descFetchErrors, ps.FetchErrors)
	count(descFetchedBytes, ps.FetchedBytes)
}

func oneUnless(down bool) float64 {
	if down {
		return 0
	}
	return 1
}

// metricsHandler serves the account, and that of the process, as text.
func (s *Server) metricsHandler() http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(s.Collector(), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}
