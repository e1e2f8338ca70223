package graphite

import (
	"fmt"
	"unicode"
	"unicode/utf8"
)

// Reason says why something that a sender wrote is not a point that can be kept. It is an error, so that
// errors.Is(err, graphite.ReasonNaN) works on what ParseLine and CheckName return, and its String is a short label for
// a counter.
type Reason uint8

// The reasons. One stands for one rejected thing: a line, an item of a pickle, a message, or what was left of one.
const (
	// ReasonMalformed: a line that has not exactly three fields.
	ReasonMalformed Reason = iota + 1
	// ReasonNumber: a value or a timestamp that does not read as a number.
	ReasonNumber
	// ReasonNaN: the value is not a number; carbon drops it too.
	ReasonNaN
	// ReasonInfinite: the value is infinite, or too large to be anything else.
	ReasonInfinite
	// ReasonTimestamp: a timestamp that is NaN, infinite, or more milliseconds than an int64 holds.
	ReasonTimestamp
	// ReasonNameEmpty: a name of no bytes.
	ReasonNameEmpty
	// ReasonNameSpace: a name with whitespace or a control character in it.
	ReasonNameSpace
	// ReasonNameUTF8: a name that is not UTF-8.
	ReasonNameUTF8
	// ReasonEncoding: a line or a datagram that is not UTF-8, which only strict carbon minds as a whole.
	ReasonEncoding
	// ReasonTooLong: a line over the limit; the stream goes on at the next newline.
	ReasonTooLong
	// ReasonCut: a line or a frame that a disconnect, or our own end, cut short.
	ReasonCut
	// ReasonItem: an item of a pickle that is not a datapoint; its siblings are kept.
	ReasonItem
	// ReasonMessage: a pickle that cannot be read; the connection is kept.
	ReasonMessage
	// ReasonFrame: a length prefix over the limit. Where the next frame starts is unknown: the connection is closed.
	ReasonFrame

	reasons // the number of reasons, with the unused zero
)

var reasonTexts = [reasons]struct{ label, text string }{
	0:               {"none", "no reason"},
	ReasonMalformed: {"malformed", "not three fields"},
	ReasonNumber:    {"number", "value or timestamp is not a number"},
	ReasonNaN:       {"nan", "value is NaN"},
	ReasonInfinite:  {"infinite", "value is infinite"},
	ReasonTimestamp: {"timestamp", "timestamp is not finite or out of range"},
	ReasonNameEmpty: {"name_empty", "name is empty"},
	ReasonNameSpace: {"name_space", "name has whitespace or a control character"},
	ReasonNameUTF8:  {"name_utf8", "name is not UTF-8"},
	ReasonEncoding:  {"encoding", "text is not UTF-8"},
	ReasonTooLong:   {"too_long", "line is over the limit"},
	ReasonCut:       {"cut", "cut short"},
	ReasonItem:      {"item", "pickled item is not a datapoint"},
	ReasonMessage:   {"message", "pickle cannot be read"},
	ReasonFrame:     {"frame", "frame length is over the limit"},
}

// String is the reason as a short label: "nan", "name_space".
func (r Reason) String() string {
	if r >= reasons {
		return "unknown"
	}
	return reasonTexts[r].label
}

// Error tells the reason in words.
func (r Reason) Error() string {
	if r >= reasons {
		return fmt.Sprintf("graphite: unknown reason %d", uint8(r))
	}
	return "graphite: " + reasonTexts[r].text
}

// Rejection is one rejected thing, as parsers and receivers report it.
type Rejection struct {
	Reason Reason
	// Peer is the sender's address; empty from a parser that has none.
	Peer string
	// Text is the line, or the metric's name for a pickled item, as far as known. It is a view: copy what is kept.
	Text []byte
	// Bytes is how much was rejected: the line without its newline, the frame. For a line over the limit it is what
	// had been seen of it when it was given up.
	Bytes int
	// Err has the details where a decoder gave some; nil for lines.
	Err error
}

// Error tells the reason, the peer and the start of the text.
func (r Rejection) Error() string {
	s := r.Reason.Error()
	if r.Err != nil {
		s += ": " + r.Err.Error()
	}
	if len(r.Text) > 0 {
		s += fmt.Sprintf(": %q", shorten(r.Text))
	}
	if r.Peer != "" {
		s += " from " + r.Peer
	}
	return s
}

// Unwrap gives the Reason to errors.Is and errors.As.
func (r Rejection) Unwrap() error { return r.Reason }

// shorten cuts text for a message where carbon does, at 400 bytes.
func shorten(text []byte) []byte { return text[:min(len(text), 400)] }

// CheckName returns nil for a name that every carbon peer can be given, or the Reason why it is not one: it is empty,
// it holds whitespace or a control character, which would break the line that carries it, or it is not UTF-8, for
// which carbon closes the connection. Everything else is left alone, tags included; the rule is the same for receivers
// and senders, lines and pickles.
func CheckName[T string | []byte](name T) error {
	if r := checkName(name); r != 0 {
		return r
	}
	return nil
}

func checkName[T string | []byte](name T) Reason {
	if len(name) == 0 {
		return ReasonNameEmpty
	}
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c <= ' ' || c == 0x7f:
			return nameReason(name)
		case c >= utf8.RuneSelf:
			return nameReason(name)
		}
	}
	return 0
}

// checkNameBytes is checkName, eight bytes at a time.
func checkNameBytes(name []byte) Reason {
	if len(name) > 0 && nameEnd(name) == len(name) {
		return 0
	}
	return checkName(name)
}

// nameReason judges a name that is not all printable ASCII.
func nameReason[T string | []byte](name T) Reason {
	var found Reason
	for i := 0; i < len(name); {
		r, size := utf8.DecodeRuneInString(string(name[i:min(i+utf8.UTFMax, len(name))]))
		if r == utf8.RuneError && size == 1 {
			return ReasonNameUTF8
		}
		if unicode.IsSpace(r) || unicode.IsControl(r) {
			found = ReasonNameSpace
		}
		i += size
	}
	return found
}
