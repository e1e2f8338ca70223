package graphite

import "time"

// ClientStats is a snapshot of a client's counters. Accepted + Recovered = Delivered + the sum of Rejected + the sum of
// Dropped + PendingPoints whenever the client is idle.
type ClientStats struct {
	Accepted  uint64            // points that a Send kept
	Recovered uint64            // points that SpoolDir held when the client was made
	Dropped   map[string]uint64 // points lost, by reason: "full" by DropOldest, "damaged" in SpoolDir
	Delivered uint64            // points confirmed, the assumed ones included
	Assumed   uint64            // of those, points that a peer which answers no half-close is assumed to have read
	Resent    uint64            // points sent again after a break; in no sum
	Rejected  map[string]uint64 // points given up, by reason

	PendingPoints int64         // in the queue: neither confirmed nor given up
	PendingBytes  int64         // the size of the records that hold them
	Oldest        time.Duration // the age of the oldest of them
	SpoolBytes    int64         // what SpoolDir holds, to be held against SpoolMax

	DeadLetterPoints  int64  // points that DeadLetter holds
	DeadLetterBytes   int64  // its size
	DeadLetterDropped uint64 // points that it let go of since the client was made, for want of room

	Connected     bool   // a connection is open
	Address       string // the address connected to last
	Connects      uint64 // connections made
	Confirmations uint64 // of them, those that the peer ended as it should
	Slow          bool   // the peer has kept a write or a confirmation waiting for longer than SlowAfter
	Down          bool   // the last attempt failed, or the peer is slow
	LastError     string // of the trouble that is not got over yet, the spool's included; empty when all is well
	SpoolError    string // why SpoolDir takes nothing at present; empty when it does
}

// Stats returns the counters.
func (c *Client) Stats() ClientStats {
	w, q := c.worker.Stats(), c.queue.Stats()
	st := ClientStats{
		Accepted:      c.accepted.Load(),
		Recovered:     c.recovered,
		Delivered:     w.Delivered,
		Assumed:       c.sender.stats.assumed.Load(),
		Resent:        w.Resent + c.sender.stats.repeated.Load(),
		Rejected:      w.Rejected,
		PendingBytes:  q.Bytes,
		SpoolBytes:    q.DiskBytes,
		Connects:      c.sender.stats.connects.Load(),
		Confirmations: c.sender.stats.confirmed.Load(),
		LastError:     w.LastError,
	}
	st.PendingPoints, st.Dropped = w.Balance(q)
	if q.Failing != nil {
		st.SpoolError = q.Failing.Error()
		if st.LastError == "" {
			st.LastError = st.SpoolError
		}
	}
	d := c.dead.Stats()
	st.DeadLetterPoints, st.DeadLetterBytes, st.DeadLetterDropped = d.Points, d.Bytes, uint64(d.Dropped)
	if !q.Oldest.IsZero() {
		st.Oldest = time.Since(q.Oldest)
	}
	var waited time.Duration
	st.Address, st.Connected, waited = c.sender.stats.look()
	st.Slow = waited > c.cfg.SlowAfter
	st.Down = st.Slow || w.LastError != ""
	return st
}

// look says which address was connected to last, whether it still is, and how long the peer has kept us waiting.
func (s *senderStats) look() (addr string, connected bool, waited time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	since := s.since
	if s.conn != nil {
		if ns := s.conn.raw.waiting.Load(); ns != 0 && since.IsZero() {
			since = time.Unix(0, ns)
		}
	}
	if !since.IsZero() {
		waited = time.Since(since)
	}
	return s.addr, s.conn != nil, waited
}
