package bluefloodtest

import (
	"net/http"
	"strconv"
	"time"
)

// Reply changes the answer to one ingest request. The zero value changes nothing.
type Reply struct {
	// Status answers with that status instead of the genuine one, and the points are not stored.
	Status int
	// Message, with Status, is sent in an error list about the whole request, as the server itself does it.
	Message string
	// Body, with Status and without Message, is sent as it stands.
	Body string
	// Header is added to the answer.
	Header http.Header

	// Delay passes between the request and whatever follows. It is real time.
	Delay time.Duration
	// Hang never answers; the connection stays open, and another request on it is answered.
	Hang bool
	// Reset breaks the connection instead of answering.
	Reset bool
	// Store treats the points genuinely, whatever Status, Hang or Reset then do to the answer.
	Store bool
}

func (r *Reply) genuine() bool { return r.Status == 0 && !r.Hang && !r.Reset }

// Unconfirmed is the answer of a server whose storage took too long: 202.
func Unconfirmed() Reply {
	return Reply{Status: http.StatusAccepted, Message: "Timed out persisting metrics"}
}

// PersistFailed is the answer of a server whose storage failed: 500.
func PersistFailed() Reply {
	return Reply{Status: http.StatusInternalServerError, Message: "Persisted failed for metrics"}
}

// Throttled is the answer of a proxy that limits the rate: 429 with Retry-After in whole seconds.
func Throttled(after time.Duration) Reply {
	return Reply{
		Status: http.StatusTooManyRequests,
		Header: http.Header{"Retry-After": {strconv.Itoa(int(after / time.Second))}},
	}
}

// Queue sets the answers to the next ingest requests, one each, behind those that are queued already.
func (s *Server) Queue(replies ...Reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.queue = append(s.faults.queue, replies...)
}

// Fallback sets the answer to all ingest requests that find the queue empty. Reply{} makes them genuine again.
func (s *Server) Fallback(r Reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.fallback = r
}

func (s *Server) nextReply() Reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults.next()
}

// faults are the replies to come.
type faults struct {
	queue    []Reply
	fallback Reply
}

func (f *faults) next() Reply {
	if len(f.queue) == 0 {
		return f.fallback
	}
	r := f.queue[0]
	f.queue = f.queue[1:]
	return r
}
