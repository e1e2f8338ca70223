//go:build interop

package graphite_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite"
)

// TestInteropReceiverCrowd has 1,000 connections at once to a receiver in this process, 200 of which never finish. start
// checks that no goroutine is left.
func TestInteropReceiverCrowd(t *testing.T) {
	const fast, slow, each = 800, 200, 100
	receivers := map[string]struct {
		r    streamReceiver
		part string // of a line or frame
		all  string // a connection's points
	}{
		"line":   {&graphite.LineReceiver{DrainTimeout: 10 * time.Second}, "crowd 1 17", strings.Repeat("crowd 1 1700000000\n", each)},
		"pickle": {&graphite.PickleReceiver{DrainTimeout: 10 * time.Second}, "\x00\x01\x00\x00(((", strings.Repeat(crowdFrame, each)},
	}
	for name, test := range receivers {
		t.Run(name, func(t *testing.T) {
			var kept atomic.Int64
			s := start(t, test.r, listen(t), func(_ context.Context, pts []graphite.Point) error {
				kept.Add(int64(len(pts)))
				return nil
			})
			for i := range slow {
				if p := s.dial(); i%2 == 0 {
					_, err := io.WriteString(p.Conn, test.part)
					require.NoError(t, err)
				}
			}
			var conns []net.Conn
			for range fast {
				conns = append(conns, s.dial().Conn)
			}
			eventually(t, func() bool { return test.r.Stats().Open == fast+slow }, "connections")
			errs := make(chan error, fast)
			var sending sync.WaitGroup
			for _, c := range conns {
				sending.Go(func() { errs <- sendAndFinish(c, test.all) })
			}
			sending.Wait()
			for range fast {
				require.NoError(t, <-errs)
			}
			require.EqualValues(t, fast*each, kept.Load())
			eventually(t, func() bool { return test.r.Stats().Open == slow }, "the slow are left")
			s.stop()
			s.wait()
			st := test.r.Stats()
			require.Zero(t, st.Open)
			require.EqualValues(t, fast*each, st.Points)
			require.EqualValues(t, slow/2, st.Rejected[graphite.ReasonCut])
		})
	}
}

// crowdFrame is a frame with [("crowd", (1700000000, 1.0))] in protocol 2.
var crowdFrame = func() string {
	body := "\x80\x02]U\x05crowdJ\x00\xf1\x53\x65G\x3f\xf0\x00\x00\x00\x00\x00\x00\x86\x86a."
	return fmt.Sprintf("\x00\x00\x00%c%s", len(body), body)
}()

// sendAndFinish sends, half-closes and waits until the receiver has closed too.
func sendAndFinish(c net.Conn, text string) error {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, c)
	return err
}
