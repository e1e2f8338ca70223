// Package pickle reads and writes the pickles that carbon, Graphite's receiver,
// speaks: datapoints as
//
//	[(name, (timestamp, value)), (name, (timestamp, value)), …]
//
// each list with its length before it. Nothing a peer sends can run, crash the
// process, or make it allocate more than a small multiple of the bytes it sent.
//
// # Receiving
//
// A [FrameReader] cuts a connection into messages, a [Decoder] hands out the
// datapoints of each:
//
//	frames := pickle.NewFrameReader(conn, 0)
//	decoder := pickle.Decoder{OnItemError: func(e pickle.ItemError) { bad.Add(1) }}
//	for {
//		body, err := frames.Next()
//		if err != nil {
//			return err // io.EOF, or framing is lost: close the connection
//		}
//		if err := decoder.Decode(body, func(p pickle.Datapoint) {
//			store(p.Name, p.Timestamp, p.Value) // p.Name is a view: copy it to keep it
//		}); err != nil {
//			log.Print(err) // this message is bad; the next one may be fine
//		}
//	}
//
// There are three kinds of trouble, and each harms only what it must. A bad item
// is skipped and told to OnItemError with its index; its siblings arrive. A bad
// message ends with a [*DecodeError]; the items before the bad place have arrived,
// and the connection goes on. Only a [*FrameError] means that the stream is of no
// more use.
//
// The Decoder takes whatever carbon takes: protocols 0 to 5, the C and the Python
// picklers of Python 2.7 to 3.13, and the hand-written pickles of statsd,
// Dropwizard and carbon-relay-ng; tuples or lists, sets, shared objects, numbers
// as text, names as bytes. It differs from carbon on purpose in this: a bad item
// or message never costs the connection, names pickled as bytes by Python 3 work,
// and NaN and odd timestamps are handed out for the caller to judge. Strings,
// sets and dicts are not taken apart as items, which Python would do, and a number
// sent as a string is ASCII: digits and spaces of other scripts, which Python's
// float knows, make a bad item.
//
// The usual layouts are read without a stack, and nothing is allocated once a
// Decoder has warmed up.
//
// # Safety
//
// A pickle is a program for a stack machine that can import and call any
// function. Here nothing is ever imported or called. The opcodes for that leave
// a placeholder: as part of an item it makes that item bad, with an
// [*UnsafeError] that names opcode, module and function, and as the whole message
// it is that error. The one thing recognised is how Python 3 spells bytes in
// protocols 0 to 2, _codecs.encode(text, 'latin1'). There is no switch that turns
// this off.
//
// [Limits] bounds what a message may cost. Its zero value holds safe defaults.
// Lengths and memo indices that a message merely claims cost nothing, a short
// message that refers to one long name many times is bounded by
// Limits.TotalBytes, and nothing recurses.
//
// # Sending
//
// An [Encoder] appends frames of protocol 2 to a buffer of the caller, for carbon
// on Python 2 and 3:
//
//	for len(points) > 0 {
//		out, n, err := encoder.AppendFrame(buf, points)
//		buf, points = out, points[n:]
//		if err != nil { // points[0] can never be sent
//			points = points[1:]
//		}
//	}
//
// It refuses names with white space or control characters, which would become
// lines of their own wherever carbon's line protocol carries them on.
//
// # Other pickles
//
// [Unmarshal] reads a pickle of plain data into Go values: the safe counterpart
// of Python's pickle.loads for what holds no objects.
package pickle
