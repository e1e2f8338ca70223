package backfill

import (
	"io"
	"sync/atomic"
)

// Stats is a Manager's account. Jobs and Pending are of the moment; everything else is counted since New.
type Stats struct {
	// Jobs are those that have not ended, by state: Queued, Running and Waiting.
	Jobs map[State]int
	// Pending is how many have not ended.
	Pending int

	Accepted uint64           // jobs
	Ended    map[State]uint64 // jobs, by state: Done, Failed and Cancelled

	Sent      uint64 // points of history that were confirmed
	Resent    uint64 // among them those that had been sent before, unconfirmed
	Restored  uint64 // live points that were sent once more: see Live
	Forgotten uint64 // live points, or minutes of them, beyond what is remembered

	Fetches      uint64 // requests to sources
	FetchErrors  uint64 // those that gave no answer, or one that could not be used
	FetchedBytes uint64 // of answers, after decompression
}

// counters are what is counted for Stats.
type counters struct {
	accepted, done, failed, cancelled  atomic.Uint64
	sent, resent, restored, forgotten  atomic.Uint64
	fetches, fetchErrors, fetchedBytes atomic.Uint64
}

func (c *counters) end(s State) {
	switch s {
	case Done:
		c.done.Add(1)
	case Failed:
		c.failed.Add(1)
	case Cancelled:
		c.cancelled.Add(1)
	}
}

// Stats returns the account.
func (m *Manager) Stats() Stats {
	c := &m.count
	s := Stats{
		Jobs:     map[State]int{Queued: 0, Running: 0, Waiting: 0},
		Accepted: c.accepted.Load(),
		Ended:    map[State]uint64{Done: c.done.Load(), Failed: c.failed.Load(), Cancelled: c.cancelled.Load()},
		Sent:     c.sent.Load(), Resent: c.resent.Load(), Restored: c.restored.Load(), Forgotten: c.forgotten.Load(),
		Fetches: c.fetches.Load(), FetchErrors: c.fetchErrors.Load(), FetchedBytes: c.fetchedBytes.Load(),
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, j := range m.byMetric {
		if !j.State.Ended() {
			s.Jobs[j.State]++
			s.Pending++
		}
	}
	return s
}

// countedReader counts what is read.
type countedReader struct {
	io.Reader
	n *atomic.Uint64
}

func (r countedReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.n.Add(uint64(n))
	return n, err
}
