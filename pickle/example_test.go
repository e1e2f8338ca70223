package pickle_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/fluxmetrics/fluxkit/pickle"
)

// What Python 3 writes for pickle.dumps([('servers.web.cpu', (1700000000, 0.5))], 2).
const message = "\x80\x02]q\x00X\x0f\x00\x00\x00servers.web.cpuq\x01J\x00\xf1SeG?\xe0\x00\x00\x00\x00\x00\x00\x86q\x02\x86q\x03a."

// The name of a Datapoint of a Decoder is a view: copy it to keep it.
func ExampleDatapoint() {
	latest := map[string]float64{}
	var d pickle.Decoder
	_ = d.Decode([]byte(message), func(p pickle.Datapoint) { latest[string(p.Name)] = p.Value })
	fmt.Println(latest)
	// Output: map[servers.web.cpu:0.5]
}

func ExampleDecoder() {
	var d pickle.Decoder
	err := d.Decode([]byte(message), func(p pickle.Datapoint) {
		fmt.Printf("%s = %v at %.0f\n", p.Name, p.Value, p.Timestamp)
	})
	fmt.Println(err)
	// Output:
	// servers.web.cpu = 0.5 at 1700000000
	// <nil>
}

// A bad item harms only itself.
func ExampleItemError() {
	body := []byte("](U\x03oneK\x01K\x05\x86\x86" + // ("one", (1, 5))
		"U\x03twoK\x01N\x86\x86" + // ("two", (1, None))
		"U\x05threeK\x01cnumpy\nfloat64\nK\x01\x85R\x86\x86" + // ("three", (1, numpy.float64(1)))
		"U\x04fourK\x01K\x07\x86\x86e.") // ("four", (1, 7))
	d := pickle.Decoder{OnItemError: func(e pickle.ItemError) {
		fmt.Printf("item %d at byte %d: bad %v: %v\n", e.Index, e.Offset, e.Reason, e.Err)
	}}
	err := d.Decode(body, func(p pickle.Datapoint) { fmt.Printf("%s %v\n", p.Name, p.Value) })
	fmt.Println(err, d.BadItems())
	// Output:
	// one 5
	// item 1 at byte 13: bad value: is None
	// item 2 at byte 23: bad unsafe: pickle: refused to import or call: GLOBAL "numpy" "float64"
	// four 7
	// <nil> 2
}

func ExampleReason() {
	counts := map[string]int{} // by a label fit for a metric
	d := pickle.Decoder{OnItemError: func(e pickle.ItemError) { counts[e.Reason.String()]++ }}
	_ = d.Decode([]byte("](NK\x01U\x01aU\x01b\x86e."), nil)
	fmt.Println(counts)
	// Output: map[shape:3]
}

// Nothing is imported or called.
func ExampleUnsafeError() {
	var d pickle.Decoder
	err := d.Decode([]byte("cos\nsystem\n(S'rm -rf /'\ntR."), nil)
	var unsafe *pickle.UnsafeError
	if errors.As(err, &unsafe) {
		fmt.Println(unsafe.Op, unsafe.Module, unsafe.Name)
	}
	fmt.Println(errors.Is(err, pickle.ErrUnsafe))
	// Output:
	// GLOBAL os system
	// true
}

func ExampleDecodeError() {
	var d pickle.Decoder
	err := d.Decode([]byte(message[:30]), nil)
	var e *pickle.DecodeError
	fmt.Println(errors.As(err, &e), e.Offset, e.Op)
	fmt.Println(errors.Is(err, pickle.ErrTruncated), errors.Is(err, io.ErrUnexpectedEOF))
	// Output:
	// true 27 BININT
	// true true
}

func ExampleLimits() {
	d := pickle.Decoder{Limits: pickle.Limits{Items: 2}} // all others have their defaults
	body := []byte("](U\x01aK\x01K\x05\x86\x86q\x00h\x00h\x00h\x00e.")
	n := 0
	err := d.Decode(body, func(pickle.Datapoint) { n++ })
	var limit *pickle.LimitError
	fmt.Println(n, errors.As(err, &limit), limit.Limit, limit.Max)
	// Output: 2 true Items 2
}

func ExampleLimitError() {
	_, err := pickle.Unmarshal(bytes.Repeat([]byte("("), 100), pickle.Limits{})
	fmt.Println(err)
	fmt.Println(errors.Is(err, pickle.ErrLimit))
	// Output:
	// pickle: limit exceeded: Limits.Depth is 64 (MARK at byte 64)
	// true
}

// go-carbon takes several points an item.
func ExampleDecoder_multiPoint() {
	d := pickle.Decoder{MultiPoint: true}
	err := d.Decode([]byte("]](U\x01a](K\x01K\x05e](K\x02K\x06eea."), func(p pickle.Datapoint) {
		fmt.Printf("%s %v %v\n", p.Name, p.Timestamp, p.Value)
	})
	fmt.Println(err)
	// Output:
	// a 1 5
	// a 2 6
	// <nil>
}

func ExampleEncoder() {
	points := []pickle.Datapoint{
		{Name: []byte("servers.web.cpu"), Timestamp: 1700000000, Value: 0.5},
		{Name: []byte("servers.web.cpu\nfake.metric"), Timestamp: 1700000000, Value: 1},
		{Name: []byte("servers.web.load"), Timestamp: 1700000000.25, Value: 2},
	}
	var e pickle.Encoder
	var buf []byte
	for len(points) > 0 {
		out, n, err := e.AppendFrame(buf, points)
		buf, points = out, points[n:]
		var refused *pickle.PointError
		if errors.As(err, &refused) {
			fmt.Println(err)
			points = points[1:]
		}
	}
	fmt.Println(len(buf), "bytes")
	// Output:
	// pickle: name cannot be sent: U+000A at byte 15 (point 1)
	// 91 bytes
}

func ExamplePointError() {
	var e pickle.Encoder
	_, _, err := e.AppendFrame(nil, []pickle.Datapoint{{Name: []byte("a"), Timestamp: math.NaN()}})
	fmt.Println(errors.Is(err, pickle.ErrTimestamp))
	// Output: true
}

func ExampleFrameReader() {
	var conn bytes.Buffer // stands for a connection
	_ = pickle.WriteFrame(&conn, []byte(message))
	_ = pickle.WriteFrame(&conn, []byte("garbage"))
	_ = pickle.WriteFrame(&conn, []byte(message))

	frames, d := pickle.NewFrameReader(&conn, 0), pickle.Decoder{}
	for {
		body, err := frames.Next()
		if err != nil {
			fmt.Println(err)
			return
		}
		err = d.Decode(body, func(p pickle.Datapoint) { fmt.Printf("%s %v\n", p.Name, p.Value) })
		if err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// servers.web.cpu 0.5
	// pickle: body is cut short: unexpected EOF (GET at byte 0)
	// servers.web.cpu 0.5
	// EOF
}

func ExampleFrameError() {
	frames := pickle.NewFrameReader(bytes.NewBufferString("GET /metrics HTTP/1.1\r\n"), 0)
	_, err := frames.Next()
	var lost *pickle.FrameError
	fmt.Println(errors.As(err, &lost), lost.Pending)
	fmt.Println(err)
	// Output:
	// true 23
	// pickle: frame is too large: the length prefix is text, "GET ": not a pickle sender
}

func ExampleUnmarshal() {
	// {'ports': [80, 443], 'pair': (1, None)}
	v, err := pickle.Unmarshal([]byte("\x80\x04}(\x8c\x05ports](KPM\xbb\x01e\x8c\x04pair(K\x01Ntu."), pickle.Limits{})
	if err != nil {
		fmt.Println(err)
		return
	}
	dict := v.(map[any]any)
	fmt.Printf("%v %v\n", dict["ports"].([]any), dict["pair"].(pickle.Tuple))

	_, err = pickle.Unmarshal([]byte("\x80\x04\x8c\x05posix\x8c\x06system\x93."), pickle.Limits{})
	fmt.Println(err)
	// Output:
	// [80 443] [1 <nil>]
	// pickle: refused to import or call: STACK_GLOBAL "posix" "system" (STACK_GLOBAL at byte 17)
}

// Tuples and lists are types of their own.
func ExampleTuple() {
	for _, body := range []string{"K\x01K\x02\x86.", "](K\x01K\x02e."} {
		v, _ := pickle.Unmarshal([]byte(body), pickle.Limits{})
		switch v := v.(type) {
		case pickle.Tuple:
			fmt.Println("tuple of", len(v))
		case []any:
			fmt.Println("list of", len(v))
		}
	}
	// Output:
	// tuple of 2
	// list of 2
}

// So are bytes and text.
func ExampleBytes() {
	for _, body := range []string{"\x80\x03C\x03cpu.", "\x80\x03X\x03\x00\x00\x00cpu."} {
		v, _ := pickle.Unmarshal([]byte(body), pickle.Limits{})
		b, ok := v.(pickle.Bytes)
		fmt.Printf("%q %v\n", b, ok)
	}
	// Output:
	// "cpu" true
	// "" false
}
