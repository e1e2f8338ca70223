package pickle

// Datapoint is one value of one metric at one moment, as on the wire.
//
// Timestamp is in seconds since the Unix epoch; carbon senders use both whole
// and fractional seconds, and -1 for "now". Neither number is judged here: NaN,
// infinities and stamps far outside any calendar pass through unchanged.
//
// Name is UTF-8. When it comes from a [Decoder] it is a view, valid until the
// next Decode; see there.
type Datapoint struct {
	Name      []byte
	Timestamp float64
	Value     float64
}
