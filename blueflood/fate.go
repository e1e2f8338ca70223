package blueflood

import "net/http"

// fate is what an answer means for the request that it is about.
type fate int

const (
	fateFailed      fate = iota // nothing is known to be stored: send it again later
	fateStored                  // all of it is stored
	fateUnconfirmed             // the server cannot tell: send it again, a bounded number of times
	fateListed                  // the list says which points are refused; of 207 the others are stored
	fateRefused                 // refused whole because of something in it: halve it
	fateTooLong                 // refused whole because of its length: halve it
	fateUnreadable              // the server calls it its own failure, yet will never take it: halve it after some tries
)

// smallBody is the length up to which a 413 cannot be about the length: old proxies limit their rate with it.
const smallBody = 4096

// fate reads the answer to a request whose body, inflated, had the given length.
func (a *answer) fate(length int) fate {
	switch a.code {
	case http.StatusOK, http.StatusCreated, http.StatusNoContent:
		return fateStored
	case http.StatusAccepted:
		return fateUnconfirmed
	case http.StatusMultiStatus, http.StatusBadRequest:
		if perPoint(a.entries) {
			return fateListed
		}
		return fateRefused
	case http.StatusRequestEntityTooLarge:
		if a.retryAfter > 0 || length <= smallBody {
			return fateFailed
		}
		return fateTooLong
	case http.StatusExpectationFailed:
		return fateTooLong
	case http.StatusInternalServerError:
		if len(a.entries) == 1 && a.entries[0].Message == "Failed parsing content" {
			return fateUnreadable
		}
	}
	return fateFailed
}

// message is what the answer says in its first words, for people.
func (a *answer) message() string {
	if len(a.entries) > 0 {
		return a.entries[0].Message
	}
	return a.text
}
