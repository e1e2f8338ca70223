package pickle

import (
	"errors"
	"fmt"
	"io"
)

// What can make a message unreadable. Decode and Unmarshal return them inside a
// [*DecodeError], so test with errors.Is.
var (
	// ErrTruncated says that the body ends inside an opcode or before STOP. It
	// matches io.ErrUnexpectedEOF too.
	ErrTruncated = fmt.Errorf("pickle: body is cut short: %w", io.ErrUnexpectedEOF)
	// ErrOpcode says that a byte is no opcode of protocols 0 to 5.
	ErrOpcode = errors.New("pickle: unknown opcode")
	// ErrProtocol says that the message is of a protocol above 5.
	ErrProtocol = errors.New("pickle: unsupported protocol")
	// ErrStack says that an opcode found too few values, no mark, or a value of
	// the wrong kind on the stack.
	ErrStack = errors.New("pickle: stack does not fit the opcode")
	// ErrMemo says that a memo index is malformed or was never stored.
	ErrMemo = errors.New("pickle: bad memo index")
	// ErrNotList says that the message holds something other than a list, tuple
	// or set of items.
	ErrNotList = errors.New("pickle: message is not a list of datapoints")
	// ErrUnsafe matches every [*UnsafeError].
	ErrUnsafe = errors.New("pickle: refused to import or call")
	// ErrUnsupported says that [Unmarshal] does not read a construct that is
	// harmless in itself.
	ErrUnsupported = errors.New("pickle: not supported by Unmarshal")
	// ErrSyntax says that the text of a number or string is malformed.
	ErrSyntax = errors.New("pickle: malformed text")
	// ErrLimit matches every [*LimitError].
	ErrLimit = errors.New("pickle: limit exceeded")
)

// DecodeError is why the rest of a message could not be read.
type DecodeError struct {
	Offset int    // of the opcode, in bytes from the start of the body
	Op     string // name of the opcode as Python's pickletools prints it, or ""
	Err    error  // matches a sentinel above; may be a *LimitError or an *UnsafeError
}

func (e *DecodeError) Error() string {
	if e.Op == "" {
		return fmt.Sprintf("%v (at byte %d)", e.Err, e.Offset)
	}
	return fmt.Sprintf("%v (%s at byte %d)", e.Err, e.Op, e.Offset)
}

// Unwrap returns the cause.
func (e *DecodeError) Unwrap() error { return e.Err }

// UnsafeError names something that a message asked to import, call or load from
// elsewhere. Nothing of the kind is ever done. It matches [ErrUnsafe].
type UnsafeError struct {
	Op     string // opcode, for example "GLOBAL" or "BINPERSID"
	Module string // module and name as the message gives them, cut at 80 bytes;
	Name   string // empty for opcodes that carry none
}

func (e *UnsafeError) Error() string {
	if e.Module == "" && e.Name == "" {
		return fmt.Sprintf("%v: %s", ErrUnsafe, e.Op)
	}
	return fmt.Sprintf("%v: %s %q %q", ErrUnsafe, e.Op, e.Module, e.Name)
}

// Is reports whether target is ErrUnsafe.
func (e *UnsafeError) Is(target error) bool { return target == ErrUnsafe }

// LimitError says which field of [Limits] a message went over. It matches
// [ErrLimit].
type LimitError struct {
	Limit string // name of the field
	Max   int    // its value
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%v: Limits.%s is %d", ErrLimit, e.Limit, e.Max)
}

// Is reports whether target is ErrLimit.
func (e *LimitError) Is(target error) bool { return target == ErrLimit }

// Reason says in one word what is wrong with an item.
type Reason uint8

// The reasons for a bad item.
const (
	// BadShape: not a (name, (timestamp, value)) of tuples or lists.
	BadShape Reason = iota + 1
	// BadName: the name is no string, or not UTF-8.
	BadName
	// BadTimestamp: the timestamp is neither a number nor a numeric string, or
	// it is an integer that no float64 holds.
	BadTimestamp
	// BadValue: the same of the value.
	BadValue
	// BadUnsafe: a part is an object that would have to be imported or called, a
	// numpy scalar for example. Err is an *UnsafeError.
	BadUnsafe
	// BadLimit: a part is over StringBytes or IntegerBytes. Err is a *LimitError.
	BadLimit
)

// String returns a name fit for a metric label: "shape", "name", "timestamp",
// "value", "unsafe" or "limit".
func (r Reason) String() string {
	switch r {
	case BadShape:
		return "shape"
	case BadName:
		return "name"
	case BadTimestamp:
		return "timestamp"
	case BadValue:
		return "value"
	case BadUnsafe:
		return "unsafe"
	case BadLimit:
		return "limit"
	}
	return "unknown"
}

// ItemError reports one item that was skipped.
type ItemError struct {
	Index  int    // of the item in the message's list, from 0
	Offset int    // of the item's first byte in the body
	Reason Reason // what is wrong
	Err    error  // more about it, or nil
}

func (e ItemError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("pickle: item %d (at byte %d): bad %v: %v", e.Index, e.Offset, e.Reason, e.Err)
	}
	return fmt.Sprintf("pickle: item %d (at byte %d): bad %v", e.Index, e.Offset, e.Reason)
}

// Unwrap returns Err.
func (e ItemError) Unwrap() error { return e.Err }
