package graphite

import "time"

// kernelState is what the operating system knows about a connection and the process does not.
type kernelState struct {
	known    bool          // false: the system does not tell, or the socket is gone
	acked    uint64        // bytes that the peer's kernel acknowledged since the connection began; SYN and FIN count one each
	pending  bool          // bytes, or our FIN, wait to be sent or acknowledged; on a unix socket: to be read
	due      bool          // something sent, perhaps a probe of a closed window, waits for an acknowledgement
	sinceAck time.Duration // since the last acknowledgement of any kind
	closing  bool          // the peer's FIN came before it acknowledged ours
	err      error         // what broke the connection, if anything did; only lastState asks
}

// proves reports whether an end of file that came in this state shows that the peer's process read all of our bytes.
//
// A process that has read everything closes, and its kernel's FIN then finds all of our bytes and our FIN acknowledged.
// One that dies or closes with bytes unread resets the connection: that may follow the FIN of a shutdown, and shows as
// an error. Bytes that were under way when the end of file came show as unacknowledged. The count is compared because a
// reset empties the send queue, which makes it look as if nothing were pending.
func (k kernelState) proves(base, written uint64) bool {
	return k.err == nil && !k.pending && !k.closing && k.acked == base+written+1
}

// ackWatch tells a dead connection from one whose peer is slow: something of ours, data or a probe, has gone
// unacknowledged for longer than limit.
type ackWatch struct {
	limit time.Duration
	since time.Time // when the wait for the acknowledgement that is due began; zero when none is
}

func (w *ackWatch) stalled(now time.Time, k kernelState) bool {
	if !k.known || !k.due {
		w.since = time.Time{}
		return false
	}
	if w.since.IsZero() {
		w.since = now
	}
	if ack := now.Add(-k.sinceAck); ack.After(w.since) {
		w.since = ack
	}
	return now.Sub(w.since) > w.limit
}
