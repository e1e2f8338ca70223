package graphite

import "time"

// ClientStats is a snapshot of a client's counters. Accepted + Recovered = Delivered + the sum of Rejected + the sum of
// Dropped + PendingPoints whenever the client is idle.
type ClientStats struct {
	Accepted  uint64            // points that a Send kept
	Recovered uint64            // points that SpoolDir held when the client was made
	Dropped   map[string]uint64 // points lost, by reason: "full" by DropOldest, "damaged" on the disk
	Delivered uint64            // points confirmed, the assumed ones included
	Assumed   uint64            // of those, points that a peer which answers no half-close is assumed to have read
	Resent    uint64            // points sent again after a break; in no sum
	Rejected  map[string]uint64 // points given up, by reason

	PendingPoints int64         // in the queue: neither confirmed nor given up
	PendingBytes  int64         // their size
	Oldest        time.Duration // the age of the oldest of them

	Connected     bool   // a connection is open
	Address       string // the address connected to last
	Connects      uint64 // connections made
	Confirmations uint64 // of them, those that the peer ended as it should
	Slow          bool   // the peer has kept a write or a confirmation waiting for longer than SlowAfter
	Down          bool   // the last attempt failed, or the peer is slow
	LastError     string // of the trouble that is not got over yet; empty when all is well
}

// Stats returns the counters.
func (c *Client) Stats() ClientStats {
	w, q := c.worker.Stats(), c.queue.Stats()
	st := ClientStats{
		Accepted:      c.accepted.Load(),
		Delivered:     w.Delivered,
		Assumed:       c.sender.stats.assumed.Load(),
		Resent:        w.Resent + c.sender.stats.repeated.Load(),
		Rejected:      w.Rejected,
		PendingPoints: q.Points,
		PendingBytes:  q.Bytes,
		Connects:      c.sender.stats.connects.Load(),
		Confirmations: c.sender.stats.confirmed.Load(),
		LastError:     w.LastError,
	}
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
