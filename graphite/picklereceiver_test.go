package graphite_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"path"
	"syscall"
	"testing"
	"time"

	ogorek "github.com/kisielk/og-rek"
	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite"
)

// item is a pickled datapoint as og-rek takes it.
func item(name any, ts, value any) ogorek.Tuple {
	return ogorek.Tuple{name, ogorek.Tuple{ts, value}}
}

// frame is a message of the items with its length in front, written without the codec under test.
func frame(t testing.TB, items ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, ogorek.NewEncoderWithConfig(&b, &ogorek.EncoderConfig{Protocol: 2}).Encode(items))
	return append(binary.BigEndian.AppendUint32(nil, uint32(b.Len())), b.Bytes()...)
}

func TestPickleReceiver(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_123)
	r := graphite.PickleReceiver{Now: func() time.Time { return now }}
	var k keeper
	s := start(t, &r, listen(t), k.handle)
	c := s.dial()
	c.write(frame(t, item("a", 1700000000, 1.5), item("b", 1700000000.25, 2)))
	c.write(frame(t,
		item("now", -1, 1), item("also.now", -1.9, 1), item("before", -2, 1),
		item("c", 1, math.NaN()), item("d", math.NaN(), 1), item("e", math.Inf(1), 1), item("f", 1, math.Inf(-1)),
		item("g", 1e17, 1), item("", 1, 1), item("h i", 1, 1), item("j\n", 1, 1), item("k", "x", 1), item(5, 1, 1),
		ogorek.Tuple{"short"}, item("last", 1.0006, "2.5"),
	))
	c.write([]byte("\x00\x00\x00\x05hello"))
	c.write([]byte("\x00\x00\x00\x00"))
	c.write(frame(t, item("z", 1, 1)))
	c.confirmed()
	require.Equal(t, []textPoint{
		{"a", 1700000000000, 1.5}, {"b", 1700000000250, 2}, {"now", now.UnixMilli(), 1}, {"also.now", now.UnixMilli(), 1},
		{"before", -2000, 1}, {"last", 1001, 2.5}, {"z", 1000, 1},
	}, k.points())
	require.Equal(t, 3, k.calls)
	require.Equal(t, map[graphite.Reason]uint64{
		graphite.ReasonNaN: 1, graphite.ReasonTimestamp: 3, graphite.ReasonInfinite: 1, graphite.ReasonNameEmpty: 1,
		graphite.ReasonNameSpace: 2, graphite.ReasonNumber: 1, graphite.ReasonItem: 2, graphite.ReasonMessage: 2,
	}, r.Stats().Rejected)
	require.EqualValues(t, 7, r.Stats().Points)
}

// Carbon's own points for pickles of many writers. Only names that are bytes are read where carbon does not.
func TestPickleOracle(t *testing.T) {
	cases := readOracle(t, "../../pickle/testdata/pickle.json.gz")
	for _, strict := range []bool{false, true} {
		r := graphite.PickleReceiver{Strict: strict, Now: func() time.Time { return oracleNow }}
		var k keeper
		s := start(t, &r, listen(t), k.handle)
		differ := map[string]int{}
		for _, c := range cases {
			input, want := c.bytes(t), c.want(t)
			k.pts = nil
			p := s.dial()
			p.write(input)
			p.confirmed()
			kind := path.Base(c.Name)
			switch {
			case kind == "bytes_name" && len(want) == 0:
				want = []textPoint{{"foo.bar", 1700000000000, 1.5}}
				differ[kind]++
			case kind == "val_inf" && !strict: // see whyInf
				want = nil
				differ[kind]++
			}
			require.Equal(t, want, k.points(), "%s (strict %v), carbon: %s", c.Name, strict, c.Verdict)
		}
		require.Equal(t, 4, differ["bytes_name"])
	}
}

func TestPickleOptions(t *testing.T) {
	f := func(r *graphite.PickleReceiver, want ...textPoint) {
		t.Helper()
		var k keeper
		s := start(t, r, listen(t), k.handle)
		c := s.dial()
		c.write(frame(t, item("inf", 1, math.Inf(1)), item("a b", 1, 1), ogorek.Tuple{"m", ogorek.Tuple{1, 1}, ogorek.Tuple{2, 2}}))
		c.confirmed()
		require.Equal(t, want, k.points())
	}
	inf, space := textPoint{"inf", 1000, math.Inf(1)}, textPoint{"a b", 1000, 1}
	f(&graphite.PickleReceiver{})
	f(&graphite.PickleReceiver{AllowInf: true}, inf)
	f(&graphite.PickleReceiver{Strict: true}, inf, space)
	f(&graphite.PickleReceiver{MultiPoint: true}, textPoint{"m", 1000, 1}, textPoint{"m", 2000, 2})
}

// Only lost framing ends a connection, and it resets it; what came before is kept.
func TestPickleFrameTooLarge(t *testing.T) {
	logged, log := testLog()
	r := graphite.PickleReceiver{MaxFrame: 1000, Logger: log}
	var k keeper
	s := start(t, &r, listen(t), k.handle)
	c := s.dial()
	c.write(frame(t, item("a", 1, 1)))
	c.write([]byte("GET / HTTP/1.1\r\n"))
	require.ErrorIs(t, c.end(), syscall.ECONNRESET)
	require.Len(t, k.points(), 1)
	require.Equal(t, map[graphite.Reason]uint64{graphite.ReasonFrame: 1}, r.Stats().Rejected)
	require.Contains(t, logged.String(), "not a pickle sender")
}

func TestPickleLargeFrame(t *testing.T) {
	r := graphite.PickleReceiver{MaxFrame: 4 << 20}
	var k keeper
	s := start(t, &r, listen(t), k.handle)
	c := s.dial()
	var items []any
	for i := range 50_000 {
		items = append(items, item(fmt.Sprintf("some.metric.with.a.name.%d", i), float64(1700000000+i), float64(i)))
	}
	message := frame(t, items...)
	require.Greater(t, len(message), 1<<20)
	c.write(message)
	c.confirmed()
	require.Len(t, k.points(), 50_000)
}

// A frame that a disconnect cuts is counted and logged; if the sender half-closed it, the answer is a reset.
func TestPickleCut(t *testing.T) {
	logged, log := testLog()
	r := graphite.PickleReceiver{Logger: log}
	var k keeper
	s := start(t, &r, listen(t), k.handle)
	message := frame(t, item("a", 1, 1))

	c := s.dial()
	c.write(append(message, message[:9]...))
	c.closeWrite()
	require.ErrorIs(t, c.end(), syscall.ECONNRESET)
	require.Equal(t, map[graphite.Reason]uint64{graphite.ReasonCut: 1}, r.Stats().Rejected)
	require.Contains(t, logged.String(), "peer="+c.LocalAddr().String()+" bytes=9")

	c = s.dial()
	c.write(append(message, message[:3]...))
	eventually(t, func() bool { return len(k.points()) == 2 }, "the second point")
	require.NoError(t, c.Conn.(*net.TCPConn).SetLinger(0))
	c.Close()
	eventually(t, func() bool { return r.Stats().Rejected[graphite.ReasonCut] == 2 }, "the second cut")

	c = s.dial()
	c.write(message[:len(message)-1])
	eventually(t, func() bool { return r.Stats().Bytes == uint64(3*len(message)-1+9+3) }, "all is read")
	s.stop()
	require.ErrorIs(t, c.end(), syscall.ECONNRESET)
	s.wait()
	require.EqualValues(t, 3, r.Stats().Rejected[graphite.ReasonCut])
}

func ExamplePickleReceiver() {
	ctx, stop := context.WithCancel(context.Background())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	var r graphite.PickleReceiver
	done := make(chan error)
	go func() {
		done <- r.Serve(ctx, l, func(_ context.Context, pts []graphite.Point) error {
			for _, p := range pts {
				fmt.Println(string(p.Name), p.Timestamp, p.Value)
			}
			return nil
		})
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		panic(err)
	}
	// [("a.b", (1700000000, 1.5))], as protocol 0 writes it
	message := "(lp0\n(S'a.b'\n(I1700000000\nF1.5\ntta."
	_ = binary.Write(c, binary.BigEndian, uint32(len(message)))
	_, _ = io.WriteString(c, message)
	_ = c.(*net.TCPConn).CloseWrite()
	_, _ = io.Copy(io.Discard, c) // the end of file says that the point is kept
	c.Close()
	stop()
	fmt.Println(<-done)
	// Output:
	// a.b 1700000000000 1.5
	// <nil>
}

func BenchmarkPickleReceiver(b *testing.B) {
	var items []any
	for i := range 500 {
		items = append(items, item(fmt.Sprintf("servers.dc1-rack%02d.host%04d.cpu.user", i%40, i), float64(1700000000), float64(i)*0.1))
	}
	benchReceiver(b, &graphite.PickleReceiver{}, frame(b, items...), 500)
}
