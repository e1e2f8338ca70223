package backfill

import (
	"context"
	"math"
	"time"

	"github.com/fluxmetrics/fluxkit/resample"
)

// State is how a job stands.
type State string

// The states. A job that waits has failed at something and tries again at Status.RetryAt, or looks then whether the local
// Graphite shows what it has sent.
const (
	Queued    State = "queued"
	Running   State = "running"
	Waiting   State = "waiting"
	Done      State = "done"
	Failed    State = "failed"
	Cancelled State = "cancelled"
)

// Ended reports whether the job is over.
func (s State) Ended() bool { return s == Done || s == Failed || s == Cancelled }

// Status is how a job stands at a moment. Durations aside it is what the job's file holds, and it can be written as JSON.
type Status struct {
	ID           string   `json:"id"`
	Metric       string   `json:"metric"`
	HostType     HostType `json:"remote_host_type"`
	RemoteTarget string   `json:"remote_target,omitempty"`
	State        State    `json:"state"`

	Accepted time.Time `json:"accepted"`
	Started  time.Time `json:"started,omitzero"`  // first taken up
	Finished time.Time `json:"finished,omitzero"` // ended
	RetryAt  time.Time `json:"retry_at,omitzero"` // of a job that waits

	// Since is from when on history is missing, as it was decided; zero as long as that is open, and where all is.
	Since time.Time `json:"since,omitzero"`
	// Through is how far the job has come: every minute before it is delivered.
	Through time.Time `json:"through,omitzero"`
	// Mark is the newest sample that was confirmed, to which the metric's mark was raised, and Value that minute's value.
	Mark  time.Time `json:"mark,omitzero"`
	Value float64   `json:"value,omitempty"`

	Slices       int   `json:"slices"`         // of the request
	Fetched      int   `json:"fetched"`        // answers that were taken, those to repeated requests included
	Samples      int64 `json:"samples"`        // with a finite value, in those answers
	Nulls        int64 `json:"nulls"`          // without one
	Sent         int64 `json:"sent"`           // points that were confirmed
	Resent       int64 `json:"resent"`         // among them those that had been sent before, unconfirmed
	Restored     int64 `json:"restored"`       // live points that were sent once more, since history may have been written over them
	LiveForgot   int64 `json:"live_forgotten"` // live points or minutes of them beyond what is remembered: history may stand in their place
	SkippedLive  int64 `json:"skipped_live"`   // minutes left to live points
	SkippedFull  int64 `json:"skipped_full"`   // minutes that the local Graphite had, for a request with missing: render
	Overflows    int64 `json:"overflows"`      // minutes left out since their samples together have no finite value
	Errors       int64 `json:"errors"`         // attempts that failed
	ResolutionMS int64 `json:"resolution_ms"`  // of the source, as package resample finds it; 0 where it is not known

	Error   string `json:"error,omitempty"`   // the last one
	Note    string `json:"note,omitempty"`    // what an operator should know of a job that went on
	Warning string `json:"warning,omitempty"` // that the job does not outlive the process

	// Newest is the newest datapoint of the source, and NewestNull whether it had no value: with Samples 0 that is what
	// Skyline notes as [timestamp, None], so that nobody asks again and again.
	Newest     time.Time `json:"newest,omitzero"`
	NewestNull bool      `json:"newest_null,omitempty"`
}

// record is what is kept of a job. Times are Unix milliseconds, none for no time.
type record struct {
	Status

	Series  string  `json:"series,omitempty"`
	Fill    bool    `json:"fill,omitempty"`
	URLs    []slice `json:"urls"`
	Begin   int64   `json:"begin"`   // first whole minute that was asked for
	Cut     int64   `json:"cut"`     // samples from here on are left out
	Start   int64   `json:"start"`   // history from here on is missing
	Decided bool    `json:"decided"` // Start is
	Exists  bool    `json:"exists"`  // the local Graphite has the metric, or is not asked
	Done    int64   `json:"done"`    // Through
	Seq     int64   `json:"seq"`     // grows with each version that is kept
}

// job is a record with what is not kept.
type job struct {
	record                    // guarded by Manager.mu, save from its worker's reads
	live    *liveMetric       //
	forgot  int64             // of live.forgotten, what is counted
	retryAt time.Time         //
	tried   time.Time         // when it was taken up last, or accepted
	origins []string          // see sources
	fails   int               // in a row
	since   time.Time         // of the first of them
	large   int               // answers in a row that were too large
	next    int               // slice to be fetched
	at      int64             // from where on, if a part of it is there; else none
	span    int64             // of how much time at once; 0: of all
	held    held              //
	coarse  coarse            // part of the slice that may have come coarse
	born    *unseen           // first point of a new metric, while it is waited for
	sent    *sentChunk        // chunk that is not confirmed yet
	carry   []resample.Sample // of slices before it, not delivered yet
	cancel  context.CancelFunc
	revoked bool          // Cancel was called
	ended   chan struct{} // closed at the end
}

func fromMS(ms int64) time.Time {
	if ms == none || ms == math.MaxInt64 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// from is where the minutes begin that the job may send, once Start is decided.
func (r *record) from() int64 { return max(r.Start, r.Begin) }

// lower is where the samples begin that are still wanted.
func (r *record) lower() int64 { return max(r.from(), r.Done) }

// status is a copy for the world.
func (r *record) status() Status {
	s := r.Status
	s.Since, s.Through = fromMS(r.Start), fromMS(r.Done)
	return s
}

// frontier is where the part begins that is to be fetched next, or the slice after it, which may be finer and overlap what
// is there: what lies before both is complete.
func (j *job) frontier() int64 {
	if j.next == len(j.URLs) {
		return math.MaxInt64
	}
	begins := j.URLs[j.next].From
	if j.at != none {
		begins = j.at
		if j.next+1 < len(j.URLs) {
			begins = min(begins, j.URLs[j.next+1].From)
		}
	}
	if begins == none {
		return none
	}
	return floorMinute(begins)
}

// version is a copy of the record that is to be kept, newer than all before. The manager's lock is held.
func (j *job) version() record {
	j.Seq++
	return j.record
}

// restart forgets what was fetched and not delivered.
func (j *job) restart() {
	j.next, j.carry, j.at, j.held, j.coarse = 0, nil, none, held{}, coarse{}
}
