package ingest

import "strconv"

// MaxReported is how many points a Report lists. It counts all.
const MaxReported = 100

// Report is the answer to a request whose points are judged one by one when some were left out, in the form that Flux
// documents for telegraf: status 207, to be written as JSON.
type Report struct {
	Code       int          `json:"code"`
	Message    string       `json:"message"`
	Data       []ReportItem `json:"data"`
	NonNumeric []string     `json:"dropped non-numeric metrics"`
	Dropped    int          `json:"dropped non-numeric metrics count"`
	Rejected   int          `json:"rejected metrics count"`
	Processed  int          `json:"processed metrics count"`
	Submitted  int          `json:"submitted metrics count"`
	Skipped    int          `json:"defined skipped_metrics_count"` // always 0: there is no skip list
}

// ReportItem is one point that was left out.
type ReportItem struct {
	Metric string `json:"metric"` // without the prefix of the key; empty where there is no name
	Status int    `json:"status"` // 400
	Reason string `json:"reason"` // "non-numeric value", or a whole message
}

// Report tells what became of the points, once Validate returned nil. It does not cite what a point was that is fine.
func (r *Request) Report() Report {
	out := Report{Code: 207, Submitted: r.Points, Processed: len(r.Items), Data: []ReportItem{}, NonNumeric: []string{}}
	for i := range r.Rejected {
		x := &r.Rejected[i]
		item := ReportItem{Metric: string(x.Metric), Status: 400, Reason: nonNumeric}
		if x.Reason != ReasonNonNumeric {
			out.Rejected++
			item.Reason = x.Message()
		} else if out.Dropped++; out.Dropped <= MaxReported {
			out.NonNumeric = append(out.NonNumeric, item.Metric)
		}
		if len(out.Data) < MaxReported {
			out.Data = append(out.Data, item)
		}
	}
	out.Message = strconv.Itoa(out.Dropped) + " non-numeric value metrics were dropped"
	if out.Rejected > 0 {
		out.Message += " and " + strconv.Itoa(out.Rejected) + " metrics were rejected"
	}
	return out
}
