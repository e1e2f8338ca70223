package pickle

// Defaults of [Limits]; a zero field stands for its default.
const (
	DefaultMaxBody         = 1 << 20
	DefaultMaxItems        = 1 << 19
	DefaultMaxDepth        = 64
	DefaultMaxMemo         = 1 << 18
	DefaultMaxStringBytes  = 16 << 10
	DefaultMaxTotalBytes   = 32 << 20
	DefaultMaxIntegerBytes = 1 << 10
)

// maxBody is the largest body that 31-bit positions reach with room to spare.
const maxBody = 1 << 29

// Limits bounds what one message may cost. The zero value holds the defaults,
// which fit what carbon's senders write. Carbon itself knows only the first, so it
// would take a name of 20,000 bytes, which here is a bad item. A limit that a value
// exceeds spoils that item alone where the rest stays readable (StringBytes,
// IntegerBytes); the others end the message with a [*LimitError].
//
// With any setting the scratch memory of one message stays below 96 bytes a
// byte of body, and what a body only claims (lengths, memo indices) costs
// nothing.
type Limits struct {
	// Body is the longest message, in bytes. 0 means 1 MiB, as in carbon; the
	// most is 512 MiB.
	Body int
	// Items is the most datapoints and bad items of one message. For [Unmarshal]
	// it is the most values, counting a shared one each time it is reached. 0
	// means 524,288.
	Items int
	// Depth is the deepest nesting: of marks, of tuples, and for [Unmarshal] of
	// all containers. 0 means 64; carbon's own messages need 3.
	Depth int
	// Memo is the most memo entries. 0 means 262,144.
	Memo int
	// StringBytes is the longest single string, name or text number. 0 means
	// 16 KiB.
	StringBytes int
	// TotalBytes is the most bytes of names handed out for one message, or found
	// not to be UTF-8, where a name repeated by the memo counts each time. For [Unmarshal] it counts the
	// bytes of all strings so. 0 means 32 MiB.
	TotalBytes int
	// IntegerBytes is the widest integer: bytes in binary, digits in text. It
	// also bounds a number sent as a string; together those of one message may
	// take 16 times the body, which only the memo can make of them. 0 means 1,024;
	// a float64 holds no integer of more than 128 bytes or 309 digits.
	IntegerBytes int
}

// withDefaults returns l with every zero field filled in.
func (l Limits) withDefaults() Limits {
	fill := func(field *int, def int) {
		if *field <= 0 {
			*field = def
		}
	}
	fill(&l.Body, DefaultMaxBody)
	fill(&l.Items, DefaultMaxItems)
	fill(&l.Depth, DefaultMaxDepth)
	fill(&l.Memo, DefaultMaxMemo)
	fill(&l.StringBytes, DefaultMaxStringBytes)
	fill(&l.TotalBytes, DefaultMaxTotalBytes)
	fill(&l.IntegerBytes, DefaultMaxIntegerBytes)
	l.Body = min(l.Body, maxBody)
	l.Items = min(l.Items, maxBody)
	l.Depth = min(l.Depth, 1<<15)
	return l
}
